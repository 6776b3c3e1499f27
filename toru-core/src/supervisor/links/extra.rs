//! The links beside the first: one for each lane that there was when the process was spawned.

use std::{
    fmt,
    os::unix::net::UnixStream,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

use super::{LinksNews, line::Line, loss};
use crate::{
    lanes::{Lane, LaneId},
    link::{Link, LinkLost, LinkNews, LinkSetup},
    supervisor::state::Occurrence,
};

/// The link of a lane.
pub(super) struct Extra {
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
    /// Its lane has ended, or the plugin drains it: it closes once the answers on it have.
    Leaving(Line),
    Gone,
}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Extra").field(&self.lane).field(&self.state).finish()
    }
}

impl Extra {
    pub(super) fn new(lane: Lane, socket: UnixStream) -> Self {
        Self {
            lane: lane.id,
            state: ExtraState::Waiting(socket, lane.runtime.clone()),
            lane_ended: Box::pin(lane.ended()),
        }
    }

    pub(super) fn open(&mut self, setup: LinkSetup, own: &Handle) {
        self.state = match std::mem::replace(&mut self.state, ExtraState::Gone) {
            ExtraState::Waiting(socket, runtime) => {
                let plugin = setup.plugin_id.clone();
                match Link::open_v2(socket, setup, &runtime, own) {
                    Ok((link, news)) => ExtraState::Opened(Line::new((link, news))),
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

    /// The link, while it takes requests.
    pub(super) fn ready(&self) -> Option<(LaneId, Link)> {
        match &self.state {
            ExtraState::Ready(line) => Some((self.lane, line.link.clone())),
            _ => None,
        }
    }

    pub(super) fn close(&self) {
        if let ExtraState::Opened(line) | ExtraState::Ready(line) | ExtraState::Leaving(line) = &self.state {
            line.link.close();
        }
    }

    /// A link beside the first that never answers, refuses or closes is no failure; breaking the protocol on it is.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinksNews> {
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
                LinkNews::Refused(failed) => {
                    self.warn(&format!("the plugin refuses it: {}: {}", failed.code, failed.message));
                    self.go();
                }
                // An end in order is a plugin's right, and the end of its process the first link's to tell.
                LinkNews::Lost(LinkLost::Closed) => self.state = ExtraState::Gone,
                LinkNews::Lost(lost) => {
                    self.warn(&lost.to_string());
                    self.go();
                }
                LinkNews::Draining { reason } => {
                    self.warn(&format!("the plugin takes no more streams on it: {reason}"));
                    self.leave();
                }
                LinkNews::PingsMissed(_) => continue,
            }
            return Poll::Ready(LinksNews::Changed);
        }
    }

    /// Says in the plugin's log why its lane does without the link.
    fn warn(&self, why: &str) {
        if let ExtraState::Opened(line) | ExtraState::Ready(line) | ExtraState::Leaving(line) = &self.state {
            line.link.warn(&format!("a lane's link is given up, its requests go by the first: {why}"));
        }
    }

    fn go(&mut self) {
        self.close();
        self.state = ExtraState::Gone;
    }

    /// No more requests; the link closes once the answers on it have ended.
    fn leave(&mut self) {
        self.state = match std::mem::replace(&mut self.state, ExtraState::Gone) {
            ExtraState::Opened(line) | ExtraState::Ready(line) => {
                let link = line.link.clone();
                tokio::spawn(async move {
                    link.idle().await;
                    link.close();
                });
                ExtraState::Leaving(line)
            }
            ExtraState::Leaving(line) => ExtraState::Leaving(line),
            ExtraState::Waiting(..) | ExtraState::Gone => ExtraState::Gone,
        };
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
        self.leave();
        true
    }
}
