//! Text to version 1 messages.

use super::{
    HttpPayload, KvPayload, LifecycleInitPayload, LifecyclePayload, Message, MessagePayload, RequestPayload,
    ResponsePayload,
};
use crate::message::{
    MessageError,
    fields::Fields,
    json::{Reader, Value},
};

/// The method that marks the longer of the two answer shapes.
const RESPONSE: &str = "RESPONSE";

/// What is around every payload.
pub(super) struct Envelope<'a> {
    pub(super) kind: String,
    pub(super) timestamp: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) payload: &'a str,
}

impl<'a> Envelope<'a> {
    pub(super) fn read(text: &'a [u8]) -> Result<Self, MessageError> {
        let text =
            std::str::from_utf8(text).map_err(|error| MessageError::NotUtf8 { at: error.valid_up_to() })?;
        let mut reader = Reader::new(text);
        let mut fields = Fields::read(&mut reader, &["type", "timestamp", "request_id", "payload"])?;
        reader.end()?;
        Ok(Self {
            kind: fields.required_string("type")?,
            timestamp: fields.string("timestamp")?,
            request_id: fields.string("request_id")?,
            payload: required_object(&mut fields, "payload")?,
        })
    }
}

pub(super) fn message(text: &[u8]) -> Result<Message, MessageError> {
    let envelope = Envelope::read(text)?;
    let payload = payload(&envelope)?;
    Ok(Message { timestamp: envelope.timestamp, ..Message::new(envelope.request_id, payload) })
}

pub(super) fn payload(envelope: &Envelope<'_>) -> Result<MessagePayload, MessageError> {
    match &*envelope.kind {
        "lifecycle" => lifecycle(envelope.payload).map(MessagePayload::Lifecycle),
        "http" => http(envelope.payload).map(MessagePayload::Http),
        "kv" => kv(envelope.payload).map(MessagePayload::Kv),
        _ => Err(MessageError::WrongType { field: "type", expected: "lifecycle, http or kv" }),
    }
}

/// The `request_id` that one of the answer shapes repeats inside its payload.
pub(super) fn inner_request_id(payload: &str) -> Result<Option<String>, MessageError> {
    Fields::read(&mut Reader::new(payload), &["request_id"])?.string("request_id")
}

fn lifecycle(text: &str) -> Result<LifecyclePayload, MessageError> {
    let mut fields =
        Fields::read(&mut Reader::new(text), &["action", "instance_id", "plugin_socket", "log_path"])?;
    let action = fields.required_string("action")?;
    if action.eq_ignore_ascii_case("init") {
        Ok(LifecyclePayload::Init(LifecycleInitPayload {
            instance_id: fields.required_string("instance_id")?,
            plugin_socket: fields.required_string("plugin_socket")?,
            log_path: fields.required_string("log_path")?,
        }))
    } else if action.eq_ignore_ascii_case("shutdown") {
        Ok(LifecyclePayload::Shutdown)
    } else {
        Err(MessageError::WrongType { field: "action", expected: "init or shutdown" })
    }
}

pub(super) fn http(text: &str) -> Result<HttpPayload, MessageError> {
    let mut fields = Fields::read(&mut Reader::new(text), &["payload", "status", "headers", "body"])?;
    match fields.take("payload") {
        Some(Value::Object(inner)) => {
            let request = request(inner)?;
            if request.method != RESPONSE {
                return Ok(HttpPayload::Request(request));
            }
            let body = request.body.ok_or(MessageError::MissingField("body"))?;
            let fields = Fields::read(&mut Reader::new(&body), &["status", "headers", "body"])?;
            response(fields).map(HttpPayload::Response)
        }
        _ => response(fields).map(HttpPayload::Response),
    }
}

fn request(text: &str) -> Result<RequestPayload, MessageError> {
    let mut fields = Fields::read(&mut Reader::new(text), &["method", "path", "headers", "body"])?;
    Ok(RequestPayload {
        method: fields.required_string("method")?,
        path: fields.required_string("path")?,
        headers: headers(&mut fields)?,
        body: fields.string("body")?,
    })
}

fn response(mut fields: Fields<'_>) -> Result<ResponsePayload, MessageError> {
    let status = fields.number("status")?.ok_or(MessageError::MissingField("status"))?;
    Ok(ResponsePayload {
        // What no u16 holds is no status either, and is found out with the rest of them.
        status: u16::try_from(status).unwrap_or(u16::MAX),
        headers: headers(&mut fields)?,
        body: fields.string("body")?,
    })
}

/// A header's value may be a string or an array of strings.
fn headers(fields: &mut Fields<'_>) -> Result<Vec<(String, String)>, MessageError> {
    const WRONG: MessageError =
        MessageError::WrongType { field: "headers", expected: "an object of strings or arrays of strings" };
    let text = match fields.take("headers") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(text)) => text,
        Some(_) => return Err(WRONG),
    };
    let mut headers = Vec::new();
    let mut reader = Reader::new(text);
    let mut members = reader.enter_object()?;
    while let Some(name) = reader.next_key(&mut members)? {
        match reader.value()? {
            Value::String(value) => headers.push((name.into_owned(), value.into_owned())),
            Value::Array(values) => {
                let values: Vec<String> = serde_json::from_str(values).map_err(|_| WRONG)?;
                headers.extend(values.into_iter().map(|value| (name.clone().into_owned(), value)));
            }
            _ => return Err(WRONG),
        }
    }
    Ok(headers)
}

fn kv(text: &str) -> Result<KvPayload, MessageError> {
    let mut fields = Fields::read(&mut Reader::new(text), &["action", "key", "value"])?;
    let Some(action) = fields.string("action")? else {
        return Ok(KvPayload::Answer { value: answer_value(&mut fields)? });
    };
    if action.eq_ignore_ascii_case("get") {
        Ok(KvPayload::Get { key: fields.required_string("key")? })
    } else if action.eq_ignore_ascii_case("set") {
        let key = fields.required_string("key")?;
        Ok(KvPayload::Set { key, value: fields.required_string("value")? })
    } else if action.eq_ignore_ascii_case("delete") {
        Ok(KvPayload::Delete { key: fields.required_string("key")? })
    } else {
        Err(MessageError::WrongType { field: "action", expected: "get, set or delete" })
    }
}

/// The value of a KV answer, whatever else of the call the plugin repeats beside it.
pub(super) fn kv_answer(payload: &str) -> Result<Option<String>, MessageError> {
    answer_value(&mut Fields::read(&mut Reader::new(payload), &["value"])?)
}

fn answer_value(fields: &mut Fields<'_>) -> Result<Option<String>, MessageError> {
    match fields.take("value") {
        Some(Value::String(value)) => Ok(Some(value.into_owned())),
        Some(Value::Null) => Ok(None),
        Some(_) => Err(MessageError::WrongType { field: "value", expected: "a string or null" }),
        None => Err(MessageError::MissingField("value")),
    }
}

fn required_object<'a>(fields: &mut Fields<'a>, field: &'static str) -> Result<&'a str, MessageError> {
    match fields.take(field) {
        Some(Value::Object(text)) => Ok(text),
        Some(_) => Err(MessageError::WrongType { field, expected: "an object" }),
        None => Err(MessageError::MissingField(field)),
    }
}
