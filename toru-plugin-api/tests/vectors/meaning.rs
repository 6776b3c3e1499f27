//! What vectors write down, and what was parsed, in one form that can be compared.

use serde_json::{Map, Value, json};
use toru_plugin_api::{
    Message, MessagePayload,
    frame::{Frame, Limits, StreamId},
    message::{
        Parsed,
        http::{Framing, HeadError, RequestHead, ResponseHead},
        kv::{KvAnswer, KvCall, KvWrite},
        lifecycle::Features,
        v1::{Answer, AnswerContent, HttpPayload, KvPayload, LifecyclePayload},
    },
};

/// The bytes that a `hex` stands for: hex digits with any space between them, or an array of parts.
pub(crate) fn expand(parts: &Value) -> Vec<u8> {
    match parts {
        Value::String(hex) => {
            let digits: Vec<u32> =
                hex.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).expect(hex)).collect();
            assert!(digits.len() % 2 == 0, "half a byte: {hex}");
            digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
        }
        Value::Array(parts) => parts.iter().flat_map(expand_part).collect(),
        other => panic!("neither hex nor parts: {other}"),
    }
}

fn expand_part(part: &Value) -> Vec<u8> {
    let Value::Object(fields) = part else { return expand(part) };
    let keys: Vec<&str> = fields.keys().map(String::as_str).collect();
    match keys[..] {
        ["text"] => fields["text"].as_str().unwrap().as_bytes().to_vec(),
        ["repeat", "times"] => {
            expand(&fields["repeat"]).repeat(usize::try_from(fields["times"].as_u64().unwrap()).unwrap())
        }
        ["frame"] => {
            let payload = expand(&fields["frame"]);
            let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
            frame.extend(payload);
            frame
        }
        _ => panic!("no part of a hex: {part}"),
    }
}

/// A meaning as written, with its bytes and long strings written out.
pub(crate) fn normalize(meaning: &Value) -> Value {
    match meaning {
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("hex") => {
            bytes(&expand(&fields["hex"]))
        }
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("string") => {
            Value::String(String::from_utf8(expand(&fields["string"])).unwrap())
        }
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), normalize(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(values) => values.iter().map(normalize).collect(),
        other => other.clone(),
    }
}

fn bytes(bytes: &[u8]) -> Value {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    json!({ "hex": hex })
}

pub(crate) fn of_binary(frame: &Frame) -> Value {
    match frame {
        Frame::Data { stream, end, bytes: data } => {
            json!({ "is": "data", "stream": stream.0, "end": end, "bytes": bytes(data) })
        }
        Frame::Credit { stream, n } => json!({ "is": "credit", "stream": stream.0, "n": n }),
        Frame::Reset { stream, code } => json!({ "is": "reset", "stream": stream.0, "code": code.0 }),
        Frame::Message(_) | Frame::Head { .. } => panic!("parsed elsewhere: {frame:?}"),
    }
}

/// The fields of `object`, and those of `more`.
fn with(mut object: Value, more: Value) -> Value {
    let (Value::Object(fields), Value::Object(more)) = (&mut object, more) else { panic!("objects") };
    fields.extend(more);
    object
}

fn offer(features: &Features, limits: &Limits) -> Value {
    json!({
        "features": features.iter().collect::<Vec<_>>(),
        "window": limits.window,
        "max_streams": limits.max_streams,
        "max_message": limits.max_message,
        "max_data": limits.max_data,
    })
}

pub(crate) fn of_message(parsed: &Parsed) -> Value {
    match parsed {
        Parsed::Init(init) => {
            let own = json!({
                "is": "init",
                "protocol": init.protocol,
                "instance_id": init.instance_id,
                "plugin_id": init.plugin_id,
                "plugin_socket": init.plugin_socket,
                "log_path": init.log_path,
                "data_dir": init.data_dir,
                "config": init.config,
                "link": init.link,
            });
            with(own, offer(&init.features, &init.limits))
        }
        Parsed::Ready(ready) => {
            with(json!({ "is": "ready", "protocol": ready.protocol }), offer(&ready.features, &ready.limits))
        }
        Parsed::Failed(failed) => json!({ "is": "failed", "code": failed.code, "message": failed.message }),
        Parsed::Ping => json!({ "is": "ping" }),
        Parsed::Pong(pong) => {
            let status = if pong.degraded { "degraded" } else { "ok" };
            json!({ "is": "pong", "status": status, "detail": pong.detail })
        }
        Parsed::Draining(draining) => json!({ "is": "draining", "reason": draining.reason }),
        Parsed::Shutdown(shutdown) => {
            let grace_ms = u64::try_from(shutdown.grace.as_millis()).unwrap();
            json!({ "is": "shutdown", "grace_ms": grace_ms })
        }
        Parsed::Log(log) => {
            json!({ "is": "log", "level": log.level, "message": log.message, "fields": log.fields })
        }
        Parsed::Event(event) => json!({ "is": "event", "name": event.name, "details": event.details }),
        Parsed::Request { id, head, body } => of_request(*id, head, body),
        Parsed::Response { id, head, body } => of_response(*id, head, body),
        Parsed::KvCall { id, call } => {
            let call = match call {
                Ok(call) => of_call(call),
                Err(error) => json!({ "error": error.code.as_str() }),
            };
            with(json!({ "is": "kv_call", "stream": id.0 }), call)
        }
        Parsed::KvAnswer { id, answer } => {
            let answer = match answer {
                Ok(answer) => of_answer(answer),
                // The text of an error that the receiver itself found is its own.
                Err(error) if error.message.starts_with("the answer holds") => {
                    json!({ "error": error.code.as_str() })
                }
                Err(error) => json!({ "error": error.code.as_str(), "text": error.message }),
            };
            with(json!({ "is": "kv_answer", "stream": id.0 }), answer)
        }
        Parsed::Unknown { id, .. } => json!({ "is": "unknown", "stream": id.map(|id| id.0) }),
        other => panic!("no meaning for {other:?}"),
    }
}

