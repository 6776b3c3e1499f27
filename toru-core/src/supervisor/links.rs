//! The links of one process: the first, which is its life line, and one more for each further lane.

use std::{
    fmt,
    future::poll_fn,
    io,
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{runtime::Handle, sync::mpsc};

use super::{
    folders::SocketFolder,
    state::{Failure, Loss, Occurrence},
};
use crate::{
    lanes::{Lane, LaneId, Lanes},
    link::{Link, LinkLost, LinkNews, LinkSetup, PathSocket},
    routes::ReadyLinks,
};

/// The cause of a protocol error that every process killed while it writes leaves behind.
const EOF_INSIDE_FRAME: &str = "eof_inside_frame";

/// The host's ends of a process that is being spawned.
#[derive(Debug)]
pub(super) enum Sockets {
    /// Version 2: one inherited pair for the life line, and one for each lane.
    Pairs { first: UnixStream, by_lane: Vec<(Lane, UnixStream)> },
    /// Version 1: the plugin listens in this folder.
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
    first: Line,
    extra: Vec<Extra>,
    /// How the further links are opened, once the first is ready.
    setup: LinkSetup,
    /// Drives the first, and serves what the plugin starts on any.
    own: Handle,
    /// Of version 1; removed when the process is gone.
    folder: Option<SocketFolder>,
}

/// A link that was opened, and what it tells.
#[derive(Debug)]
struct Line {
    link: Link,
    /// `None` once it has told its end.
    news: Option<mpsc::Receiver<LinkNews>>,
}

/// The link of a lane.
struct Extra {
    lane: LaneId,
    state: ExtraState,
    /// Resolves when nobody can send on the lane any more.
    lane_ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

#[derive(Debug)]
enum ExtraState {
    /// Not opened before the first is ready.
    Waiting(UnixStream, Handle),
    Opened(Line),
    Ready(Line),
    /// Its lane has ended: it closes once the answers on it have.
    Leaving(Line),
    Gone,
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Extra").field(&self.lane).field(&self.state).finish()
    }
}

impl Links {
    /// Opens the first link to a process that has just been spawned.
    ///
    /// # Errors
    /// The supervisor's runtime takes no more sockets.
    pub(super) fn open(sockets: Sockets, lanes: &Lanes, setup: LinkSetup, pid: u32) -> io::Result<Self> {
        let own = lanes.own().clone();
        let ((link, news), extra, folder) = match sockets {
            Sockets::Path(folder) => {
                let socket = PathSocket { path: folder.socket(), process_group: pid };
                (Link::open_v1(socket, setup.clone(), &own), Vec::new(), Some(folder))
            }
            Sockets::Pairs { first, by_lane } => {
                let extra = by_lane.into_iter().map(|(lane, socket)| Extra::new(lane, socket)).collect();
                (Link::open_v2(first, setup.clone(), &own, &own)?, extra, None)
            }
        };
        Ok(Self { first: Line { link, news: Some(news) }, extra, setup, own, folder })
    }

    /// The life line.
    pub(super) fn first(&self) -> &Link {
        &self.first.link
    }

    /// The links that can be used.
    pub(super) fn ready(&self) -> ReadyLinks {
        let by_lane = self.extra.iter().filter_map(|extra| match &extra.state {
            ExtraState::Ready(line) => Some((extra.lane, line.link.clone())),
            _ => None,
        });
        ReadyLinks { first: self.first.link.clone(), by_lane: by_lane.collect() }
    }

    pub(super) fn close(&self) {
        self.first.link.close();
        for extra in &self.extra {
            if let ExtraState::Opened(line) | ExtraState::Ready(line) | ExtraState::Leaving(line) =
                &extra.state
            {
                line.link.close();
            }
        }
    }

    /// The process has ended: whatever is still unread may be told, but no connection is looked for any more.
    pub(super) fn process_ended(&self) {
        if self.folder.is_some() {
            self.first.link.close();
        }
    }

    /// What the links tell next; pending for ever once the first has told its end. Cancel safe.
    pub(super) async fn next(&mut self) -> LinksNews {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Whether the first link has told its end.
    pub(super) fn is_lost(&self) -> bool {
        self.first.news.is_none()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<LinksNews> {
        if let Poll::Ready(news) = self.first.poll(cx) {
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

    fn open_extra(&mut self) {
        for (number, extra) in (1..).zip(&mut self.extra) {
            let mut setup = self.setup.clone();
            setup.init.link = Some(number);
            setup.init.config.clear();
            extra.open(setup, &self.own);
        }
    }
}

impl Line {
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

impl Extra {
    fn new(lane: Lane, socket: UnixStream) -> Self {
        Self {
            lane: lane.id,
            state: ExtraState::Waiting(socket, lane.runtime.clone()),
            lane_ended: Box::pin(lane.ended()),
        }
    }

    fn open(&mut self, setup: LinkSetup, own: &Handle) {
        self.state = match std::mem::replace(&mut self.state, ExtraState::Gone) {
            ExtraState::Waiting(socket, runtime) => {
                let plugin = setup.plugin_id.clone();
                match Link::open_v2(socket, setup, &runtime, own) {
                    Ok((link, news)) => ExtraState::Opened(Line { link, news: Some(news) }),
                    Err(error) => {
                        let plugin = &*plugin;
                        tracing::warn!(plugin, %error, "a lane's link cannot be opened; it uses the first");
                        ExtraState::Gone
                    }
                }
            }
            other => other,
        };
    }

    /// A link beside the first that never answers, refuses or closes is no failure; breaking the protocol on it is.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinksNews> {
        if self.poll_leave(cx) {
            return Poll::Ready(LinksNews::Changed);
        }
        loop {
            let (ExtraState::Opened(line) | ExtraState::Ready(line) | ExtraState::Leaving(line)) =
                &mut self.state
            else {
                return Poll::Pending;
            };
            let news = match line.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(news) => news,
            };
            match news {
                LinkNews::Ready { .. } => self.become_ready(),
                LinkNews::Lost(lost @ LinkLost::Protocol { .. }) => {
                    self.state = ExtraState::Gone;
                    return Poll::Ready(LinksNews::Occurred(Occurrence::LinkLost(loss(lost))));
                }
                LinkNews::Refused(_) | LinkNews::Lost(_) => {
                    line.link.close();
                    self.state = ExtraState::Gone;
                }
                LinkNews::PingsMissed(_) | LinkNews::Draining { .. } => continue,
            }
            return Poll::Ready(LinksNews::Changed);
        }
    }

    fn become_ready(&mut self) {
        self.state = match std::mem::replace(&mut self.state, ExtraState::Gone) {
            ExtraState::Opened(line) => ExtraState::Ready(line),
            other => other,
        };
    }

    /// Whether the lane has ended just now.
    fn poll_leave(&mut self, cx: &mut Context<'_>) -> bool {
        let is_of_lane = !matches!(self.state, ExtraState::Leaving(_) | ExtraState::Gone);
        if !is_of_lane || self.lane_ended.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.state = match std::mem::replace(&mut self.state, ExtraState::Gone) {
            ExtraState::Opened(line) | ExtraState::Ready(line) => {
                let link = line.link.clone();
                tokio::spawn(async move {
                    link.idle().await;
                    link.close();
                });
                ExtraState::Leaving(line)
            }
            _ => ExtraState::Gone,
        };
        true
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
