//! Bodies of requests and answers.

use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::{PluginError, PluginResult};
use crate::driver::{BoxError, RecvBody, RequestBody, Response};

/// The most bytes that `text` and `json` read: more than any form, and little enough for a thousand at once.
/// Whoever expects more reads with [`Body::bytes`].
pub const DEFAULT_BODY_LIMIT: usize = 2 << 20;

/// A body of a request or an answer: nothing, bytes, or a stream of them.
#[derive(Default)]
pub struct Body(Source);

/// Where the bytes are.
#[derive(Default)]
enum Source {
    #[default]
    Empty,
    Full(Bytes),
    Link(RecvBody),
    Channel(mpsc::Receiver<Result<Bytes, BoxError>>),
    /// In a mutex that nobody contends for: so a handler may hold a borrowed request while it waits, whatever the body
    /// is made of.
    Other(Mutex<Pin<Box<dyn http_body::Body<Data = Bytes, Error = BoxError> + Send>>>),
}

impl Body {
    /// No bytes.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// These bytes.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self(if bytes.is_empty() { Source::Empty } else { Source::Full(bytes) })
    }

    /// What any other body gives.
    pub fn new<B>(body: B) -> Self
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Source::Other(Mutex::new(Box::pin(body.map_err(Into::into)))))
    }

    /// A body that is written piece by piece. The sender waits until the peer has taken the piece before; when it
    /// is dropped, the body ends.
    #[must_use]
    pub fn channel() -> (BodySender, Self) {
        let (sender, pieces) = mpsc::channel(1);
        (BodySender { pieces: sender }, Self(Source::Channel(pieces)))
    }

    /// All of its bytes.
    ///
    /// # Errors
    /// [`PluginError::TooLarge`] past `limit` bytes, [`PluginError::BadRequest`] when it does not arrive whole.
    pub async fn bytes(self, limit: usize) -> PluginResult<Bytes> {
        match Limited::new(self, limit).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(PluginError::TooLarge { limit }),
            Err(error) => Err(PluginError::BadRequest(format!("the body did not arrive whole: {error}"))),
        }
    }

    /// All of it as text, at most [`DEFAULT_BODY_LIMIT`] bytes.
    ///
    /// # Errors
    /// As [`Body::bytes`], and [`PluginError::BadRequest`] when it is not UTF-8.
    pub async fn text(self) -> PluginResult<String> {
        let bytes = self.bytes(DEFAULT_BODY_LIMIT).await?;
        String::from_utf8(bytes.into()).map_err(|error| {
            PluginError::BadRequest(format!("the body is not UTF-8: {}", error.utf8_error()))
        })
    }

    /// All of it read as JSON, at most [`DEFAULT_BODY_LIMIT`] bytes.
    ///
    /// # Errors
    /// As [`Body::bytes`], and [`PluginError::BadRequest`] when it is no JSON of this shape.
    pub async fn json<T: DeserializeOwned>(self) -> PluginResult<T> {
        let bytes = self.bytes(DEFAULT_BODY_LIMIT).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            PluginError::BadRequest(format!("the body is not the JSON that is expected: {error}"))
        })
    }

    /// The body of a request that this process sends: in one piece, where all of its bytes are here.
    pub(super) fn into_request_body(self) -> RequestBody<Self> {
        match self.0 {
            Source::Empty => RequestBody::Empty,
            Source::Full(bytes) => RequestBody::Full(bytes),
            _ if self.is_end_stream() => RequestBody::Empty,
            _ => RequestBody::Stream(self),
        }
    }

    /// An answer as the `http` crate has it.
    pub(super) fn response(answer: Response) -> http::Response<Self> {
        let mut response = http::Response::new(Self::from(answer.body));
        *response.status_mut() = answer.head.status;
        *response.headers_mut() = answer.head.headers;
        response
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        match &mut this.0 {
            Source::Empty => Poll::Ready(None),
            Source::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.0 = Source::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Source::Link(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Source::Channel(pieces) => pieces.poll_recv(cx).map_ok(Frame::data),
            Source::Other(body) => {
                body.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll_frame(cx)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Empty => true,
            Source::Full(_) => false,
            Source::Link(body) => body.is_end_stream(),
            Source::Channel(pieces) => pieces.is_closed() && pieces.is_empty(),
            Source::Other(body) => body.lock().unwrap_or_else(PoisonError::into_inner).is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Empty => SizeHint::with_exact(0),
            Source::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Link(body) => body.size_hint(),
            Source::Channel(_) => SizeHint::default(),
            Source::Other(body) => body.lock().unwrap_or_else(PoisonError::into_inner).size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &self.0 {
            Source::Empty => "Body(empty)",
            Source::Full(_) => "Body(full)",
            Source::Link(_) => "Body(from the host)",
            Source::Channel(_) | Source::Other(_) => "Body(stream)",
        })
    }
}

impl From<RecvBody> for Body {
    fn from(mut body: RecvBody) -> Self {
        body.take_whole().map_or_else(|| Self(Source::Link(body)), Self::full)
    }
}

impl From<()> for Body {
    fn from((): ()) -> Self {
        Self::empty()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::full(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::full(bytes)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self::full(text)
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::full(text)
    }
}

/// Writes a [`Body::channel`]. Dropping it ends the body.
#[derive(Debug, Clone)]
pub struct BodySender {
    pieces: mpsc::Sender<Result<Bytes, BoxError>>,
}

impl BodySender {
    /// Sends one piece, once the one before it was taken. Cancel safe: either all of it is sent or nothing.
    ///
    /// # Errors
    /// Nobody reads the body any more.
    pub async fn send(&self, piece: impl Into<Bytes>) -> Result<(), BodyUnwanted> {
        self.pieces.send(Ok(piece.into())).await.map_err(|_| BodyUnwanted)
    }

    /// Ends the body as broken: its reader gets an error, never a body that looks whole.
    ///
    /// # Errors
    /// Nobody reads the body any more.
    pub async fn fail(self, error: impl Into<BoxError>) -> Result<(), BodyUnwanted> {
        self.pieces.send(Err(error.into())).await.map_err(|_| BodyUnwanted)
    }
}

/// The reader of a body has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nobody reads the body any more")]
pub struct BodyUnwanted;

impl From<BodyUnwanted> for PluginError {
    fn from(unwanted: BodyUnwanted) -> Self {
        Self::internal(unwanted)
    }
}
