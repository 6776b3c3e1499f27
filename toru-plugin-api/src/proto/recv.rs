//! The half of a stream that this side receives.
//!
//! ```text
//!          head with a body             END, RESET
//!   Head ────────────────────► Body ────────────────► Ended
//!    └──────────────────────────────────────────────────▲
//!          head or message without a body; RESET
//! ```
//!
//! Apart from the wire there is the reader: it may still take what arrived after the wire is done.

use bytes::Bytes;

use super::{
    Direction, ReadOutcome,
    buffer::Buffer,
    window::{Raises, RecvWindow},
};
use crate::frame::ResetCode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Body,
    Ended,
}

/// Who takes the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// No one: there are none, or all were taken.
    None,
    /// The application.
    Application,
    /// The application, which has still to learn that the body is not whole.
    Cut(ResetCode),
    /// No one; they are dropped, and credit goes back as if they had been read.
    Discard,
    /// No one, and no credit goes back: this side has sent RESET and awaits the peer's end.
    Deaf,
}

/// The body that a head announces, as its receiver takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// The direction has ended.
    None,
    /// DATA for the application; with its content-length, if it has one.
    Read {
        /// The bytes that must come.
        length: Option<u64>,
    },
    /// DATA that nobody wants.
    Discard,
}

/// DATA that may not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataFault {
    BeforeHead,
    AfterEnd,
    CreditPassed,
}

/// What a DATA frame leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Nothing that must be told.
    Quiet,
    /// It waits for the reader.
    Stored {
        /// The reader is to be told.
        tell: bool,
        /// It is kept as it came: a piece of the read buffer.
        is_piece: bool,
    },
    /// Credit goes back.
    Credit(u32),
    /// The body is shorter or longer than its content-length: it is cut.
    LengthMismatch,
}

#[derive(Debug)]
pub(super) struct RecvHalf {
    state: State,
    reader: Reader,
    window: RecvWindow,
    buffer: Buffer,
    /// What the content-length still demands.
    owed: Option<u64>,
    /// The reader knows that there is something.
    told: bool,
    /// Credit that waits for its frame to be written.
    due: u32,
}

impl RecvHalf {
    /// The direction of an answer whose head is to come.
    pub(super) fn awaiting_head(window: u32) -> Self {
        Self {
            state: State::Head,
            reader: Reader::None,
            window: RecvWindow::new(window),
            buffer: Buffer::default(),
            owed: None,
            told: false,
            due: 0,
        }
    }

    /// The direction of a request whose head has come.
    pub(super) fn with_head(window: u32, body: Body) -> Self {
        let mut half = Self::awaiting_head(window);
        half.head(body);
        half
    }

    /// The head has come.
    pub(super) fn head(&mut self, body: Body) {
        let deaf = self.reader == Reader::Deaf;
        (self.state, self.reader) = match body {
            Body::None => (State::Ended, Reader::None),
            _ if deaf => (State::Body, Reader::Deaf),
            Body::Discard => (State::Body, Reader::Discard),
            Body::Read { length } => {
                self.owed = length;
                (State::Body, Reader::Application)
            }
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
            State::Body => Direction::Open,
            State::Ended => Direction::Ended,
        }
    }

    /// Whether the application is still to come to the end of the body.
    pub(super) fn is_read(&self) -> bool {
        self.reader == Reader::Application
    }

    /// Takes a DATA frame.
    pub(super) fn data(
        &mut self,
        bytes: Bytes,
        end: bool,
        raises: &mut Raises,
    ) -> Result<Arrival, DataFault> {
        match self.state {
            State::Head => return Err(DataFault::BeforeHead),
            State::Ended => return Err(DataFault::AfterEnd),
            State::Body => {}
        }
        self.window.receive(bytes.len()).map_err(|_| DataFault::CreditPassed)?;
        if end {
            self.state = State::Ended;
        }
        match self.reader {
            Reader::Application => Ok(self.store(bytes, end)),
            Reader::Discard => Ok(self.consumed(bytes.len(), raises).map_or(Arrival::Quiet, Arrival::Credit)),
            Reader::Cut(_) | Reader::Deaf | Reader::None => Ok(Arrival::Quiet),
        }
    }

