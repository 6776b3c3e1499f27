//! Random schedules: whatever happens in whatever order, what must always hold holds. `TORU_SCHEDULES` makes the run longer
//! than the default of 500 schedules of 400 steps.

use std::collections::BTreeMap;

use super::*;

/// Deterministic numbers (xorshift64*), so that a schedule that fails can be run again by its seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % limit
    }
}

/// What a driver would have under way, and what must always hold of it.
struct World {
    machine: Machine,
    now: Instant,
    preparing: Option<Generation>,
    spawning: Option<Generation>,
    alive: Option<Generation>,
    /// The policy's own record, kept apart from the machine's.
    waits: BTreeMap<u32, u64>,
    due: Option<Instant>,
    spawns: usize,
}

impl World {
    fn new(now: Instant) -> Self {
        let waits = [(1, 1), (2, 2), (3, 4), (4, 8)].into_iter().chain((5..10).map(|attempt| (attempt, 16)));
        Self {
            machine: Machine::new(settings(), Wish::Up),
            now,
            preparing: None,
            spawning: None,
            alive: None,
            waits: waits.collect(),
            due: None,
            spawns: 0,
        }
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
                    assert!(self.machine.is_enabled(), "a spawn of what is not wanted");
                    self.spawning = Some(*generation);
                    self.spawns += 1;
                }
                Action::Signal(_) | Action::AskShutdown => {
                    assert!(self.alive.is_some() || self.spawning.is_some())
                }
                Action::PersistDisabled => stored = true,
                Action::Emit(EventType::AutoDisabled, _) => assert!(stored, "told before it was stored"),
                Action::Emit(EventType::RestartScheduled, details) => {
                    let attempt = u32::try_from(details["attempt"].as_u64().unwrap()).unwrap();
                    assert_eq!(details["delay_ms"], 1_000 * self.waits[&attempt]);
                    self.due = Some(self.now + seconds(self.waits[&attempt]));
                    assert_eq!(self.machine.next_timeout(), self.due);
                }
                Action::Emit(..) | Action::CloseLinks | Action::SetReachable(_) => {}
            }
        }
        if !matches!(self.machine.name(), StateName::Backoff) {
            self.due = None;
        }
    }

    fn check(&self) {
        let has_process = self.alive.is_some() || self.spawning.is_some();
        assert_eq!(self.machine.is_idle(), !has_process && self.preparing.is_none());
        if self.machine.name() == StateName::Running {
            assert!(self.alive.is_some() && self.machine.is_enabled());
        }
        if !self.machine.is_enabled() {
            assert!(!matches!(self.machine.name(), StateName::Starting | StateName::Backoff));
        }
    }

    /// Something that may happen now; what a process does only while there is one.
    fn happen(&mut self, numbers: &mut Numbers) {
        let fault = || Failure::new("spawn_failed", "as the schedule wants it");
        match numbers.below(24) {
            0 => self.tell(Input::Want(Wish::Up)),
            1 => self.tell(Input::Want(Wish::Down)),
            2 => self.tell(Input::Evicted(Failure::new("route_taken", "by another"))),
            3 if self.machine.generation.0 > 1 => {
                let old = Generation(self.machine.generation.0 - 1);
                self.tell(Input::Of(old, Occurrence::Exited { exit: Exit::Code(0), stderr_tail: None }));
            }
            4..=9 => {
                if let Some(at) = self.machine.next_timeout() {
                    self.now = self.now.max(at);
                    self.tell(Input::Timeout);
                }
            }
            10 => {
                let end = self.now + Duration::from_millis(numbers.below(3_000));
                self.now = self.machine.next_timeout().map_or(end, |at| end.min(at));
            }
            choice => self.process_event(choice, numbers, fault()),
        }
    }

    fn process_event(&mut self, choice: u64, numbers: &mut Numbers, fault: Failure) {
        if let Some(generation) = self.preparing {
            if choice == 11 {
                self.preparing = None;
                self.tell(Input::Of(generation, Occurrence::Unfit(fault)));
            } else {
                self.tell(Input::Of(generation, Occurrence::Prepared));
            }
        } else if let Some(generation) = self.spawning.take() {
            if choice == 12 {
                self.tell(Input::Of(generation, Occurrence::SpawnFailed(fault)));
            } else {
                self.alive = Some(generation);
                self.tell(Input::Of(generation, Occurrence::Spawned { pid: 7 }));
            }
        } else if let Some(generation) = self.alive {
            let occurrence = match choice {
                11..=14 => Occurrence::Ready { protocol: 2 },
                15 => Occurrence::PingsMissed(u32::try_from(numbers.below(8)).unwrap()),
                16 => Occurrence::Draining { reason: "the schedule".to_owned() },
                17 => Occurrence::LinkLost(Loss::Closed),
                18 => Occurrence::LinkLost(Loss::Failed(fault)),
                19 => Occurrence::Refused { code: "no".to_owned(), message: "no".to_owned() },
                _ => {
                    self.alive = None;
                    Occurrence::Exited { exit: Exit::Signal(9), stderr_tail: None }
                }
            };
            self.tell(Input::Of(generation, occurrence));
        }
    }
}

#[test]
fn random_schedules_have_one_process_at_most_exact_waits_and_obey_the_last_wish() {
    let schedules: u64 = std::env::var("TORU_SCHEDULES").map_or(500, |number| number.parse().unwrap());
    let steps = 400;
    let mut spawns = 0;
    for seed in 1..=schedules {
        let mut numbers = Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let mut world = World::new(Instant::now());
        let actions = world.machine.begin();
        world.carry_out(&actions, true, false);
        for _ in 0..steps {
            world.happen(&mut numbers);
        }
        let wish = if seed % 2 == 0 { Wish::Up } else { Wish::Down };
        world.tell(Input::Want(wish));
        settle(&mut world);
        let expected = if wish == Wish::Up { StateName::Running } else { StateName::Stopped };
        assert_eq!(world.machine.name(), expected, "seed {seed}");
        spawns += world.spawns;
    }
    assert!(spawns as u64 > 10 * schedules, "the schedules hardly started anything: {spawns}");
}

/// From here on the plugin behaves: what was asked for happens, and nothing else.
fn settle(world: &mut World) {
    for _ in 0..100 {
        if let Some(generation) = world.preparing {
            world.tell(Input::Of(generation, Occurrence::Prepared));
        } else if let Some(generation) = world.spawning.take() {
            world.alive = Some(generation);
            world.tell(Input::Of(generation, Occurrence::Spawned { pid: 7 }));
        } else if let (Some(generation), StateName::Starting) = (world.alive, world.machine.name()) {
            world.tell(Input::Of(generation, Occurrence::Ready { protocol: 2 }));
        } else if let (Some(generation), StateName::Draining) = (world.alive.take(), world.machine.name()) {
            world.tell(Input::Of(generation, Occurrence::Exited { exit: Exit::Code(0), stderr_tail: None }));
        } else {
            return;
        }
    }
    panic!("the machine does not come to rest: {:?}", world.machine);
}
