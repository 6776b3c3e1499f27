//! The future that moves bytes between the socket and the connection.

use std::{
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::Sleep,
};

use super::{
    DriveError,
    quiet::Quiet,
    shared::{Arrived, Shared, now},
};
use crate::{
    frame::TransmitBuf,
    proto::{ConnectionError, Progress},
};

/// Bytes read in one turn before others on the runtime get theirs.
const READ_BUDGET: usize = 512 << 10;
/// The least that is read at once: an idle link holds no more than this.
const MIN_READ: usize = 8 << 10;
/// The most that is read at once: one DATA frame of the default size.
const MAX_READ: usize = 256 << 10;
/// Bytes that are taken from the connection at a time: enough for one large DATA frame, and few enough that a frame
/// which goes first waits for little.
const WRITE_BATCH: usize = 256 << 10;
/// Batches written in one turn before the socket is read again.
const WRITES_PER_TURN: usize = 4;
/// How long what is queued may take to leave after [`Handle::close`](super::Handle::close).
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// Does the I/O. Resolves when the connection has ended: `Ok` at the peer's clean end or `Handle::close`.
#[derive(Debug)]
#[must_use = "nothing is read or written unless the driver is polled"]
pub struct Driver<IO> {
    io: IO,
    shared: Arc<Shared>,
    input: BytesMut,
    /// The memory of the input before, while what was read into it is still in use.
    spare: BytesMut,
    read_size: usize,
    output: TransmitBuf,
    timer: Option<Pin<Box<Sleep>>>,
    closing_until: Option<Instant>,
    quiet: Quiet,
    /// The last turn let others run before it wrote, so that their answers go in the same write.
    yielded: bool,
    /// Writing failed: what the peer still sent is read first.
    broken: Option<io::Error>,
    /// Empty between turns; kept for its memory.
    wakes: Vec<Waker>,
}

/// How a turn goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// There is more to do: others first.
    Again,
    /// The socket, a timer or a handle will wake the driver.
    Wait,
    /// The connection has ended.
    Ended,
}

impl<IO> Driver<IO> {
    pub(super) fn new(io: IO, shared: Arc<Shared>) -> Self {
        Self {
            io,
            shared,
            input: BytesMut::new(),
            spare: BytesMut::new(),
            read_size: MIN_READ,
            output: TransmitBuf::default(),
            timer: None,
            closing_until: None,
            quiet: Quiet::default(),
            yielded: false,
            broken: None,
            wakes: Vec::new(),
        }
    }

    fn end(&mut self) {
        let mut state = self.shared.lock();
        if state.has_ended() {
            return;
        }
        state.end();
        state.take_wakes(&mut self.wakes);
        drop(state);
        self.wake();
        self.shared.ended.notify_waiters();
        self.shared.room.notify_waiters();
        self.shared.idle.notify_waiters();
    }

    /// Wakes who waited, with no lock held. Gives back whether there was anyone.
    fn wake(&mut self) -> bool {
        let woke = !self.wakes.is_empty();
        for waker in self.wakes.drain(..) {
            waker.wake();
        }
        woke
    }

    /// Tells who waits for the link and not for one stream.
    fn tell(&self, arrived: Arrived) {
        if arrived.room {
            self.shared.room.notify_waiters();
        }
        if arrived.idle {
            self.shared.idle.notify_waiters();
        }
    }

    /// Handles what was read; true when whole frames are left for the next turn.
    fn handle_input(&mut self) -> Result<bool, ConnectionError> {
        let mut state = self.shared.lock();
        state.driver_runs();
        let progress = state.connection.handle_input(&mut self.input, now());
        state.dispatch_events();
        Ok(progress? == Progress::More)
    }

    fn handle_eof(&mut self) -> Result<(), ConnectionError> {
        let mut state = self.shared.lock();
        let end = state.connection.handle_eof(&self.input, now());
        state.dispatch_events();
        end
    }

    /// Runs the timers that are due and takes who is to be woken.
    fn handle_timers(&mut self) -> Result<(), ConnectionError> {
        let mut state = self.shared.lock();
        state.driver_runs();
        // Here too: while the socket takes nothing no batch is asked for, and the driver must sleep all the same.
        state.commands_taken();
        let now = now();
        let mut end = Ok(());
        if state.connection.next_timeout().is_some_and(|due| due <= now) {
            end = state.connection.handle_timeout(now);
        }
        state.dispatch_events();
        state.take_wakes(&mut self.wakes);
        if state.is_closing() && self.closing_until.is_none() {
            self.closing_until = Some(now + CLOSE_TIME);
        }
        // Here too: the peer's answers free places while the socket takes nothing.
        let arrived = state.take_arrived();
        let is_quiet = self.quiet.look(now);
        if is_quiet {
            // Of the buffer before and of this one.
            state.connection.let_go_of_input();
            state.connection.let_go_of_input();
        }
        drop(state);
        if is_quiet {
            self.read_size = MIN_READ;
            self.give_buffers_back();
        }
        self.tell(arrived);
        end
    }

    /// Takes the next batch; false when nothing is ready.
    fn fill_output(&mut self) -> bool {
        let mut state = self.shared.lock();
        state.commands_taken();
        let filled = state.connection.poll_transmit(&mut self.output, WRITE_BATCH, now());
        state.dispatch_events();
        state.take_wakes(&mut self.wakes);
        let arrived = state.take_arrived();
        drop(state);
        self.wake();
        self.tell(arrived);
        filled
    }

    /// No stream is open, or those that are have been quiet for long: most links are idle most of the time, and hold nothing meanwhile.
    fn give_buffers_back(&mut self) {
        self.quiet = Quiet::default();
        self.spare = BytesMut::new();
        if self.input.is_empty() {
            self.input = BytesMut::new();
        }
        if self.output.is_empty() {
            self.output = TransmitBuf::default();
        }
    }

