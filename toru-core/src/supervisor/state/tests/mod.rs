//! The machine in simulated time, against a process that is only a script.

mod schedules;

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
        self.of(Occurrence::Spawned { pid: 7 });
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

#[test]
fn ten_failures_in_a_row_wait_as_told_and_then_disable_and_store_it_before_it_is_told() {
    let mut bench = Bench::new();
    bench.begin();
    let mut waits = Vec::new();
    for _ in 0..10 {
        bench.of(Occurrence::Prepared);
        bench.of(Occurrence::Spawned { pid: 7 });
        bench.exit(Exit::Code(3));
        if let Some(wait) = bench.wait_of_backoff() {
            waits.push(wait.as_secs());
            bench.pass(wait);
        }
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 16, 16, 16, 16]);
    assert_eq!(bench.spawns(), 10);
    assert_eq!((bench.machine.name(), bench.machine.health()), (StateName::Failed, Health::Disabled));
    assert!(!bench.machine.is_enabled());
    assert_eq!(bench.code(), Some("auto_disabled"));
    assert_eq!(bench.machine.reason().unwrap().stderr_tail.as_deref(), Some("last words"));
    assert_eq!(bench.machine.restarts(), 9);
    let place =
        |wanted: fn(&Action) -> bool| bench.done.iter().position(|(_, action)| wanted(action)).unwrap();
    let stored = place(|action| *action == Action::PersistDisabled);
    let told = place(|action| matches!(action, Action::Emit(EventType::AutoDisabled, _)));
    assert!(stored < told);
    assert_eq!(bench.machine.next_timeout(), None);
    assert_eq!(bench.done.last().unwrap().0, seconds(1 + 2 + 4 + 8 + 5 * 16));
}

#[test]
fn enabling_leads_out_of_auto_disabled_with_the_first_wait_again() {
    let mut bench = Bench::new();
    bench.begin();
    for _ in 0..10 {
        bench.of(Occurrence::Prepared);
        bench.of(Occurrence::SpawnFailed(Failure::new("exec_missing", "no such file")));
        bench.pass(bench.wait_of_backoff().unwrap_or_default());
    }
    assert_eq!(bench.code(), Some("auto_disabled"));
    let actions = bench.tell(Input::Want(Wish::Up));
    assert_eq!(actions[0], Action::SetReachable(Reachable::Waiting));
    assert!(matches!(actions[..], [_, Action::Emit(EventType::Enabled, _), Action::Prepare(_)]));
    bench.of(Occurrence::Prepared);
    bench.of(Occurrence::SpawnFailed(Failure::new("exec_missing", "no such file")));
    assert_eq!(bench.wait_of_backoff(), Some(seconds(1)));
    assert_eq!(bench.machine.restarts(), 0);
}

#[test]
fn a_crash_after_60_s_of_being_stable_starts_the_count_again() {
    let mut bench = Bench::running();
    for (stable, wait) in [(seconds(60) - MS, 1), (seconds(60) - MS, 2), (seconds(60), 1), (seconds(1), 2)] {
        bench.pass(stable);
        bench.exit(Exit::Signal(9));
        assert_eq!(bench.wait_of_backoff(), Some(seconds(wait)), "after {stable:?}");
        bench.pass(seconds(wait));
        bench.start();
    }
}

#[test]
fn a_crash_every_61_s_is_disabled_as_flapping_at_the_30th_within_an_hour() {
    let mut bench = Bench::running();
    let mut crashes = 0;
    while bench.machine.is_enabled() && crashes < 100 {
        bench.pass(seconds(61));
        bench.exit(Exit::Signal(11));
        crashes += 1;
        if let Some(wait) = bench.wait_of_backoff() {
            assert_eq!(wait, seconds(1));
            bench.pass(wait);
            bench.start();
        }
    }
    assert_eq!(crashes, 30);
    assert_eq!(bench.code(), Some("auto_disabled"));
    assert!(bench.machine.reason().unwrap().message.contains("flapping"));
}

#[test]
fn a_crash_every_125_s_may_go_on_for_ever() {
    let mut bench = Bench::running();
    for _ in 0..1_000 {
        bench.pass(seconds(124));
        bench.exit(Exit::Signal(11));
        bench.pass(seconds(1));
        bench.start();
    }
    assert!(bench.machine.is_enabled());
}

