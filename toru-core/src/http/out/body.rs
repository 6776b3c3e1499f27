//! The body of a plugin's request, as the embedder's service reads it.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use toru_plugin_api::driver::{RecvBody, RecvError};

/// The body of a plugin's request. A plugin sends as fast as this is read, and no time limits it: a service that must not wait for
/// ever says how long it does. Dropped, the rest is discarded.
#[derive(Debug)]
pub struct RequestBody(RecvBody);

/// The body of a plugin's request is not whole: the plugin gave up, or its link ended.
#[derive(Debug, thiserror::Error)]
#[error("the plugin's request is not whole")]
pub struct RequestBodyError(#[source] RecvError);

impl RequestBody {
    pub(super) fn new(body: RecvBody) -> Self {
        Self(body)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        let next = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(next.map(|frame| frame.map_err(RequestBodyError)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
