//! The links of one process: the first, which is its life line, and one more for each further lane.

use std::{
    fmt,
    future::poll_fn,
    io,
    os::unix::net::UnixStream,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{runtime::Handle, sync::mpsc};

use super::{
    folders::SocketFolder,
    state::{Failure, Loss, Occurrence},
};
use crate::link::{Link, LinkLost, LinkNews, LinkSetup, PathSocket, Peer};

/// The cause of a protocol error that every process killed while it writes leaves behind.
const EOF_INSIDE_FRAME: &str = "eof_inside_frame";

/// The host's ends of a process that is being spawned.
#[derive(Debug)]
pub(super) enum Sockets {
    /// Version 2: one inherited pair per lane.
    Pairs(Vec<UnixStream>),
    /// Version 1, or `transport = "path"`: the plugin listens in this folder.
    Path(SocketFolder),
}

/// What `Links::next` tells.
#[derive(Debug)]
pub(super) enum LinksNews {
    /// Something for the machine.
    Occurred(Occurrence),
    /// The links that can be used are others now.
    Changed,
}

/// The links of one process.
#[derive(Debug)]
pub(super) struct Links {
    first: First,
    extra: Vec<ExtraLane>,
    /// How the others are opened: the further lanes once the first is ready, a version 2 link once it is connected.
    setup: LinkSetup,
    /// Of version 1, which may connect again: removed when the process is gone. Of version 2 by path: once it is connected.
    folder: Option<SocketFolder>,
}

/// The life line.
enum First {
    /// A version 2 plugin that listens on a path is not reached yet.
    Connecting(Connecting, Handle),
    Open(Lane),
    /// It was never reached.
    Gone,
}

type Connecting = Pin<Box<dyn Future<Output = Result<tokio::net::UnixStream, LinkLost>> + Send>>;

impl fmt::Debug for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting(..) => f.write_str("Connecting"),
            Self::Open(lane) => f.debug_tuple("Open").field(lane).finish(),
            Self::Gone => f.write_str("Gone"),
        }
    }
}

#[derive(Debug)]
struct Lane {
    link: Link,
    /// `None` once it has told its end.
    news: Option<mpsc::Receiver<LinkNews>>,
}

#[derive(Debug)]
enum ExtraLane {
    /// Not opened before the first is ready.
    Waiting(UnixStream, Handle),
    Opened {
        lane: Lane,
        ready: bool,
    },
    Gone,
}

impl Links {
    /// Opens the first link to a process that has just been spawned.
    ///
    /// # Errors
    /// The runtime of the lane takes no more sockets.
    pub(super) fn open(sockets: Sockets, lanes: &[Handle], setup: LinkSetup, pid: u32) -> io::Result<Self> {
        let own = lanes.first().expect("there is the supervisor's own lane");
        match sockets {
            Sockets::Path(folder) => {
                let socket = PathSocket { path: folder.socket(), peer: Peer::Group(pid) };
                let first = if setup.init.protocol == 1 {
                    First::opened(Link::open_v1(socket, setup.clone(), own))
                } else {
                    First::Connecting(Box::pin(async move { socket.connect().await }), own.clone())
                };
                Ok(Self { first, extra: Vec::new(), setup, folder: Some(folder) })
            }
            Sockets::Pairs(pairs) => {
                let mut pairs = pairs.into_iter();
                let socket = pairs.next().expect("there is a pair for the supervisor's own lane");
                let first = First::opened(Link::open_v2(socket, setup.clone(), own)?);
                let waiting = |(socket, lane): (_, &Handle)| ExtraLane::Waiting(socket, lane.clone());
                let extra = pairs.zip(lanes.iter().skip(1)).map(waiting).collect();
                Ok(Self { first, extra, setup, folder: None })
            }
        }
    }

    /// The life line, once it is connected.
    pub(super) fn first(&self) -> Option<&Link> {
        match &self.first {
            First::Open(lane) => Some(&lane.link),
            First::Connecting(..) | First::Gone => None,
        }
    }

    /// The links that can be used, by lane.
    pub(super) fn by_lane(&self) -> Arc<[Option<Link>]> {
        let extra = self.extra.iter().map(|lane| match lane {
            ExtraLane::Opened { lane, ready: true } => Some(lane.link.clone()),
            _ => None,
        });
        std::iter::once(self.first().cloned()).chain(extra).collect()
    }

    pub(super) fn close(&self) {
        if let Some(first) = self.first() {
            first.close();
        }
        for lane in &self.extra {
            if let ExtraLane::Opened { lane, .. } = lane {
                lane.link.close();
            }
        }
    }

    /// The process has ended: whatever is still unread may be told, but no connection is looked for any more.
    pub(super) fn process_ended(&mut self) {
        match &self.first {
            First::Connecting(..) => self.first = First::Gone,
            // Version 1 would connect again.
            First::Open(lane) if self.folder.is_some() => lane.link.close(),
            First::Open(_) | First::Gone => {}
        }
    }

