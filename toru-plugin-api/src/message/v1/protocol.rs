//! Version 1 over any reader and writer of the standard library.

use std::io::{self, Read, Write};

use bytes::{Buf, BytesMut};

use super::Message;
use crate::{
    frame::{Decoder, Frame, FrameError, TransmitBuf, encode_message, limits::V1_MAX_MESSAGE},
    message::MessageError,
};

/// How much is read at once.
const READ_SIZE: usize = 8 << 10;

/// Reads and writes version 1 messages, for those who speak it by hand, without a runtime.
///
/// It keeps what was read past a message, so one value serves a connection for its whole life.
///
/// ```
/// use toru_plugin_api::{Message, MessagePayload, PluginProtocol};
/// use toru_plugin_api::message::v1::{HttpPayload, ResponsePayload};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut socket = std::io::empty();
/// # let mut answers = Vec::new();
/// let mut protocol = PluginProtocol::new();
/// while let Some(message) = protocol.read_message(&mut socket)? {
///     if let MessagePayload::Http(HttpPayload::Request(_)) = message.payload {
///         let answer = ResponsePayload { status: 204, ..ResponsePayload::default() };
///         let payload = MessagePayload::Http(HttpPayload::Response(answer));
///         protocol.write_message(&mut answers, &Message::new(message.request_id, payload))?;
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PluginProtocol {
    decoder: Decoder,
    input: BytesMut,
}

/// Why no message could be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The socket failed.
    #[error("the connection to the host failed")]
    Io(#[from] io::Error),
    /// The host sent bytes that are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The host sent a text that is no message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The message to be written is larger than 16 MiB.
    #[error("the message has {0} bytes where the host takes 16777216")]
    TooLarge(usize),
}

impl Default for PluginProtocol {
    fn default() -> Self {
        Self::new()
    }
}

impl PluginProtocol {
    /// For a connection on which nothing was read yet.
    #[must_use]
    pub fn new() -> Self {
        Self { decoder: Decoder::v1(), input: BytesMut::new() }
    }

    /// Reads the next message; blocks until it is whole. `None`: the host closed the connection between messages.
    ///
    /// # Errors
    /// The socket failed, or what came is no message. After [`ProtocolError::Message`] the next message may be read.
    pub fn read_message(&mut self, socket: &mut impl Read) -> Result<Option<Message>, ProtocolError> {
        let mut chunk = [0; READ_SIZE];
        loop {
            if let Some(Frame::Message(text)) = self.decoder.decode(&mut self.input)? {
                return Ok(Some(Message::parse(&text)?));
            }
            match socket.read(&mut chunk) {
                Ok(0) => {
                    self.decoder.finish(&self.input)?;
                    return Ok(None);
                }
                Ok(count) => self.input.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes a message in one piece and flushes it.
    ///
    /// # Errors
    /// The socket failed, or the message is larger than a host takes (nothing was written then).
    pub fn write_message(&mut self, socket: &mut impl Write, message: &Message) -> Result<(), ProtocolError> {
        let mut text = Vec::new();
        message.encode(&mut text);
        if u32::try_from(text.len()).map_or(true, |length| length > V1_MAX_MESSAGE) {
            return Err(ProtocolError::TooLarge(text.len()));
        }
        let mut out = TransmitBuf::new();
        encode_message(&mut out, &text);
        while out.has_remaining() {
            socket.write_all(out.chunk())?;
            out.advance(out.chunk().len());
        }
        Ok(socket.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::v1::{KvPayload, MessagePayload};

    /// Gives one byte at a time.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(1);
            to[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn get(key: &str) -> Message {
        let payload = MessagePayload::Kv(KvPayload::Get { key: key.to_owned() });
        Message::new(Some("id".to_owned()), payload)
    }

    #[test]
    fn messages_that_arrive_together_are_read_one_by_one() {
        let mut bytes = Vec::new();
        let mut protocol = PluginProtocol::new();
        for key in ["a", "b"] {
            protocol.write_message(&mut bytes, &get(key)).unwrap();
        }
        let mut together = &bytes[..];
        let mut one_by_one = Drip(&bytes);
        for key in ["a", "b"] {
            assert_eq!(protocol.read_message(&mut together).unwrap(), Some(get(key)));
        }
        assert!(protocol.read_message(&mut together).unwrap().is_none());
        for key in ["a", "b"] {
            assert_eq!(protocol.read_message(&mut one_by_one).unwrap(), Some(get(key)));
        }
    }

    #[test]
    fn an_end_inside_a_message_is_an_error() {
        let mut bytes = Vec::new();
        let mut protocol = PluginProtocol::new();
        protocol.write_message(&mut bytes, &get("a")).unwrap();
        bytes.pop();
        let error = protocol.read_message(&mut &bytes[..]).unwrap_err();
        assert!(matches!(error, ProtocolError::Frame(FrameError::EofInsideFrame { .. })), "{error}");
    }
}
