//! What the machine is told: wishes, occurrences, timeouts.

use std::time::Instant;

use serde_json::json;

use super::{
    EXIT_AFTER_LINK, Ending, Machine, StartStep, State, StopStep,
    input::{Action, Failure, Loss, Occurrence, Wish, exit_details},
};
use crate::{
    event::EventType,
    process::{Exit, GroupSignal},
};

/// What is wrong with a plugin that lives on without its first connection.
const LINK_CLOSED: &str =
    "it closed its connection but did not exit, and was killed: a plugin keeps its first connection open";

/// What has become of an attached plugin.
const DETACHED: &str = "it has gone: the process that was attached has ended, or has closed its connection";

/// What the operator and the host want.
impl Machine {
    pub(super) fn want_up(&mut self) {
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

    pub(super) fn want_down(&mut self, now: Instant) {
        if self.wish == Wish::Up {
            self.wish = Wish::Down;
            self.emit(EventType::Disabled, []);
        }
        self.take_down(now);
    }

    pub(super) fn take_down(&mut self, now: Instant) {
        match &mut self.state {
            State::Starting(_) | State::Running { .. } => self.end(Ending::Unwanted, now),
            State::Draining { renewed, .. } => *renewed = false,
            State::Stopped | State::Backoff { .. } | State::Failed { .. } => self.stopped(),
        }
    }

    pub(super) fn evict(&mut self, why: Failure, now: Instant) {
        match &mut self.state {
            State::Starting(_) | State::Running { .. } => {
                self.emit_failed(&why);
                self.end(Ending::Unfit(why), now);
            }
            State::Draining { ending, .. } => {
                *ending = Ending::Unfit(why.clone());
                if self.wish == Wish::Up {
                    self.emit_failed(&why);
                }
            }
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
    pub(super) fn occur(&mut self, occurrence: Occurrence, now: Instant) {
        match occurrence {
            Occurrence::Prepared => self.prepared(now),
            Occurrence::Unfit(why) => {
                if matches!(self.state, State::Starting(StartStep::Preparing)) {
                    self.emit_failed(&why);
                    self.unfit(why);
                }
            }
            Occurrence::Spawned { pid } => self.spawned(pid, now),
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
            Occurrence::Gone => self.gone(now),
        }
    }

    fn prepared(&mut self, now: Instant) {
        if matches!(self.state, State::Starting(StartStep::Preparing)) {
            self.state = State::Starting(StartStep::Spawning { since: now });
            self.actions.push(Action::Spawn(self.generation));
        }
    }

    fn spawned(&mut self, pid: Option<u32>, now: Instant) {
        match &mut self.state {
            // How long the developer took to start it is nobody's concern.
            State::Starting(StartStep::Spawning { .. }) if self.is_attached => {
                self.state = State::Starting(StartStep::Handshaking { since: now });
                self.emit(EventType::Attached, [("pid", json!(pid))]);
            }
            State::Starting(StartStep::Spawning { since }) => {
                self.state = State::Starting(StartStep::Handshaking { since: *since });
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
            // Whatever keeps an attached plugin from being connected to may stay so for days.
            State::Starting(StartStep::Spawning { .. })
                if self.is_attached && self.last.as_ref() == Some(&why) =>
            {
                self.fail_as_before(now);
            }
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
            self.unfit_by_itself(Failure::new("refused", format!("it refuses to run ({code}): {message}"))),
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
            Loss::Closed if had_link => self.depart(Failure::new("link_closed", LINK_CLOSED), now),
            Loss::CutShort { message } if had_link => {
                self.depart(Failure::new("protocol_error", message), now)
            }
            Loss::Closed | Loss::CutShort { .. } => {}
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
                self.drain(StopStep::Killed, self.unfit_by_itself(why));
                self.kill();
            }
            Loss::Failed(why) if had_link => self.fail_now(why, now),
            Loss::Incompatible { .. } | Loss::Failed(_) => {}
        }
    }

    /// The link is gone; the exit tells why, if it comes.
    fn depart(&mut self, why: Failure, now: Instant) {
        if self.is_attached {
            self.drain(StopStep::Killed, Ending::Failure(Failure::new("detached", DETACHED)));
        } else {
            self.drain(StopStep::Departing { until: now + EXIT_AFTER_LINK }, Ending::Failure(why));
        }
        self.actions.push(Action::CloseLinks);
    }

    fn exited(&mut self, exit: Exit, stderr_tail: Option<String>, now: Instant) {
        let (mut ending, renewed, by_itself) = match std::mem::replace(&mut self.state, State::Stopped) {
            State::Starting(StartStep::Handshaking { .. }) => {
                (Ending::Failure(exit_failure(exit, "before it was ready")), false, true)
            }
            State::Running { .. } => (Ending::Failure(exit_failure(exit, "while it ran")), false, true),
            State::Draining { step: StopStep::Departing { .. }, ending: Ending::Failure(_), renewed } => {
                (Ending::Failure(exit_failure(exit, "while it ran")), renewed, true)
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

    /// An attached process is no more, as far as can be known: the end of its link was told before.
    fn gone(&mut self, now: Instant) {
        let (ending, renewed) = match std::mem::replace(&mut self.state, State::Stopped) {
            State::Draining { ending, renewed, .. } => (ending, renewed),
            other => {
                self.state = other;
                return;
            }
        };
        self.emit(EventType::Detached, []);
        self.follow(ending, renewed, now);
    }

    pub(super) fn expire(&mut self, now: Instant) {
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
            State::Draining { step: step @ StopStep::Asked { .. }, .. } if !self.is_attached => {
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

fn exit_failure(exit: Exit, when: &str) -> Failure {
    match exit {
        Exit::Code(code) => Failure::new("exited", format!("it exited with code {code} {when}")),
        Exit::Signal(signal) => Failure::new("killed", format!("it was killed by signal {signal} {when}")),
    }
}
