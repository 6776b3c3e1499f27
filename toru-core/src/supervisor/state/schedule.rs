//! A schedule: what happens to a machine, chosen from outside, and what must hold of it whatever is chosen. The tests
//! choose by numbers, the fuzzer by bytes.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{Action, Failure, Generation, Input, Loss, Machine, Occurrence, Settings, StateName, Wish};
use crate::{event::EventType, process::Exit, supervisor::restart::RestartPolicy};

/// The moves after which a machine whose plugin behaves must have come to rest: a stop, a start, and room to spare.
const MOST_MOVES: usize = 100;

/// Where the choices come from.
pub(in crate::supervisor) trait Choices {
    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64;
}

/// What a driver would have under way, and what must always hold of it.
#[derive(Debug)]
pub(in crate::supervisor) struct Schedule {
    machine: Machine,
    now: Instant,
    preparing: Option<Generation>,
    spawning: Option<Generation>,
    alive: Option<Generation>,
    /// The policy's own record, kept apart from the machine's.
    waits: BTreeMap<u32, u64>,
    /// The failures in a row, as last announced.
    in_a_row: u32,
    due: Option<Instant>,
    closing: bool,
    spawns: usize,
}

impl Schedule {
    /// A plugin that is wanted when the host starts.
    pub(in crate::supervisor) fn new(now: Instant) -> Self {
        let waits = [(1, 1), (2, 2), (3, 4), (4, 8)].into_iter().chain((5..10).map(|attempt| (attempt, 16)));
        let settings = Settings {
            start_timeout: Duration::from_secs(10),
            shutdown_grace: Duration::from_secs(5),
            term_grace: Duration::from_secs(2),
            ping_unhealthy: 3,
            ping_dead: 6,
            restart: RestartPolicy::default(),
        };
        let mut schedule = Self {
            machine: Machine::new(settings, Wish::Up),
            now,
            preparing: None,
            spawning: None,
            alive: None,
            waits: waits.collect(),
            in_a_row: 0,
            due: None,
            closing: false,
            spawns: 0,
        };
        let actions = schedule.machine.begin();
        schedule.carry_out(&actions, true, false);
        schedule
    }

    /// Something that may happen now; what a process does only while there is one.
    pub(in crate::supervisor) fn happen(&mut self, choices: &mut impl Choices) {
        match choices.below(24) {
            0 => self.tell(Input::Want(Wish::Up)),
            1 => self.tell(Input::Want(Wish::Down)),
            2 => self.tell(Input::Evicted(Failure::new("route_taken", "by another"))),
            3 if self.machine.generation.0 > 1 => {
                let old = Generation(self.machine.generation.0 - 1);
                self.tell(Input::Of(old, exited(Exit::Code(0))));
            }
            4..=9 => {
                if let Some(at) = self.machine.next_timeout() {
                    self.now = self.now.max(at);
                    self.tell(Input::Timeout);
                }
            }
            10 => {
                let end = self.now + Duration::from_millis(choices.below(3_000));
                self.now = self.machine.next_timeout().map_or(end, |at| end.min(at));
            }
            choice => self.process_event(choice, choices),
        }
    }

    /// The host ends: nothing is started any more.
    #[cfg(feature = "fuzzing")]
    pub(in crate::supervisor) fn shut_down(&mut self) {
        self.closing = true;
        self.tell(Input::Shutdown);
    }

    /// The last wish, and a plugin that behaves from now on: the wish is obeyed. Gives how often it was spawned.
    pub(in crate::supervisor) fn finish(mut self, wish: Wish) -> usize {
        self.tell(Input::Want(wish));
        self.settle();
        let expected = match wish {
            _ if self.closing => {
                assert!(self.machine.is_finished());
                return self.spawns;
            }
            Wish::Up => StateName::Running,
            Wish::Down => StateName::Stopped,
        };
        assert_eq!(self.machine.name(), expected);
        self.spawns
    }

    fn tell(&mut self, input: Input) {
        let asked_up = matches!(input, Input::Want(Wish::Up));
        let was_down = !self.machine.is_enabled();
        let actions = self.machine.step(input, self.now);
        self.carry_out(&actions, asked_up, was_down);
        self.check();
    }

