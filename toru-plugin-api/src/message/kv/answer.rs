//! KV answers.

use bytes::Bytes;

use super::{KvAnswer, KvError, KvErrorCode};
use crate::{
    frame::StreamId,
    message::{
        MessageError, Parsed,
        envelope::{RequestId, close, open, open_payload, put_text},
        fields::Fields,
        inline,
        json::{Reader, Value, put_string},
    },
};

const FIELDS: [&str; 9] =
    ["action", "value", "value_base64", "ok", "deleted", "keys", "next", "swapped", "error"];

/// Appends the answer to the call of the stream `id`.
pub fn encode_answer(out: &mut Vec<u8>, id: StreamId, answer: &KvAnswer) {
    open_payload(out, "kv", Some(id));
    match answer {
        KvAnswer::Value(None) => out.extend_from_slice(b"\"value\":null"),
        KvAnswer::Value(Some(value)) => inline::put_field(out, "value", value),
        KvAnswer::Ok => out.extend_from_slice(b"\"ok\":true"),
        KvAnswer::Deleted(deleted) => put_flag(out, "deleted", *deleted),
        KvAnswer::Swapped(swapped) => put_flag(out, "swapped", *swapped),
        KvAnswer::Keys { keys, next } => {
            out.extend_from_slice(b"\"keys\":[");
            for (index, key) in keys.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                put_string(out, key);
            }
            out.push(b']');
            match next {
                Some(next) => put_text(out, "next", next),
                None => out.extend_from_slice(b",\"next\":null"),
            }
        }
    }
    close(out);
}

/// Appends the error that answers a call, or anything that opened the stream `id` and is not known here.
pub fn encode_error(out: &mut Vec<u8>, id: StreamId, error: &KvError) {
    open(out, "kv", Some(id), "error");
    out.extend_from_slice(b",\"error\":{\"code\":");
    put_string(out, error.code.as_str());
    put_text(out, "message", &error.message);
    out.push(b'}');
    close(out);
}

fn put_flag(out: &mut Vec<u8>, name: &str, flag: bool) {
    put_string(out, name);
    out.extend_from_slice(if flag { b":true" } else { b":false" });
}

/// Reads the error shape in a message of another type; `None`: it is not understood.
pub(in crate::message) fn read_error(
    id: RequestId,
    reader: &mut Reader<'_>,
) -> Result<Option<Parsed>, MessageError> {
    if matches!(id, RequestId::Absent) { Ok(None) } else { read_answer(id, reader) }
}

/// Reads an answer; `None`: it is not understood.
pub(super) fn read_answer(id: RequestId, reader: &mut Reader<'_>) -> Result<Option<Parsed>, MessageError> {
    let id = id.required()?;
    let mut fields = Fields::read(reader, &FIELDS)?;
    let answer = match fields.take("action") {
        None | Some(Value::Null) => interpret(&mut fields).map(Ok),
        Some(_) => interpret_error(&mut fields).map(Err),
    };
    let Some(mut answer) = answer else { return Ok(None) };
    if let (Some(field), Ok(_)) = (fields.left_over(), &answer) {
        let field = crate::message::envelope::cut(field);
        let message = format!("the answer holds {field:?}, which has no meaning here");
        answer = Err(KvError::new(KvErrorCode::Invalid, message));
    }
    Ok(Some(Parsed::KvAnswer { id, answer }))
}

fn interpret(fields: &mut Fields<'_>) -> Option<KvAnswer> {
    if let Some(value) = fields.take("value") {
        return match value {
            Value::Null => Some(KvAnswer::Value(None)),
            Value::String(text) => Some(KvAnswer::Value(Some(inline::from_text(text)))),
            _ => None,
        };
    }
    if let Some(value) = fields.take("value_base64") {
        let Value::String(base64) = value else { return None };
        return inline::from_base64(&base64).map(|value: Bytes| KvAnswer::Value(Some(value)));
    }
    if let Some(keys) = fields.take("keys") {
        let Value::Array(text) = keys else { return None };
        let keys = serde_json::from_str(text).ok()?;
        let next = match fields.take("next") {
            None | Some(Value::Null) => None,
            Some(Value::String(next)) => Some(next.into_owned()),
            Some(_) => return None,
        };
        return Some(KvAnswer::Keys { keys, next });
    }
    match (fields.take("ok"), fields.take("deleted"), fields.take("swapped")) {
        (Some(Value::Bool(true)), None, None) => Some(KvAnswer::Ok),
        (None, Some(Value::Bool(deleted)), None) => Some(KvAnswer::Deleted(deleted)),
        (None, None, Some(Value::Bool(swapped))) => Some(KvAnswer::Swapped(swapped)),
        _ => None,
    }
}

/// Reads `"error": {"code", "message"}`; what else it may hold one day is ignored.
fn interpret_error(fields: &mut Fields<'_>) -> Option<KvError> {
    let Some(Value::Object(text)) = fields.take("error") else { return None };
    let mut error = Fields::read(&mut Reader::new(text), &["code", "message"]).ok()?;
    let code = error.required_string("code").ok()?;
    let message = error.string("message").ok()?.unwrap_or_default();
    Some(KvError::new(KvErrorCode::from_name(&code), message))
}
