//! The host's end of a live connection: versions 1 and 2 behind one small interface.
//!
//! [`Link`] is what requests and supervision hold. What a plugin starts by itself (KV calls, log records, events) is served by a task
//! of the link on the supervisor's runtime, whichever drives the link; what supervision must know comes as [`LinkNews`].

mod gate;
mod host_side;
mod kv;
mod path;
#[cfg(test)]
pub(crate) mod testing;
mod v1;
mod v2;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, mpsc},
};
use toru_plugin_api::{
    driver::{BoxError, IncomingRequest, RecvBody, RequestBody, RequestError, Tunnel},
    message::{
        http::{RequestHead, ResponseHead},
        kv::{KvAnswer, KvCall, KvError},
        lifecycle::{Failed, Init},
    },
    proto::Settings,
};

use crate::{event::EventBus, log::PluginLog, store::KvStore};

pub(crate) use host_side::BadAnswer;
pub(crate) use path::{PathSocket, Peer};

/// What the embedder lets plugins ask for.
pub(crate) trait HostService: fmt::Debug + Send + Sync {
    /// What answers on one link of this plugin.
    fn for_plugin(&self, id: &Arc<str>) -> Box<dyn AnswersRequests>;
}

/// Answers the requests that come on one link.
pub(crate) trait AnswersRequests: fmt::Debug + Send + Sync {
    /// Answers a request, in a task of its own: what comes after it on the link does not wait.
    fn answer(&mut self, request: IncomingRequest);
}

/// What a link needs of the host.
#[derive(Debug, Clone)]
pub(crate) struct LinkSetup {
    /// The plugin: the namespace of its KV calls, whatever it says.
    pub(crate) plugin_id: Arc<str>,
    /// What it is told first.
    pub(crate) init: Init,
    /// What this side accepts, and its clocks.
    pub(crate) settings: Settings,
    /// After which number its streams go on, in tests of the wrap.
    pub(crate) stream_numbers_after: Option<u32>,
    /// Where its KV calls go.
    pub(crate) kv: Arc<dyn KvStore>,
    /// How long that may take for a call.
    pub(crate) store_timeout: Duration,
    /// Who answers its requests; without it the link does not offer to take any.
    pub(crate) service: Option<Arc<dyn HostService>>,
    /// Where its records go.
    pub(crate) log: PluginLog,
    /// Where its events go.
    pub(crate) events: EventBus,
}

/// What supervision must know of a link, in order. The channel ends after `Lost`.
#[derive(Debug)]
pub(crate) enum LinkNews {
    /// The handshake is done: requests may be sent.
    Ready {
        /// The version in force.
        protocol: u32,
    },
    /// The plugin refuses to run.
    Refused(Failed),
    /// Consecutive missed pings; 0: healthy again.
    PingsMissed(u32),
    /// It wants a successor.
    Draining {
        /// Why.
        reason: String,
    },
    /// The link has ended.
    Lost(LinkLost),
}

/// Why a link ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkLost {
    /// The plugin closed it, or died.
    #[error("the plugin closed its connection")]
    Closed,
    /// The plugin broke the protocol.
    #[error("protocol error: {message}")]
    Protocol {
        /// The stable name of the cause.
        cause: String,
        /// One sentence.
        message: String,
        /// The offending bytes, escaped, 200 at most.
        excerpt: String,
    },
    /// The handshake failed: wrong version, silence, a stranger on the socket, …
    #[error("{message}")]
    Handshake {
        /// A stable code: `incompatible`, `stranger`, `handshake`.
        code: &'static str,
        /// One sentence.
        message: String,
    },
    /// The plugin does not read what it forces the host to send.
    #[error("the plugin does not read its connection")]
    PeerDoesNotRead,
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Io(String),
}

/// The most characters of offending bytes that are shown.
const EXCERPT: usize = 200;

