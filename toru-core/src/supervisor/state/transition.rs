//! From one state to the next.

use std::time::Instant;

use serde_json::{Value, json};

use super::{
    AUTO_DISABLED, Ending, Machine, StartStep, State, StopStep,
    input::{Action, Failure, Wish, details},
};
use crate::{
    event::EventType,
    process::GroupSignal,
    supervisor::restart::{Failures, GaveUp, Verdict},
};

impl Machine {
    pub(super) fn prepare(&mut self) {
        self.generation.0 += 1;
        self.state = State::Starting(StartStep::Preparing);
        self.actions.push(Action::Prepare(self.generation));
    }

    /// Ends what is there, in the gentlest way that its state allows.
    pub(super) fn end(&mut self, ending: Ending, now: Instant) {
        match &self.state {
            State::Starting(StartStep::Preparing) => self.abandon(ending, now),
            // There is nothing yet but the wait for somebody else's process.
            State::Starting(StartStep::Spawning { .. }) if self.is_attached => self.abandon(ending, now),
            State::Starting(StartStep::Handshaking { .. }) if self.is_attached => {
                self.drain(StopStep::Killed, ending);
                self.kill();
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

    /// Gives up what is only being looked for.
    fn abandon(&mut self, ending: Ending, now: Instant) {
        self.actions.push(Action::AbandonPreparation);
        self.follow(ending, false, now);
    }

    /// Ends what is there at once: it failed, and nobody waits for it.
    pub(super) fn fail_now(&mut self, why: Failure, now: Instant) {
        self.emit_failed(&why);
        match &self.state {
            State::Starting(StartStep::Handshaking { .. }) | State::Running { .. } => {
                self.drain(StopStep::Killed, Ending::Failure(why));
                self.kill();
            }
            _ => self.end(Ending::Failure(why), now),
        }
    }

    pub(super) fn drain(&mut self, step: StopStep, ending: Ending) {
        self.state = State::Draining { step, ending, renewed: false };
    }

    /// An attached process is only let go of: it belongs to whoever started it.
    pub(super) fn kill(&mut self) {
        self.actions.push(Action::CloseLinks);
        if !self.is_attached {
            self.actions.push(Action::Signal(GroupSignal::Kill));
        }
    }

    /// What follows when it may not be started again by itself. One that a developer starts again may well be another by then.
    pub(super) fn unfit_by_itself(&self, why: Failure) -> Ending {
        if self.is_attached { Ending::Failure(why) } else { Ending::Unfit(why) }
    }

    /// The process is gone: what comes after it.
    pub(super) fn follow(&mut self, ending: Ending, renewed: bool, now: Instant) {
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

    pub(super) fn stopped(&mut self) {
        self.state = State::Stopped;
        self.forget_failures();
    }

    pub(super) fn failed(&mut self, why: Failure, now: Instant) {
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

    /// It failed for the same reason as the last time, of which nothing more is told.
    pub(super) fn fail_as_before(&mut self, now: Instant) {
        match self.failures.record(&self.settings.restart, now) {
            Verdict::Retry { attempt, delay } => self.state = State::Backoff { until: now + delay, attempt },
            Verdict::GiveUp(gave_up) => {
                let last = self.last.take();
                self.auto_disable(gave_up, last);
            }
        }
    }

    pub(super) fn unfit(&mut self, why: Failure) {
        self.state = State::Failed { why };
    }

    pub(super) fn auto_disable(&mut self, gave_up: GaveUp, last: Option<Failure>) {
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
            Failure::new(AUTO_DISABLED, format!("{limit} and was disabled; enable it to try again{cause}"));
        why.stderr_tail = last.and_then(|last| last.stderr_tail);
        self.state = State::Failed { why };
    }

    pub(super) fn forget_failures(&mut self) {
        self.failures = Failures::default();
        self.restarts = 0;
        self.last = None;
    }

    pub(super) fn forget_row(&mut self) {
        self.failures.forgive();
        self.restarts = 0;
    }

    pub(super) fn emit_failed(&mut self, why: &Failure) {
        self.emit(EventType::Failed, [("code", json!(why.code)), ("message", json!(why.message))]);
    }

    pub(super) fn emit<const N: usize>(&mut self, event: EventType, fields: [(&str, Value); N]) {
        self.actions.push(Action::Emit(event, details(fields)));
    }
}
