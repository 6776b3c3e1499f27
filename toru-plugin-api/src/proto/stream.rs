//! A stream: its two halves, and what they carry.

use super::{
    recv::RecvHalf,
    send::{SendHalf, Waits},
    timer::{Running, Timer},
};

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exchange {
    /// An HTTP request and its answer.
    Http {
        /// The method is HEAD: the answer has no body, whatever it says.
        head_only: bool,
        /// Whether the request became a tunnel.
        upgrade: Upgrade,
    },
    /// A KV call and its answer.
    Kv,
    /// Something unknown that the peer opened; it has been answered with an error.
    Unknown,
}

/// How far an upgrade has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// None was offered.
    No,
    /// The request offers it.
    Offered,
    /// The answer took it: both directions are raw bytes.
    Taken,
}

/// A stream of either side.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) exchange: Exchange,
    pub(super) send: SendHalf,
    pub(super) recv: RecvHalf,
    pub(super) timer: Option<Running>,
    /// The application takes no more part: it has reset the stream, or it has been told its outcome.
    pub(super) muted: bool,
    /// This side has sent RESET.
    pub(super) reset_sent: bool,
    /// The application has closed its tunnel: RESET 0 follows this side's END.
    pub(super) hangs_up: bool,
    /// Bytes of a KV call, or of a plugin's request, that the application works on.
    pub(super) in_work: Option<usize>,
    /// Both directions have ended: for the wire the stream is forgotten. It stays until the application has read what
    /// arrived, or given its answer.
    pub(super) closed: bool,
}

impl Stream {
    pub(super) fn new(exchange: Exchange, send: SendHalf, recv: RecvHalf) -> Self {
        Self {
            exchange,
            send,
            recv,
            timer: None,
            muted: false,
            reset_sent: false,
            hangs_up: false,
            in_work: None,
            closed: false,
        }
    }

    pub(super) fn upgrade(&self) -> Upgrade {
        match self.exchange {
            Exchange::Http { upgrade, .. } => upgrade,
            Exchange::Kv | Exchange::Unknown => Upgrade::No,
        }
    }

    pub(super) fn set_upgraded(&mut self) {
        if let Exchange::Http { upgrade, .. } = &mut self.exchange {
            *upgrade = Upgrade::Taken;
        }
        self.send.upgraded();
    }

    /// The timer of a stream of this side (protocol section 4). Once the answer's head is there, only a request body that
    /// is still awaited from the client is timed.
    pub(super) fn timer_wanted(&self) -> Option<Timer> {
        if self.muted || self.reset_sent {
            return None;
        }
        let answered = !self.recv.awaits_head();
        match self.exchange {
            Exchange::Kv if !answered => Some(Timer::Kv),
            Exchange::Http { upgrade: Upgrade::Taken, .. } | Exchange::Kv | Exchange::Unknown => None,
            Exchange::Http { .. } => match self.send.waits() {
                Waits::Application => Some(Timer::BodyIdle),
                Waits::Peer if !answered => Some(Timer::Response),
                Waits::Peer => None,
            },
        }
    }

    /// Whether both directions have ended.
    pub(super) fn is_over(&self) -> bool {
        self.send.is_ended() && self.recv.is_ended()
    }

    /// Whether the application still has a part in it.
    pub(super) fn is_held(&self) -> bool {
        self.recv.is_read() || self.in_work.is_some()
    }
}