    fn carry_out(&mut self, actions: &[Action], asked_up: bool, was_down: bool) {
        let mut stored = false;
        for action in actions {
            match action {
                Action::Prepare(generation) => {
                    assert!(!was_down || asked_up, "a start of what is not wanted");
                    assert!(!self.closing, "a start while the host ends");
                    if let Some(due) = self.due.take() {
                        assert!(
                            asked_up || due == self.now,
                            "a restart that is not exactly when it was announced"
                        );
                    }
                    self.preparing = Some(*generation);
                }
                Action::AbandonPreparation => self.preparing = None,
                Action::Spawn(generation) => {
                    assert_eq!(self.preparing.take(), Some(*generation));
                    assert_eq!((self.spawning, self.alive), (None, None), "two processes");
                    assert!(self.machine.is_enabled() && !self.closing, "a spawn of what is not wanted");
                    self.spawning = Some(*generation);
                    self.spawns += 1;
                }
                Action::Signal(_) | Action::AskShutdown => {
                    assert!(self.alive.is_some() || self.spawning.is_some(), "a signal to no process");
                }
                Action::PersistDisabled => stored = true,
                Action::Emit(EventType::AutoDisabled, _) => assert!(stored, "told before it was stored"),
                Action::Emit(EventType::RestartScheduled, details) => {
                    let attempt = details["attempt"].as_u64().and_then(|attempt| u32::try_from(attempt).ok());
                    self.restart_scheduled(attempt.expect("an attempt is a small number"));
                    assert_eq!(details["delay_ms"], 1_000 * self.waits[&self.in_a_row]);
                }
                Action::Emit(..) | Action::CloseLinks | Action::SetReachable(_) => {}
            }
        }
        if !matches!(self.machine.name(), StateName::Backoff) {
            self.due = None;
        }
    }

    fn restart_scheduled(&mut self, attempt: u32) {
        assert!(attempt == 1 || attempt == self.in_a_row + 1, "{attempt} follows {}", self.in_a_row);
        self.in_a_row = attempt;
        self.due = Some(self.now + Duration::from_secs(self.waits[&attempt]));
        assert_eq!(self.machine.next_timeout(), self.due);
    }

    fn check(&self) {
        let has_process = self.alive.is_some() || self.spawning.is_some();
        assert_eq!(self.machine.is_idle(), !has_process && self.preparing.is_none(), "{:?}", self.machine);
        if self.machine.name() == StateName::Running {
            assert!(self.alive.is_some() && self.machine.is_enabled() && !self.closing);
        }
        if !self.machine.is_enabled() || self.closing {
            assert!(!matches!(self.machine.name(), StateName::Starting | StateName::Backoff));
        }
    }

    fn process_event(&mut self, choice: u64, choices: &mut impl Choices) {
        let fault = || Failure::new("spawn_failed", "as the schedule wants it");
        if let Some(generation) = self.preparing {
            if choice == 11 {
                self.preparing = None;
                self.tell(Input::Of(generation, Occurrence::Unfit(fault())));
            } else {
                self.tell(Input::Of(generation, Occurrence::Prepared));
            }
        } else if let Some(generation) = self.spawning.take() {
            if choice == 12 {
                self.tell(Input::Of(generation, Occurrence::SpawnFailed(fault())));
            } else {
                self.alive = Some(generation);
                self.tell(Input::Of(generation, Occurrence::Spawned { pid: Some(7) }));
            }
        } else if let Some(generation) = self.alive {
            let occurrence = match choice {
                11..=14 => Occurrence::Ready { protocol: 2 },
                15 => Occurrence::PingsMissed(u32::try_from(choices.below(8)).expect("it is below 8")),
                16 => Occurrence::Draining { reason: "the schedule".to_owned() },
                17..=18 => Occurrence::LinkLost(loss(choices.below(5))),
                19 => Occurrence::Refused { code: "no".to_owned(), message: "no".to_owned() },
                _ => {
                    self.alive = None;
                    exited(Exit::Signal(9))
                }
            };
            self.tell(Input::Of(generation, occurrence));
        }
    }

    /// From here on the plugin behaves: what was asked for happens, and nothing else.
    fn settle(&mut self) {
        for _ in 0..MOST_MOVES {
            if let Some(generation) = self.preparing {
                self.tell(Input::Of(generation, Occurrence::Prepared));
            } else if let Some(generation) = self.spawning.take() {
                self.alive = Some(generation);
                self.tell(Input::Of(generation, Occurrence::Spawned { pid: Some(7) }));
            } else if let (Some(generation), StateName::Starting) = (self.alive, self.machine.name()) {
                self.tell(Input::Of(generation, Occurrence::Ready { protocol: 2 }));
            } else if let (Some(generation), StateName::Draining) = (self.alive, self.machine.name()) {
                self.alive = None;
                self.tell(Input::Of(generation, exited(Exit::Code(0))));
            } else {
                return;
            }
        }
        panic!("the machine does not come to rest: {:?}", self.machine);
    }
}

fn exited(exit: Exit) -> Occurrence {
    Occurrence::Exited { exit, stderr_tail: None }
}

fn loss(choice: u64) -> Loss {
    let message = "as the schedule wants it".to_owned();
    match choice {
        0 => Loss::Closed,
        1 => Loss::CutShort { message },
        2 => Loss::Protocol { cause: "length_zero".to_owned(), message, excerpt: String::new() },
        3 => Loss::Incompatible { message },
        _ => Loss::Failed(Failure::new("link_failed", message)),
    }
}
