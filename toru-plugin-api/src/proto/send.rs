//! The half of a stream that this side sends.
//!
//! ```text
//!          head with a body                 finish            END is written
//!   Head ───────────────────────► Body ──────────────► Ending ───────────────► Ended
//!    │ │ offered upgrade            ▲                    ▲                       ▲
//!    │ └────────────► Held ─────────┘ 101                │                       │
//!    │                  └────────────────────────────────┘ another status        │
//!    └───────────────────────────────────────────────────────────────────────────┘
//!          head or message without a body; RESET of either side, from any state
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use super::{
    Direction, StreamGone,
    window::{Overflow, Window},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The answer's head has not been given.
    Head,
    /// An upgrade is offered: no byte goes before the answer.
    Held,
    /// Bytes come from the application.
    Body,
    /// No more bytes come; what is queued and the END are to be written.
    Ending,
    /// Nothing more is sent.
    Ended,
}

/// How the direction goes on after its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterHead {
    /// It has ended.
    Nothing,
    /// Bytes follow.
    Body,
    /// Bytes follow once the peer has said 101.
    Held,
}

/// What a request direction waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// The peer: for its credit or its answer.
    Peer,
    /// The application, for the next bytes.
    Application,
}

#[derive(Debug)]
pub(super) struct SendHalf {
    state: State,
    queue: VecDeque<Bytes>,
    credit: Window,
    /// The application has given all.
    finished: bool,
    /// The stream stands in the queue of turns.
    in_turn: bool,
}

impl SendHalf {
    /// The direction of an answer whose head is to come.
    pub(super) fn awaiting_head(window: u32) -> Self {
        Self {
            state: State::Head,
            queue: VecDeque::new(),
            credit: Window::new(window),
            finished: false,
            in_turn: false,
        }
    }

    /// The direction of a request whose head is being sent.
    pub(super) fn with_head(window: u32, after: AfterHead) -> Self {
        let mut half = Self::awaiting_head(window);
        half.head(after);
        half
    }

    /// The head was sent.
    pub(super) fn head(&mut self, after: AfterHead) {
        self.state = match after {
            AfterHead::Nothing => State::Ended,
            AfterHead::Body => State::Body,
            AfterHead::Held => State::Held,
        };
    }

    pub(super) fn awaits_head(&self) -> bool {
        self.state == State::Head
    }

    pub(super) fn is_ended(&self) -> bool {
        self.state == State::Ended
    }

    pub(super) fn direction(&self) -> Direction {
        match self.state {
            State::Head => Direction::AwaitsHead,
            State::Held | State::Body | State::Ending => Direction::Open,
            State::Ended => Direction::Ended,
        }
    }

    /// Whether the application may still add bytes.
    pub(super) fn is_open(&self) -> bool {
        !self.finished && matches!(self.state, State::Held | State::Body)
    }

    /// Whether no bytes are queued, so that the next may be taken from their source.
    pub(super) fn has_room(&self) -> bool {
        self.is_open() && self.queue.is_empty()
    }

    /// Whether nothing but the END is still to be written.
    pub(super) fn only_end_is_left(&self) -> bool {
        self.state == State::Ending && self.queue.is_empty()
    }

    pub(super) fn waits(&self) -> Waits {
        if self.state == State::Body && self.queue.is_empty() { Waits::Application } else { Waits::Peer }
    }

    pub(super) fn push(&mut self, bytes: Bytes) -> Result<(), StreamGone> {
        if !self.is_open() {
            return Err(StreamGone);
        }
        if !bytes.is_empty() {
            self.queue.push_back(bytes);
        }
        Ok(())
    }

    /// All bytes of the direction at once.
    pub(super) fn push_all(&mut self, bytes: Bytes) {
        self.queue.push_back(bytes);
        self.finished = true;
        self.state = State::Ending;
    }

    /// The application has no more bytes.
    pub(super) fn finish(&mut self) -> Result<(), StreamGone> {
        if !self.is_open() {
            return Err(StreamGone);
        }
        self.finished = true;
        if self.state == State::Body {
            self.state = State::Ending;
        }
        Ok(())
    }

    /// The offered upgrade was taken.
    pub(super) fn upgraded(&mut self) {
        if self.state == State::Held {
            self.state = if self.finished { State::Ending } else { State::Body };
        }
    }

    /// The offered upgrade was not taken: the direction ends without a byte.
    pub(super) fn not_upgraded(&mut self) {
        if self.state == State::Held {
            self.queue.clear();
            self.state = State::Ending;
        }
    }

    /// The peer accepts `credit` more bytes.
    pub(super) fn grant(&mut self, credit: u32) -> Result<(), Overflow> {
        self.credit.grant(credit)
    }

    /// Ends the direction by RESET; what is queued is discarded.
    pub(super) fn abort(&mut self) {
        self.state = State::Ended;
        self.queue = VecDeque::new();
    }

    /// Whether the stream should enter the queue of turns; true once until its turn has come.
    pub(super) fn enter_turns(&mut self) -> bool {
        let enters = !self.in_turn && self.can_write();
        self.in_turn |= enters;
        enters
    }

    pub(super) fn leave_turns(&mut self) {
        self.in_turn = false;
    }

    fn can_write(&self) -> bool {
        match self.state {
            State::Body => !self.queue.is_empty() && !self.credit.is_empty(),
            State::Ending => self.queue.is_empty() || !self.credit.is_empty(),
            State::Head | State::Held | State::Ended => false,
        }
    }

    /// The next DATA frame, of at most `limit` bytes, and whether it is the last.
    pub(super) fn next_frame(&mut self, limit: usize) -> Option<(Bytes, bool)> {
        if !self.can_write() {
            return None;
        }
        let bytes = match self.queue.front_mut() {
            None => Bytes::new(),
            Some(front) => {
                let size = front.len().min(self.credit.available()).min(limit);
                let bytes = front.split_to(size);
                if cfg!(seeded_bug) && front.len() == 1 {
                    // The fuzzer's prey: a byte that alone found no room is lost.
                    front.clear();
                }
                if front.is_empty() {
                    self.queue.pop_front();
                }
                self.credit.take(size).expect("no more was taken than the credit allows");
                bytes
            }
        };
        let end = self.only_end_is_left();
        if end {
            self.state = State::Ended;
        }
        Some((bytes, end))
    }
}
