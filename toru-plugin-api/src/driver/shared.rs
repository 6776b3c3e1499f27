//! What a driver and its handles share: the connection, who waits for which stream, what the application has not taken.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use tokio::sync::Notify;

use super::RequestError;
use crate::{
    frame::{ResetCode, StreamId},
    message::{
        http::{Framing, ResponseHead},
        kv::{KvAnswer, KvError, KvErrorCode},
    },
    proto::{Connection, Event, Phase, Side},
};

/// Log records and events that wait for the application; more are dropped and counted. A second of the
/// most that a host takes from one plugin.
const MAX_RECORDS: usize = 1_024;

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

#[derive(Debug)]
pub(super) struct State {
    pub(super) connection: Connection,
    slots: HashMap<StreamId, Slot>,
    generation: u64,
    /// What the peer started and the application has not taken. Without handles: these would lock again when dropped.
    queue: VecDeque<Event>,
    queued_records: usize,
    dropped_records: u64,
    incoming: Option<Waker>,
    incoming_dropped: bool,
    /// Answers to KV calls that wait for room.
    kv_answers: VecDeque<(StreamKey, Result<KvAnswer, KvError>)>,
    /// To be woken once the lock is free.
    wakes: Vec<Waker>,
    driver: Option<Waker>,
    /// The driver runs or will: it need not be woken.
    driver_awake: bool,
    /// Something was commanded since the driver last looked.
    commanded: bool,
    closing: bool,
    ended: bool,
}

/// Names one use of a stream number: numbers come round, and an old handle must not reach a new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StreamKey {
    pub(super) id: StreamId,
    generation: u64,
}

/// Who waits for what on one stream. Lives as long as a handle of the stream does.
#[derive(Debug)]
struct Slot {
    generation: u64,
    holders: u8,
    /// The application has not taken the request or call yet.
    queued: bool,
    /// The answer is still to come or to be taken.
    asking: bool,
    answer: Option<Answer>,
    /// The stream ended before its end.
    over: Option<ResetCode>,
    /// The peer does not want the rest of what this side sends.
    unwanted: bool,
    asker: Option<Waker>,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What came for who asked.
#[derive(Debug)]
pub(super) enum Answer {
    Http(ResponseHead, Framing),
    Kv(Result<KvAnswer, KvError>),
    Failed(RequestError),
}

/// What the application takes from the queue.
#[derive(Debug)]
pub(super) enum Taken {
    /// The peer started something; the stream that it opened, held once.
    Started(Event, Option<StreamKey>),
    /// So many records were dropped.
    Dropped(u64),
}

/// How far a stream is for who sends its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendState {
    /// The next chunk may be given.
    Ready,
    /// The last chunk is still queued.
    Queued,
    /// Nothing more is wanted.
    Over,
}

