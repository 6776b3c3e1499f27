//! What comes after a failure, and how often.

use super::*;

#[test]
fn ten_failures_in_a_row_wait_as_told_and_then_disable_and_store_it_before_it_is_told() {
    let mut bench = Bench::new();
    bench.begin();
    let mut waits = Vec::new();
    for _ in 0..10 {
        bench.of(Occurrence::Prepared);
        bench.of(Occurrence::Spawned { pid: Some(7) });
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
fn a_plugin_that_was_given_up_before_the_host_ended_is_shown_so_until_it_is_enabled() {
    let why = Failure::new(AUTO_DISABLED, "it failed 10 times in a row and was disabled");
    let mut machine = Machine::given_up(settings(), why.clone());
    assert_eq!(machine.begin(), [Action::SetReachable(Reachable::Disabled)]);
    assert_eq!(
        (machine.name(), machine.health(), machine.is_enabled()),
        (StateName::Failed, Health::Disabled, false)
    );
    assert_eq!(machine.reason(), Some(&why));
    let actions = machine.step(Input::Want(Wish::Up), Instant::now());
    assert!(actions.iter().any(|action| matches!(action, Action::Prepare(_))), "{actions:?}");
    assert_eq!((machine.name(), machine.reason()), (StateName::Starting, None));
}
