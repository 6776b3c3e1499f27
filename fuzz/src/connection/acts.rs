//! What an application does to its end.

use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, uri::PathAndQuery};
use toru_plugin_api::{
    frame::{ResetCode, StreamId},
    message::{
        http::{RequestHead, ResponseHead},
        kv::{KvAnswer, KvCall},
    },
    proto::{Connection, OutgoingBody, Side},
};

use super::Input;

/// Takes one act from the input and does it. `None`: the input has ended.
pub(super) fn act(end: &mut Connection, input: &mut Input<'_>, now: Instant) -> Option<()> {
    let kind = input.byte()?;
    let id = StreamId(u32::from(input.byte()?));
    let size = usize::from(input.short()?) % 2_000;
    let bytes = Bytes::from(vec![0xFF; size]);
    match kind % 10 {
        0 if end.side() == Side::Host || kind >= 128 => {
            let _ = end.request(request(kind), body(kind, bytes), now);
        }
        0 => {
            let _ = end.respond(id, response(kind, size), body(kind, bytes), now);
        }
        1 => {
            let call = match size % 2 {
                0 => KvCall::Get { key: "k".to_owned() },
                _ => KvCall::Set { key: "k".to_owned(), value: bytes, ttl_ms: None },
            };
            let _ = end.call_kv(call, now);
        }
        2 => {
            let _ = end.answer_kv(id, Ok(KvAnswer::Value(Some(bytes))), now);
        }
        3 | 4 => {
            if end.can_send(id) {
                end.send(id, bytes, now).expect("a stream that can send takes bytes");
            }
        }
        5 => {
            let _ = end.finish(id, now);
        }
        6 | 7 => {
            let _ = end.read(id, now);
        }
        8 if kind / 10 % 2 == 0 => end.discard(id, now),
        8 => end.hang_up(id, now),
        _ => end.reset(id, ResetCode::CANCELLED, now),
    }
    Some(())
}

fn request(kind: u8) -> RequestHead {
    let mut headers = HeaderMap::new();
    if kind / 10 % 4 == 3 {
        headers.insert("upgrade", HeaderValue::from_static("x"));
    }
    let method = if kind >= 128 { Method::HEAD } else { Method::POST };
    RequestHead { method, path: PathAndQuery::from_static("/"), headers }
}

fn response(kind: u8, size: usize) -> ResponseHead {
    let mut headers = HeaderMap::new();
    if kind >= 128 {
        headers.insert("content-length", HeaderValue::from(size));
    }
    let status = match kind / 10 % 4 {
        3 => StatusCode::SWITCHING_PROTOCOLS,
        _ if kind >= 200 => StatusCode::NO_CONTENT,
        _ => StatusCode::OK,
    };
    ResponseHead { status, headers }
}

fn body(kind: u8, bytes: Bytes) -> OutgoingBody {
    match kind / 10 % 4 {
        0 => OutgoingBody::Empty,
        1 => OutgoingBody::Full(bytes),
        2 => OutgoingBody::Stream,
        _ => OutgoingBody::Tunnel,
    }
}
