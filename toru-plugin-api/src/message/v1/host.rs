//! What a host writes to a plugin of version 1.

use std::collections::HashSet;

use super::{KvPayload, LifecycleInitPayload, LifecyclePayload, Message, MessagePayload, write};
use crate::message::{
    envelope::{close, put_key},
    http::RequestHead,
    kv::KvCall,
};

/// Version 1 cannot say this: it has get, set and delete of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version 1 plugin knows only get, set and delete of UTF-8 values without expiry")]
pub struct NotVersion1;

/// Appends `init`; `timestamp` is now (RFC 3339).
pub fn encode_init(out: &mut Vec<u8>, timestamp: &str, init: LifecycleInitPayload) {
    encode_lifecycle(out, timestamp, LifecyclePayload::Init(init));
}

/// Appends `shutdown`; `timestamp` is now (RFC 3339).
pub fn encode_shutdown(out: &mut Vec<u8>, timestamp: &str) {
    encode_lifecycle(out, timestamp, LifecyclePayload::Shutdown);
}

fn encode_lifecycle(out: &mut Vec<u8>, timestamp: &str, payload: LifecyclePayload) {
    let payload = MessagePayload::Lifecycle(payload);
    Message { timestamp: Some(timestamp.to_owned()), ..Message::new(None, payload) }.encode(out);
}

/// Appends a request. Headers of one name are joined with `, ` (cookies with `; `), as version 1 holds each name
/// once. The message must not pass [`V1_MAX_MESSAGE`](crate::frame::limits::V1_MAX_MESSAGE): check the length.
pub fn encode_request(
    out: &mut Vec<u8>,
    timestamp: &str,
    request_id: &str,
    head: &RequestHead,
    body: Option<&str>,
) {
    let kind = super::MessageType::Http.as_str();
    write::open_message(out, kind, Some(timestamp), Some(request_id));
    write::put_repeated(out, kind, Some(request_id));
    put_key(out, "payload");
    write::put_request(out, head.method.as_str(), head.path.as_str(), &join_headers(head), body);
    close(out);
}

/// Appends a KV call of the host.
///
/// # Errors
/// Version 1 has no such call; nothing was appended.
pub fn encode_kv(
    out: &mut Vec<u8>,
    timestamp: &str,
    request_id: &str,
    call: &KvCall,
) -> Result<(), NotVersion1> {
    let payload = match call {
        KvCall::Get { key } => KvPayload::Get { key: key.clone() },
        KvCall::Delete { key } => KvPayload::Delete { key: key.clone() },
        KvCall::Set { key, value, ttl_ms: None } => {
            let value = std::str::from_utf8(value).map_err(|_| NotVersion1)?;
            KvPayload::Set { key: key.clone(), value: value.to_owned() }
        }
        _ => return Err(NotVersion1),
    };
    let message = Message::new(Some(request_id.to_owned()), MessagePayload::Kv(payload));
    Message { timestamp: Some(timestamp.to_owned()), ..message }.encode(out);
    Ok(())
}

fn join_headers(head: &RequestHead) -> Vec<(String, String)> {
    let mut done = HashSet::new();
    let names = head.headers.keys().filter(|name| done.insert(*name));
    names
        .map(|name| {
            let separator = if name == ::http::header::COOKIE { "; " } else { ", " };
            let values: Vec<String> = head.headers.get_all(name).iter().map(latin1).collect();
            (name.as_str().to_owned(), values.join(separator))
        })
        .collect()
}

/// Each byte as the code point of the same number.
fn latin1(value: &::http::HeaderValue) -> String {
    value.as_bytes().iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::v1::{HttpPayload, RequestPayload};

    fn text(encode: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        encode(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn messages_are_those_that_existing_plugins_parse() {
        let init = LifecycleInitPayload {
            instance_id: "i".to_owned(),
            plugin_socket: "s".to_owned(),
            log_path: "l".to_owned(),
        };
        assert_eq!(
            text(|out| encode_init(out, "t", init)),
            r#"{"type":"lifecycle","timestamp":"t","payload":{"type":"lifecycle","action":"init","instance_id":"i","plugin_socket":"s","log_path":"l"}}"#
        );
        assert_eq!(
            text(|out| encode_shutdown(out, "t")),
            r#"{"type":"lifecycle","timestamp":"t","payload":{"type":"lifecycle","action":"shutdown"}}"#
        );
        assert_eq!(
            text(|out| encode_kv(out, "t", "u", &KvCall::Get { key: "k".to_owned() }).unwrap()),
            r#"{"type":"kv","timestamp":"t","request_id":"u","payload":{"type":"kv","request_id":"u","action":"get","key":"k"}}"#
        );
    }

    #[test]
    fn duplicate_headers_are_joined() {
        let request = ::http::Request::builder()
            .uri("/a?b")
            .header("accept", "x")
            .header("cookie", "a=1")
            .header("accept", "y")
            .header("cookie", "b=2")
            .body(())
            .unwrap();
        let (parts, ()) = request.into_parts();
        let path = parts.uri.path_and_query().unwrap().clone();
        let head = RequestHead { method: parts.method, path, headers: parts.headers };
        let text = text(|out| encode_request(out, "t", "u", &head, Some("b")));
        assert_eq!(
            text,
            r#"{"type":"http","timestamp":"t","request_id":"u","payload":{"type":"http","request_id":"u","payload":{"method":"GET","path":"/a?b","headers":{"accept":"x, y","cookie":"a=1; b=2"},"body":"b"}}}"#
        );
        let MessagePayload::Http(HttpPayload::Request(request)) =
            Message::parse(text.as_bytes()).unwrap().payload
        else {
            panic!("no request")
        };
        let headers = [("accept", "x, y"), ("cookie", "a=1; b=2")];
        assert_eq!(
            request,
            RequestPayload {
                method: "GET".to_owned(),
                path: "/a?b".to_owned(),
                headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
                body: Some("b".to_owned()),
            }
        );
    }

    #[test]
    fn what_version_1_cannot_say_is_refused() {
        let mut out = Vec::new();
        let set =
            |value: &'static [u8], ttl_ms| KvCall::Set { key: "k".to_owned(), value: value.into(), ttl_ms };
        assert_eq!(encode_kv(&mut out, "t", "u", &set(b"\xff", None)), Err(NotVersion1));
        assert_eq!(encode_kv(&mut out, "t", "u", &set(b"v", Some(1))), Err(NotVersion1));
        assert!(out.is_empty());
    }
}
