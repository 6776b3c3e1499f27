//! What a driver and its handles share: the connection, who waits for which stream, what the application has not taken.

mod inbox;
mod slot;
mod stream;
mod streams;
mod waits;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Instant,
};

use tokio::sync::Notify;

use super::RequestError;
use crate::{
    frame::{ResetCode, StreamId},
    message::kv::{KvAnswer, KvError, KvErrorCode},
    proto::{Connection, Event, Phase, StreamMap},
};
use inbox::Inbox;
use slot::Slot;
use waits::Awaited;

pub(super) use inbox::Taken;
pub(super) use slot::{Answer, SendState, StreamKey};
pub(super) use stream::{ResetOnDrop, Stream};
pub(super) use waits::Arrived;

/// What is told of a request whose body the client owes for too long.
const BODY_STALLED: &str = "the rest of the body did not come in time";

/// The clock of the runtime, so that tests can pause it.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Told when a message may be queued or a stream opened again.
    pub(super) room: Notify,
    /// Told when no stream is open any more.
    pub(super) idle: Notify,
    /// Told when the connection has ended.
    pub(super) ended: Notify,
}

impl Shared {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            state: Mutex::new(State::new(connection)),
            room: Notify::new(),
            idle: Notify::new(),
            ended: Notify::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a fault of the connection's; its link still has to come down in order.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the connection, then has the driver put it on the wire.
    pub(super) fn command<R>(&self, command: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.lock();
        let outcome = command(&mut state);
        let driver = state.schedule();
        drop(state);
        if let Some(driver) = driver {
            driver.wake();
        }
        outcome
    }
}

/// What the mutex guards.
#[derive(Debug)]
pub(super) struct State {
    pub(super) connection: Connection,
    slots: StreamMap<Slot>,
    /// The generation of the last slot that was made.
    generation: u64,
    inbox: Inbox,
    /// Answers to KV calls that wait for room.
    kv_answers: VecDeque<(StreamKey, Result<KvAnswer, KvError>)>,
    /// To be woken once the lock is free.
    wakes: Vec<Waker>,
    awaited: Awaited,
    /// The driver, while it sleeps.
    driver: Option<Waker>,
    /// The driver runs or will: it need not be woken.
    driver_awake: bool,
    /// Something was commanded since the driver last looked.
    commanded: bool,
    closing: bool,
    ended: bool,
}

impl State {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            slots: StreamMap::default(),
            generation: 0,
            inbox: Inbox::default(),
            kv_answers: VecDeque::new(),
            wakes: Vec::new(),
            awaited: Awaited::default(),
            driver: None,
            driver_awake: false,
            commanded: false,
            closing: false,
            ended: false,
        }
    }

    // --- the driver's turns

    /// The driver is to be woken with what is given back.
    pub(super) fn schedule(&mut self) -> Option<Waker> {
        self.commanded = true;
        if self.driver_awake {
            return None;
        }
        self.driver_awake = true;
        self.driver.take()
    }

    pub(super) fn driver_runs(&mut self) {
        self.driver_awake = true;
    }

    /// The driver looks at what was commanded.
    pub(super) fn commands_taken(&mut self) {
        self.commanded = false;
    }

    /// Puts the driver to sleep, unless something was commanded in the meantime.
    pub(super) fn driver_sleeps(&mut self, cx: &Context<'_>) -> bool {
        if self.commanded {
            return false;
        }
        self.driver_awake = false;
        self.driver = Some(cx.waker().clone());
        true
    }

    /// Swaps the wakers that are due for `spare`, which is empty.
    pub(super) fn take_wakes(&mut self, spare: &mut Vec<Waker>) {
        std::mem::swap(&mut self.wakes, spare);
    }

    // --- the end

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
        self.wake_all();
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(super) fn end(&mut self) {
        self.ended = true;
        self.wake_all();
    }

    /// Whether streams have no future: nothing more is read or will be.
    pub(super) fn is_over(&self) -> bool {
        self.closing || self.ended || self.connection.phase() == Phase::Closed
    }

    fn wake_all(&mut self) {
        for slot in self.slots.values_mut() {
            slot.wake_all(&mut self.wakes);
        }
        self.wakes.extend(self.inbox.take_waker());
    }

    // --- what the connection tells

    /// Gives everything that the connection has to tell to who waits for it.
    pub(super) fn dispatch_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            self.dispatch(event);
        }
        while self.connection.has_room() {
            let Some((key, answer)) = self.kv_answers.pop_front() else { break };
            self.answer_kv_now(key.id, answer);
            self.release(key);
        }
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Response { id, head: Ok(head), body } => self.answered(id, Answer::Http(head, body)),
            Event::Response { id, head: Err(error), .. } => {
                self.answered(id, Answer::Failed(RequestError::Head(error)));
            }
            Event::KvAnswer { id, answer } => self.answered(id, Answer::Kv(answer)),
            Event::Readable(id) => {
                let reader = self.slots.get_mut(&id).and_then(|slot| slot.reader.take());
                self.wakes.extend(reader);
            }
            Event::Writable(id) => {
                let writer = self.slots.get_mut(&id).and_then(|slot| slot.writer.take());
                self.wakes.extend(writer);
            }
            Event::StopSending(id) => {
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.unwanted = true;
                    self.wakes.extend(slot.writer.take());
                }
            }
            Event::Reset { id, code, by_peer } => self.was_reset(id, code, by_peer),
            started => self.started(started),
        }
    }

    fn answered(&mut self, id: StreamId, answer: Answer) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.asking {
            slot.answer = Some(answer);
            self.wakes.extend(slot.asker.take());
        }
    }

    fn was_reset(&mut self, id: StreamId, code: ResetCode, by_peer: bool) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if slot.queued {
            self.slots.remove(&id);
            if let Some(event) = self.inbox.remove(id) {
                self.refuse(&event);
            }
            return;
        }
        let error = match code {
            ResetCode::TIMED_OUT if !by_peer => RequestError::TimedOut,
            // The only other timer of this side is the one on the client's body.
            ResetCode::CANCELLED if !by_peer => RequestError::Body(BODY_STALLED.into()),
            _ => RequestError::Reset(code),
        };
        slot.end(code, error, &mut self.wakes);
    }

    /// Keeps something that the peer started until the application takes it.
    fn started(&mut self, event: Event) {
        if self.inbox.is_abandoned() {
            self.refuse(&event);
            return;
        }
        if let Some(id) = inbox::opened_stream(&event) {
            self.generation += 1;
            self.slots.insert(id, Slot { queued: true, ..Slot::new(self.generation) });
        }
        self.wakes.extend(self.inbox.push(event));
    }

    /// Ends what nobody will take.
    fn refuse(&mut self, event: &Event) {
        match *event {
            Event::Request { id, .. } => self.connection.reset(id, ResetCode::REFUSED, now()),
            Event::KvCall { id, .. } => {
                let error = KvError::new(KvErrorCode::Unavailable, "nothing answers KV calls here");
                self.answer_kv_now(id, Err(error));
            }
            _ => {}
        }
    }
}
