//! The machine in simulated time, against a process that is only a script.

mod attached;
mod failures;
mod restarts;
mod schedules;
mod stops;

use serde_json::json;

use super::*;
use crate::{
    event::EventType,
    process::{Exit, GroupSignal},
};

const START: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(5);
const TERM: Duration = Duration::from_secs(2);
const MS: Duration = Duration::from_millis(1);

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settings() -> Settings {
    Settings {
        start_timeout: START,
        shutdown_grace: GRACE,
        term_grace: TERM,
        ping_unhealthy: 3,
        ping_dead: 6,
        restart: RestartPolicy::default(),
    }
}

/// A machine, a clock, and all that the machine ever asked for.
struct Bench {
    machine: Machine,
    epoch: Instant,
    now: Instant,
    done: Vec<(Duration, Action)>,
}

impl Bench {
    fn new() -> Self {
        let now = Instant::now();
        Self { machine: Machine::new(settings(), Wish::Up), epoch: now, now, done: Vec::new() }
    }

    /// Wanted up from the start, prepared, spawned as pid 7 and ready.
    fn running() -> Self {
        let mut bench = Self::new();
        bench.begin();
        bench.start();
        bench.done.clear();
        bench
    }

    fn begin(&mut self) {
        let actions = self.machine.begin();
        self.note(actions);
    }

    fn note(&mut self, actions: Vec<Action>) -> Vec<Action> {
        let at = self.now - self.epoch;
        self.done.extend(actions.iter().map(|action| (at, action.clone())));
        actions
    }

    fn tell(&mut self, input: Input) -> Vec<Action> {
        let actions = self.machine.step(input, self.now);
        self.note(actions)
    }

    fn of(&mut self, occurrence: Occurrence) -> Vec<Action> {
        self.tell(Input::Of(self.machine.generation, occurrence))
    }

    fn start(&mut self) {
        self.of(Occurrence::Prepared);
        self.of(Occurrence::Spawned { pid: Some(7) });
        self.of(Occurrence::Ready { protocol: 2 });
        assert_eq!(self.machine.name(), StateName::Running);
    }

    fn exit(&mut self, exit: Exit) -> Vec<Action> {
        self.of(Occurrence::Exited { exit, stderr_tail: Some("last words".to_owned()) })
    }

    /// Lets time pass, with every timer that falls into it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..1_000 {
            match self.machine.next_timeout() {
                Some(at) if at <= end => {
                    self.now = self.now.max(at);
                    self.tell(Input::Timeout);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        panic!("the timers do not come to rest");
    }

    fn wait_of_backoff(&self) -> Option<Duration> {
        self.machine.next_retry().map(|until| until - self.now)
    }

    fn times_of(&self, wanted: &Action) -> Vec<Duration> {
        self.done.iter().filter(|(_, action)| action == wanted).map(|(at, _)| *at).collect()
    }

    fn spawns(&self) -> usize {
        self.done.iter().filter(|(_, action)| matches!(action, Action::Spawn(_))).count()
    }

    fn events(&self) -> Vec<EventType> {
        let event = |(_, action): &(Duration, Action)| match action {
            Action::Emit(event, _) => Some(event.clone()),
            _ => None,
        };
        self.done.iter().filter_map(event).collect()
    }

    fn details_of(&self, wanted: &EventType) -> serde_json::Value {
        let details = self.done.iter().rev().find_map(|(_, action)| match action {
            Action::Emit(event, details) if event == wanted => Some(details.clone()),
            _ => None,
        });
        serde_json::Value::Object(details.expect("the event was emitted"))
    }

    fn code(&self) -> Option<&str> {
        self.machine.reason().map(|why| why.code.as_str())
    }
}
