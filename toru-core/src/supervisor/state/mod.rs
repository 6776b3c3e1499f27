//! What a plugin's supervision decides: a pure step function. It reads no clock, does no I/O and spawns nothing; the
//! driver (`task.rs`) tells it what happened and when, and does what it answers.
//!
//! ```text
//!              want up                      ready              want down, draining, link lost,
//! ┌─────────┐ ────────▶ ┌─────────────────┐ ─────▶ ┌─────────┐ protocol error, pings missed ┌──────────┐
//! │ Stopped │           │    Starting     │        │ Running │ ───────────────────────────▶ │ Draining │
//! └─────────┘           └─────────────────┘        └─────────┘                              └──────────┘
//!      ▲                 ▲   │        │ └── want down, refused, link lost, start timeout ───────▶ │
//!      │          until, │   │ spawn  │                │                                         │
//!      │         want up │   │ failed,│ unfit          │ exit                           its exit │
//!      │                 │   ▼ exit   │                ▼                                         │
//!      │              ┌─────────┐ ◀───┼────────────────┴────────────────── had failed ───────────┤
//!      │              │ Backoff │     │                                                          │
//!      │              └─────────┘     │      or, when the policy gives up: stored, then told     │
//!      │                              ▼                │                                         │
//!      │                         ┌────────┐ ◀──────────┘                                         │
//!      │                         │ Failed │ ◀──────────────── refused, incompatible, evicted ────┤
//!      │                         └────────┘                                                      │
//!      │                                        to Starting ◀─ successor, wanted up again ───────┤
//!      └───────────────────────────────────────────────────────────────── wanted down ───────────┘
//! ```
//!
//! `Want(Down)` leads from anywhere to `Stopped`, through `Draining` while there is a process; `Want(Up)` leads out of
//! `Stopped`, `Backoff` and `Failed` with all failures forgotten. `Draining` asks (`shutdown`), then terminates (SIGTERM),
//! then kills (SIGKILL), and always waits for the exit: so there is at most one process.
//!
//! An attached plugin is started by a developer and not by the host: `Spawning` waits for it without an end, no start timeout runs,
//! no signal is asked for, the end of its link is its exit, and after any failure it is waited for again.

mod handle;
mod input;
#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod schedule;
#[cfg(test)]
mod tests;
mod transition;

use std::time::{Duration, Instant};

use super::{
    restart::{Failures, RestartPolicy},
    status::{Health, StateName},
};
pub(super) use input::{Action, Failure, Generation, Input, Loss, Occurrence, Reachable, Wish};

/// How long the exit may trail the end of the link: a process that died loses its socket first, and the operator is told of
/// the signal, not of the socket. A process that lives on without its link is killed then.
const EXIT_AFTER_LINK: Duration = Duration::from_millis(100);

/// The code of the reason of a plugin that failed too often.
pub(super) const AUTO_DISABLED: &str = "auto_disabled";

/// The times and counts that a machine decides by.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) start_timeout: Duration,
    pub(super) shutdown_grace: Duration,
    pub(super) term_grace: Duration,
    pub(super) ping_unhealthy: u32,
    pub(super) ping_dead: u32,
    pub(super) restart: RestartPolicy,
}

#[derive(Debug)]
enum State {
    /// There is no process.
    Stopped,
    Starting(StartStep),
    /// `stable_at` is when its failures are forgiven.
    Running {
        stable_at: Option<Instant>,
        unhealthy: bool,
    },
    /// There is a process, or one is being spawned, and it has to end. `renewed`: the operator wants it up again since.
    Draining {
        step: StopStep,
        ending: Ending,
        renewed: bool,
    },
    /// There is no process. `attempt` counts the failures in a row.
    Backoff {
        until: Instant,
        attempt: u32,
    },
    /// There is no process.
    Failed {
        why: Failure,
    },
}

#[derive(Debug)]
enum StartStep {
    /// There is no process yet.
    Preparing,
    Spawning {
        since: Instant,
    },
    Handshaking {
        since: Instant,
    },
}

#[derive(Debug)]
enum StopStep {
    /// The spawn is still under way; its process is killed as soon as it is there.
    Unspawned,
    /// Its link is lost, and its exit is expected.
    Departing {
        until: Instant,
    },
    Asked {
        until: Instant,
    },
    Terminated {
        until: Instant,
    },
    Killed,
}

/// Why a process has to end, and so what comes after it.
#[derive(Debug)]
enum Ending {
    /// It is no longer wanted.
    Unwanted,
    /// It asked for a successor.
    Handover,
    /// It failed, and may be started again.
    Failure(Failure),
    /// It may not be started again by itself.
    Unfit(Failure),
}

/// One plugin's supervision.
#[derive(Debug)]
pub(super) struct Machine {
    settings: Settings,
    /// A developer starts its process.
    is_attached: bool,
    state: State,
    wish: Wish,
    /// The host ends.
    closing: bool,
    generation: Generation,
    failures: Failures,
    restarts: u32,
    /// The last failure, until it is ready again.
    last: Option<Failure>,
    reachable: Reachable,
    actions: Vec<Action>,
}

