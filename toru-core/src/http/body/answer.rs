//! A plugin's answer on its way to the client.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use toru_plugin_api::driver::{RecvBody, RecvError};

/// The body of an answer. Dropping it before its end cancels the request at the plugin.
#[derive(Debug)]
pub struct AnswerBody(Source);

#[derive(Debug)]
enum Source {
    /// Here, or at its end.
    Whole(Option<Bytes>),
    /// As the plugin sends it; the connection counts it against its content-length.
    Stream(RecvBody),
}

/// An answer's body is not whole. The client's connection is to be cut, so that what came does not look whole.
#[derive(Debug, thiserror::Error)]
#[error("the plugin's answer is not whole")]
pub struct AnswerBodyError(#[source] RecvError);

impl AnswerBody {
    pub(in crate::http) fn empty() -> Self {
        Self(Source::Whole(None))
    }

    pub(in crate::http) fn full(bytes: Bytes) -> Self {
        Self(Source::Whole(Some(bytes).filter(|bytes| !bytes.is_empty())))
    }

    pub(in crate::http) fn stream(body: RecvBody) -> Self {
        Self(Source::Stream(body))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerBodyError>>> {
        match &mut self.0 {
            Source::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Stream(body) => {
                let next = ready!(Pin::new(body).poll_frame(cx));
                Poll::Ready(next.map(|frame| frame.map_err(AnswerBodyError)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(bytes) => bytes.is_none(),
            Source::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Stream(body) => body.size_hint(),
        }
    }
}