    /// Arms the one timer. An earlier deadline re-arms it; a later one is looked at when it fires, so that a
    /// request does not cost two operations on the timer wheel.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Turn {
        loop {
            let due = self.shared.lock().connection.next_timeout();
            let due = due.into_iter().chain(self.closing_until).chain(self.quiet.next_look(now)).min();
            let Some(due) = due else { return Turn::Wait };
            let due = tokio::time::Instant::from_std(due);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if due < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Turn::Wait;
            }
            if due <= tokio::time::Instant::now() {
                return Turn::Again;
            }
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    fn turn(&mut self, cx: &mut Context<'_>) -> Result<Turn, DriveError> {
        let read = self.read(cx)?;
        self.handle_timers()?;
        if self.wake() && !self.yielded && read != Turn::Ended {
            self.yielded = true;
            return Ok(Turn::Again);
        }
        self.yielded = false;
        if read == Turn::Ended {
            return Ok(Turn::Ended);
        }
        if read == Turn::Wait {
            self.broken.take().map_or(Ok(()), |error| Err(DriveError::Io(error)))?;
        }
        let written = if self.broken.is_some() { Turn::Again } else { self.write(cx)? };
        if read == Turn::Again || written == Turn::Again {
            return Ok(Turn::Again);
        }
        if written == Turn::Ended {
            return Ok(Turn::Ended);
        }
        if self.poll_timer(cx) == Turn::Again {
            return Ok(Turn::Again);
        }
        let mut state = self.shared.lock();
        let sleeps = state.driver_sleeps(cx);
        let is_idle = state.connection.open_streams() == 0;
        drop(state);
        if sleeps && is_idle {
            self.give_buffers_back();
        }
        Ok(if sleeps { Turn::Wait } else { Turn::Again })
    }

    /// Reads and handles until the socket is empty or the turn's budget is used up.
    fn read(&mut self, cx: &mut Context<'_>) -> Result<Turn, DriveError> {
        if !self.input.is_empty() && self.handle_input()? {
            return Ok(Turn::Again);
        }
        let mut budget = READ_BUDGET;
        while budget > 0 {
            self.make_room();
            let space = self.input.capacity() - self.input.len();
            let n = match pin!(self.io.read_buf(&mut self.input)).poll(cx) {
                Poll::Pending => return Ok(Turn::Wait),
                Poll::Ready(Ok(n)) => n,
                // The peer closed the socket without reading all of it: it is gone all the same.
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => 0,
                Poll::Ready(Err(error)) => return Err(error.into()),
            };
            if n == 0 {
                self.handle_eof()?;
                return Ok(Turn::Ended);
            }
            self.read_size = match n {
                _ if n == space => self.read_size * 2,
                _ if n < self.read_size / 4 => self.read_size / 2,
                _ => self.read_size,
            }
            .clamp(MIN_READ, MAX_READ);
            if self.read_size > MIN_READ {
                self.quiet.stir();
            }
            if self.handle_input()? {
                break;
            }
            budget = budget.saturating_sub(n);
        }
        Ok(Turn::Again)
    }

    /// Makes room for the next read. What was read lies there until the application drops it, most often within a turn or two: so two
    /// buffers that take turns need no new memory.
    fn make_room(&mut self) {
        let is_enough = self.input.capacity() - self.input.len() >= MIN_READ / 2;
        if is_enough || self.input.try_reclaim(self.read_size) {
            return;
        }
        self.shared.lock().connection.let_go_of_input();
        let mut next = std::mem::take(&mut self.spare);
        next.reserve(self.input.len() + self.read_size);
        next.extend_from_slice(&self.input);
        self.input.clear();
        self.spare = std::mem::replace(&mut self.input, next);
    }

    /// Writes until nothing is ready, the socket is full or the turn's share is used up.
    fn write(&mut self, cx: &mut Context<'_>) -> Result<Turn, DriveError> {
        for _ in 0..WRITES_PER_TURN {
            if !self.output.has_remaining() && !self.fill_output() {
                return Ok(self.poll_close(cx));
            }
            while self.output.has_remaining() {
                match pin!(self.io.write_buf(&mut self.output)).poll(cx) {
                    Poll::Pending if self.is_late() => return Ok(Turn::Ended),
                    Poll::Pending => return Ok(Turn::Wait),
                    Poll::Ready(Ok(0)) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                    Poll::Ready(Ok(n)) if n > MIN_READ => self.quiet.stir(),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => {
                        self.broken = Some(error);
                        return Ok(Turn::Again);
                    }
                }
            }
        }
        Ok(Turn::Again)
    }

    /// Everything is written: closes the socket if that is wanted.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Turn {
        if self.closing_until.is_none() {
            return Turn::Wait;
        }
        // The connection ends here whether or not the peer is still there to be told.
        let is_closed = pin!(self.io.shutdown()).poll(cx).is_ready();
        if is_closed || self.is_late() { Turn::Ended } else { Turn::Wait }
    }

    fn is_late(&self) -> bool {
        self.closing_until.is_some_and(|until| until <= now())
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Future for Driver<IO> {
    type Output = Result<(), DriveError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let outcome = match this.turn(cx) {
            Ok(Turn::Wait) => return Poll::Pending,
            Ok(Turn::Again) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ok(Turn::Ended) => Ok(()),
            Err(error) => Err(error),
        };
        this.end();
        Poll::Ready(outcome)
    }
}

impl<IO> Drop for Driver<IO> {
    fn drop(&mut self) {
        self.end();
    }
}