    fn store(&mut self, bytes: Bytes, end: bool) -> Arrival {
        if let Some(owed) = &mut self.owed {
            let left = u64::try_from(bytes.len()).ok().and_then(|length| owed.checked_sub(length));
            match left {
                Some(left) if !end || left == 0 => *owed = left,
                _ => return Arrival::LengthMismatch,
            }
        }
        let is_piece = self.buffer.push(bytes);
        Arrival::Stored { tell: !std::mem::replace(&mut self.told, true), is_piece }
    }

    /// What waits is copied, so that it keeps no read buffer.
    pub(super) fn let_go_of_pieces(&mut self) {
        self.buffer.let_go();
    }

    /// Gives the application what there is, and the credit that goes back for it.
    pub(super) fn read(&mut self, raises: &mut Raises) -> (ReadOutcome, Option<u32>) {
        if let Reader::Cut(code) = self.reader {
            self.deafen();
            return (ReadOutcome::Reset(code), None);
        }
        if let Some(bytes) = self.buffer.pop() {
            let credit = self.consumed(bytes.len(), raises);
            return (ReadOutcome::Data(bytes), credit);
        }
        if self.state != State::Ended {
            self.told = false;
            return (ReadOutcome::Pending, None);
        }
        self.reader = Reader::None;
        (ReadOutcome::End, None)
    }

    /// The application drops its interest; what comes is discarded under credit.
    pub(super) fn discard(&mut self, raises: &mut Raises) -> Option<u32> {
        match self.reader {
            Reader::Application => {}
            Reader::Cut(_) => {
                self.deafen();
                return None;
            }
            Reader::None | Reader::Discard | Reader::Deaf => return None,
        }
        self.reader = if self.state == State::Ended { Reader::None } else { Reader::Discard };
        let dropped = self.buffer.clear();
        self.consumed(dropped, raises)
    }

    /// The application has no part in it any more, and no credit goes back.
    pub(super) fn deafen(&mut self) {
        self.buffer.clear();
        self.reader = if self.state == State::Ended { Reader::None } else { Reader::Deaf };
    }

    /// This side has sent RESET: no credit goes back for what nobody reads.
    pub(super) fn stop_discarding(&mut self) {
        if matches!(self.reader, Reader::None | Reader::Discard) {
            self.deafen();
        }
    }

    /// The body is not whole: the reader gets `code` instead of what it has not read, and what still comes on the
    /// wire is dropped. True: the reader is to be told.
    pub(super) fn cut(&mut self, code: ResetCode) -> bool {
        if self.reader != Reader::Application {
            return false;
        }
        self.reader = Reader::Cut(code);
        self.buffer.clear();
        !std::mem::replace(&mut self.told, true)
    }

    /// The peer has ended the direction by RESET, or the connection has ended.
    pub(super) fn end(&mut self) {
        self.state = State::Ended;
        if matches!(self.reader, Reader::Discard | Reader::Deaf) {
            self.reader = Reader::None;
        }
    }

    /// Adds to the credit that waits to be written. True: no frame was waiting yet.
    pub(super) fn owe_credit(&mut self, credit: u32) -> bool {
        let first = self.due == 0;
        self.due += credit;
        first
    }

    /// The credit that is to be written now; none for a direction that has ended.
    pub(super) fn take_credit(&mut self) -> Option<u32> {
        let due = std::mem::take(&mut self.due);
        (due > 0 && self.state != State::Ended).then_some(due)
    }

    /// Gives back what the window was raised by.
    pub(super) fn close(&mut self, raises: &mut Raises) {
        self.window.close(raises);
    }

    fn consumed(&mut self, bytes: usize, raises: &mut Raises) -> Option<u32> {
        if self.state == State::Ended || bytes == 0 {
            return None;
        }
        let caught_up = self.reader == Reader::Application && self.buffer.is_empty();
        self.window.consume(bytes, caught_up, raises)
    }
}
