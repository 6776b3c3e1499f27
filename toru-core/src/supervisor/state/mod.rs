//! What a plugin's supervision decides: a pure step function. It reads no clock, does no I/O and spawns nothing; the
//! driver (`task.rs`) tells it what happened and when, and does what it answers.
//!
//! ```text
//!                 want up                prepared, spawned          ready
//!    ┌─────────┐ ─────────▶ ┌──────────┐ ─────────────────────────────────▶ ┌─────────┐
//!    │ Stopped │            │ Starting │                                    │ Running │
//!    └─────────┘            └──────────┘ ◀───────────┐                      └─────────┘
//!         ▲                  │   │    ▲              │ exit, wanted up        │     │
//!         │ exit, wanted     │   │    │ until        │                        │     │
//!         │ down             │   │    │         ┌──────────┐  want down,       │     │
//!         └──────────────────┼───┼────┼──────── │ Draining │ ◀────────────────┘     │
//!                            │   │    │         └──────────┘  draining, lost,       │
//!                    unfit,  │   │    │          │   │        protocol error,       │
//!                    refused │   │    │   exit,  │   │ exit,  pings missed          │
//!                            ▼   │    │   unfit  │   │ failure                      │
//!                      ┌────────┐│  ┌─────────┐  │   │                              │
//!                      │ Failed │◀──│ Backoff │◀─┼───┘  spawn failed, exit          │
//!                      └────────┘│  └─────────┘ ◀┼──────────────────────────────────┘
//!                          ▲     └───────▲───────┘
//!                          └─ the policy gives up: auto-disabled, and stored so
//! ```
//!
//! `Want(Down)` leads from anywhere to `Stopped`, through `Draining` while there is a process; `Want(Up)` leads out of
//! `Stopped`, `Backoff` and `Failed` with all failures forgotten. `Draining` asks (`shutdown`), then terminates (SIGTERM),
//! then kills (SIGKILL), and always waits for the exit: so there is at most one process.

mod input;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use serde_json::json;

use super::{
    restart::{Failures, GaveUp, RestartPolicy, Verdict},
    status::{Health, StateName},
};
use crate::{
    event::EventType,
    process::{Exit, GroupSignal},
};
pub(super) use input::{Action, Failure, Generation, Input, Loss, Occurrence, Reachable, Wish};
use input::{details, exit_details};

