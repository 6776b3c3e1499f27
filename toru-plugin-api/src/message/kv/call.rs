//! KV calls: what breaks a rule is answered with an error and costs no link.

use std::{borrow::Cow, collections::HashSet};

use bytes::Bytes;

use super::{KvCall, KvError, KvErrorCode, KvWrite, MAX_BATCH, MAX_KEY, MAX_LIST, MAX_TTL_MS};
use crate::{
    frame::{StreamId, limits::MAX_INLINE},
    message::{
        MessageError,
        envelope::{close, open, put_key, put_text},
        fields::Fields,
        inline,
        json::{Reader, Value, put_number, put_string},
    },
};

/// All fields of all calls.
const FIELDS: [&str; 11] = [
    "action",
    "key",
    "value",
    "value_base64",
    "expected",
    "expected_base64",
    "ttl_ms",
    "prefix",
    "after",
    "limit",
    "ops",
];

/// The fields of one write of a batch.
const WRITE_FIELDS: [&str; 5] = ["action", "key", "value", "value_base64", "ttl_ms"];

/// Appends a call that opens the stream `id`.
pub fn encode_call(out: &mut Vec<u8>, id: StreamId, call: &KvCall) {
    match call {
        KvCall::Get { key } => {
            open(out, "kv", Some(id), "get");
            put_text(out, "key", key);
        }
        KvCall::Set { key, value, ttl_ms } => {
            open(out, "kv", Some(id), "set");
            put_set(out, key, value, *ttl_ms);
        }
        KvCall::Delete { key } => {
            open(out, "kv", Some(id), "delete");
            put_text(out, "key", key);
        }
        KvCall::List { prefix, after, limit } => {
            open(out, "kv", Some(id), "list");
            if !prefix.is_empty() {
                put_text(out, "prefix", prefix);
            }
            if let Some(after) = after {
                put_text(out, "after", after);
            }
            put_key(out, "limit");
            put_number(out, (*limit).into());
        }
        KvCall::CompareAndSet { key, expected, value, ttl_ms } => {
            open(out, "kv", Some(id), "compare_and_set");
            put_text(out, "key", key);
            put_value(out, "expected", expected.as_ref());
            put_value(out, "value", value.as_ref());
            put_ttl(out, *ttl_ms);
        }
        KvCall::Batch { ops } => {
            open(out, "kv", Some(id), "batch");
            put_key(out, "ops");
            put_writes(out, ops);
        }
    }
    close(out);
}

fn put_writes(out: &mut Vec<u8>, writes: &[KvWrite]) {
    out.push(b'[');
    for (index, write) in writes.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"action\":" } else { b",{\"action\":" });
        match write {
            KvWrite::Set { key, value, ttl_ms } => {
                put_string(out, "set");
                put_set(out, key, value, *ttl_ms);
            }
            KvWrite::Delete { key } => {
                put_string(out, "delete");
                put_text(out, "key", key);
            }
        }
        out.push(b'}');
    }
    out.push(b']');
}

fn put_set(out: &mut Vec<u8>, key: &str, value: &[u8], ttl_ms: Option<u64>) {
    put_text(out, "key", key);
    out.push(b',');
    inline::put_field(out, "value", value);
    put_ttl(out, ttl_ms);
}

fn put_value(out: &mut Vec<u8>, name: &str, value: Option<&Bytes>) {
    match value {
        Some(value) => {
            out.push(b',');
            inline::put_field(out, name, value);
        }
        None => {
            put_key(out, name);
            out.extend_from_slice(b"null");
        }
    }
}

fn put_ttl(out: &mut Vec<u8>, ttl_ms: Option<u64>) {
    if let Some(ttl_ms) = ttl_ms {
        put_key(out, "ttl_ms");
        put_number(out, ttl_ms);
    }
}

/// Reads a call. The inner error is the answer to it.
///
/// # Errors
/// What the payload is breaks the rules of every message: a protocol error.
pub(super) fn read(action: &str, reader: &mut Reader<'_>) -> Result<Result<KvCall, KvError>, MessageError> {
    let mut fields = Fields::read(reader, &FIELDS)?;
    fields.take("action");
    let ops = match fields.take("ops") {
        Some(Value::Array(text)) => Some(read_ops(text)?),
        Some(_) => return Ok(Err(invalid("ops is no array"))),
        None => None,
    };
    Ok(interpret(action, fields, ops))
}

