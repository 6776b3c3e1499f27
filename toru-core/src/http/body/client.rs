//! A client's body on its way to the plugin.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep};
use toru_plugin_api::driver::{BoxError, RequestBody};

use super::length::ExpectedLength;
use crate::routes::NoRoom;

/// How many idle times a client has for a body that is collected: two and a half minutes by default, in which 16 MiB come over a megabit a
/// second.
const COLLECT_IDLES: u32 = 5;

/// What a request sends, and still has when it is to be sent again.
#[derive(Debug)]
pub(in crate::http) enum Outgoing<B> {
    Empty,
    Full(Bytes),
    /// The body, until its first byte was asked for.
    Stream(Untouched<B>),
}

/// Where a body lies whose first byte nobody has asked for.
type Untouched<B> = Arc<Mutex<Option<B>>>;

impl<B: Body<Data = Bytes>> Outgoing<B> {
    pub(in crate::http) fn stream(body: B) -> Self {
        Self::Stream(Arc::new(Mutex::new(Some(body))))
    }

    /// The body of a stream, when nobody has asked for its first byte: to be sent otherwise.
    pub(in crate::http) fn take_untouched(&self) -> Option<B> {
        match self {
            Self::Empty | Self::Full(_) => None,
            Self::Stream(untouched) => lock(untouched).take(),
        }
    }

    /// The whole body for one more try; `None` once a part of it was given away.
    pub(in crate::http) fn whole(
        &self,
        idle: Duration,
        content_length: Option<u64>,
    ) -> Option<RequestBody<ClientBody<B>>> {
        match self {
            Self::Empty => Some(RequestBody::Empty),
            Self::Full(bytes) => Some(RequestBody::Full(bytes.clone())),
            Self::Stream(untouched) => {
                let body = lock(untouched).take()?;
                let source = Source::Untouched(Some(body), untouched.clone());
                Some(RequestBody::Stream(ClientBody::new(source, idle, content_length)))
            }
        }
    }
}

fn lock<B>(untouched: &Untouched<B>) -> std::sync::MutexGuard<'_, Option<B>> {
    // Nothing panics while it is held.
    untouched.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A client's body, with the idle timer of protocol section 4 and its content-length checked; trailers are dropped.
///
/// Dropped before its first byte was asked for, it gives the body back to the [`Outgoing`] that it came from.
#[derive(Debug)]
pub(in crate::http) struct ClientBody<B> {
    source: Source<B>,
    expected: ExpectedLength,
    idle: Duration,
    /// What the client has for the whole body, from when it first owes something.
    whole: Option<Duration>,
    deadline: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    is_awaited: bool,
}

#[derive(Debug)]
enum Source<B> {
    Untouched(Option<B>, Untouched<B>),
    Started(Pin<Box<B>>),
}

/// Why a client's body is not whole.
#[derive(Debug, thiserror::Error)]
pub(in crate::http) enum ClientBodyError {
    #[error("the client sent nothing of its body for too long")]
    Stalled,
    #[error("the body does not match its content-length")]
    Length,
    #[error("the body is larger than the plugin accepts")]
    TooLarge,
    #[error("the bodies that are collected for the plugin hold all that they may")]
    NoRoom,
    #[error("the client's body failed")]
    Failed(#[source] BoxError),
}

// The body is pinned in a box of its own before it is polled.
impl<B> Unpin for ClientBody<B> {}

impl<B> ClientBody<B> {
    fn new(source: Source<B>, idle: Duration, content_length: Option<u64>) -> Self {
        Self {
            source,
            expected: ExpectedLength::new(content_length),
            idle,
            whole: None,
            deadline: None,
            timer: None,
            is_awaited: false,
        }
    }
}

impl<B> ClientBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    /// The whole body, in one piece, when it has at most `limit` bytes and comes in time. `hold` is asked for room for as many bytes as
    /// have come, before these are kept.
    pub(in crate::http) async fn collect(
        body: B,
        limit: usize,
        idle: Duration,
        content_length: Option<u64>,
        mut hold: impl FnMut(usize) -> Result<(), NoRoom>,
    ) -> Result<Bytes, ClientBodyError> {
        if content_length.is_some_and(|length| length > limit as u64) {
            return Err(ClientBodyError::TooLarge);
        }
        let mut body = Self::new(Source::Started(Box::pin(body)), idle, content_length);
        body.whole = Some(idle * COLLECT_IDLES);
        let mut whole = Bytes::new();
        // Most small bodies are one piece: only a second one makes a copy.
        let mut joined = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(bytes) = frame?.into_data() else { continue };
            let length = whole.len() + joined.len() + bytes.len();
            if length > limit {
                return Err(ClientBodyError::TooLarge);
            }
            hold(length).map_err(|NoRoom| ClientBodyError::NoRoom)?;
            if whole.is_empty() && joined.is_empty() {
                whole = bytes;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut whole));
                joined.extend_from_slice(&bytes);
            }
        }
        Ok(if joined.is_empty() { whole } else { joined.freeze() })
    }

    /// Awaits the client: a timer runs from the moment that it owes something.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let idle = self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(idle)));
        if !self.is_awaited {
            let now = Instant::now();
            let deadline = match self.whole {
                Some(whole) => (now + idle).min(*self.deadline.get_or_insert(now + whole)),
                None => now + idle,
            };
            timer.as_mut().reset(deadline);
            self.is_awaited = true;
        }
        timer.as_mut().poll(cx)
    }
}