/// How long the exit may trail the end of the link: a process that died loses its socket first, and the operator is told of
/// the signal, not of the socket. A process that lives on without its link is killed then.
const EXIT_AFTER_LINK: Duration = Duration::from_millis(100);

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
            Input::Of(generation, occurrence) if generation == self.generation => self.occur(occurrence, now),
            Input::Of(..) => {}
        }
        self.finish_step()
    }

    /// When `Input::Timeout` is due.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match &self.state {
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

    /// Whether the host's end has been carried out.
    pub(super) fn is_finished(&self) -> bool {
        self.closing && self.is_idle()
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

/// What the operator and the host want.
impl Machine {
    fn want_up(&mut self) {
        if self.closing {
            return;
        }
        let changed = self.wish == Wish::Down || self.is_idle();
        self.wish = Wish::Up;
        if changed {
            self.emit(EventType::Enabled, []);
        }
        if let State::Draining { renewed, .. } = &mut self.state {
            *renewed = true;
        } else if self.is_idle() {
            self.forget_failures();
            self.prepare();
        }
    }

    fn want_down(&mut self, now: Instant) {
        if self.wish == Wish::Up {
            self.wish = Wish::Down;
            self.emit(EventType::Disabled, []);
        }
        self.take_down(now);
    }

    fn take_down(&mut self, now: Instant) {
        match &mut self.state {
            State::Starting(_) | State::Running { .. } => self.end(Ending::Unwanted, now),
            State::Draining { renewed, .. } => *renewed = false,
            State::Stopped | State::Backoff { .. } | State::Failed { .. } => self.stopped(),
        }
    }

    fn evict(&mut self, why: Failure, now: Instant) {
        match &mut self.state {
            State::Starting(_) | State::Running { .. } => {
                self.emit_failed(&why);
                self.end(Ending::Unfit(why), now);
            }
            State::Draining { ending, .. } => *ending = Ending::Unfit(why),
            State::Backoff { .. } => {
                self.emit_failed(&why);
                self.unfit(why);
            }
            State::Stopped | State::Failed { .. } => {}
        }
    }
}

/// What happens by itself.
impl Machine {
    fn occur(&mut self, occurrence: Occurrence, now: Instant) {
        match occurrence {
            Occurrence::Prepared => self.prepared(now),
            Occurrence::Unfit(why) => {
                if matches!(self.state, State::Starting(StartStep::Preparing)) {
                    self.emit_failed(&why);
                    self.unfit(why);
                }
            }
            Occurrence::Spawned { pid } => self.spawned(pid),
            Occurrence::SpawnFailed(why) => self.spawn_failed(why, now),
            Occurrence::Ready { protocol } => self.ready(protocol, now),
            Occurrence::Refused { code, message } => self.refused(&code, &message, now),
            Occurrence::PingsMissed(missed) => self.pings_missed(missed, now),
            Occurrence::Draining { reason } => {
                if matches!(self.state, State::Running { .. }) {
                    self.emit(EventType::Draining, [("reason", json!(reason))]);
                    self.end(Ending::Handover, now);
                }
            }
            Occurrence::LinkLost(loss) => self.link_lost(loss, now),
            Occurrence::Exited { exit, stderr_tail } => self.exited(exit, stderr_tail, now),
        }
    }

    fn prepared(&mut self, now: Instant) {
        if matches!(self.state, State::Starting(StartStep::Preparing)) {
            self.state = State::Starting(StartStep::Spawning { since: now });
            self.actions.push(Action::Spawn(self.generation));
        }
    }

    fn spawned(&mut self, pid: u32) {
        match &mut self.state {
            State::Starting(step @ StartStep::Spawning { .. }) => {
                if let StartStep::Spawning { since } = *step {
                    *step = StartStep::Handshaking { since };
                }
                self.emit(EventType::Started, [("pid", json!(pid))]);
            }
            State::Draining { step: step @ StopStep::Unspawned, .. } => {
                *step = StopStep::Killed;
                self.emit(EventType::Started, [("pid", json!(pid))]);
                self.kill();
            }
            _ => {}
        }
    }

    fn spawn_failed(&mut self, why: Failure, now: Instant) {
        match std::mem::replace(&mut self.state, State::Stopped) {
            State::Starting(StartStep::Spawning { .. }) => {
                self.emit_failed(&why);
                self.failed(why, now);
            }
            State::Draining { step: StopStep::Unspawned, ending, renewed } => {
                self.follow(ending, renewed, now)
            }
            other => self.state = other,
        }
    }

    fn ready(&mut self, protocol: u32, now: Instant) {
        let State::Starting(StartStep::Handshaking { since }) = self.state else {
            return;
        };
        let start_ms = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
        let stable_at = now + self.settings.restart.settings().stable_after;
        self.state = State::Running { stable_at: Some(stable_at), unhealthy: false };
        self.last = None;
        self.emit(EventType::Ready, [("protocol", json!(protocol)), ("start_ms", json!(start_ms))]);
    }

    fn refused(&mut self, code: &str, message: &str, now: Instant) {
        if !matches!(self.state, State::Starting(StartStep::Handshaking { .. })) {
            return;
        }
        self.emit(EventType::Refused, [("code", json!(code)), ("message", json!(message))]);
        self.end(
            Ending::Unfit(Failure::new("refused", format!("it refuses to run ({code}): {message}"))),
            now,
        );
    }

    fn pings_missed(&mut self, missed: u32, now: Instant) {
        let State::Running { unhealthy, .. } = &mut self.state else {
            return;
        };
        if missed >= self.settings.ping_dead {
            let why =
                Failure::new("unresponsive", format!("it left {missed} pings unanswered and was killed"));
            self.fail_now(why, now);
        } else if missed >= self.settings.ping_unhealthy && !*unhealthy {
            *unhealthy = true;
            self.emit(EventType::Unhealthy, [("missed", json!(missed))]);
        } else if missed == 0 && *unhealthy {
            *unhealthy = false;
            self.emit(EventType::Healthy, []);
        }
    }

    fn link_lost(&mut self, loss: Loss, now: Instant) {
        let had_link =
            matches!(self.state, State::Starting(StartStep::Handshaking { .. }) | State::Running { .. });
        match loss {
            Loss::Closed if had_link => {
                let why = Failure::new(
                    "link_closed",
                    "it closed its connection but did not exit, and was killed: a plugin keeps its first connection open",
                );
                let until = now + EXIT_AFTER_LINK;
                self.drain(StopStep::Departing { until }, Ending::Failure(why));
                self.actions.push(Action::CloseLinks);
            }
            Loss::Closed => {}
            Loss::Protocol { cause, message, excerpt } => {
                let why = Failure::new("protocol_error", message);
                if let State::Draining {
                    step: step @ (StopStep::Asked { .. } | StopStep::Terminated { .. }),
                    ..
                } = &mut self.state
                {
                    *step = StopStep::Killed;
                    self.kill();
                } else if had_link {
                    self.drain(StopStep::Killed, Ending::Failure(why));
                    self.kill();
                } else {
                    return;
                }
                self.emit(EventType::ProtocolError, [("cause", json!(cause)), ("excerpt", json!(excerpt))]);
            }
            Loss::Incompatible { message } if had_link => {
                let why = Failure::new("incompatible", message);
                self.emit_failed(&why);
                self.drain(StopStep::Killed, Ending::Unfit(why));
                self.kill();
            }
            Loss::Failed(why) if had_link => self.fail_now(why, now),
            Loss::Incompatible { .. } | Loss::Failed(_) => {}
        }
    }

    fn exited(&mut self, exit: Exit, stderr_tail: Option<String>, now: Instant) {
        let (mut ending, renewed, by_itself) = match std::mem::replace(&mut self.state, State::Stopped) {
            State::Starting(StartStep::Handshaking { .. }) => {
                (Ending::Failure(exit_failure(exit, "before it was ready")), false, true)
            }
            State::Running { .. } => (Ending::Failure(exit_failure(exit, "by itself")), false, true),
            State::Draining { step: StopStep::Departing { .. }, ending: Ending::Failure(_), renewed } => {
                (Ending::Failure(exit_failure(exit, "by itself")), renewed, true)
            }
            State::Draining { ending, renewed, .. } => (ending, renewed, false),
            other => {
                self.state = other;
                return;
            }
        };
        self.actions.push(Action::CloseLinks);
        let event = if by_itself { EventType::Crashed } else { EventType::Stopped };
        self.actions.push(Action::Emit(event, exit_details(exit)));
        if let Ending::Failure(why) | Ending::Unfit(why) = &mut ending {
            why.stderr_tail = stderr_tail;
        }
        self.follow(ending, renewed, now);
    }

    fn expire(&mut self, now: Instant) {
        if self.next_timeout().is_none_or(|at| now < at) {
            return;
        }
        match &mut self.state {
            State::Starting(_) => {
                let limit = self.settings.start_timeout;
                let why = Failure::new(
                    "start_timeout",
                    format!("it was not ready within {limit:?} and was killed"),
                );
                self.fail_now(why, now);
            }
            State::Running { stable_at, .. } => {
                *stable_at = None;
                self.forget_row();
            }
            State::Draining { step: step @ StopStep::Asked { .. }, .. } => {
                *step = StopStep::Terminated { until: now + self.settings.term_grace };
                self.actions.push(Action::Signal(GroupSignal::Terminate));
            }
            State::Draining { step, ending, .. } => {
                if let (StopStep::Departing { .. }, Ending::Failure(why)) = (&*step, &*ending) {
                    let why = why.clone();
                    *step = StopStep::Killed;
                    self.emit_failed(&why);
                } else {
                    *step = StopStep::Killed;
                }
                self.kill();
            }
            State::Backoff { attempt, .. } => {
                self.restarts = *attempt;
                self.prepare();
            }
            State::Stopped | State::Failed { .. } => {}
        }
    }
}

/// Transitions.
impl Machine {
    fn prepare(&mut self) {
        self.generation.0 += 1;
        self.state = State::Starting(StartStep::Preparing);
        self.actions.push(Action::Prepare(self.generation));
    }

    /// Ends what is there, in the gentlest way that its state allows.
    fn end(&mut self, ending: Ending, now: Instant) {
        match &self.state {
            State::Starting(StartStep::Preparing) => {
                self.actions.push(Action::AbandonPreparation);
                self.follow(ending, false, now);
            }
            State::Starting(StartStep::Spawning { .. }) => self.drain(StopStep::Unspawned, ending),
            State::Starting(StartStep::Handshaking { .. }) => {
                // Before `ready` nobody listens to a `shutdown`.
                self.actions.push(Action::Signal(GroupSignal::Terminate));
                self.drain(StopStep::Terminated { until: now + self.settings.term_grace }, ending);
            }
            State::Running { .. } => {
                self.actions.push(Action::AskShutdown);
                self.drain(StopStep::Asked { until: now + self.settings.shutdown_grace }, ending);
            }
            State::Stopped | State::Draining { .. } | State::Backoff { .. } | State::Failed { .. } => {}
        }
    }

    /// Ends what is there at once: it failed, and nobody waits for it.
    fn fail_now(&mut self, why: Failure, now: Instant) {
        self.emit_failed(&why);
        match &self.state {
            State::Starting(StartStep::Handshaking { .. }) | State::Running { .. } => {
                self.drain(StopStep::Killed, Ending::Failure(why));
                self.kill();
            }
            _ => self.end(Ending::Failure(why), now),
        }
    }

    fn drain(&mut self, step: StopStep, ending: Ending) {
        self.state = State::Draining { step, ending, renewed: false };
    }

    fn kill(&mut self) {
        self.actions.push(Action::CloseLinks);
        self.actions.push(Action::Signal(GroupSignal::Kill));
    }

    /// The process is gone: what comes after it.
    fn follow(&mut self, ending: Ending, renewed: bool, now: Instant) {
        if !self.is_wanted() {
            return self.stopped();
        }
        if renewed {
            self.forget_failures();
            return self.prepare();
        }
        match ending {
            Ending::Unwanted => self.prepare(),
            Ending::Handover => match self.failures.record_handover(&self.settings.restart, now) {
                Ok(()) => self.prepare(),
                Err(gave_up) => self.auto_disable(gave_up, None),
            },
            Ending::Failure(why) => self.failed(why, now),
            Ending::Unfit(why) => self.unfit(why),
        }
    }

    fn stopped(&mut self) {
        self.state = State::Stopped;
        self.forget_failures();
    }

    fn failed(&mut self, why: Failure, now: Instant) {
        match self.failures.record(&self.settings.restart, now) {
            Verdict::Retry { attempt, delay } => {
                self.state = State::Backoff { until: now + delay, attempt };
                self.last = Some(why);
                let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                self.emit(
                    EventType::RestartScheduled,
                    [("attempt", json!(attempt)), ("delay_ms", json!(delay_ms))],
                );
            }
            Verdict::GiveUp(gave_up) => self.auto_disable(gave_up, Some(why)),
        }
    }

    fn unfit(&mut self, why: Failure) {
        self.state = State::Failed { why };
    }

    fn auto_disable(&mut self, gave_up: GaveUp, last: Option<Failure>) {
        let (failures, limit) = match gave_up {
            GaveUp::InARow(failures) => (failures, format!("it failed {failures} times in a row")),
            GaveUp::Flapping(failures) => {
                let window = self.settings.restart.settings().window;
                (failures, format!("it is flapping: {failures} restarts within {window:?}"))
            }
        };
        let cause =
            last.as_ref().map(|last| format!("; the last time: {}", last.message)).unwrap_or_default();
        self.wish = Wish::Down;
        self.actions.push(Action::PersistDisabled);
        self.emit(EventType::AutoDisabled, [("failures", json!(failures)), ("message", json!(&limit))]);
        let mut why =
            Failure::new("auto_disabled", format!("{limit} and was disabled; enable it to try again{cause}"));
        why.stderr_tail = last.and_then(|last| last.stderr_tail);
        self.state = State::Failed { why };
    }

    fn forget_failures(&mut self) {
        self.failures = Failures::default();
        self.restarts = 0;
        self.last = None;
    }

    fn forget_row(&mut self) {
        self.failures.forgive();
        self.restarts = 0;
    }

    fn emit_failed(&mut self, why: &Failure) {
        self.emit(EventType::Failed, [("code", json!(why.code)), ("message", json!(why.message))]);
    }

    fn emit<const N: usize>(&mut self, event: EventType, fields: [(&str, serde_json::Value); N]) {
        self.actions.push(Action::Emit(event, details(fields)));
    }
}

fn exit_failure(exit: Exit, when: &str) -> Failure {
    match exit {
        Exit::Code(code) => Failure::new("exited", format!("it exited with code {code} {when}")),
        Exit::Signal(signal) => Failure::new("killed", format!("it was ended by signal {signal} {when}")),
    }
}