pub(crate) fn of_request(id: StreamId, head: &Result<RequestHead, HeadError>, body: &Framing) -> Value {
    let head = match head {
        Ok(head) => json!({
            "method": head.method.as_str(),
            "path": head.path.as_str(),
            "headers": headers(&head.headers),
        }),
        Err(error) => json!({ "bad": error.cause() }),
    };
    with(json!({ "is": "request", "stream": id.0, "body": of_body(body) }), head)
}

pub(crate) fn of_response(id: StreamId, head: &Result<ResponseHead, HeadError>, body: &Framing) -> Value {
    let head = match head {
        Ok(head) => json!({ "status": head.status.as_u16(), "headers": headers(&head.headers) }),
        Err(error) => json!({ "bad": error.cause() }),
    };
    with(json!({ "is": "response", "stream": id.0, "body": of_body(body) }), head)
}

fn of_body(body: &Framing) -> Value {
    match body {
        Framing::Empty => json!("none"),
        Framing::Inline(body) => bytes(body),
        Framing::Stream => json!("stream"),
        Framing::Tunnel => json!("tunnel"),
    }
}

fn headers(headers: &http::HeaderMap) -> Value {
    let latin1 = |value: &[u8]| value.iter().copied().map(char::from).collect::<String>();
    headers.iter().map(|(name, value)| json!([name.as_str(), latin1(value.as_bytes())])).collect()
}

fn of_call(call: &KvCall) -> Value {
    let value = |value: &Option<bytes::Bytes>| value.as_ref().map(|value| bytes(value));
    match call {
        KvCall::Get { key } => json!({ "action": "get", "key": key }),
        KvCall::Set { key, value, ttl_ms } => {
            json!({ "action": "set", "key": key, "value": bytes(value), "ttl_ms": ttl_ms })
        }
        KvCall::Delete { key } => json!({ "action": "delete", "key": key }),
        KvCall::List { prefix, after, limit } => {
            json!({ "action": "list", "prefix": prefix, "after": after, "limit": limit })
        }
        KvCall::CompareAndSet { key, expected, value: new, ttl_ms } => json!({
            "action": "compare_and_set",
            "key": key,
            "expected": value(expected),
            "value": value(new),
            "ttl_ms": ttl_ms,
        }),
        KvCall::Batch { ops } => {
            let ops: Vec<Value> = ops
                .iter()
                .map(|op| match op {
                    KvWrite::Set { key, value, ttl_ms } => {
                        json!({ "action": "set", "key": key, "value": bytes(value), "ttl_ms": ttl_ms })
                    }
                    KvWrite::Delete { key } => json!({ "action": "delete", "key": key }),
                })
                .collect();
            json!({ "action": "batch", "ops": ops })
        }
        other => panic!("no meaning for {other:?}"),
    }
}

fn of_answer(answer: &KvAnswer) -> Value {
    match answer {
        KvAnswer::Value(value) => json!({ "value": value.as_ref().map(|value| bytes(value)) }),
        KvAnswer::Ok => json!({ "ok": true }),
        KvAnswer::Deleted(deleted) => json!({ "deleted": deleted }),
        KvAnswer::Keys { keys, next } => json!({ "keys": keys, "next": next }),
        KvAnswer::Swapped(swapped) => json!({ "swapped": swapped }),
        other => panic!("no meaning for {other:?}"),
    }
}

pub(crate) fn of_v1_message(message: &Message) -> Value {
    let kv = |action: &str, key: &str| json!({ "is": "v1_kv", "request_id": message.request_id, "action": action, "key": key });
    match &message.payload {
        MessagePayload::Lifecycle(LifecyclePayload::Init(init)) => json!({
            "is": "v1_init",
            "instance_id": init.instance_id,
            "plugin_socket": init.plugin_socket,
            "log_path": init.log_path,
        }),
        MessagePayload::Lifecycle(LifecyclePayload::Shutdown) => json!({ "is": "v1_shutdown" }),
        MessagePayload::Http(HttpPayload::Request(request)) => json!({
            "is": "v1_request",
            "request_id": message.request_id,
            "method": request.method,
            "path": request.path,
            "headers": request.headers,
            "body": request.body,
        }),
        MessagePayload::Kv(KvPayload::Get { key }) => kv("get", key),
        MessagePayload::Kv(KvPayload::Set { key, value }) => with(kv("set", key), json!({ "value": value })),
        MessagePayload::Kv(KvPayload::Delete { key }) => kv("delete", key),
        other => panic!("a host does not send {other:?}"),
    }
}

pub(crate) fn of_v1_answer(answer: Answer) -> Value {
    let (is, content) = match answer.content {
        AnswerContent::Http { head: Ok(head), body } => (
            "v1_answer",
            json!({
                "status": head.status.as_u16(),
                "headers": headers(&head.headers),
                "body": std::str::from_utf8(&body).unwrap(),
            }),
        ),
        AnswerContent::Http { head: Err(error), .. } => ("v1_answer", json!({ "bad": error.cause() })),
        AnswerContent::Kv { value } => {
            let value = value.map(|value| String::from_utf8(value.into()).unwrap());
            ("v1_kv_answer", json!({ "value": value }))
        }
        AnswerContent::NotUnderstood(_) => ("v1_not_understood", json!({})),
        other => panic!("no meaning for {other:?}"),
    };
    with(json!({ "is": is, "request_id": answer.request_id }), content)
}