fn interpret(
    action: &str,
    mut fields: Fields<'_>,
    ops: Option<Result<Vec<KvWrite>, KvError>>,
) -> Result<KvCall, KvError> {
    let is = |name: &str| action.eq_ignore_ascii_case(name);
    let call = if is("get") {
        KvCall::Get { key: key(&mut fields)? }
    } else if is("set") {
        let (key, value) = (key(&mut fields)?, required_value(&mut fields)?);
        KvCall::Set { key, value, ttl_ms: ttl(&mut fields)? }
    } else if is("delete") {
        KvCall::Delete { key: key(&mut fields)? }
    } else if is("list") {
        let prefix = text(&mut fields, "prefix")?.map_or_else(String::new, Cow::into_owned);
        let after = text(&mut fields, "after")?.map(Cow::into_owned);
        KvCall::List { prefix, after, limit: limit(&mut fields)? }
    } else if is("compare_and_set") {
        let (key, expected) = (key(&mut fields)?, value(&mut fields, "expected", "expected_base64")?);
        let value = value(&mut fields, "value", "value_base64")?;
        KvCall::CompareAndSet { key, expected, value, ttl_ms: ttl(&mut fields)? }
    } else if is("batch") {
        KvCall::Batch { ops: ops.clone().ok_or_else(|| invalid("ops is missing"))?? }
    } else {
        let action = crate::message::envelope::cut(action);
        return Err(KvError::new(KvErrorCode::UnknownAction, format!("{action:?} is no KV action")));
    };
    let stray_ops = ops.filter(|_| !matches!(call, KvCall::Batch { .. })).map(|_| "ops");
    refuse_left_over(stray_ops.or(fields.left_over()))?;
    check(&call)?;
    Ok(call)
}

/// Reads the writes of a batch; the outer error is a protocol error.
fn read_ops(text: &str) -> Result<Result<Vec<KvWrite>, KvError>, MessageError> {
    let mut reader = Reader::new(text);
    let mut elements = reader.enter_array()?;
    let mut ops = Ok(Vec::new());
    while reader.next_element(&mut elements)? {
        let op = if reader.peek() == Some(b'{') {
            interpret_write(Fields::read(&mut reader, &WRITE_FIELDS)?)
        } else {
            reader.skip()?;
            Err(invalid("an element of ops is no object"))
        };
        ops = match (ops, op) {
            (Ok(ops), Ok(_)) if ops.len() == MAX_BATCH => {
                Err(invalid(format!("ops has more than {MAX_BATCH} elements")))
            }
            (Ok(mut ops), Ok(op)) => {
                ops.push(op);
                Ok(ops)
            }
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        };
    }
    Ok(ops)
}

fn interpret_write(mut fields: Fields<'_>) -> Result<KvWrite, KvError> {
    let action = text(&mut fields, "action")?.ok_or_else(|| invalid("an element of ops has no action"))?;
    let write = if action.eq_ignore_ascii_case("set") {
        let (key, value) = (key(&mut fields)?, required_value(&mut fields)?);
        KvWrite::Set { key, value, ttl_ms: ttl(&mut fields)? }
    } else if action.eq_ignore_ascii_case("delete") {
        KvWrite::Delete { key: key(&mut fields)? }
    } else {
        return Err(invalid("the action of an element of ops is neither set nor delete"));
    };
    refuse_left_over(fields.left_over())?;
    Ok(write)
}

fn refuse_left_over(field: Option<&str>) -> Result<(), KvError> {
    match field {
        None => Ok(()),
        Some(field) => {
            let field = crate::message::envelope::cut(field);
            Err(invalid(format!("the field {field:?} has no meaning for this action")))
        }
    }
}

/// Checks every bound of a call.
pub(super) fn check(call: &KvCall) -> Result<(), KvError> {
    match call {
        KvCall::Get { key } | KvCall::Delete { key } => check_key(key),
        KvCall::Set { key, value, ttl_ms } => {
            check_key(key)?;
            check_ttl(*ttl_ms)?;
            check_values(value.len())
        }
        KvCall::List { prefix, after, limit } => {
            check_key_length(prefix)?;
            check_key_length(after.as_deref().unwrap_or(""))?;
            if (1..=MAX_LIST).contains(limit) {
                Ok(())
            } else {
                Err(invalid(format!("limit is not 1 to {MAX_LIST}")))
            }
        }
        KvCall::CompareAndSet { key, expected, value, ttl_ms } => {
            check_key(key)?;
            check_ttl(*ttl_ms)?;
            check_values(expected.as_ref().map_or(0, Bytes::len) + value.as_ref().map_or(0, Bytes::len))
        }
        KvCall::Batch { ops } => check_batch(ops),
    }
}

