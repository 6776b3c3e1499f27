//! A plugin whose process a developer starts.

use super::*;

fn waiting() -> Bench {
    let mut bench = Bench::new();
    let settings = Settings { restart: RestartPolicy::of_attached(), ..settings() };
    bench.machine = Machine::new(settings, Wish::Up).of_attached();
    bench.begin();
    bench.of(Occurrence::Prepared);
    bench
}

fn attached() -> Bench {
    let mut bench = waiting();
    bench.of(Occurrence::Spawned { pid: Some(7) });
    bench.of(Occurrence::Ready { protocol: 2 });
    assert_eq!(bench.machine.name(), StateName::Running);
    bench
}

fn asked_for_no_signal(bench: &Bench) -> bool {
    !bench.done.iter().any(|(_, action)| matches!(action, Action::Signal(_)))
}

#[test]
fn it_is_waited_for_and_shakes_hands_without_an_end() {
    let mut bench = waiting();
    bench.pass(seconds(100_000));
    assert_eq!((bench.machine.name(), bench.machine.next_timeout()), (StateName::Starting, None));
    bench.of(Occurrence::Spawned { pid: Some(7) });
    bench.pass(seconds(100_000));
    assert_eq!((bench.machine.name(), bench.machine.next_timeout()), (StateName::Starting, None));
    bench.of(Occurrence::Ready { protocol: 2 });
    assert_eq!(bench.machine.name(), StateName::Running);
    assert_eq!(bench.details_of(&EventType::Attached), json!({"pid": 7}));
    assert_eq!(bench.details_of(&EventType::Ready)["start_ms"], 100_000_000, "the wait does not count");
}

#[test]
fn one_that_goes_is_waited_for_again_however_often() {
    let mut bench = attached();
    for _ in 0..1_000 {
        bench.of(Occurrence::LinkLost(Loss::Closed));
        bench.of(Occurrence::Gone);
        assert_eq!((bench.machine.name(), bench.code()), (StateName::Backoff, Some("detached")));
        bench.pass(250 * MS);
        bench.of(Occurrence::Prepared);
        bench.of(Occurrence::Spawned { pid: None });
        bench.of(Occurrence::Ready { protocol: 2 });
        assert_eq!((bench.machine.name(), bench.code()), (StateName::Running, None));
    }
    assert!(!bench.events().contains(&EventType::AutoDisabled));
    assert!(asked_for_no_signal(&bench));
}

#[test]
fn disabling_ends_the_wait_at_once() {
    let mut bench = waiting();
    let actions = bench.tell(Input::Want(Wish::Down));
    assert!(actions.contains(&Action::AbandonPreparation));
    assert_eq!(bench.machine.name(), StateName::Stopped);
}

#[test]
fn one_that_is_not_wanted_is_asked_and_then_let_go_of() {
    let mut bench = attached();
    assert!(bench.tell(Input::Want(Wish::Down)).contains(&Action::AskShutdown));
    bench.pass(GRACE);
    assert_eq!(bench.done.last().unwrap(), &(GRACE, Action::CloseLinks));
    bench.of(Occurrence::LinkLost(Loss::Closed));
    bench.of(Occurrence::Gone);
    assert_eq!(bench.machine.name(), StateName::Stopped);
    assert!(asked_for_no_signal(&bench));
}

#[test]
fn one_that_is_not_wanted_while_it_shakes_hands_is_let_go_of_at_once() {
    let mut bench = waiting();
    bench.of(Occurrence::Spawned { pid: Some(7) });
    assert!(bench.tell(Input::Shutdown).contains(&Action::CloseLinks));
    bench.of(Occurrence::Gone);
    assert!(bench.machine.is_finished() && asked_for_no_signal(&bench));
}

#[test]
fn whatever_is_wrong_with_it_is_told_and_the_next_is_waited_for() {
    let broken = Loss::Protocol { cause: "length_zero".into(), message: "m".into(), excerpt: String::new() };
    for (occurrence, code) in [
        (Occurrence::Refused { code: "licence".into(), message: "none".into() }, "refused"),
        (Occurrence::LinkLost(Loss::Incompatible { message: "m".into() }), "incompatible"),
        (Occurrence::LinkLost(broken), "protocol_error"),
        (Occurrence::LinkLost(Loss::CutShort { message: "m".into() }), "detached"),
    ] {
        let mut bench = waiting();
        bench.of(Occurrence::Spawned { pid: Some(7) });
        bench.of(occurrence);
        bench.of(Occurrence::Gone);
        assert_eq!((bench.machine.name(), bench.code()), (StateName::Backoff, Some(code)));
        assert!(asked_for_no_signal(&bench));
    }
}

#[test]
fn a_stranger_on_the_path_is_told_and_looked_for_again() {
    let mut bench = waiting();
    bench.of(Occurrence::SpawnFailed(Failure::new("stranger", "another user listens")));
    assert_eq!((bench.machine.name(), bench.code()), (StateName::Backoff, Some("stranger")));
}

#[test]
fn what_keeps_it_from_being_connected_to_is_told_once() {
    let mut bench = waiting();
    let fail = |bench: &mut Bench, message: &str| {
        bench.done.clear();
        bench.of(Occurrence::SpawnFailed(Failure::new("socket_failed", message)));
        assert_eq!((bench.machine.name(), bench.code()), (StateName::Backoff, Some("socket_failed")));
        let told = bench.events();
        bench.pass(250 * MS);
        bench.of(Occurrence::Prepared);
        told
    };
    let loud = [EventType::Failed, EventType::RestartScheduled];
    assert_eq!(fail(&mut bench, "permission denied"), loud);
    for _ in 0..1_000 {
        assert_eq!(fail(&mut bench, "permission denied"), []);
    }
    assert_eq!(fail(&mut bench, "not a directory"), loud);
    bench.of(Occurrence::Spawned { pid: Some(7) });
    bench.of(Occurrence::Ready { protocol: 2 });
    bench.of(Occurrence::LinkLost(Loss::Closed));
    bench.of(Occurrence::Gone);
    bench.pass(250 * MS);
    bench.of(Occurrence::Prepared);
    assert_eq!(fail(&mut bench, "not a directory"), loud, "it was there in between");
}
