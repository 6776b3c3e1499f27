//! A version 2 link: the driver's handle, and a task that serves what the plugin starts.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http_body::Body;
use serde_json::{Map, Value};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime,
    sync::mpsc,
    task::JoinHandle,
    time::Instant,
};
use toru_plugin_api::{
    driver::{
        BoxError, DriveError, Handle, Incoming, IncomingEvent, RequestBody, RequestError, Response, Socket,
        drive,
    },
    frame::limits::MAX_INLINE,
    message::{
        http::RequestHead,
        kv::{KvAnswer, KvCall, KvError},
        lifecycle::{Failed, Ready, feature},
    },
    proto::{Connection, ConnectionError, OpenError},
};

use super::{
    AnswersRequests, LinkAnswer, LinkBody, LinkLost, LinkNews, LinkSetup, Permit, SendError, cut, excerpt,
    gate::EventGate, host_side::HostSide, kv::KvService,
};

/// The version of the protocol that this link speaks.
const PROTOCOL: u32 = 2;

#[derive(Debug, Clone)]
pub(super) struct Link {
    handle: Handle,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: Arc<HostSide>,
    /// What the plugin said with `ready`.
    terms: OnceLock<Terms>,
}

#[derive(Debug, Clone, Copy)]
struct Terms {
    max_streams: usize,
    takes_streams: bool,
}

impl Link {
    pub(super) fn open(
        socket: std::os::unix::net::UnixStream,
        setup: LinkSetup,
        news: mpsc::Sender<LinkNews>,
        lane: &runtime::Handle,
        own: &runtime::Handle,
    ) -> std::io::Result<Self> {
        let _context = lane.enter();
        Ok(Self::over(Socket::new(socket)?, setup, news, own))
    }

    /// Over any stream, driven by the current runtime; what the plugin starts is served on `own`.
    pub(super) fn over<IO>(
        io: IO,
        mut setup: LinkSetup,
        news: mpsc::Sender<LinkNews>,
        own: &runtime::Handle,
    ) -> Self
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // `http` times the client's body itself, to tell a client that stalls (408) from a plugin that is slow (504).
        setup.settings.body_idle_timeout *= 2;
        let host = HostSide::new(&setup);
        let shared = Arc::new(Shared { host, terms: OnceLock::new() });
        let requests = setup.service.map(|service| service.for_plugin(&setup.plugin_id));
        let kv = KvService::new(setup.plugin_id, setup.kv, setup.store_timeout);
        let mut connection = Connection::host(setup.settings, setup.init, Instant::now().into_std());
        connection.continue_numbers_after(setup.stream_numbers_after, None);
        let (handle, incoming, driver) = drive(io, connection);
        let gate = EventGate::new(Instant::now());
        let served = Served { handle: handle.clone(), shared: shared.clone(), kv, requests, gate, news };
        let driver = tokio::spawn(driver);
        own.spawn(served.run(incoming, driver));
        Self { handle, shared }
    }

    pub(super) fn host_side(&self) -> &Arc<HostSide> {
        &self.shared.host
    }

    pub(super) fn shutdown(&self, grace: Duration) {
        self.handle.shutdown(grace);
    }

    pub(super) fn close(&self) {
        self.handle.close();
    }

    pub(super) async fn idle(&self) {
        self.handle.idle().await;
    }

    pub(super) async fn kv(&self, call: KvCall) -> Result<KvAnswer, KvError> {
        self.handle.call_kv(call).await
    }

    #[cfg(test)]
    pub(super) fn open_streams(&self) -> usize {
        self.handle.open_streams()
    }

    pub(super) fn collects(&self) -> Option<usize> {
        let takes_streams = self.shared.terms.get().is_some_and(|terms| terms.takes_streams);
        (!takes_streams).then_some(MAX_INLINE)
    }

    /// Before `ready` there are no requests.
    pub(super) fn max_concurrent(&self) -> usize {
        self.shared.terms.get().map_or(0, |terms| terms.max_streams)
    }

    pub(super) async fn request<B>(
        &self,
        head: &RequestHead,
        body: RequestBody<B>,
        _permit: Permit,
        wait: Duration,
    ) -> Result<LinkAnswer, SendError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let has_body = !matches!(body, RequestBody::Empty | RequestBody::Upgrade);
        match self.handle.request_within(wait, head, body).await {
            Ok(Response { head, body, tunnel }) => {
                Ok(LinkAnswer { head, body: LinkBody::Stream(body), tunnel })
            }
            Err(RequestError::Open(error)) => Err(match error {
                OpenError::TooLarge if has_body => SendError::BodyTooLarge,
                OpenError::TooLarge => SendError::HeadTooLarge,
                OpenError::NoStreams | OpenError::Full => SendError::Full,
                _ => SendError::NotTaken,
            }),
            Err(RequestError::Head(error)) => Err(SendError::BadAnswer(error.to_string())),
            Err(error) => Err(SendError::Request(error)),
        }
    }
}

