//! Messages on a connection to a plugin that listens.

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use toru_plugin_api::frame::{Decoder, Frame};

use super::wire;
use crate::link::{LinkLost, PathSocket};

/// What is read at once.
const READ_CHUNK: usize = 16 << 10;

/// A connection to a plugin that was verified.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    decoder: Decoder,
    input: BytesMut,
}

/// Why nothing more comes from a connection.
#[derive(Debug)]
pub(super) enum ReadError {
    /// It ended between two messages or within one, or failed.
    Closed,
    /// The plugin broke the protocol.
    Broken(LinkLost),
}

/// A message could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WriteError {
    /// Some of it was.
    pub(super) is_partial: bool,
}

impl Connection {
    /// Connects as soon as the plugin listens, however long that takes: the caller bounds it. Cancel safe.
    ///
    /// # Errors
    /// Somebody else listens there.
    pub(super) async fn open(socket: &PathSocket) -> Result<Self, LinkLost> {
        let stream = socket.connect().await?;
        Ok(Self { stream, decoder: Decoder::v1(), input: BytesMut::new() })
    }

    /// The next message. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Bytes, ReadError> {
        loop {
            let frame = self.decoder.decode(&mut self.input);
            match frame.map_err(|error| ReadError::Broken(wire::protocol_error(&error, &self.input)))? {
                Some(Frame::Message(text)) => return Ok(text),
                // A decoder of version 1 gives messages only.
                Some(_) => continue,
                None => {}
            }
            self.input.reserve(READ_CHUNK);
            match self.stream.read_buf(&mut self.input).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Err(ReadError::Closed),
            }
        }
    }

    /// Writes a whole frame. Cancelled, it may have written a part.
    pub(super) async fn write(&mut self, frame: &[u8]) -> Result<(), WriteError> {
        let mut written = 0;
        while written < frame.len() {
            match self.stream.write(&frame[written..]).await {
                Ok(count @ 1..) => written += count,
                Ok(0) | Err(_) => return Err(WriteError { is_partial: written > 0 }),
            }
        }
        Ok(())
    }
}
