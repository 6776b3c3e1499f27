//! Moves a body from its source into a stream, one chunk at a time, as the link accepts it.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::Body;

use super::{
    BoxError,
    shared::{SendState, Stream, now},
};

/// Sends `body` until its end, or until nobody wants it.
///
/// # Errors
/// The source failed; the stream is still open.
pub(super) async fn pump<B>(stream: &Stream, mut body: Pin<&mut B>) -> Result<(), BoxError>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    loop {
        match poll_fn(|cx| poll_chunk(stream, body.as_mut(), cx)).await {
            Chunk::Data(bytes) => {
                let is_last = body.is_end_stream();
                send(stream, bytes, is_last);
                if is_last {
                    return Ok(());
                }
            }
            Chunk::End => {
                finish(stream);
                return Ok(());
            }
            Chunk::Unwanted => return Ok(()),
            Chunk::Failed(error) => return Err(error),
        }
    }
}

/// What the source gave.
pub(super) enum Chunk {
    Data(Bytes),
    End,
    /// The stream is over: the source is not asked any more.
    Unwanted,
    Failed(BoxError),
}

/// Takes the next chunk from its source once the stream has sent the one before it.
fn poll_chunk<B>(stream: &Stream, body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Chunk>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let send_state = stream.shared.lock().poll_send(stream.key, cx);
    match send_state {
        SendState::Over => Poll::Ready(Chunk::Unwanted),
        SendState::Queued => Poll::Pending,
        SendState::Ready => poll_source(body, cx),
    }
}

/// The next chunk with bytes in it. Trailers are dropped: no side has the feature for them.
pub(super) fn poll_source<B>(mut body: Pin<&mut B>, cx: &mut Context<'_>) -> Poll<Chunk>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    loop {
        let Some(frame) = std::task::ready!(body.as_mut().poll_frame(cx)) else {
            return Poll::Ready(Chunk::End);
        };
        match frame.map(http_body::Frame::into_data) {
            Ok(Ok(bytes)) if !bytes.is_empty() => return Poll::Ready(Chunk::Data(bytes)),
            Ok(_) => {}
            Err(error) => return Poll::Ready(Chunk::Failed(error.into())),
        }
    }
}

/// Queues a chunk, and the end with it when it is the last.
pub(super) fn send(stream: &Stream, bytes: Bytes, is_last: bool) {
    let key = stream.key;
    stream.shared.command(|state| {
        if !state.is_live(key) {
            return;
        }
        // A stream that ended meanwhile wants no bytes: the next poll says so.
        let is_gone = state.connection.send(key.id, bytes, now()).is_err();
        if is_last && !is_gone {
            let _ = state.connection.finish(key.id, now());
        }
    });
}

/// Queues the end.
pub(super) fn finish(stream: &Stream) {
    let key = stream.key;
    stream.shared.command(|state| {
        if state.is_live(key) {
            // A stream that ended meanwhile has nothing to finish.
            let _ = state.connection.finish(key.id, now());
        }
    });
}
