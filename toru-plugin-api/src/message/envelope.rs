//! What is around every message: `{"type", "timestamp"?, "request_id"?, "payload"}`.

use std::borrow::Cow;

use bytes::Bytes;

use super::{
    KnownNames, MessageError, Parsed, RequestMemory, event, http,
    json::{Reader, Value, once, put_string},
    kv, lifecycle, log,
    source::Source,
};
use crate::frame::StreamId;

/// How much of an unknown type or action is kept for the log.
const MAX_SHOWN: usize = 64;

/// Reads the text of a message frame of version 2.
///
/// # Errors
/// See [`MessageError`].
pub fn parse(text: &[u8]) -> Result<Parsed, MessageError> {
    parse_frame(&Bytes::copy_from_slice(text), RequestMemory::Shared, &mut KnownNames::default())
}

/// As [`parse`]; what is read are pieces of `frame`, or of what `requests` says, and names that its sender has used before.
pub(crate) fn parse_frame(
    frame: &Bytes,
    requests: RequestMemory,
    names: &mut KnownNames,
) -> Result<Parsed, MessageError> {
    let text =
        std::str::from_utf8(frame).map_err(|error| MessageError::NotUtf8 { at: error.valid_up_to() })?;
    if !text.starts_with('{') {
        return Err(MessageError::NotJson { expected: "an object", at: 0 });
    }
    let mut reader = Reader::new(text);
    let mut source = Source::new(frame, requests, names);
    let mut kind = None;
    let mut timestamp = None;
    let mut id = None;
    let mut payload = None;
    let mut members = reader.enter_object()?;
    while let Some(key) = reader.next_key(&mut members)? {
        match &*key {
            "type" => once(&mut kind, "type", string(&mut reader, "type")?)?,
            "timestamp" => once(&mut timestamp, "timestamp", reader.skip()?)?,
            "request_id" => once(&mut id, "request_id", RequestId::read(reader.value()?))?,
            "payload" => {
                // What the payload means is known only once type and request_id are: usually they come first,
                // and it is read on the spot.
                let read = match (&kind, id) {
                    (Some(kind), Some(id)) => {
                        Payload::Read(read_payload(kind, id, &mut reader, &mut source)?)
                    }
                    _ => {
                        let here = reader.clone();
                        reader.skip()?;
                        Payload::Deferred(here)
                    }
                };
                once(&mut payload, "payload", read)?;
            }
            _ => {
                reader.skip()?;
            }
        }
    }
    reader.end()?;
    let kind = kind.ok_or(MessageError::MissingField("type"))?;
    match payload.ok_or(MessageError::MissingField("payload"))? {
        Payload::Read(parsed) => Ok(parsed),
        Payload::Deferred(mut reader) => {
            read_payload(&kind, id.unwrap_or(RequestId::Absent), &mut reader, &mut source)
        }
    }
}

enum Payload<'a> {
    Read(Parsed),
    Deferred(Reader<'a>),
}

/// A `request_id` as it came; whether it has to be there depends on the message.
#[derive(Debug, Clone, Copy)]
pub(super) enum RequestId {
    Absent,
    Malformed,
    Stream(StreamId),
}

impl RequestId {
    fn read(value: Value<'_>) -> Self {
        match value {
            Value::Null => Self::Absent,
            Value::String(text) => canonical(&text).map_or(Self::Malformed, Self::Stream),
            _ => Self::Malformed,
        }
    }

    /// The stream of a message that belongs to one.
    pub(super) fn required(self) -> Result<StreamId, MessageError> {
        self.optional()?.ok_or(MessageError::MissingField("request_id"))
    }

    fn optional(self) -> Result<Option<StreamId>, MessageError> {
        match self {
            Self::Absent => Ok(None),
            Self::Malformed => Err(MessageError::BadRequestId),
            Self::Stream(id) => Ok(Some(id)),
        }
    }
}

/// The number of a canonical decimal: no sign, no leading zero, never 0.
fn canonical(text: &str) -> Option<StreamId> {
    let digits = text.bytes().all(|digit| digit.is_ascii_digit());
    if digits && !text.starts_with('0') { text.parse().ok().map(StreamId) } else { None }
}