impl Machine {
    /// A plugin that is stopped, and wanted as it was when the host ended.
    pub(super) fn new(settings: Settings, wish: Wish) -> Self {
        Self {
            settings,
            is_attached: false,
            state: State::Stopped,
            wish,
            closing: false,
            generation: Generation::default(),
            failures: Failures::default(),
            restarts: 0,
            last: None,
            reachable: Reachable::Waiting,
            actions: Vec::new(),
        }
    }

    /// A plugin that was given up before the host ended, and was not enabled since.
    pub(super) fn given_up(settings: Settings, why: Failure) -> Self {
        Self { state: State::Failed { why }, ..Self::new(settings, Wish::Down) }
    }

    /// The same for a plugin whose process a developer starts.
    pub(super) fn of_attached(self) -> Self {
        Self { is_attached: true, ..self }
    }

    /// The host starts. The first wish is no change of it, so nothing is told of it.
    #[must_use]
    pub(super) fn begin(&mut self) -> Vec<Action> {
        if self.wish == Wish::Up {
            self.prepare();
        }
        self.finish_step()
    }

    /// Something happened: what has to be done, in order.
    #[must_use]
    pub(super) fn step(&mut self, input: Input, now: Instant) -> Vec<Action> {
        match input {
            Input::Want(Wish::Up) => self.want_up(),
            Input::Want(Wish::Down) => self.want_down(now),
            Input::Shutdown => {
                self.closing = true;
                self.take_down(now);
            }
            Input::Evicted(why) => self.evict(why, now),
            Input::Timeout => self.expire(now),
            Input::Of(generation, occurrence) if self.is_current(generation) => self.occur(occurrence, now),
            Input::Of(..) => {}
        }
        self.finish_step()
    }

    /// When `Input::Timeout` is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Starting(_) if self.is_attached => None,
            State::Starting(StartStep::Spawning { since } | StartStep::Handshaking { since }) => {
                Some(*since + self.settings.start_timeout)
            }
            State::Running { stable_at, .. } => *stable_at,
            State::Draining { step, .. } => match step {
                StopStep::Departing { until }
                | StopStep::Asked { until }
                | StopStep::Terminated { until } => Some(*until),
                StopStep::Unspawned | StopStep::Killed => None,
            },
            State::Backoff { until, .. } => Some(*until),
            State::Starting(StartStep::Preparing) | State::Stopped | State::Failed { .. } => None,
        }
    }

    pub(super) fn name(&self) -> StateName {
        match self.state {
            State::Stopped => StateName::Stopped,
            State::Starting(_) => StateName::Starting,
            State::Running { .. } => StateName::Running,
            State::Draining { .. } => StateName::Draining,
            State::Backoff { .. } => StateName::Backoff,
            State::Failed { .. } => StateName::Failed,
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.wish == Wish::Up
    }

    pub(super) fn health(&self) -> Health {
        match self.state {
            _ if self.wish == Wish::Down => Health::Disabled,
            State::Running { unhealthy: false, .. } => Health::Healthy,
            _ => Health::Unhealthy,
        }
    }

    /// Why it is not running; `None` while it runs or is not wanted.
    pub(super) fn reason(&self) -> Option<&Failure> {
        match &self.state {
            State::Failed { why } => Some(why),
            State::Draining { ending: Ending::Failure(why) | Ending::Unfit(why), .. } => Some(why),
            State::Starting(_) | State::Backoff { .. } => self.last.as_ref(),
            _ => None,
        }
    }

    /// Starts after failures since those were last forgiven.
    pub(super) fn restarts(&self) -> u32 {
        self.restarts
    }

    pub(super) fn next_retry(&self) -> Option<Instant> {
        match self.state {
            State::Backoff { until, .. } => Some(until),
            _ => None,
        }
    }

    /// Whether there is no process and none is being made.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Stopped | State::Backoff { .. } | State::Failed { .. })
    }

    /// Whether the host ends.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether the host's end has been carried out.
    pub(super) fn is_finished(&self) -> bool {
        self.closing && self.is_idle()
    }

    /// With `seeded_bug` the last start but one counts too, so that its exit is taken for that of the process that runs: the
    /// fuzzer's prey.
    fn is_current(&self, generation: Generation) -> bool {
        generation == self.generation || (cfg!(seeded_bug) && generation.0 + 1 == self.generation.0)
    }

    fn is_wanted(&self) -> bool {
        self.wish == Wish::Up && !self.closing
    }

    fn finish_step(&mut self) -> Vec<Action> {
        let reachable = match self.state {
            _ if self.wish == Wish::Down => Reachable::Disabled,
            State::Running { .. } => Reachable::Ready,
            _ if self.closing => Reachable::Failed,
            State::Failed { .. } => Reachable::Failed,
            _ => Reachable::Waiting,
        };
        if reachable != self.reachable {
            self.reachable = reachable;
            // First, so that no request finds a process that is about to be ended.
            self.actions.insert(0, Action::SetReachable(reachable));
        }
        std::mem::take(&mut self.actions)
    }
}
