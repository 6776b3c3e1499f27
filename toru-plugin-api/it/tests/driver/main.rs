//! Two drivers against each other, in memory and over real sockets.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod bodies;
mod ends;
mod floods;
mod requests;
mod socket;
mod tunnels;
mod waits;
mod wire;

use std::{
    pin::Pin,
    sync::Arc,
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Empty, Full};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    task::JoinHandle,
};
use toru_plugin_api::{
    driver::{
        BoxError, DriveError, Handle, Incoming, IncomingEvent, IncomingRequest, RecvBody, RequestBody,
        RequestError, Response, drive,
    },
    frame::Limits,
    message::{
        http::{RequestHead, ResponseHead},
        lifecycle::{Features, Init, feature},
    },
    proto::{Connection, Settings},
};

/// The bytes that a pipe holds each way.
const PIPE: usize = 16 << 10;

/// One side of a link.
struct End {
    handle: Handle,
    incoming: Incoming,
    driver: JoinHandle<Result<(), DriveError>>,
}

/// The time of the driver: that of tokio, which a test may pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn init() -> Init {
    Init {
        protocol: 2,
        instance_id: "00000000-0000-4000-8000-000000000000".into(),
        plugin_id: "test".into(),
        plugin_socket: String::new(),
        log_path: String::new(),
        data_dir: String::new(),
        config: serde_json::Map::new(),
        link: None,
        features: Features::new([feature::STREAMS]),
        limits: Limits::DEFAULT,
    }
}

fn run<IO: AsyncRead + AsyncWrite + Unpin + Send + 'static>(io: IO, connection: Connection) -> End {
    let (handle, incoming, driver) = drive(io, connection);
    End { handle, incoming, driver: tokio::spawn(driver) }
}

/// A host and a plugin that have shaken hands over these streams.
async fn pair_over<H, P>(host_io: H, plugin_io: P, host: Settings, plugin: Settings) -> (End, End)
where
    H: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    P: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut init = init();
    init.limits = host.limits;
    let mut host = run(host_io, Connection::host(host, init, now()));
    let mut plugin = run(plugin_io, Connection::plugin(plugin, now()));
    let told = plugin.incoming.next().await;
    assert!(matches!(told, Some(IncomingEvent::Init(_))), "{told:?}");
    plugin.handle.ready();
    let told = host.incoming.next().await;
    assert!(matches!(told, Some(IncomingEvent::Ready(_))), "{told:?}");
    (host, plugin)
}

/// Settings without pings: a paused clock would jump from one to the next.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.ping_interval = None;
    settings
}

async fn pair() -> (End, End) {
    pair_with(settings(), settings()).await
}

async fn pair_with(host: Settings, plugin: Settings) -> (End, End) {
    let (host_io, plugin_io) = pipe();
    pair_over(host_io, plugin_io, host, plugin).await
}

fn pipe() -> (DuplexStream, DuplexStream) {
    tokio::io::duplex(PIPE)
}

fn request_head(path: &str) -> RequestHead {
    RequestHead { method: Method::POST, path: path.parse().unwrap(), headers: HeaderMap::new() }
}

fn ok() -> ResponseHead {
    ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() }
}

fn full(bytes: impl Into<Bytes>) -> Full<Bytes> {
    Full::new(bytes.into())
}

impl End {
    async fn get(&self, path: &str) -> Result<Response, RequestError> {
        self.handle.request(request_head(path), RequestBody::<Empty<Bytes>>::Empty).await
    }

    /// Sends a request from a task of its own.
    fn spawn_get(&self, path: &str) -> JoinHandle<Result<Response, RequestError>> {
        self.spawn_request(path, RequestBody::<Empty<Bytes>>::Empty)
    }

    fn spawn_request<B>(&self, path: &str, body: RequestBody<B>) -> JoinHandle<Result<Response, RequestError>>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let handle = self.handle.clone();
        let head = request_head(path);
        tokio::spawn(async move { handle.request(head, body).await })
    }

    async fn accept(&mut self) -> IncomingRequest {
        match self.incoming.next().await {
            Some(IncomingEvent::Request(request)) => request,
            other => panic!("a request was expected, not {other:?}"),
        }
    }

    /// Answers each request by `answer`, in a task of its own.
    fn serve<F>(mut self, answer: impl Fn(IncomingRequest) -> F + Send + 'static) -> Handle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = self.handle.clone();
        tokio::spawn(async move {
            while let Some(event) = self.incoming.next().await {
                if let IncomingEvent::Request(request) = event {
                    tokio::spawn(answer(request));
                }
            }
        });
        handle
    }
}

async fn collect(body: RecvBody) -> Bytes {
    body.collect().await.unwrap().to_bytes()
}

/// Gives the others on this runtime time to do all they can; needs a paused clock.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// A body of `chunks` chunks that counts those that were taken.
struct Counted {
    chunks: usize,
    size: usize,
    taken: Arc<AtomicUsize>,
}

impl Counted {
    fn new(chunks: usize, size: usize) -> (Self, Arc<AtomicUsize>) {
        let taken = Arc::new(AtomicUsize::new(0));
        (Self { chunks, size, taken: taken.clone() }, taken)
    }
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let taken = self.taken.load(Ordering::Relaxed);
        if taken == self.chunks {
            return Poll::Ready(None);
        }
        self.taken.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(vec![(taken % 251) as u8; self.size].into()))))
    }
}