fn check_batch(ops: &[KvWrite]) -> Result<(), KvError> {
    if ops.len() > MAX_BATCH {
        return Err(invalid(format!("ops has more than {MAX_BATCH} elements")));
    }
    let mut keys = HashSet::with_capacity(ops.len());
    let mut size = 0;
    for op in ops {
        let key = match op {
            KvWrite::Set { key, value, ttl_ms } => {
                check_ttl(*ttl_ms)?;
                size += value.len();
                key
            }
            KvWrite::Delete { key } => key,
        };
        check_key(key)?;
        if !keys.insert(key) {
            return Err(invalid("ops names a key twice"));
        }
    }
    check_values(size)
}

fn check_key(key: &str) -> Result<(), KvError> {
    if key.is_empty() { Err(invalid("the key is empty")) } else { check_key_length(key) }
}

fn check_key_length(key: &str) -> Result<(), KvError> {
    if key.len() <= MAX_KEY {
        return Ok(());
    }
    Err(KvError::new(KvErrorCode::TooLarge, format!("a key has at most {MAX_KEY} bytes")))
}

fn check_values(size: usize) -> Result<(), KvError> {
    if size <= MAX_INLINE {
        return Ok(());
    }
    let message = format!("the values of one message have at most {MAX_INLINE} bytes");
    Err(KvError::new(KvErrorCode::TooLarge, message))
}

fn check_ttl(ttl_ms: Option<u64>) -> Result<(), KvError> {
    match ttl_ms {
        Some(ttl) if !(1..=MAX_TTL_MS).contains(&ttl) => Err(invalid("ttl_ms is not 1 to 2^53 - 1")),
        _ => Ok(()),
    }
}

fn invalid(message: impl Into<String>) -> KvError {
    KvError::new(KvErrorCode::Invalid, message)
}

fn key(fields: &mut Fields<'_>) -> Result<String, KvError> {
    Ok(text(fields, "key")?.ok_or_else(|| invalid("key is missing"))?.into_owned())
}

fn text<'a>(fields: &mut Fields<'a>, name: &'static str) -> Result<Option<Cow<'a, str>>, KvError> {
    match fields.take(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(invalid(format!("{name} is no string"))),
    }
}

fn ttl(fields: &mut Fields<'_>) -> Result<Option<u64>, KvError> {
    match fields.take("ttl_ms") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64() {
            Some(ttl) => Ok(Some(ttl)),
            None => Err(invalid("ttl_ms is not 1 to 2^53 - 1")),
        },
    }
}

fn limit(fields: &mut Fields<'_>) -> Result<u32, KvError> {
    let limit = fields.take("limit").ok_or_else(|| invalid("limit is missing"))?;
    limit
        .as_u64()
        .and_then(|limit| u32::try_from(limit).ok())
        .ok_or_else(|| invalid(format!("limit is not 1 to {MAX_LIST}")))
}

fn required_value(fields: &mut Fields<'_>) -> Result<Bytes, KvError> {
    value(fields, "value", "value_base64")?.ok_or_else(|| invalid("value is null"))
}

/// A value in exactly one of its forms; null where there is none.
fn value(
    fields: &mut Fields<'_>,
    name: &'static str,
    base64_name: &'static str,
) -> Result<Option<Bytes>, KvError> {
    match (fields.take(name), fields.take(base64_name)) {
        (Some(Value::String(text)), None) => Ok(Some(inline::from_text(text))),
        (None, Some(Value::String(base64))) => match inline::from_base64(&base64) {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(format!("{base64_name} is not base64 (RFC 4648, 4)"))),
        },
        (Some(Value::Null), None) | (None, Some(Value::Null)) => Ok(None),
        (None, None) => Err(invalid(format!("{name} is missing"))),
        (Some(_), Some(_)) => Err(invalid(format!("{name} comes in two forms"))),
        _ => Err(invalid(format!("{name} is neither a string nor null"))),
    }
}
