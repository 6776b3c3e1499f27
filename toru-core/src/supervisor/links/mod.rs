//! The links of one process: the first, which is its life line, and one more for each lane.

mod extra;
mod line;

use std::{
    fmt,
    future::poll_fn,
    io,
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::runtime::Handle;

use super::{
    folders::SocketFolder,
    state::{Failure, Loss, Occurrence},
};
use crate::{
    lanes::{Lane, Lanes},
    link::{Link, LinkLost, LinkNews, LinkSetup, PathSocket, Peer},
    routes::ReadyLinks,
};
use extra::Extra;
use line::Line;

/// The cause of a protocol error that every process killed while it writes leaves behind.
const EOF_INSIDE_FRAME: &str = "eof_inside_frame";

/// The host's ends of a process that is being spawned.
#[derive(Debug)]
pub(super) enum Sockets {
    /// Version 2: one inherited pair for the life line, and one for each lane.
    Pairs { first: UnixStream, by_lane: Vec<(Lane, UnixStream)> },
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
    extra: Vec<Extra>,
    /// How the others are opened: the further ones once the first is ready, a version 2 link once it is connected.
    setup: LinkSetup,
    /// Drives the first, and serves what the plugin starts on any.
    own: Handle,
    /// Of version 1, which may connect again: removed when the process is gone. Of version 2 by path: once it is connected.
    folder: Option<SocketFolder>,
}

/// The life line.
enum First {
    /// A version 2 plugin that listens on a path is not reached yet.
    Connecting(Connecting),
    Open(Line),
    /// It was never reached.
    Gone,
}

type Connecting = Pin<Box<dyn Future<Output = Result<tokio::net::UnixStream, LinkLost>> + Send>>;

impl fmt::Debug for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting(_) => f.write_str("Connecting"),
            Self::Open(line) => f.debug_tuple("Open").field(line).finish(),
            Self::Gone => f.write_str("Gone"),
        }
    }
}

impl Links {
    /// Opens the first link to a process that has just been spawned.
    ///
    /// # Errors
    /// The supervisor's runtime takes no more sockets.
    pub(super) fn open(sockets: Sockets, lanes: &Lanes, setup: LinkSetup, pid: u32) -> io::Result<Self> {
        let own = lanes.own().clone();
        let (first, extra, folder) = match sockets {
            Sockets::Path(folder) => {
                let socket = PathSocket { path: folder.socket(), peer: Peer::Group(pid) };
                let first = if setup.init.protocol == 1 {
                    First::Open(Line::new(Link::open_v1(socket, setup.clone(), &own)))
                } else {
                    First::Connecting(Box::pin(async move { socket.connect().await }))
                };
                (first, Vec::new(), Some(folder))
            }
            Sockets::Pairs { first, by_lane } => {
                let first = First::Open(Line::new(Link::open_v2(first, setup.clone(), &own, &own)?));
                let extra = by_lane.into_iter().map(|(lane, socket)| Extra::new(lane, socket)).collect();
                (first, extra, None)
            }
        };
        Ok(Self { first, extra, setup, own, folder })
    }

    /// The life line, once it is connected.
    pub(super) fn first(&self) -> Option<&Link> {
        match &self.first {
            First::Open(line) => Some(&line.link),
            First::Connecting(_) | First::Gone => None,
        }
    }

    /// The links that can be used; none before the first is open.
    pub(super) fn ready(&self) -> Option<ReadyLinks> {
        let first = self.first()?.clone();
        Some(ReadyLinks { first, by_lane: self.extra.iter().filter_map(Extra::ready).collect() })
    }

    pub(super) fn close(&self) {
        if let Some(first) = self.first() {
            first.close();
        }
        self.extra.iter().for_each(Extra::close);
    }

    /// The process has ended: whatever is still unread may be told, but no connection is looked for any more.
    pub(super) fn process_ended(&mut self) {
        match &self.first {
            First::Connecting(_) => self.first = First::Gone,
            // Version 1 would connect again.
            First::Open(line) if self.folder.is_some() => line.link.close(),
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
            First::Connecting(_) => false,
            First::Open(line) => line.is_lost(),
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
        for extra in &mut self.extra {
            if let Poll::Ready(news) = extra.poll(cx) {
                return Poll::Ready(news);
            }
        }
        Poll::Pending
    }

    fn poll_first(&mut self, cx: &mut Context<'_>) -> Poll<LinkNews> {
        if let First::Connecting(connecting) = &mut self.first {
            let connected = ready!(connecting.as_mut().poll(cx));
            // Its name has served: nobody else finds the plugin by it.
            self.folder = None;
            let opened = connected.and_then(|stream| {
                let setup = self.setup.clone();
                let opened = stream.into_std().and_then(|s| Link::open_v2(s, setup, &self.own, &self.own));
                opened.map_err(|error| LinkLost::Io(error.to_string()))
            });
            match opened {
                Ok(opened) => self.first = First::Open(Line::new(opened)),
                Err(lost) => {
                    self.first = First::Gone;
                    return Poll::Ready(LinkNews::Lost(lost));
                }
            }
        }
        match &mut self.first {
            First::Open(line) => line.poll(cx),
            First::Connecting(_) | First::Gone => Poll::Pending,
        }
    }

    fn open_extra(&mut self) {
        for (number, extra) in (1..).zip(&mut self.extra) {
            let mut setup = self.setup.clone();
            setup.init.link = Some(number);
            setup.init.config.clear();
            extra.open(setup, &self.own);
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
