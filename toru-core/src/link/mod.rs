//! The host's end of a live connection: versions 1 and 2 behind one small interface.

use std::{path::PathBuf, sync::Arc, time::Duration};

use toru_plugin_api::{
    message::{
        kv::{KvAnswer, KvCall, KvError},
        lifecycle::{Failed, Init},
    },
    proto::Settings,
};

use crate::{event::EventBus, log::PluginLog, store::KvStore};

/// What a link needs of the host.
#[derive(Debug, Clone)]
pub struct LinkSetup {
    /// The plugin: the namespace of its KV calls, whatever it says.
    pub plugin_id: Arc<str>,
    /// What it is told first.
    pub init: Init,
    /// What this side accepts, and its clocks.
    pub settings: Settings,
    /// Where its KV calls go.
    pub kv: Arc<dyn KvStore>,
    /// Where its records go.
    pub log: PluginLog,
    /// Where its events go.
    pub events: EventBus,
}

/// What supervision must know of a link, in order. The channel ends after `Lost`.
#[derive(Debug)]
#[non_exhaustive]
pub enum LinkNews {
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
#[non_exhaustive]
pub enum LinkLost {
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

/// A live connection to a plugin. Cheap to clone; requests on it come from `http` only.
#[derive(Debug, Clone)]
pub struct Link {}

/// How to reach a version 1 plugin (or `transport = "path"`).
#[derive(Debug, Clone)]
pub struct PathSocket {
    /// Where the plugin listens.
    pub path: PathBuf,
    /// The group that must be at the other end.
    pub process_group: u32,
}

#[allow(unused_variables, clippy::todo, clippy::unused_async)]
impl Link {
    /// A version 2 link over this end of a socket pair, driven by `runtime`; sends `init`.
    pub fn open_v2(
        socket: std::os::unix::net::UnixStream,
        setup: LinkSetup,
        runtime: &tokio::runtime::Handle,
    ) -> std::io::Result<(Self, tokio::sync::mpsc::Receiver<LinkNews>)> {
        todo!("link")
    }
    /// A version 1 link: connects as soon as the plugin listens (retry from 1 ms, doubling to 50 ms), verifies the peer, sends `init`.
    pub fn open_v1(
        socket: PathSocket,
        setup: LinkSetup,
        runtime: &tokio::runtime::Handle,
    ) -> (Self, tokio::sync::mpsc::Receiver<LinkNews>) {
        todo!("link")
    }
    /// Asks the plugin to finish and exit.
    pub fn shutdown(&self, grace: Duration) {
        todo!("link")
    }
    /// Closes the connection; open requests end as by link loss.
    pub fn close(&self) {
        todo!("link")
    }
    /// A KV operation on the plugin (`handle_kv`): get, set, delete.
    ///
    /// # Errors
    /// The plugin's error, `timeout`, or `unavailable` when the link is lost.
    pub async fn kv(&self, call: KvCall) -> Result<KvAnswer, KvError> {
        todo!("link")
    }
    /// Whether both are the same connection.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        todo!("link")
    }
    /// The most requests that the plugin takes at once on this link.
    pub(crate) fn max_concurrent(&self) -> usize {
        todo!("link")
    }
    /// Streams that are open.
    pub fn open_streams(&self) -> usize {
        todo!("link")
    }
}
