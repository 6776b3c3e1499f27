//! What a plugin of version 1 answers.

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use bytes::Bytes;

use super::{HttpPayload, read};
use crate::message::{
    MessageError,
    http::{HeadError, ResponseHead, parse_status},
    source::latin1,
};

/// What came from a plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Which question it answers; `None`: the one outstanding.
    pub request_id: Option<String>,
    /// What it holds.
    pub content: AnswerContent,
}

/// What an answer holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnswerContent {
    /// The answer to a request.
    Http {
        /// The head, or why it is none: a 502.
        head: Result<ResponseHead, HeadError>,
        /// The body, whole.
        body: Bytes,
    },
    /// The answer to a KV call.
    Kv {
        /// The value, if there is one.
        value: Option<Bytes>,
    },
    /// JSON of the right outer shape, but nothing that a plugin answers: a 502 if it has the id of the question.
    NotUnderstood(MessageError),
}

/// Reads what a plugin sent, in either of the shapes that exist in the wild.
///
/// # Errors
/// The text is not JSON or has no `type` and `payload`: a protocol error, the connection ends.
pub fn parse_answer(text: &[u8]) -> Result<Answer, MessageError> {
    let envelope = read::Envelope::read(text)?;
    let request_id = envelope.request_id.clone().or(read::inner_request_id(envelope.payload)?);
    let content = match &*envelope.kind {
        "http" => read::http(envelope.payload).map(http),
        "kv" => {
            read::kv_answer(envelope.payload).map(|value| AnswerContent::Kv { value: value.map(Bytes::from) })
        }
        _ => Err(MessageError::WrongType { field: "type", expected: "http or kv" }),
    };
    let content = content.unwrap_or_else(AnswerContent::NotUnderstood);
    Ok(Answer { request_id, content })
}

fn http(payload: HttpPayload) -> AnswerContent {
    let HttpPayload::Response(response) = payload else {
        let expected = "an answer";
        return AnswerContent::NotUnderstood(MessageError::WrongType { field: "payload", expected });
    };
    let body = response.body.map(Bytes::from).unwrap_or_default();
    AnswerContent::Http { head: head(response.status, &response.headers), body }
}

fn head(status: u16, headers: &[(String, String)]) -> Result<ResponseHead, HeadError> {
    let status = parse_status(status.into())?;
    // Nothing is ever offered for upgrade to a version 1 plugin.
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(HeadError::Status(status.as_u16().into()));
    }
    let mut map = HeaderMap::with_capacity(headers.len());
    for (index, (name, value)) in headers.iter().enumerate() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeadError::HeaderName(index))?;
        let value = latin1(value).and_then(|value| HeaderValue::from_bytes(&value).ok());
        map.try_append(name, value.ok_or(HeadError::HeaderValue(index))?)
            .map_err(|_| HeadError::TooManyHeaders)?;
    }
    Ok(ResponseHead { status, headers: map })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(text: &str) -> (Option<String>, ResponseHead, Bytes) {
        let answer = parse_answer(text.as_bytes()).unwrap();
        match answer.content {
            AnswerContent::Http { head, body } => (answer.request_id, head.unwrap(), body),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn both_answer_shapes_mean_the_same() {
        let short = r#"{"type":"http","request_id":"u","payload":{"status":201,"headers":{"Set-Cookie":["a","b"],"x":"y"},"body":"hé"}}"#;
        let long = r#"{"type":"http","timestamp":"t","payload":{"type":"http","request_id":"u","payload":{"method":"RESPONSE","path":"","headers":{},"body":"{\"status\":201,\"headers\":{\"Set-Cookie\":[\"a\",\"b\"],\"x\":\"y\"},\"body\":\"hé\"}"}}}"#;
        let (id, head, body) = http(short);
        assert_eq!(http(long), (id.clone(), head.clone(), body.clone()));
        assert_eq!(id.as_deref(), Some("u"));
        assert_eq!(head.status, 201);
        let cookies: Vec<_> = head.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a", "b"]);
        assert_eq!(body, "hé".as_bytes());
    }

    #[test]
    fn an_answer_without_id_says_so() {
        let (id, ..) = http(r#"{"type":"http","payload":{"status":200,"headers":{},"body":null}}"#);
        assert_eq!(id, None);
    }

    #[test]
    fn a_status_that_was_not_asked_for_is_no_head() {
        for status in [99, 100, 101, 600, 70_000] {
            let text = format!(r#"{{"type":"http","payload":{{"status":{status}}}}}"#);
            let content = parse_answer(text.as_bytes()).unwrap().content;
            assert!(matches!(content, AnswerContent::Http { head: Err(_), .. }), "{status}: {content:?}");
        }
    }

    #[test]
    fn what_is_no_answer_keeps_its_id() {
        for payload in [
            r#"{"stat":1}"#,
            r#"{"status":"200"}"#,
            r#"{"payload":{"method":"RESPONSE","path":"","body":"x"}}"#,
        ] {
            let text = format!(r#"{{"type":"http","request_id":"u","payload":{payload}}}"#);
            let answer = parse_answer(text.as_bytes()).unwrap();
            assert_eq!(answer.request_id.as_deref(), Some("u"));
            assert!(matches!(answer.content, AnswerContent::NotUnderstood(_)), "{payload}");
        }
        assert!(parse_answer(b"[1]").is_err());
    }

    #[test]
    fn kv_answers_hold_a_value_or_none() {
        for (payload, expected) in [
            (r#"{"type":"kv","request_id":"u","value":"v"}"#, Some(Bytes::from("v"))),
            (r#"{"value":null}"#, None),
            (r#"{"action":"GET","key":"k","value":"v"}"#, Some(Bytes::from("v"))),
        ] {
            let text = format!(r#"{{"type":"kv","request_id":"u","payload":{payload}}}"#);
            let answer = parse_answer(text.as_bytes()).unwrap();
            assert_eq!(answer.content, AnswerContent::Kv { value: expected });
        }
        let refused = br#"{"type":"kv","request_id":"u","payload":{"action":"error","error":"no"}}"#;
        let answer = parse_answer(refused).unwrap();
        assert_eq!(answer.content, AnswerContent::NotUnderstood(MessageError::MissingField("value")));
    }
}
