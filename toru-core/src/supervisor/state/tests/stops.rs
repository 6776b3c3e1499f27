//! Wishes, and the end of a process that is not wanted.

use super::*;

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
    let actions = bench.of(Occurrence::Spawned { pid: Some(7) });
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
    bench.of(Occurrence::Spawned { pid: Some(7) });
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
    bench.of(Occurrence::Spawned { pid: Some(7) });
    bench.of(Occurrence::LinkLost(Loss::Closed));
    let told = bench.tell(Input::Evicted(Failure::new("route_taken", "by alpha")));
    assert!(
        matches!(&told[..], [Action::Emit(EventType::Failed, details)] if details["code"] == "route_taken"),
        "{told:?}"
    );
    bench.exit(Exit::Signal(9));
    assert_eq!((bench.machine.name(), bench.code()), (StateName::Failed, Some("route_taken")));
}