#[test]
fn a_killed_plugin_is_a_crash_with_its_signal_and_is_back_after_a_second() {
    let mut bench = Bench::running();
    let actions = bench.exit(Exit::Signal(9));
    assert_eq!(actions[0], Action::SetReachable(Reachable::Waiting));
    assert_eq!(bench.details_of(&EventType::Crashed), json!({"signal": 9}));
    assert_eq!(bench.details_of(&EventType::RestartScheduled), json!({"attempt": 1, "delay_ms": 1_000}));
    assert_eq!(bench.machine.name(), StateName::Backoff);
    assert_eq!(bench.code(), Some("killed"));
    bench.pass(seconds(1) - MS);
    assert_eq!(bench.machine.name(), StateName::Backoff);
    bench.pass(MS);
    bench.start();
    assert_eq!(bench.code(), None);
    assert_eq!(bench.machine.restarts(), 1);
}

#[test]
fn a_stop_asks_then_terminates_then_kills_and_waits_for_the_exit() {
    let mut bench = Bench::running();
    let begun = bench.now - bench.epoch;
    bench.tell(Input::Want(Wish::Down));
    bench.pass(seconds(60));
    assert_eq!(bench.times_of(&Action::SetReachable(Reachable::Disabled)), [begun]);
    assert_eq!(bench.times_of(&Action::AskShutdown), [begun]);
    assert_eq!(bench.times_of(&Action::Signal(GroupSignal::Terminate)), [begun + GRACE]);
    assert_eq!(bench.times_of(&Action::Signal(GroupSignal::Kill)), [begun + GRACE + TERM]);
    assert_eq!(bench.machine.name(), StateName::Draining);
    bench.exit(Exit::Signal(9));
    assert_eq!(bench.machine.name(), StateName::Stopped);
    assert_eq!(bench.events(), [EventType::Disabled, EventType::Stopped]);
    assert_eq!(bench.code(), None);
}

#[test]
fn a_plugin_that_exits_when_asked_gets_no_signal_whatever_its_exit_code() {
    let mut bench = Bench::running();
    bench.tell(Input::Want(Wish::Down));
    bench.of(Occurrence::LinkLost(Loss::Closed));
    bench.exit(Exit::Code(1));
    bench.pass(seconds(60));
    assert!(!bench.done.iter().any(|(_, action)| matches!(action, Action::Signal(_))));
    assert_eq!(bench.details_of(&EventType::Stopped), json!({"exit_code": 1}));
}

#[test]
fn a_disable_in_backoff_never_spawns_again() {
    let mut bench = Bench::running();
    bench.exit(Exit::Code(0));
    bench.tell(Input::Want(Wish::Down));
    let spawns = bench.spawns();
    bench.pass(seconds(3_600));
    assert_eq!(bench.spawns(), spawns);
    assert_eq!(bench.machine.name(), StateName::Stopped);
}

#[test]
fn an_enable_during_the_stop_starts_again_only_after_the_exit() {
    let mut bench = Bench::running();
    bench.tell(Input::Want(Wish::Down));
    bench.tell(Input::Want(Wish::Up));
    assert!(!bench.done.iter().any(|(_, action)| matches!(action, Action::Prepare(_))));
    let actions = bench.exit(Exit::Code(0));
    assert!(matches!(actions.last(), Some(Action::Prepare(_))));
}

#[test]
fn the_last_of_many_wishes_during_a_stop_wins() {
    for last in [Wish::Up, Wish::Down] {
        let mut bench = Bench::running();
        for _ in 0..10 {
            bench.tell(Input::Want(Wish::Down));
            bench.tell(Input::Want(Wish::Up));
        }
        bench.tell(Input::Want(last));
        bench.exit(Exit::Code(0));
        let expected = if last == Wish::Up { StateName::Starting } else { StateName::Stopped };
        assert_eq!(bench.machine.name(), expected);
    }
}

#[test]
fn a_disable_while_it_is_spawned_kills_what_comes_of_it() {
    let mut bench = Bench::new();
    bench.begin();
    bench.of(Occurrence::Prepared);
    bench.tell(Input::Want(Wish::Down));
    assert_eq!(bench.machine.name(), StateName::Draining);
    let actions = bench.of(Occurrence::Spawned { pid: 7 });
    assert!(actions.contains(&Action::Signal(GroupSignal::Kill)));
    bench.exit(Exit::Signal(9));
    assert_eq!(bench.machine.name(), StateName::Stopped);
}

#[test]
fn a_disable_while_it_is_prepared_gives_the_preparation_up() {
    let mut bench = Bench::new();
    bench.begin();
    let old = bench.machine.generation;
    let actions = bench.tell(Input::Want(Wish::Down));
    assert!(actions.contains(&Action::AbandonPreparation));
    bench.tell(Input::Want(Wish::Up));
    let actions = bench.tell(Input::Of(old, Occurrence::Prepared));
    assert_eq!(actions, [], "a preparation of an old generation spawns nothing");
}

