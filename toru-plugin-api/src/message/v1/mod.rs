//! The messages of version 1, as existing plugins write and read them.
//!
//! A plugin that speaks version 1 by hand uses [`PluginProtocol`] and [`Message`]. A host writes with
//! [`encode_init`], [`encode_shutdown`], [`encode_request`] and [`encode_kv`], and reads with [`parse_answer`].

mod answer;
mod host;
mod protocol;
mod read;
mod write;

pub use answer::{Answer, AnswerContent, parse_answer};
pub use host::{NotVersion1, encode_init, encode_kv, encode_request, encode_shutdown};
pub use protocol::{PluginProtocol, ProtocolError};

use super::MessageError;

/// What a message is about: its `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageType {
    /// `init` and `shutdown`.
    Lifecycle,
    /// Requests and answers.
    Http,
    /// Calls of `handle_kv` and their answers.
    Kv,
}

impl MessageType {
    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lifecycle => "lifecycle",
            Self::Http => "http",
            Self::Kv => "kv",
        }
    }
}

/// A version 1 message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is about; always that of the payload.
    pub r#type: MessageType,
    /// When it was written (RFC 3339). Every message of a host has it.
    pub timestamp: Option<String>,
    /// What ties an answer to its question: in requests a UUID, to be repeated in the answer.
    pub request_id: Option<String>,
    /// What it holds.
    pub payload: MessagePayload,
}

/// What a version 1 message holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessagePayload {
    /// The host starts or ends the plugin.
    Lifecycle(LifecyclePayload),
    /// A request or its answer.
    Http(HttpPayload),
    /// A KV call or its answer.
    Kv(KvPayload),
}

/// What the host tells a plugin about its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LifecyclePayload {
    /// The first message of a process.
    Init(LifecycleInitPayload),
    /// Finish and exit.
    Shutdown,
}

/// What a version 1 `init` holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LifecycleInitPayload {
    /// The instance id of the host.
    pub instance_id: String,
    /// The path that the plugin listens on.
    pub plugin_socket: String,
    /// Where the host writes this plugin's log.
    pub log_path: String,
}

/// A request or its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpPayload {
    /// Host to plugin.
    Request(RequestPayload),
    /// Plugin to host.
    Response(ResponsePayload),
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RequestPayload {
    /// The method.
    pub method: String,
    /// Origin-form, always beginning with `/`.
    pub path: String,
    /// Names and values, each name once.
    pub headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<String>,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponsePayload {
    /// The status, 200 to 599.
    pub status: u16,
    /// Names and values; a name may come again.
    pub headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<String>,
}

/// A KV call or its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KvPayload {
    /// Host to plugin: reads a value.
    Get {
        /// The key.
        key: String,
    },
    /// Host to plugin: writes a value.
    Set {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// Host to plugin: deletes a key.
    Delete {
        /// The key.
        key: String,
    },
    /// Plugin to host: the answer; without a value it is null.
    Answer {
        /// The value.
        value: Option<String>,
    },
}

impl MessagePayload {
    fn message_type(&self) -> MessageType {
        match self {
            Self::Lifecycle(_) => MessageType::Lifecycle,
            Self::Http(_) => MessageType::Http,
            Self::Kv(_) => MessageType::Kv,
        }
    }
}

impl Message {
    /// A message without a timestamp, which plugins need not send.
    #[must_use]
    pub fn new(request_id: Option<String>, payload: MessagePayload) -> Self {
        Self { r#type: payload.message_type(), timestamp: None, request_id, payload }
    }

    /// Reads a message, of either side and with either shape of an answer.
    ///
    /// # Errors
    /// The text is no version 1 message.
    pub fn parse(text: &[u8]) -> Result<Self, MessageError> {
        read::message(text)
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write::message(out, self);
    }
}