/// What a plugin sent, escaped and cut, for the event that tells of it.
fn excerpt(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| byte.escape_ascii()).take(EXCERPT).map(char::from).collect()
}

/// The most bytes of a plugin's words on itself that go into its status and its events: a paragraph and its cause. More is marked as cut.
const WORDS: usize = 2 << 10;

/// What a plugin says of itself, cut at the end of a character.
fn cut(mut words: String) -> String {
    if words.len() > WORDS {
        let end = (0..=WORDS).rev().find(|&at| words.is_char_boundary(at)).unwrap_or(0);
        words.truncate(end);
        words.push_str(" […cut]");
    }
    words
}

/// How many news may wait for supervision: all that can come of one link (ready, refused, draining, lost) and some counts of missed pings.
const NEWS_WAITING: usize = 32;

/// A live connection to a plugin. Cheap to clone; requests on it come from `http` only.
#[derive(Debug, Clone)]
pub(crate) struct Link(Version);

#[derive(Debug, Clone)]
enum Version {
    One(v1::Link),
    Two(v2::Link),
}

/// A request's place on a link; given back when the answer's head is there, by dropping it.
#[derive(Debug)]
pub(crate) struct Permit {
    _place: OwnedSemaphorePermit,
}

impl Permit {
    pub(crate) fn new(place: OwnedSemaphorePermit) -> Self {
        Self { _place: place }
    }
}

/// A plugin's answer.
#[derive(Debug)]
pub(crate) struct LinkAnswer {
    pub(crate) head: ResponseHead,
    pub(crate) body: LinkBody,
    /// The plugin's end, when it has taken an upgrade.
    pub(crate) tunnel: Option<Tunnel>,
}

/// The body of a plugin's answer.
#[derive(Debug)]
pub(crate) enum LinkBody {
    /// Here.
    Full(Bytes),
    /// On its way, or here, as the driver gives it.
    Stream(RecvBody),
}

/// Why a request got no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Nothing was sent: the link takes no requests any more.
    #[error("the link takes no requests")]
    NotTaken,
    /// Nothing was sent: the plugin had no stream to spare for as long as the request may wait.
    #[error("the plugin takes no more streams")]
    Full,
    /// The head alone is larger than the plugin accepts; nothing was sent.
    #[error("the head is larger than the plugin accepts")]
    HeadTooLarge,
    /// The body is larger than the plugin accepts; nothing was sent.
    #[error("the body is larger than the plugin accepts")]
    BodyTooLarge,
    /// A version 1 plugin takes text; nothing was sent.
    #[error("the body is not UTF-8")]
    BodyNotText,
    /// An answer came that is none.
    #[error("the answer is not HTTP: {0}")]
    BadAnswer(String),
    /// It was sent, or some of it.
    #[error(transparent)]
    Request(RequestError),
}

impl Link {
    /// A version 2 link over this end of a socket pair; sends `init`. `lane` drives it: nothing there waits for a store or a
    /// file, because what the plugin starts by itself is served on `own`, the supervisor's runtime.
    ///
    /// # Errors
    /// The socket cannot be registered with the runtime.
    pub(crate) fn open_v2(
        socket: std::os::unix::net::UnixStream,
        setup: LinkSetup,
        lane: &Handle,
        own: &Handle,
    ) -> std::io::Result<(Self, mpsc::Receiver<LinkNews>)> {
        let (news, receiver) = mpsc::channel(NEWS_WAITING);
        let link = v2::Link::open(socket, setup, news, lane, own)?;
        Ok((Self(Version::Two(link)), receiver))
    }

