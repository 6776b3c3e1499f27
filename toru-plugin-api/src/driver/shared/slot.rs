//! Who waits for what on one stream.

use std::task::{Context, Waker};

use crate::{
    driver::RequestError,
    frame::{ResetCode, StreamId},
    message::{
        http::{Framing, ResponseHead},
        kv::{KvAnswer, KvError},
    },
};

/// Names one use of a stream number: numbers come round, and an old handle must not reach a new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) struct StreamKey {
    pub(in crate::driver) id: StreamId,
    pub(super) generation: u64,
}

/// What came for who asked.
#[derive(Debug)]
pub(in crate::driver) enum Answer {
    Http(ResponseHead, Framing),
    Kv(Result<KvAnswer, KvError>),
    Failed(RequestError),
}

/// How far a stream is for who sends its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::driver) enum SendState {
    /// The next chunk may be given.
    Ready,
    /// The last chunk is still queued.
    Queued,
    /// Nothing more is wanted.
    Over,
}

/// Who waits for what on one stream. Lives as long as a handle of the stream does.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) generation: u64,
    pub(super) holders: u8,
    /// The application has not taken the request or call yet.
    pub(super) queued: bool,
    /// The answer is still to come or to be taken.
    pub(super) asking: bool,
    pub(super) answer: Option<Answer>,
    /// The stream ended before its end.
    pub(super) over: Option<ResetCode>,
    /// The peer does not want the rest of what this side sends.
    pub(super) unwanted: bool,
    pub(super) asker: Option<Waker>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Slot {
    pub(super) fn new(generation: u64) -> Self {
        Self {
            generation,
            holders: 0,
            queued: false,
            asking: false,
            answer: None,
            over: None,
            unwanted: false,
            asker: None,
            reader: None,
            writer: None,
        }
    }

    /// The stream is over before its end; who still asks gets `error`.
    pub(super) fn end(&mut self, code: ResetCode, error: RequestError, wakes: &mut Vec<Waker>) {
        self.over = Some(code);
        if self.asking && self.answer.is_none() {
            self.answer = Some(Answer::Failed(error));
        }
        self.wake_all(wakes);
    }

    pub(super) fn wake_all(&mut self, wakes: &mut Vec<Waker>) {
        wakes.extend(self.asker.take());
        wakes.extend(self.reader.take());
        wakes.extend(self.writer.take());
    }
}

pub(super) fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}
