//! What of a plugin's answer passes to the client (protocol section 4, rules).

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body;

use super::{
    AnswerBody,
    body::{LengthMismatch, content_length},
    headers::{clean, take_upgrade},
    problem::Problem,
};
use crate::link::{BadAnswer, Link, LinkAnswer, LinkBody};

/// Turns a plugin's answer into the client's. What is not passed on as it was is told as an event.
///
/// The fields of the request have gone to the plugin: their map becomes the answer's. An HTTP server that reads the next request of
/// its connection into the map of the last answer, as hyper does, then allocates none.
pub(super) fn pass(
    answer: LinkAnswer,
    link: &Link,
    is_head: bool,
    host_cookies: &[Box<str>],
    mut sent: HeaderMap,
) -> Result<Response<AnswerBody>, Problem> {
    let LinkAnswer { head, body, .. } = answer;
    // A 101 that was offered goes another way, and no interim answer is asked for.
    if head.status.is_informational() {
        link.report_bad_answer(
            BadAnswer::Interim,
            &format!("status {} was not asked for", head.status.as_u16()),
        );
        return Err(Problem::BadAnswer);
    }
    let mut headers = head.headers;
    // A 426 has to name what it demands (RFC 9110, 15.5.22).
    let demanded =
        (head.status == StatusCode::UPGRADE_REQUIRED).then(|| take_upgrade(&mut headers)).flatten();
    clean(&mut headers, host_cookies, |found, what| link.report_bad_answer(found, what));
    if let Some(protocols) = demanded {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocols);
    }
    let length = content_length(&headers).map_err(|LengthMismatch| {
        link.report_bad_answer(BadAnswer::ContentLength, "content-length is no number, or more than one");
        Problem::BadAnswer
    })?;
    let body = if is_head || is_bodiless(head.status) {
        // What a version 2 plugin sends nevertheless, the connection discards.
        if head.status == StatusCode::NO_CONTENT {
            headers.remove(header::CONTENT_LENGTH);
        }
        AnswerBody::empty()
    } else {
        pass_body(body, length, &mut headers).ok_or_else(|| {
            link.report_bad_answer(BadAnswer::ContentLength, "the body does not match its content-length");
            Problem::BadAnswer
        })?
    };
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    sent.clear();
    sent.extend(headers);
    *response.headers_mut() = sent;
    Ok(response)
}

/// 304 tells of a body that it does not have, 204 has none (RFC 9110, 15.3.5 and 15.4.5).
fn is_bodiless(status: StatusCode) -> bool {
    matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// A body that is here gets its length from the host, and has to match the plugin's if that named one. A streamed one is counted by the
/// connection: it ends with exactly so many bytes, or with an error before the first byte too many.
fn pass_body(body: LinkBody, length: Option<u64>, headers: &mut HeaderMap) -> Option<AnswerBody> {
    let (body, here) = match body {
        LinkBody::Stream(body) => {
            let here = body.size_hint().exact();
            (AnswerBody::stream(body), here)
        }
        LinkBody::Full(bytes) => {
            let here = bytes.len() as u64;
            (AnswerBody::full(bytes), Some(here))
        }
    };
    if let Some(here) = here {
        set_length(headers, length, here)?;
    }
    Some(body)
}

fn set_length(headers: &mut HeaderMap, named: Option<u64>, here: u64) -> Option<()> {
    match named {
        Some(named) => (named == here).then_some(()),
        None => {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(here));
            Some(())
        }
    }
}