    /// A version 2 link over any stream: what tests in simulated time need.
    #[cfg(test)]
    pub(crate) fn over<IO>(io: IO, setup: LinkSetup) -> (Self, mpsc::Receiver<LinkNews>)
    where
        IO: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (news, receiver) = mpsc::channel(NEWS_WAITING);
        (Self(Version::Two(v2::Link::over(io, setup, news, &Handle::current()))), receiver)
    }

    /// A version 1 link: connects as soon as the plugin listens (retry from 1 ms, doubling to 50 ms), verifies the peer, sends `init`.
    pub(crate) fn open_v1(
        socket: PathSocket,
        setup: LinkSetup,
        runtime: &Handle,
    ) -> (Self, mpsc::Receiver<LinkNews>) {
        let (news, receiver) = mpsc::channel(NEWS_WAITING);
        (Self(Version::One(v1::Link::open(socket, setup, news, runtime))), receiver)
    }

    /// Asks the plugin to finish and exit.
    pub(crate) fn shutdown(&self, grace: Duration) {
        match &self.0 {
            Version::One(link) => link.shutdown(),
            Version::Two(link) => link.shutdown(grace),
        }
    }

    /// Closes the connection; open requests end as by link loss.
    pub(crate) fn close(&self) {
        match &self.0 {
            Version::One(link) => link.close(),
            Version::Two(link) => link.close(),
        }
    }

    /// Resolves when no stream is open on it, or it has ended; a version 1 link is not asked.
    pub(crate) async fn idle(&self) {
        match &self.0 {
            Version::One(_) => {}
            Version::Two(link) => link.idle().await,
        }
    }

    /// A KV operation on the plugin (`handle_kv`): get, set, delete. Dropping the future does not undo a write.
    ///
    /// # Errors
    /// The plugin's error, `timeout`, or `unavailable` when the link is lost.
    pub(crate) async fn kv(&self, call: KvCall) -> Result<KvAnswer, KvError> {
        match &self.0 {
            Version::One(link) => link.kv(call).await,
            Version::Two(link) => link.kv(call).await,
        }
    }

    /// Streams that are open; for version 1: requests and KV calls that wait for their answer.
    #[cfg(test)]
    pub(crate) fn open_streams(&self) -> usize {
        match &self.0 {
            Version::One(link) => link.open_streams(),
            Version::Two(link) => link.open_streams(),
        }
    }

    /// Sends a request and awaits the answer's head; the permit is given back when the plugin is done with the head. A link that is full
    /// of answers' bodies is waited for within `wait`. Dropping the future cancels the request.
    pub(crate) async fn request<B>(
        &self,
        head: &RequestHead,
        body: RequestBody<B>,
        permit: Permit,
        wait: Duration,
    ) -> Result<LinkAnswer, SendError>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match &self.0 {
            Version::One(link) => link.request(head, body, permit).await,
            Version::Two(link) => link.request(head, body, permit, wait).await,
        }
    }

    /// The most bytes of a body that the plugin takes in one piece; `None`: it takes streams.
    pub(crate) fn collects(&self) -> Option<usize> {
        match &self.0 {
            Version::One(_) => Some(v1::MAX_BODY),
            Version::Two(link) => link.collects(),
        }
    }

    /// The most requests that the plugin takes at once on this link.
    pub(crate) fn max_concurrent(&self) -> usize {
        match &self.0 {
            Version::One(_) => 1,
            Version::Two(link) => link.max_concurrent(),
        }
    }

    /// Whether both are the same connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.host_side(), other.host_side())
    }

    /// Tells the operator of an answer that the rules of HTTP changed or refused: an event for the first of each kind on this link, so
    /// that a plugin that always does it floods nothing.
    pub(crate) fn report_bad_answer(&self, kind: BadAnswer, what: &str) {
        self.host_side().report_bad_answer(kind, what);
    }

    /// Keeps a record of the link's own in the plugin's log.
    pub(crate) fn warn(&self, message: &str) {
        self.host_side().warn(message, &serde_json::Map::new());
    }

    fn host_side(&self) -> &Arc<host_side::HostSide> {
        match &self.0 {
            Version::One(link) => link.host_side(),
            Version::Two(link) => link.host_side(),
        }
    }
}
