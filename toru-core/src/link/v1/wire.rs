//! The messages of version 1, framed.

use bytes::Bytes;
use toru_plugin_api::{
    frame::{FrameError, limits::V1_MAX_MESSAGE},
    message::{
        MessageError,
        http::{RequestHead, ResponseHead},
        kv::{KvAnswer, KvCall, KvError, KvErrorCode},
        lifecycle::Init,
        v1::{self, AnswerContent, LifecycleInitPayload},
    },
};

use crate::link::{LinkLost, excerpt};

/// The bytes of a frame before its payload.
const LENGTH_PREFIX: usize = 4;

pub(super) fn init(init: &Init) -> Bytes {
    let payload = LifecycleInitPayload {
        instance_id: init.instance_id.clone(),
        plugin_socket: init.plugin_socket.clone(),
        log_path: init.log_path.clone(),
    };
    frame(|out| v1::encode_init(out, &now(), payload)).expect("three short texts fit")
}

pub(super) fn shutdown() -> Bytes {
    frame(|out| v1::encode_shutdown(out, &now())).expect("it holds nothing")
}

/// A request; `None`: it is larger than a message may be.
pub(super) fn request(request_id: &str, head: &RequestHead, body: Option<&str>) -> Option<Bytes> {
    frame(|out| v1::encode_request(out, &now(), request_id, head, body))
}

/// A KV call.
///
/// # Errors
/// Version 1 cannot say it.
pub(super) fn kv(request_id: &str, call: &KvCall) -> Result<Bytes, KvError> {
    let mut refused = Ok(());
    let frame = frame(|out| refused = v1::encode_kv(out, &now(), request_id, call));
    refused.map_err(|error| KvError::new(KvErrorCode::Invalid, error.to_string()))?;
    frame.ok_or_else(|| {
        KvError::new(KvErrorCode::TooLarge, "the call is larger than a version 1 message may be")
    })
}

/// An answer of the plugin.
#[derive(Debug)]
pub(super) struct Answer(v1::Answer);

/// Reads what the plugin sent.
///
/// # Errors
/// It broke the protocol.
pub(super) fn answer(text: &[u8]) -> Result<Answer, LinkLost> {
    v1::parse_answer(text).map(Answer).map_err(|error: MessageError| LinkLost::Protocol {
        cause: error.cause().to_owned(),
        message: error.to_string(),
        excerpt: excerpt(text),
    })
}

/// What came is no frame.
pub(super) fn protocol_error(error: &FrameError, input: &[u8]) -> LinkLost {
    LinkLost::Protocol {
        cause: error.cause().to_owned(),
        message: error.to_string(),
        excerpt: excerpt(input),
    }
}

impl Answer {
    /// Whether it answers this question: by its id, or because it has none and there is one question at a time.
    pub(super) fn is_for(&self, request_id: &str) -> bool {
        self.0.request_id.as_ref().is_none_or(|own| own == request_id)
    }

    /// The answer to a request; what is wrong with it otherwise.
    pub(super) fn into_http(self) -> Result<(ResponseHead, Bytes), String> {
        match self.0.content {
            AnswerContent::Http { head: Ok(head), body } => Ok((head, body)),
            AnswerContent::Http { head: Err(error), .. } => Err(error.to_string()),
            AnswerContent::NotUnderstood(error) => Err(error.to_string()),
            _ => Err("it answers something else".to_owned()),
        }
    }

    /// The answer to a KV call.
    pub(super) fn into_kv(self, call: &KvCall) -> Result<KvAnswer, KvError> {
        let value = match self.0.content {
            AnswerContent::Kv { value } => value,
            AnswerContent::NotUnderstood(error) => return Err(misunderstood(error.to_string())),
            _ => return Err(misunderstood("it answers something else".to_owned())),
        };
        Ok(match call {
            // Version 1 says nothing of what it deleted: only that it did.
            KvCall::Delete { .. } => KvAnswer::Deleted(true),
            KvCall::Set { .. } => KvAnswer::Ok,
            _ => KvAnswer::Value(value),
        })
    }
}

fn misunderstood(why: String) -> KvError {
    KvError::new(KvErrorCode::Unavailable, format!("the plugin's answer is none: {why}"))
}

/// Frames what `encode` appends; `None`: it is too long for a message.
fn frame(encode: impl FnOnce(&mut Vec<u8>)) -> Option<Bytes> {
    let mut out = vec![0; LENGTH_PREFIX];
    encode(&mut out);
    let length = u32::try_from(out.len() - LENGTH_PREFIX).ok().filter(|length| *length <= V1_MAX_MESSAGE)?;
    out[..LENGTH_PREFIX].copy_from_slice(&length.to_be_bytes());
    Some(out.into())
}

fn now() -> String {
    jiff::Timestamp::now().to_string()
}