    /// What the links tell next; pending for ever once the first has told its end. Cancel safe.
    pub(super) async fn next(&mut self) -> LinksNews {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Whether the first link has told its end.
    pub(super) fn is_lost(&self) -> bool {
        match &self.first {
            First::Connecting(..) => false,
            First::Open(lane) => lane.news.is_none(),
            First::Gone => true,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<LinksNews> {
        if let Poll::Ready(news) = self.poll_first(cx) {
            if matches!(news, LinkNews::Ready { .. }) {
                self.open_extra();
            }
            return Poll::Ready(LinksNews::Occurred(occurrence(news)));
        }
        for lane in &mut self.extra {
            if let Poll::Ready(news) = lane.poll(cx) {
                return Poll::Ready(news);
            }
        }
        Poll::Pending
    }

    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<LinkNews> {
        if let First::Connecting(connecting, lane) = &mut self.first {
            let connected = ready!(connecting.as_mut().poll(cx));
            // Its name has served: nobody else finds the plugin by it.
            self.folder = None;
            let opened = connected.and_then(|stream| {
                let opened = stream.into_std().and_then(|s| Link::open_v2(s, self.setup.clone(), lane));
                opened.map_err(|error| LinkLost::Io(error.to_string()))
            });
            match opened {
                Ok(opened) => self.first = First::opened(opened),
                Err(lost) => {
                    self.first = First::Gone;
                    return Poll::Ready(LinkNews::Lost(lost));
                }
            }
        }
        match &mut self.first {
            First::Open(lane) => lane.poll(cx),
            First::Connecting(..) | First::Gone => Poll::Pending,
        }
    }

    fn open_extra(&mut self) {
        for (index, slot) in self.extra.iter_mut().enumerate() {
            let ExtraLane::Waiting(socket, runtime) = std::mem::replace(slot, ExtraLane::Gone) else {
                continue;
            };
            let mut setup = self.setup.clone();
            setup.init.link = Some(u32::try_from(index + 1).expect("lanes are few"));
            setup.init.config.clear();
            match Link::open_v2(socket, setup, &runtime) {
                Ok((link, news)) => {
                    *slot = ExtraLane::Opened { lane: Lane { link, news: Some(news) }, ready: false };
                }
                Err(error) => tracing::warn!(
                    plugin = &*self.setup.plugin_id,
                    lane = index + 1,
                    %error,
                    "a further link could not be opened; its lane uses the first"
                ),
            }
        }
    }
}

impl First {
    fn opened((link, news): (Link, mpsc::Receiver<LinkNews>)) -> Self {
        Self::Open(Lane { link, news: Some(news) })
    }
}

impl Lane {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkNews> {
        let Some(news) = &mut self.news else {
            return Poll::Pending;
        };
        let news = match news.poll_recv(cx) {
            Poll::Ready(Some(news)) => news,
            Poll::Ready(None) => LinkNews::Lost(LinkLost::Io("its driver has ended".to_owned())),
            Poll::Pending => return Poll::Pending,
        };
        if matches!(news, LinkNews::Lost(_)) {
            self.news = None;
        }
        Poll::Ready(news)
    }
}

impl ExtraLane {
    /// A further link that never answers, refuses or closes is no failure; breaking the protocol on it is.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinksNews> {
        let Self::Opened { lane, ready } = self else {
            return Poll::Pending;
        };
        loop {
            match lane.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(LinkNews::Ready { .. }) => {
                    *ready = true;
                    return Poll::Ready(LinksNews::Changed);
                }
                Poll::Ready(LinkNews::Lost(lost @ LinkLost::Protocol { .. })) => {
                    *self = Self::Gone;
                    return Poll::Ready(LinksNews::Occurred(Occurrence::LinkLost(loss(lost))));
                }
                Poll::Ready(LinkNews::Refused(_) | LinkNews::Lost(_)) => {
                    lane.link.close();
                    *self = Self::Gone;
                    return Poll::Ready(LinksNews::Changed);
                }
                Poll::Ready(_) => {}
            }
        }
    }
}

fn occurrence(news: LinkNews) -> Occurrence {
    match news {
        LinkNews::Ready { protocol } => Occurrence::Ready { protocol },
        LinkNews::Refused(failed) => Occurrence::Refused { code: failed.code, message: failed.message },
        LinkNews::PingsMissed(missed) => Occurrence::PingsMissed(missed),
        LinkNews::Draining { reason } => Occurrence::Draining { reason },
        LinkNews::Lost(lost) => Occurrence::LinkLost(loss(lost)),
    }
}

fn loss(lost: LinkLost) -> Loss {
    match lost {
        LinkLost::Closed => Loss::Closed,
        LinkLost::Protocol { cause, message, .. } if cause == EOF_INSIDE_FRAME => Loss::CutShort { message },
        LinkLost::Protocol { cause, message, excerpt } => Loss::Protocol { cause, message, excerpt },
        LinkLost::Handshake { code: "incompatible", message } => Loss::Incompatible { message },
        LinkLost::Handshake { code, message } => Loss::Failed(Failure::new(code, message)),
        lost @ LinkLost::PeerDoesNotRead => Loss::Failed(Failure::new("does_not_read", lost.to_string())),
        // A process that dies may be seen as a reset connection as well as a closed one.
        LinkLost::Io(_) => Loss::Closed,
    }
}
