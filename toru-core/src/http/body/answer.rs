//! A plugin's answer on its way to the client.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use toru_plugin_api::driver::{RecvBody, RecvError};

use super::length::{ExpectedLength, LengthMismatch};

/// The body of an answer. Dropping it before its end cancels the request at the plugin.
#[derive(Debug)]
pub struct AnswerBody(Source);

#[derive(Debug)]
enum Source {
    /// Here, or at its end.
    Whole(Option<Bytes>),
    /// On its way from the plugin.
    Stream { body: RecvBody, expected: ExpectedLength },
}

/// Why an answer's body is not whole. The client's connection is to be cut, so that what came does not look whole.
#[derive(Debug, thiserror::Error)]
#[error("the plugin's answer is not whole")]
pub struct AnswerBodyError(#[source] Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Plugin(RecvError),
    #[error(transparent)]
    Length(LengthMismatch),
}

impl AnswerBody {
    pub(in crate::http) fn empty() -> Self {
        Self(Source::Whole(None))
    }

    pub(in crate::http) fn full(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    /// A body that comes from the plugin. With a `content_length` it ends with exactly so many bytes, or with an error before
    /// the first byte too many.
    pub(in crate::http) fn stream(body: RecvBody, content_length: Option<u64>) -> Self {
        Self(Source::Stream { body, expected: ExpectedLength::new(content_length) })
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerBodyError>>> {
        let (body, expected) = match &mut self.0 {
            Source::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Stream { body, expected } => (body, expected),
        };
        let next = match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.data_ref().map_or(Ok(()), |bytes| expected.take(bytes.len())) {
                Ok(()) => return Poll::Ready(Some(Ok(frame))),
                Err(mismatch) => Some(Err(Cause::Length(mismatch))),
            },
            Some(Err(error)) => Some(Err(Cause::Plugin(error))),
            None => expected.end().err().map(|mismatch| Err(Cause::Length(mismatch))),
        };
        self.0 = Source::Whole(None);
        Poll::Ready(next.map(|failed| failed.map_err(AnswerBodyError)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Stream { body, expected } => body.is_end_stream() && expected.end().is_ok(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Stream { expected, .. } => {
                expected.left().map_or_else(SizeHint::default, SizeHint::with_exact)
            }
        }
    }
}

/// The most bytes that are read of a body that nobody gets: what a handler writes to a HEAD request by mistake ends well below it.
const DISCARD_BYTES: usize = 1 << 20;
/// How long such a body is read. A stream of events would never end.
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Reads and drops the body of an answer that has none for the client (HEAD, 204, 304), under normal credit, on a task of its own;
/// past the bounds the rest is cancelled.
pub(in crate::http) fn discard(mut body: RecvBody) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(async move {
        let read = async {
            let mut left = DISCARD_BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => break,
                }
            }
        };
        // Whether it ended or was cut is the same to everyone.
        let _ = tokio::time::timeout(DISCARD_TIME, read).await;
    });
}
