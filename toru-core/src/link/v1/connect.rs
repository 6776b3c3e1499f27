//! Reaching a plugin that listens, and making sure that it is the one that was started.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use toru_plugin_api::frame::{Decoder, Frame};

use super::wire;
use crate::link::{LinkLost, PathSocket};

/// The first wait between two tries to connect (protocol section 2).
pub(super) const FIRST_RETRY: Duration = Duration::from_millis(1);
/// The longest: a plugin that is slow to start is not asked a thousand times a second.
pub(super) const LAST_RETRY: Duration = Duration::from_millis(50);
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
        let mut wait = FIRST_RETRY;
        let stream = loop {
            // Nothing there yet, a file that nobody listens on yet, a queue that is full: all may pass.
            match UnixStream::connect(&socket.path).await {
                Ok(stream) => break stream,
                Err(_) => tokio::time::sleep(wait).await,
            }
            wait = LAST_RETRY.min(wait * 2);
        };
        verify(&stream, socket)?;
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

/// Nothing is said to a stranger: whoever listens has to belong to the process group that was started. The peer's credentials name
/// who called listen (unix(7), SO_PEERCRED).
fn verify(stream: &UnixStream, socket: &PathSocket) -> Result<(), LinkLost> {
    let group =
        peer_group(stream).map_err(|error| stranger(format!("it cannot be told who listens: {error}")))?;
    if group == i64::from(socket.process_group) {
        return Ok(());
    }
    Err(stranger(format!("process group {group} listens, not {}, which was started", socket.process_group)))
}

fn stranger(why: String) -> LinkLost {
    LinkLost::Handshake {
        code: "stranger",
        message: format!("the plugin's socket is held by a stranger: {why}"),
    }
}

fn peer_group(stream: &UnixStream) -> io::Result<i64> {
    let pid = stream.peer_cred()?.pid().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("the kernel names no process"))?;
    let group = rustix::process::getpgid(Some(pid))?;
    Ok(i64::from(group.as_raw_nonzero().get()))
}
