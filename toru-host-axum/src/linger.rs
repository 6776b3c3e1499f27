//! What becomes of a request's body that nobody wants any more.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{runtime::Handle, time::timeout};

/// What is read on of a body after its request was answered: what a client has sent before it can see the answer.
const LINGER_BYTES: usize = 1 << 20;
/// How long that may take.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// A client's body. Dropped before its end it is read on for a while and thrown away (protocol section 4, rules), because a connection that
/// closes on unread bytes is reset, and with it the answer is lost. When that reaches the body's end, the connection goes on; else it closes.
#[derive(Debug)]
pub(crate) struct Lingering {
    body: Option<Incoming>,
    /// The client sends the body once it was asked for it (RFC 9110, 10.1.1), and it was not.
    awaits_continue: bool,
}

impl Lingering {
    /// The same request.
    pub(crate) fn request(request: Request<Incoming>) -> Request<Self> {
        if request.body().is_end_stream() {
            return request.map(|_| Self { body: None, awaits_continue: false });
        }
        let awaits_continue = request.headers().contains_key(header::EXPECT);
        request.map(|body| Self { body: Some(body), awaits_continue })
    }
}

impl Body for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.awaits_continue = false;
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let next = Pin::new(body).poll_frame(cx);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        next
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let body = self.body.take().filter(|body| !body.is_end_stream() && !self.awaits_continue);
        // Without a runtime the host is past its end.
        if let (Some(body), Ok(runtime)) = (body, Handle::try_current()) {
            runtime.spawn(linger(body));
        }
    }
}

async fn linger(mut body: Incoming) {
    let mut left = LINGER_BYTES;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // Past the time the rest is left unread: the client had its chance.
    let _ = timeout(LINGER_TIME, read).await;
}