impl<B> Source<B> {
    fn started(&mut self) -> Pin<&mut B> {
        if let Self::Untouched(body, _) = self {
            let body = body.take().expect("only drop takes it otherwise");
            *self = Self::Started(Box::pin(body));
        }
        match self {
            Self::Started(body) => body.as_mut(),
            Self::Untouched(..) => unreachable!("it was just started"),
        }
    }
}

impl<B> Body for ClientBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = ClientBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        loop {
            let Poll::Ready(next) = self.source.started().poll_frame(cx) else {
                return self.poll_idle(cx).map(|()| Some(Err(ClientBodyError::Stalled)));
            };
            self.is_awaited = false;
            let frame = match next {
                None => return Poll::Ready(self.expected.end().err().map(|_| Err(ClientBodyError::Length))),
                Some(Err(error)) => return Poll::Ready(Some(Err(ClientBodyError::Failed(error.into())))),
                Some(Ok(frame)) => frame,
            };
            // Trailers end here: there is no feature for them yet.
            let Some(bytes) = frame.data_ref() else { continue };
            return Poll::Ready(Some(match self.expected.take(bytes.len()) {
                Ok(()) => Ok(frame),
                Err(_) => Err(ClientBodyError::Length),
            }));
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Untouched(body, _) => body.as_ref().is_some_and(Body::is_end_stream),
            Source::Started(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.expected.left().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<B> Drop for ClientBody<B> {
    fn drop(&mut self) {
        if let Source::Untouched(body, untouched) = &mut self.source {
            *lock(untouched) = body.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Channel, Full, channel::Sender};

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);

    fn channel() -> (Sender<Bytes, BoxError>, Channel<Bytes, BoxError>) {
        Channel::new(4)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stalls_is_given_up_after_the_idle_time() {
        let (mut sender, body) = channel();
        sender.send_data(Bytes::from_static(b"ab")).await.unwrap();
        let began = Instant::now();
        let error = ClientBody::collect(body, 100, IDLE, None, |_| Ok(())).await.unwrap_err();
        assert!(matches!(error, ClientBodyError::Stalled));
        assert_eq!(began.elapsed(), IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn every_byte_starts_the_idle_time_anew() {
        let (mut sender, body) = channel();
        let slow = tokio::spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
                sender.send_data(Bytes::from_static(b"x")).await.unwrap();
            }
        });
        assert_eq!(ClientBody::collect(body, 100, IDLE, None, |_| Ok(())).await.unwrap(), "xxxx");
        slow.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_drips_has_so_long_for_a_body_that_is_collected() {
        let (mut sender, body) = channel();
        let drip = async move {
            while sender.send_data(Bytes::from_static(b"x")).await.is_ok() {
                tokio::time::sleep(IDLE / 2).await;
            }
        };
        let began = Instant::now();
        let (collected, ()) = tokio::join!(ClientBody::collect(body, 100, IDLE, None, |_| Ok(())), drip);
        assert!(matches!(collected.unwrap_err(), ClientBodyError::Stalled));
        assert_eq!(began.elapsed().as_secs() / IDLE.as_secs(), u64::from(COLLECT_IDLES));
    }

    #[tokio::test]
    async fn a_body_is_collected_up_to_its_limit() {
        let collect = |limit, length| {
            ClientBody::collect(Full::new(Bytes::from_static(b"12345")), limit, IDLE, length, |_| Ok(()))
        };
        assert_eq!(collect(5, None).await.unwrap(), "12345");
        assert!(matches!(collect(4, None).await, Err(ClientBodyError::TooLarge)));
        assert!(matches!(collect(4, Some(5)).await, Err(ClientBodyError::TooLarge)));
        assert!(matches!(collect(9, Some(6)).await, Err(ClientBodyError::Length)));
        assert!(matches!(collect(9, Some(4)).await, Err(ClientBodyError::Length)));
    }

    #[tokio::test]
    async fn a_body_is_given_back_only_when_nothing_was_read_of_it() {
        let outgoing = Outgoing::stream(Full::new(Bytes::from_static(b"abc")));
        drop(outgoing.whole(IDLE, None).expect("the first try has it"));
        let Some(RequestBody::Stream(mut body)) = outgoing.whole(IDLE, None) else { panic!("given back") };
        assert!(outgoing.whole(IDLE, None).is_none(), "one try at a time");
        assert!(body.frame().await.is_some());
        drop(body);
        assert!(outgoing.whole(IDLE, None).is_none(), "its bytes are gone");
    }
}