#[test]
fn a_plugin_that_is_never_ready_is_killed_at_the_start_timeout() {
    let mut bench = Bench::new();
    bench.begin();
    bench.pass(seconds(100));
    bench.of(Occurrence::Prepared);
    let begun = bench.now - bench.epoch;
    bench.of(Occurrence::Spawned { pid: 7 });
    bench.pass(seconds(60));
    assert_eq!(bench.times_of(&Action::Signal(GroupSignal::Kill)), [begun + START]);
    bench.exit(Exit::Signal(9));
    assert_eq!(bench.code(), Some("start_timeout"));
    assert_eq!(bench.machine.name(), StateName::Backoff);
}

#[test]
fn a_refusal_is_not_retried_and_tells_the_operator_why() {
    let mut bench = Bench::new();
    bench.begin();
    bench.of(Occurrence::Prepared);
    bench.of(Occurrence::Spawned { pid: 7 });
    bench.of(Occurrence::Refused { code: "licence".to_owned(), message: "it has expired".to_owned() });
    bench.exit(Exit::Code(0));
    bench.pass(seconds(3_600));
    assert_eq!((bench.machine.name(), bench.code()), (StateName::Failed, Some("refused")));
    assert!(bench.machine.reason().unwrap().message.contains("it has expired"));
    assert!(bench.machine.is_enabled());
    assert_eq!(bench.machine.health(), Health::Unhealthy);
    assert_eq!(bench.spawns(), 1);
}

#[test]
fn a_plugin_that_is_unfit_or_incompatible_is_not_retried_until_it_is_enabled() {
    let mut bench = Bench::new();
    bench.begin();
    bench.of(Occurrence::Unfit(Failure::new("manifest_invalid", "line 3")));
    assert_eq!((bench.machine.name(), bench.code()), (StateName::Failed, Some("manifest_invalid")));
    assert_eq!(bench.machine.next_timeout(), None);
    bench.tell(Input::Want(Wish::Up));
    bench.of(Occurrence::Prepared);
    bench.of(Occurrence::Spawned { pid: 7 });
    bench.of(Occurrence::LinkLost(Loss::Incompatible { message: "it answers version 3".to_owned() }));
    bench.exit(Exit::Signal(9));
    assert_eq!((bench.machine.name(), bench.code()), (StateName::Failed, Some("incompatible")));
    assert_eq!(bench.machine.next_timeout(), None);
}

#[test]
fn a_protocol_error_kills_at_once_and_counts_as_one_failure() {
    let mut bench = Bench::running();
    let loss = Loss::Protocol {
        cause: "bad_json".to_owned(),
        message: "no JSON".to_owned(),
        excerpt: "xx".to_owned(),
    };
    let actions = bench.of(Occurrence::LinkLost(loss));
    assert!(actions.contains(&Action::Signal(GroupSignal::Kill)));
    bench.exit(Exit::Signal(9));
    assert_eq!(bench.details_of(&EventType::ProtocolError), json!({"cause": "bad_json", "excerpt": "xx"}));
    assert!(!bench.events().contains(&EventType::Crashed));
    assert_eq!((bench.wait_of_backoff(), bench.code()), (Some(seconds(1)), Some("protocol_error")));
}

#[test]
fn the_exit_that_follows_the_end_of_the_link_is_the_crash() {
    let mut bench = Bench::running();
    bench.of(Occurrence::LinkLost(Loss::Closed));
    assert_eq!(bench.machine.name(), StateName::Draining);
    bench.pass(MS);
    bench.exit(Exit::Signal(9));
    assert_eq!(bench.events(), [EventType::Crashed, EventType::RestartScheduled]);
}

#[test]
fn a_plugin_that_is_killed_while_it_writes_has_crashed_and_one_that_lives_on_has_broken_the_protocol() {
    for (exits, code) in [(true, "killed"), (false, "protocol_error")] {
        let mut bench = Bench::running();
        bench.of(Occurrence::LinkLost(Loss::CutShort { message: "end inside a frame".to_owned() }));
        if !exits {
            bench.pass(EXIT_AFTER_LINK);
        }
        bench.exit(Exit::Signal(9));
        assert_eq!(bench.code(), Some(code));
        assert_eq!(bench.events().contains(&EventType::Crashed), exits);
    }
}

#[test]
fn a_plugin_that_closes_its_socket_but_lives_on_is_killed_within_100_ms() {
    let mut bench = Bench::running();
    let begun = bench.now - bench.epoch;
    bench.of(Occurrence::LinkLost(Loss::Closed));
    bench.pass(seconds(60));
    assert_eq!(bench.times_of(&Action::Signal(GroupSignal::Kill)), [begun + EXIT_AFTER_LINK]);
    bench.exit(Exit::Signal(9));
    assert_eq!(bench.code(), Some("link_closed"));
    assert_eq!(bench.events(), [EventType::Failed, EventType::Stopped, EventType::RestartScheduled]);
}

