//! Timers as data: what runs, and when the first is due.
//!
//! All timers of one kind run equally long, so the order in which they were started is the order in
//! which they expire: each kind is a linked list through a slab, and starting, stopping and asking for the next cost
//! the same however many streams there are.

use std::time::{Duration, Instant};

use slab::Slab;

use crate::frame::StreamId;

/// Later than any connection lives, and within what every clock holds.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The moment that is `time` after `now`. Settings may name any time, also one past the end of the clock.
pub(super) fn after(now: Instant, time: Duration) -> Instant {
    now.checked_add(time).unwrap_or_else(|| now + FAR)
}

/// A timer of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Timer {
    /// The host waits for the plugin alone (protocol section 4).
    Response,
    /// A request body is awaited from the client.
    BodyIdle,
    /// A KV call of this side is awaited.
    Kv,
}

/// A timer that runs; it is stopped with this.
#[derive(Debug)]
pub(super) struct Running {
    timer: Timer,
    slot: usize,
}

impl Running {
    pub(super) fn timer(&self) -> Timer {
        self.timer
    }
}

/// All timers of the streams of a connection.
#[derive(Debug)]
pub(super) struct Timers {
    response: Lane,
    body_idle: Lane,
    kv: Lane,
}

impl Timers {
    pub(super) fn new(response: Duration, body_idle: Duration, kv: Duration) -> Self {
        Self { response: Lane::new(response), body_idle: Lane::new(body_idle), kv: Lane::new(kv) }
    }

    pub(super) fn start(&mut self, timer: Timer, id: StreamId, now: Instant) -> Running {
        Running { timer, slot: self.lane(timer).push(id, now) }
    }

    pub(super) fn stop(&mut self, running: Running) {
        self.lane(running.timer).remove(running.slot);
    }

    /// When the first timer is due.
    pub(super) fn next(&self) -> Option<Instant> {
        [&self.response, &self.body_idle, &self.kv].into_iter().filter_map(Lane::next).min()
    }

    /// A timer that is due, to be stopped by its stream.
    pub(super) fn due(&self, now: Instant) -> Option<(Timer, StreamId)> {
        [(Timer::Response, &self.response), (Timer::BodyIdle, &self.body_idle), (Timer::Kv, &self.kv)]
            .into_iter()
            .find_map(|(timer, lane)| Some((timer, lane.due(now)?)))
    }

    fn lane(&mut self, timer: Timer) -> &mut Lane {
        match timer {
            Timer::Response => &mut self.response,
            Timer::BodyIdle => &mut self.body_idle,
            Timer::Kv => &mut self.kv,
        }
    }
}

/// The timers of one kind, the earliest at the head.
#[derive(Debug)]
struct Lane {
    duration: Duration,
    nodes: Slab<Node>,
    head: Option<usize>,
    tail: Option<usize>,
}

#[derive(Debug)]
struct Node {
    id: StreamId,
    due: Instant,
    before: Option<usize>,
    after: Option<usize>,
}

impl Lane {
    fn new(duration: Duration) -> Self {
        Self { duration, nodes: Slab::new(), head: None, tail: None }
    }

    fn push(&mut self, id: StreamId, now: Instant) -> usize {
        // A caller whose clock stepped back must not break the order.
        let due = after(now, self.duration);
        let due = self.tail.map_or(due, |tail| self.nodes[tail].due.max(due));
        let slot = self.nodes.insert(Node { id, due, before: self.tail, after: None });
        match self.tail.replace(slot) {
            Some(tail) => self.nodes[tail].after = Some(slot),
            None => self.head = Some(slot),
        }
        slot
    }

    fn remove(&mut self, slot: usize) {
        let Node { before, after, .. } = self.nodes.remove(slot);
        match before {
            Some(before) => self.nodes[before].after = after,
            None => self.head = after,
        }
        match after {
            Some(after) => self.nodes[after].before = before,
            None => self.tail = before,
        }
    }

    fn next(&self) -> Option<Instant> {
        self.head.map(|head| self.nodes[head].due)
    }

    fn due(&self, now: Instant) -> Option<StreamId> {
        self.head.map(|head| &self.nodes[head]).filter(|node| node.due <= now).map(|node| node.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn timers() -> Timers {
        Timers::new(30 * SECOND, 20 * SECOND, 5 * SECOND)
    }

    #[test]
    fn the_earliest_of_all_kinds_is_next() {
        let (mut timers, now) = (timers(), Instant::now());
        assert_eq!(timers.next(), None);
        timers.start(Timer::Response, StreamId(1), now);
        assert_eq!(timers.next(), Some(now + 30 * SECOND));
        timers.start(Timer::Kv, StreamId(3), now + SECOND);
        assert_eq!(timers.next(), Some(now + 6 * SECOND));
        assert_eq!(timers.due(now + 5 * SECOND), None);
        assert_eq!(timers.due(now + 6 * SECOND), Some((Timer::Kv, StreamId(3))));
    }

    #[test]
    fn stopping_in_the_middle_keeps_the_order() {
        let (mut timers, now) = (timers(), Instant::now());
        let mut running: Vec<_> =
            (0..5).map(|n| timers.start(Timer::Response, StreamId(n), now + n * SECOND)).collect();
        for (stop, first) in [(2, Some(0)), (0, Some(1)), (2, Some(1)), (0, Some(3)), (0, None)] {
            timers.stop(running.remove(stop));
            assert_eq!(timers.next(), first.map(|n| now + n * SECOND + 30 * SECOND));
        }
    }

    #[test]
    fn a_time_past_the_end_of_the_clock_never_comes() {
        let now = Instant::now();
        let mut timers = Timers::new(Duration::MAX, SECOND, SECOND);
        timers.start(Timer::Response, StreamId(1), now);
        assert_eq!(timers.due(now + 1_000_000 * SECOND), None);
    }

    #[test]
    fn a_clock_that_steps_back_keeps_the_order() {
        let (mut timers, now) = (timers(), Instant::now());
        timers.start(Timer::Kv, StreamId(1), now + SECOND);
        timers.start(Timer::Kv, StreamId(3), now);
        assert_eq!(timers.due(now + 6 * SECOND), Some((Timer::Kv, StreamId(1))));
    }
}