fn read_payload(
    kind: &str,
    id: RequestId,
    reader: &mut Reader<'_>,
    source: &mut Source<'_>,
) -> Result<Parsed, MessageError> {
    if reader.peek() != Some(b'{') {
        reader.skip()?;
        return Err(MessageError::WrongType { field: "payload", expected: "an object" });
    }
    match kind {
        "log" => return log::read(reader).map(Parsed::Log),
        "event" => return event::read(reader),
        _ => {}
    }
    let start = reader.clone();
    let action = match reader.find("action")? {
        None | Some(Value::Null) => None,
        Some(Value::String(action)) => Some(action),
        Some(_) => return Err(MessageError::WrongType { field: "action", expected: "a string" }),
    };
    let parsed = match kind {
        "http" => http::read(action.as_deref(), id, reader, source)?,
        "kv" => kv::read(action.as_deref(), id, reader)?,
        "lifecycle" => lifecycle::read(action.as_deref(), reader)?,
        _ if is_action(action.as_deref(), "error") => kv::read_error(id, reader)?,
        _ => None,
    };
    match parsed {
        Some(parsed) => Ok(parsed),
        None => {
            *reader = start;
            unknown(kind, action.as_deref(), id, reader)
        }
    }
}

/// Whether `action` is this one: both spellings exist in the wild, so without regard to case.
pub(super) fn is_action(action: Option<&str>, name: &str) -> bool {
    action.is_some_and(|action| action.eq_ignore_ascii_case(name))
}

fn unknown(
    kind: &str,
    action: Option<&str>,
    id: RequestId,
    reader: &mut Reader<'_>,
) -> Result<Parsed, MessageError> {
    let mut seen = None;
    let mut members = reader.enter_object()?;
    while let Some(key) = reader.next_key(&mut members)? {
        let value = reader.skip()?;
        if key == "action" {
            once(&mut seen, "action", value)?;
        }
    }
    let what = match action {
        Some(action) => format!("{} {}", cut(kind), cut(action)),
        None => cut(kind).to_owned(),
    };
    Ok(Parsed::Unknown { id: id.optional()?, what })
}

/// At most the first 64 characters.
pub(super) fn cut(text: &str) -> &str {
    text.char_indices().nth(MAX_SHOWN).map_or(text, |(end, _)| &text[..end])
}

/// The string that comes next, as the value of `field`.
pub(super) fn string<'a>(reader: &mut Reader<'a>, field: &'static str) -> Result<Cow<'a, str>, MessageError> {
    match reader.value()? {
        Value::String(text) => Ok(text),
        _ => Err(MessageError::WrongType { field, expected: "a string" }),
    }
}

/// The string or null that comes next, as the value of `field`.
pub(super) fn string_or_null<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
) -> Result<Option<Cow<'a, str>>, MessageError> {
    match reader.value()? {
        Value::String(text) => Ok(Some(text)),
        Value::Null => Ok(None),
        _ => Err(MessageError::WrongType { field, expected: "a string" }),
    }
}

/// The whole number that comes next, as the value of `field`.
pub(super) fn number(reader: &mut Reader<'_>, field: &'static str) -> Result<u64, MessageError> {
    reader
        .value()?
        .as_u64()
        .ok_or(MessageError::WrongType { field, expected: "a whole number, not negative" })
}

/// Appends what stands before the fields of a payload with an action.
pub(super) fn open(out: &mut Vec<u8>, kind: &str, id: Option<StreamId>, action: &str) {
    open_payload(out, kind, id);
    out.extend_from_slice(b"\"action\":");
    put_string(out, action);
}

/// Appends what stands before the first field of a payload.
pub(super) fn open_payload(out: &mut Vec<u8>, kind: &str, id: Option<StreamId>) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    if let Some(StreamId(id)) = id {
        out.extend_from_slice(b"\",\"request_id\":\"");
        super::json::put_number(out, id.into());
    }
    out.extend_from_slice(b"\",\"payload\":{");
}

/// Appends `,"key":"value"`.
pub(super) fn put_text(out: &mut Vec<u8>, key: &str, value: &str) {
    put_key(out, key);
    put_string(out, value);
}

