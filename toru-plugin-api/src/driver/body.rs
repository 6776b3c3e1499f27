//! A body as it arrives.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::shared::{Stream, now};
use crate::{frame::ResetCode, message::http::Framing, proto::ReadOutcome};

/// A body as it arrives, an [`http_body::Body`]. Reading returns credit. An answer's body dropped
/// before its end resets the stream.
#[derive(Debug)]
pub struct RecvBody(Source);

/// Where the bytes are.
#[derive(Debug)]
enum Source {
    /// Here, or nowhere any more.
    Whole(Option<Bytes>),
    /// In the connection.
    Link(Stream),
}

/// Why a body is not whole.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The peer reset the stream.
    #[error("the peer ended the body with code {}", .0.0)]
    Reset(ResetCode),
    /// The link ended.
    #[error("the link ended inside the body")]
    LinkLost,
}

impl RecvBody {
    /// The body of a head that came with this framing; `stream` is held only while there is something to read.
    pub(super) fn new(framing: Framing, stream: impl FnOnce() -> Stream) -> Self {
        Self(match framing {
            Framing::Empty | Framing::Tunnel => Source::Whole(None),
            Framing::Inline(bytes) => Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())),
            Framing::Stream => Source::Link(stream()),
        })
    }

    /// All of its bytes, where they came with the head.
    #[cfg(feature = "plugin")]
    pub(crate) fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Source::Whole(bytes) => Some(bytes.take().unwrap_or_default()),
            Source::Link(_) => None,
        }
    }
}

impl Body for RecvBody {
    type Data = Bytes;
    type Error = RecvError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RecvError>>> {
        let this = self.get_mut();
        let read = match &mut this.0 {
            Source::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Link(stream) => read(stream, cx),
        };
        // What is left after the end needs no reset when it is dropped.
        if let Poll::Ready(None | Some(Err(_))) = read {
            this.0 = Source::Whole(None);
        }
        read.map(|read| read.map(|read| read.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Source::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Link(_) => SizeHint::default(),
        }
    }
}

/// What a stream has for who reads it, which is woken when there is more.
pub(super) fn read(stream: &Stream, cx: &Context<'_>) -> Poll<Option<Result<Bytes, RecvError>>> {
    let key = stream.key;
    let mut state = stream.shared.lock();
    if let Some(code) = state.over(key) {
        return Poll::Ready(Some(Err(RecvError::Reset(code))));
    }
    let outcome = match state.connection.read(key.id, now()) {
        ReadOutcome::Data(bytes) => Some(Ok(bytes)),
        ReadOutcome::End => None,
        ReadOutcome::Pending | ReadOutcome::Reset(_) if state.is_over() => Some(Err(RecvError::LinkLost)),
        ReadOutcome::Reset(code) => Some(Err(RecvError::Reset(code))),
        ReadOutcome::Pending => {
            state.register_reader(key, cx);
            return Poll::Pending;
        }
    };
    // Most reads return no credit yet, and then the driver has nothing to do.
    let driver = if state.connection.wants_transmit() { state.schedule() } else { None };
    drop(state);
    if let Some(driver) = driver {
        driver.wake();
    }
    Poll::Ready(outcome)
}

impl Drop for RecvBody {
    fn drop(&mut self) {
        let Source::Link(stream) = &self.0 else { return };
        let key = stream.key;
        stream.shared.command(|state| {
            if !state.is_live(key) {
                return;
            }
            if state.connection.is_own(key.id) {
                // Nobody wants the answer any more: RESET 1, and the peer drops its handler.
                state.reset(key, ResetCode::CANCELLED);
            } else {
                state.connection.discard(key.id, now());
            }
        });
    }
}