impl State {
    fn new(connection: Connection) -> Self {
        Self {
            connection,
            slots: HashMap::new(),
            generation: 0,
            queue: VecDeque::new(),
            queued_records: 0,
            dropped_records: 0,
            incoming: None,
            incoming_dropped: false,
            kv_answers: VecDeque::new(),
            wakes: Vec::new(),
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
            self.wakes.extend(slot.asker.take());
            self.wakes.extend(slot.reader.take());
            self.wakes.extend(slot.writer.take());
        }
        self.wakes.extend(self.incoming.take());
    }

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
            Event::Response { id, head, body } => {
                self.answered(
                    id,
                    match head {
                        Ok(head) => Answer::Http(head, body),
                        Err(error) => Answer::Failed(RequestError::Head(error)),
                    },
                );
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
            if let Some(place) = self.queue.iter().position(|event| opened_stream(event) == Some(id)) {
                let event = self.queue.remove(place).expect("the place was just found");
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

    /// Queues something that the peer started.
    fn started(&mut self, event: Event) {
        if self.incoming_dropped {
            self.refuse(&event);
            return;
        }
        if matches!(event, Event::Log(_) | Event::Plugin(_)) {
            if self.queued_records >= MAX_RECORDS {
                self.dropped_records += 1;
                return;
            }
            self.queued_records += 1;
        }
        if let Some(id) = opened_stream(&event) {
            let slot = Slot { queued: true, ..Slot::new(self.next_generation()) };
            self.slots.insert(id, slot);
        }
        self.queue.push_back(event);
        self.wakes.extend(self.incoming.take());
    }

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

    // --- what the peer starts

    /// The next thing that the application has not taken.
    pub(super) fn poll_incoming(&mut self, cx: &Context<'_>) -> Poll<Option<Taken>> {
        let Some(event) = self.queue.pop_front() else {
            let dropped = std::mem::take(&mut self.dropped_records);
            if dropped > 0 {
                return Poll::Ready(Some(Taken::Dropped(dropped)));
            }
            if self.is_over() {
                return Poll::Ready(None);
            }
            register(&mut self.incoming, cx);
            return Poll::Pending;
        };
        if matches!(event, Event::Log(_) | Event::Plugin(_)) {
            self.queued_records -= 1;
        }
        let key = opened_stream(&event).and_then(|id| {
            let slot = self.slots.get_mut(&id)?;
            slot.queued = false;
            slot.holders = 1;
            Some(StreamKey { id, generation: slot.generation })
        });
        Poll::Ready(Some(Taken::Started(event, key)))
    }

    pub(super) fn drop_incoming(&mut self) {
        self.incoming_dropped = true;
        for event in std::mem::take(&mut self.queue) {
            if let Some(id) = opened_stream(&event) {
                self.slots.remove(&id);
            }
            self.refuse(&event);
        }
    }

    // --- streams

    fn next_generation(&mut self) -> u64 {
        self.generation += 1;
        self.generation
    }

    /// Keeps a place for a stream that this side opened and asked something on.
    pub(super) fn opened(&mut self, id: StreamId) -> StreamKey {
        let generation = self.next_generation();
        self.slots.insert(id, Slot { asking: true, holders: 1, ..Slot::new(generation) });
        StreamKey { id, generation }
    }

    fn slot(&mut self, key: StreamKey) -> Option<&mut Slot> {
        self.slots.get_mut(&key.id).filter(|slot| slot.generation == key.generation)
    }

    pub(super) fn hold(&mut self, key: StreamKey) {
        if let Some(slot) = self.slot(key) {
            slot.holders += 1;
        }
    }

    pub(super) fn release(&mut self, key: StreamKey) {
        let Entry::Occupied(mut entry) = self.slots.entry(key.id) else { return };
        let slot = entry.get_mut();
        if slot.generation != key.generation {
            return;
        }
        slot.holders -= 1;
        if slot.holders == 0 {
            entry.remove();
        }
    }

    /// Whether commands for the stream still reach it.
    pub(super) fn is_live(&mut self, key: StreamKey) -> bool {
        !self.is_over() && self.slot(key).is_some_and(|slot| slot.over.is_none())
    }

    pub(super) fn poll_answer(&mut self, key: StreamKey, cx: &Context<'_>) -> Poll<Answer> {
        let is_over = self.is_over();
        let Some(slot) = self.slot(key) else { return Poll::Ready(Answer::Failed(RequestError::LinkLost)) };
        if let Some(answer) = slot.answer.take() {
            slot.asking = false;
            return Poll::Ready(answer);
        }
        if is_over {
            return Poll::Ready(Answer::Failed(RequestError::LinkLost));
        }
        register(&mut slot.asker, cx);
        Poll::Pending
    }

    /// Ready when the stream has ended before its end, or the link has.
    pub(super) fn poll_over(&mut self, key: StreamKey, cx: &Context<'_>) -> Poll<()> {
        if !self.is_live(key) {
            return Poll::Ready(());
        }
        if let Some(slot) = self.slot(key) {
            register(&mut slot.asker, cx);
        }
        Poll::Pending
    }

    /// How far the stream is for who sends on it, who is woken when that changes.
    pub(super) fn poll_send(&mut self, key: StreamKey, cx: &Context<'_>) -> SendState {
        if !self.is_live(key) {
            return SendState::Over;
        }
        let can_send = self.connection.can_send(key.id);
        match self.slot(key) {
            Some(slot) if !slot.unwanted => {
                register(&mut slot.writer, cx);
                if can_send { SendState::Ready } else { SendState::Queued }
            }
            _ => SendState::Over,
        }
    }

    /// What the reader of a stream that ended before its end is told.
    pub(super) fn over(&mut self, key: StreamKey) -> Option<ResetCode> {
        match self.slot(key) {
            Some(slot) => slot.over,
            None => Some(ResetCode::CANCELLED),
        }
    }

    pub(super) fn register_reader(&mut self, key: StreamKey, cx: &Context<'_>) {
        if let Some(slot) = self.slot(key) {
            register(&mut slot.reader, cx);
        }
    }

    /// Ends the stream from this side.
    pub(super) fn reset(&mut self, key: StreamKey, code: ResetCode) {
        self.fail(key, code, RequestError::Reset(code));
    }

    /// Ends the stream from this side; who asked gets `error`.
    pub(super) fn fail(&mut self, key: StreamKey, code: ResetCode, error: RequestError) {
        if !self.is_live(key) {
            return;
        }
        self.connection.reset(key.id, code, now());
        if let Some(slot) = self.slots.get_mut(&key.id) {
            slot.end(code, error, &mut self.wakes);
        }
    }

    /// Answers a KV call, or keeps the answer until there is room. Also of a stream that was reset: the connection
    /// counts the call as in work until then.
    pub(super) fn answer_kv(&mut self, key: StreamKey, answer: Result<KvAnswer, KvError>) {
        if self.connection.has_room() {
            self.answer_kv_now(key.id, answer);
        } else if !self.is_over() {
            self.hold(key);
            self.kv_answers.push_back((key, answer));
        }
    }

    fn answer_kv_now(&mut self, id: StreamId, answer: Result<KvAnswer, KvError>) {
        // A stream that ended meanwhile has nobody who waits for the answer.
        let _ = self.connection.answer_kv(id, answer, now());
    }

    /// Whether an own stream can surely be opened: those open are counted whoever opened them.
    pub(super) fn surely_opens(&self) -> bool {
        self.connection.open_streams() < self.connection.peer_limits().max_streams as usize
    }

    pub(super) fn side(&self) -> Side {
        self.connection.side()
    }
}

impl Slot {
    fn new(generation: u64) -> Self {
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

    fn end(&mut self, code: ResetCode, error: RequestError, wakes: &mut Vec<Waker>) {
        self.over = Some(code);
        if self.asking && self.answer.is_none() {
            self.answer = Some(Answer::Failed(error));
        }
        wakes.extend(self.asker.take());
        wakes.extend(self.reader.take());
        wakes.extend(self.writer.take());
    }
}

/// One more holder of a stream's slot; the last one that is dropped frees it.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) shared: Arc<Shared>,
    pub(super) key: StreamKey,
}

impl Stream {
    /// Takes over a hold that was counted already.
    pub(super) fn adopt(shared: Arc<Shared>, key: StreamKey) -> Self {
        Self { shared, key }
    }

    pub(super) fn reset(&self, code: ResetCode) {
        let key = self.key;
        self.shared.command(|state| state.reset(key, code));
    }
}

impl Clone for Stream {
    fn clone(&self) -> Self {
        self.shared.lock().hold(self.key);
        Self { shared: self.shared.clone(), key: self.key }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.lock().release(self.key);
    }
}

/// Resets a stream, unless it is disarmed before it is dropped.
#[derive(Debug)]
pub(super) struct ResetOnDrop<'s> {
    stream: &'s Stream,
    code: ResetCode,
    is_armed: bool,
}

impl<'s> ResetOnDrop<'s> {
    pub(super) fn new(stream: &'s Stream, code: ResetCode) -> Self {
        Self { stream, code, is_armed: true }
    }

    pub(super) fn disarm(mut self) {
        self.is_armed = false;
    }
}

impl Drop for ResetOnDrop<'_> {
    fn drop(&mut self) {
        if self.is_armed {
            self.stream.reset(self.code);
        }
    }
}

fn opened_stream(event: &Event) -> Option<StreamId> {
    match *event {
        Event::Request { id, .. } | Event::KvCall { id, .. } => Some(id),
        _ => None,
    }
}

fn register(place: &mut Option<Waker>, cx: &Context<'_>) {
    match place {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *place = Some(cx.waker().clone()),
    }
}
