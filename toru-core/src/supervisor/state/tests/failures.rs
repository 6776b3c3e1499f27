//! What goes wrong with a process, and what an operator is told.

use super::*;

#[test]
fn a_plugin_that_is_never_ready_is_killed_at_the_start_timeout() {
    let mut bench = Bench::new();
    bench.begin();
    bench.pass(seconds(100));
    bench.of(Occurrence::Prepared);
    let begun = bench.now - bench.epoch;
    bench.of(Occurrence::Spawned { pid: Some(7) });
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
    bench.of(Occurrence::Spawned { pid: Some(7) });
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
    bench.of(Occurrence::Spawned { pid: Some(7) });
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