/// Appends `,"key":`.
pub(super) fn put_key(out: &mut Vec<u8>, key: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends the ends of the payload and of the message.
pub(super) fn close(out: &mut Vec<u8>) {
    out.extend_from_slice(b"}}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{
        http::{Framing, HeadError},
        kv::{KvAnswer, KvCall, KvErrorCode},
    };

    fn cause(text: &str) -> &'static str {
        parse(text.as_bytes()).expect_err(text).cause()
    }

    #[test]
    fn key_order_has_no_meaning() {
        let texts = [
            r#"{"type":"http","request_id":"1","payload":{"action":"request","method":"GET","path":"/"}}"#,
            r#"{"payload":{"path":"/","method":"GET","action":"request"},"request_id":"1","type":"http"}"#,
            r#"{"request_id":"1","payload":{"path":"/","action":"Request","method":"GET"},"type":"http"}"#,
            "{ \"type\" : \"http\" ,\n\"request_id\":\"1\",\t\"payload\":{\"action\":\"request\",\"method\":\"GET\",\"path\":\"/\"} } ",
        ];
        let parsed = texts.map(|text| parse(text.as_bytes()).unwrap());
        assert!(matches!(&parsed[0], Parsed::Request { body: Framing::Empty, .. }));
        assert!(parsed.iter().all(|other| *other == parsed[0]), "{parsed:?}");
    }

    #[test]
    fn unknown_fields_are_ignored_outside_of_kv() {
        let text = r#"{"x":[{}],"type":"lifecycle","payload":{"action":"ping","y":{"z":1e9}},"x":null}"#;
        assert_eq!(parse(text.as_bytes()), Ok(Parsed::Ping));
    }

    #[test]
    fn each_break_of_the_envelope_has_its_cause() {
        for (text, expected) in [
            ("[]", "not_json"),
            (" {}", "not_json"),
            ("{}", "missing_field"),
            (r#"{"type":"log"}"#, "missing_field"),
            (r#"{"type":"log","payload":1}"#, "wrong_type"),
            (r#"{"type":5,"payload":{}}"#, "wrong_type"),
            (r#"{"type":"log","type":"log","payload":{"message":""}}"#, "repeated_key"),
            (r#"{"type":"log","payload":{"message":"","message":""}}"#, "repeated_key"),
            (r#"{"type":"log","payload":{"message":"","x":"\ud800"}}"#, "lone_surrogate"),
            (r#"{"type":"log","payload":{"message":""}}x"#, "not_json"),
            (r#"{"type":"kv","payload":{"action":"get","key":"k"}}"#, "missing_field"),
            (r#"{"type":"kv","request_id":"01","payload":{"action":"get","key":"k"}}"#, "bad_request_id"),
            (r#"{"type":"kv","request_id":"0","payload":{"action":"get","key":"k"}}"#, "bad_request_id"),
            (r#"{"type":"kv","request_id":2,"payload":{"action":"get","key":"k"}}"#, "bad_request_id"),
            (r#"{"type":"kv","request_id":"4294967296","payload":{"action":"get"}}"#, "bad_request_id"),
            (r#"{"type":"kv","request_id":"+1","payload":{"action":"get"}}"#, "bad_request_id"),
            (r#"{"type":"new","payload":{"action":"a","action":"a"}}"#, "repeated_key"),
        ] {
            assert_eq!(cause(text), expected, "{text}");
        }
    }

    #[test]
    fn depth_of_64_passes_and_65_does_not() {
        let nested = |depth: usize| {
            // The message and its payload are two of the levels.
            let (open, close) = ("[".repeat(depth - 2), "]".repeat(depth - 2));
            format!(r#"{{"type":"lifecycle","payload":{{"action":"ping","x":{open}{close}}}}}"#)
        };
        assert_eq!(parse(nested(64).as_bytes()), Ok(Parsed::Ping));
        assert_eq!(cause(&nested(65)), "too_deep");
        assert_eq!(cause(&format!(r#"{{"x":{}"#, "[".repeat(100_000))), "too_deep");
    }

    #[test]
    fn a_bad_head_costs_the_stream_alone() {
        let parse_headers = |headers: &str| {
            let text = format!(
                r#"{{"type":"http","request_id":"1","payload":{{"action":"response","status":200,"headers":{headers}}}}}"#
            );
            match parse(text.as_bytes()).unwrap() {
                Parsed::Response { head, .. } => head,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(parse_headers(r#"[["a","b"],["X","y"]]"#).unwrap_err(), HeadError::HeaderName(1));
        assert_eq!(parse_headers(r#"[["a","\u0100"]]"#).unwrap_err(), HeadError::HeaderValue(0));
        assert_eq!(parse_headers(r#"[["a","b\r\nc: d"]]"#).unwrap_err(), HeadError::HeaderValue(0));
        let head = parse_headers(r#"[["a","\u00e9\t"],["a","é"]]"#).unwrap();
        let values: Vec<_> = head.headers.get_all("a").iter().map(|value| value.as_bytes()).collect();
        assert_eq!(values, [&b"\xe9\t"[..], b"\xe9"]);
    }

    #[test]
    fn an_unknown_action_keeps_its_stream() {
        let text = r#"{"type":"http","request_id":"7","payload":{"action":"push"}}"#;
        let expected = Parsed::Unknown { id: Some(StreamId(7)), what: "http push".to_owned() };
        assert_eq!(parse(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn kv_refuses_what_it_does_not_know() {
        let call = |payload: &str| {
            let text = format!(r#"{{"type":"kv","request_id":"2","payload":{payload}}}"#);
            match parse(text.as_bytes()).unwrap() {
                Parsed::KvCall { call, .. } => call.map_err(|error| error.code),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(call(r#"{"action":"GET","key":"k"}"#), Ok(KvCall::Get { key: "k".to_owned() }));
        for payload in [
            r#"{"action":"get","key":"k","if_version":1}"#,
            r#"{"action":"get","key":"k","ttl_ms":1}"#,
            r#"{"action":"get","key":""}"#,
            r#"{"action":"get","key":5}"#,
            r#"{"action":"get"}"#,
            r#"{"action":"set","key":"k"}"#,
            r#"{"action":"set","key":"k","value":null}"#,
            r#"{"action":"set","key":"k","value":"v","value_base64":"dg=="}"#,
            r#"{"action":"set","key":"k","value_base64":"dg="}"#,
            r#"{"action":"set","key":"k","value":"v","ttl_ms":0}"#,
            r#"{"action":"set","key":"k","value":"v","ttl_ms":9007199254740992}"#,
            r#"{"action":"list"}"#,
            r#"{"action":"list","limit":0}"#,
            r#"{"action":"list","limit":1001}"#,
            r#"{"action":"compare_and_set","key":"k","value":"v"}"#,
            r#"{"action":"batch"}"#,
            r#"{"action":"batch","ops":[{"action":"get","key":"k"}]}"#,
            r#"{"action":"batch","ops":[{"action":"delete","key":"k"},{"action":"delete","key":"k"}]}"#,
        ] {
            assert_eq!(call(payload), Err(KvErrorCode::Invalid), "{payload}");
        }
        assert_eq!(call(r#"{"action":"incr","key":"k"}"#), Err(KvErrorCode::UnknownAction));
        let long = format!(r#"{{"action":"get","key":"{}"}}"#, "k".repeat(1025));
        assert_eq!(call(&long), Err(KvErrorCode::TooLarge));
    }

    #[test]
    fn kv_error_with_an_unknown_code_is_unavailable() {
        let text = r#"{"type":"kv","request_id":"2","payload":{"action":"error","error":{"code":"on_fire","message":"m"}}}"#;
        let Ok(Parsed::KvAnswer { answer: Err(error), .. }) = parse(text.as_bytes()) else { panic!() };
        assert_eq!((error.code, &*error.message), (KvErrorCode::Unavailable, "m"));
        let text = r#"{"type":"kv","request_id":"2","payload":{"value":null}}"#;
        let Ok(Parsed::KvAnswer { answer: Ok(answer), .. }) = parse(text.as_bytes()) else { panic!() };
        assert_eq!(answer, KvAnswer::Value(None));
    }
}
