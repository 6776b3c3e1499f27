//! Version 1 messages to text.

use super::{HttpPayload, KvPayload, LifecyclePayload, Message, MessagePayload, ResponsePayload};
use crate::message::{
    envelope::{close, put_key, put_text},
    json::{put_number, put_string},
};

pub(super) fn message(out: &mut Vec<u8>, message: &Message) {
    let request_id = message.request_id.as_deref();
    let kind = message.payload.message_type().as_str();
    match &message.payload {
        MessagePayload::Lifecycle(lifecycle) => {
            open_message(out, kind, message.timestamp.as_deref(), request_id);
            put_repeated(out, kind, None);
            put_lifecycle(out, lifecycle);
        }
        MessagePayload::Http(HttpPayload::Request(request)) => {
            open_message(out, kind, message.timestamp.as_deref(), request_id);
            put_repeated(out, kind, request_id);
            put_key(out, "payload");
            put_request(out, &request.method, &request.path, &request.headers, request.body.as_deref());
        }
        MessagePayload::Http(HttpPayload::Response(response)) => {
            open_message(out, kind, message.timestamp.as_deref(), request_id);
            put_response(out, response);
        }
        MessagePayload::Kv(kv) => {
            open_message(out, kind, message.timestamp.as_deref(), request_id);
            put_repeated(out, kind, request_id);
            put_kv(out, kv);
        }
    }
    close(out);
}

/// Appends what stands before the first field of a payload.
pub(super) fn open_message(out: &mut Vec<u8>, kind: &str, timestamp: Option<&str>, request_id: Option<&str>) {
    out.extend_from_slice(b"{\"type\":");
    put_string(out, kind);
    if let Some(timestamp) = timestamp {
        put_text(out, "timestamp", timestamp);
    }
    if let Some(request_id) = request_id {
        put_text(out, "request_id", request_id);
    }
    out.extend_from_slice(b",\"payload\":{");
}

/// Appends what existing plugins demand again inside the payload.
pub(super) fn put_repeated(out: &mut Vec<u8>, kind: &str, request_id: Option<&str>) {
    out.extend_from_slice(b"\"type\":");
    put_string(out, kind);
    if let Some(request_id) = request_id {
        put_text(out, "request_id", request_id);
    }
}

pub(super) fn put_lifecycle(out: &mut Vec<u8>, lifecycle: &LifecyclePayload) {
    match lifecycle {
        LifecyclePayload::Init(init) => {
            put_text(out, "action", "init");
            put_text(out, "instance_id", &init.instance_id);
            put_text(out, "plugin_socket", &init.plugin_socket);
            put_text(out, "log_path", &init.log_path);
        }
        LifecyclePayload::Shutdown => put_text(out, "action", "shutdown"),
    }
}

/// Appends `{"method", "path", "headers", "body"}`.
pub(super) fn put_request(
    out: &mut Vec<u8>,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: Option<&str>,
) {
    out.extend_from_slice(b"{\"method\":");
    put_string(out, method);
    put_text(out, "path", path);
    put_headers(out, headers);
    put_body(out, body);
    out.push(b'}');
}

fn put_response(out: &mut Vec<u8>, response: &ResponsePayload) {
    out.extend_from_slice(b"\"status\":");
    put_number(out, response.status.into());
    put_headers(out, &response.headers);
    put_body(out, response.body.as_deref());
}

/// Appends the headers; a name that comes again becomes an array, at the place of its first value.
fn put_headers(out: &mut Vec<u8>, headers: &[(String, String)]) {
    put_key(out, "headers");
    out.push(b'{');
    let mut first = true;
    for (index, (name, value)) in headers.iter().enumerate() {
        if headers[..index].iter().any(|(other, _)| other == name) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        put_string(out, name);
        out.push(b':');
        let again: Vec<&str> = headers[index + 1..]
            .iter()
            .filter(|(other, _)| other == name)
            .map(|(_, value)| &**value)
            .collect();
        if again.is_empty() {
            put_string(out, value);
            continue;
        }
        out.push(b'[');
        put_string(out, value);
        for value in again {
            out.push(b',');
            put_string(out, value);
        }
        out.push(b']');
    }
    out.push(b'}');
}

fn put_body(out: &mut Vec<u8>, body: Option<&str>) {
    match body {
        Some(body) => put_text(out, "body", body),
        None => out.extend_from_slice(b",\"body\":null"),
    }
}

fn put_kv(out: &mut Vec<u8>, kv: &KvPayload) {
    match kv {
        KvPayload::Get { key } => {
            put_text(out, "action", "get");
            put_text(out, "key", key);
        }
        KvPayload::Set { key, value } => {
            put_text(out, "action", "set");
            put_text(out, "key", key);
            put_text(out, "value", value);
        }
        KvPayload::Delete { key } => {
            put_text(out, "action", "delete");
            put_text(out, "key", key);
        }
        KvPayload::Answer { value: Some(value) } => put_text(out, "value", value),
        KvPayload::Answer { value: None } => out.extend_from_slice(b",\"value\":null"),
    }
}