#[test]
fn three_missed_pings_are_shown_and_six_are_a_failure() {
    let mut bench = Bench::running();
    for missed in 1..=2 {
        bench.of(Occurrence::PingsMissed(missed));
    }
    assert_eq!(bench.machine.health(), Health::Healthy);
    for missed in 3..=5 {
        bench.of(Occurrence::PingsMissed(missed));
    }
    assert_eq!((bench.machine.health(), bench.machine.name()), (Health::Unhealthy, StateName::Running));
    bench.of(Occurrence::PingsMissed(0));
    assert_eq!(bench.machine.health(), Health::Healthy);
    assert_eq!(bench.events(), [EventType::Unhealthy, EventType::Healthy]);
    let actions = bench.of(Occurrence::PingsMissed(6));
    assert!(actions.contains(&Action::Signal(GroupSignal::Kill)));
    bench.exit(Exit::Signal(9));
    assert_eq!(bench.code(), Some("unresponsive"));
}

#[test]
fn a_plugin_that_drains_is_replaced_without_a_wait_but_not_more_than_30_times_an_hour() {
    let mut bench = Bench::running();
    let mut handovers = 0;
    while bench.machine.is_enabled() && handovers < 100 {
        bench.of(Occurrence::Draining { reason: "new code".to_owned() });
        assert_eq!(bench.machine.name(), StateName::Draining);
        bench.exit(Exit::Code(0));
        handovers += 1;
        if bench.machine.is_enabled() {
            bench.start();
        }
    }
    assert_eq!(handovers, 30);
    assert!(!bench.events().contains(&EventType::Crashed));
}

#[test]
fn a_plugin_that_was_disabled_before_is_not_started_with_the_host() {
    let mut machine = Machine::new(settings(), Wish::Down);
    assert_eq!(machine.begin(), [Action::SetReachable(Reachable::Disabled)]);
    assert_eq!((machine.name(), machine.health()), (StateName::Stopped, Health::Disabled));
}

#[test]
fn the_end_of_the_host_stops_it_without_changing_the_wish() {
    let mut bench = Bench::running();
    let actions = bench.tell(Input::Shutdown);
    assert_eq!(actions, [Action::SetReachable(Reachable::Failed), Action::AskShutdown]);
    assert!(!bench.machine.is_finished());
    bench.tell(Input::Want(Wish::Up));
    bench.exit(Exit::Code(0));
    assert!(bench.machine.is_finished());
    assert!(bench.machine.is_enabled());
    assert!(
        !bench.done.iter().any(|(_, action)| matches!(action, Action::PersistDisabled | Action::Prepare(_)))
    );
}

#[test]
fn the_end_of_the_host_in_backoff_is_carried_out_at_once() {
    let mut bench = Bench::running();
    bench.exit(Exit::Code(1));
    bench.tell(Input::Shutdown);
    assert!(bench.machine.is_finished());
}

#[test]
fn losing_the_route_stops_it_and_is_not_retried() {
    let mut bench = Bench::new();
    bench.begin();
    bench.of(Occurrence::Prepared);
    bench.of(Occurrence::Spawned { pid: 7 });
    bench.tell(Input::Evicted(Failure::new("route_taken", "by alpha")));
    bench.exit(Exit::Signal(15));
    assert_eq!((bench.machine.name(), bench.code()), (StateName::Failed, Some("route_taken")));
    assert_eq!(bench.machine.next_timeout(), None);
}

#[test]
fn losing_the_route_during_a_stop_is_told_too() {
    let mut bench = Bench::new();
    bench.begin();
    bench.of(Occurrence::Prepared);
    bench.of(Occurrence::Spawned { pid: 7 });
    bench.of(Occurrence::LinkLost(Loss::Closed));
    let told = bench.tell(Input::Evicted(Failure::new("route_taken", "by alpha")));
    assert!(
        matches!(&told[..], [Action::Emit(EventType::Failed, details)] if details["code"] == "route_taken"),
        "{told:?}"
    );
    bench.exit(Exit::Signal(9));
    assert_eq!((bench.machine.name(), bench.code()), (StateName::Failed, Some("route_taken")));
}

#[test]
fn what_is_told_of_an_old_process_changes_nothing() {
    let mut bench = Bench::running();
    let old = bench.machine.generation;
    bench.exit(Exit::Code(1));
    bench.pass(seconds(1));
    bench.start();
    for occurrence in [
        Occurrence::Exited { exit: Exit::Signal(9), stderr_tail: None },
        Occurrence::LinkLost(Loss::Closed),
        Occurrence::PingsMissed(6),
        Occurrence::Draining { reason: String::new() },
    ] {
        assert_eq!(bench.tell(Input::Of(old, occurrence)), []);
    }
    assert_eq!(bench.machine.name(), StateName::Running);
}