/// Serves what the plugin starts, in order.
#[derive(Debug)]
struct Served {
    handle: Handle,
    shared: Arc<Shared>,
    kv: KvService,
    requests: Option<Box<dyn AnswersRequests>>,
    gate: EventGate,
    news: mpsc::Sender<LinkNews>,
}

impl Served {
    async fn run(mut self, mut incoming: Incoming, driver: JoinHandle<Result<(), DriveError>>) {
        let mut failed_handshake = None;
        while let Some(event) = incoming.next().await {
            if let Err(lost) = self.serve(event).await {
                self.handle.close();
                failed_handshake = Some(lost);
                break;
            }
        }
        drop(incoming);
        self.shared.host.tell_dropped(&mut self.gate);
        let ended = driver.await;
        let lost = failed_handshake.unwrap_or_else(|| match ended {
            Ok(ended) => lost(ended, &self.handle),
            // The runtime is shutting down, and with it the host.
            Err(_) => LinkLost::Closed,
        });
        // Nobody who listens is nobody to tell.
        let _ = self.news.send(LinkNews::Lost(lost)).await;
    }

    async fn serve(&mut self, event: IncomingEvent) -> Result<(), LinkLost> {
        match event {
            IncomingEvent::Ready(ready) => self.ready(&ready).await?,
            IncomingEvent::Failed(Failed { code, message }) => {
                let failed = Failed { code: cut(code), message: cut(message) };
                self.tell(LinkNews::Refused(failed)).await;
            }
            IncomingEvent::Draining(draining) => {
                self.tell(LinkNews::Draining { reason: cut(draining.reason) }).await;
            }
            IncomingEvent::PingsMissed(missed) => self.tell(LinkNews::PingsMissed(missed)).await,
            IncomingEvent::Kv(call) => self.kv.serve(call, &self.handle).await,
            IncomingEvent::Request(request) => {
                // The connection takes requests only where they were offered to be answered.
                if let Some(requests) = &mut self.requests {
                    requests.answer(request);
                }
            }
            IncomingEvent::Log(record) => self.shared.host.record(&record),
            IncomingEvent::Event(event) => self.shared.host.event(event, &mut self.gate),
            IncomingEvent::Dropped(records) => {
                let fields = Map::from_iter([("dropped".to_owned(), Value::from(records))]);
                self.shared.host.warn("log records and events came faster than they were taken", &fields);
            }
            IncomingEvent::Unknown(what) => {
                let fields = Map::from_iter([("what".to_owned(), Value::from(what))]);
                self.shared.host.warn("a message that this host does not know was ignored", &fields);
            }
            // How a plugin says it is has no reader yet; the rest is for the plugin's side.
            _ => {}
        }
        Ok(())
    }

    async fn ready(&mut self, ready: &Ready) -> Result<(), LinkLost> {
        if ready.protocol != PROTOCOL {
            return Err(LinkLost::Handshake {
                code: "incompatible",
                message: format!(
                    "the plugin answered init with protocol {}, the host chose {PROTOCOL}: both have to be the same",
                    ready.protocol
                ),
            });
        }
        let terms = Terms {
            max_streams: usize::try_from(ready.limits.max_streams).unwrap_or(usize::MAX),
            takes_streams: self.handle.features().has(feature::STREAMS),
        };
        // A second `ready` is the connection's to refuse.
        let _ = self.shared.terms.set(terms);
        self.tell(LinkNews::Ready { protocol: ready.protocol }).await;
        Ok(())
    }

    async fn tell(&self, news: LinkNews) {
        // Supervision that has dropped its end does not want to know.
        let _ = self.news.send(news).await;
    }
}

fn lost(ended: Result<(), DriveError>, handle: &Handle) -> LinkLost {
    match ended {
        Ok(()) => LinkLost::Closed,
        Err(DriveError::PeerDoesNotRead) | Err(DriveError::Protocol(ConnectionError::PeerDoesNotRead)) => {
            LinkLost::PeerDoesNotRead
        }
        Err(DriveError::Protocol(error @ ConnectionError::Version { .. })) => {
            LinkLost::Handshake { code: "incompatible", message: error.to_string() }
        }
        Err(DriveError::Protocol(error @ ConnectionError::BeforeReady(_))) => {
            LinkLost::Handshake { code: "handshake", message: error.to_string() }
        }
        Err(DriveError::Protocol(error)) => LinkLost::Protocol {
            cause: error.cause().to_owned(),
            message: error.to_string(),
            excerpt: excerpt(&handle.offending()),
        },
        Err(DriveError::Io(error)) => LinkLost::Io(error.to_string()),
        Err(error) => LinkLost::Io(error.to_string()),
    }
}
