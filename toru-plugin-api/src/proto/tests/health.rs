//! Pings (protocol section 6).

use std::time::Duration;

use super::{
    Lone, Pair,
    pair::{get, init, settings},
};
use crate::{
    frame::{Frame, Limits, ResetCode, StreamId},
    message::lifecycle::{Init, Pong, Ready},
    proto::{Connection, Event, Health, OutgoingBody, Settings},
};

const SECOND: Duration = Duration::from_secs(1);
const ONE: StreamId = StreamId(1);

fn pinging() -> Settings {
    Settings { ping_interval: Some(10 * SECOND), ..settings(&["streams"]) }
}

fn is_ping(frame: &Frame) -> bool {
    matches!(frame, Frame::Message(text) if text[..].windows(6).any(|part| part == b"\"ping\""))
}

/// Lets an interval pass; gives the frames that it brings.
fn interval(lone: &mut Lone) -> Vec<Frame> {
    lone.now += 10 * SECOND;
    lone.end.handle_timeout(lone.now).unwrap();
    lone.frames()
}

#[test]
fn a_healthy_plugin_answers_each_ping_with_how_it_is() {
    let mut pair = Pair::with(pinging(), settings(&["streams"]));
    let degraded = Pong { degraded: true, detail: Some("no disk".to_owned()) };
    pair.plugin.set_pong(degraded.clone());
    pair.pass(35 * SECOND);
    for _ in 0..3 {
        assert_eq!(pair.host_event(), Some(Event::Pong(degraded.clone())));
    }
    assert_eq!((pair.host_event(), pair.host.health()), (None, Health::Healthy));
}

#[test]
fn a_silent_plugin_is_asked_once_and_each_missed_interval_is_told() {
    let mut lone = Lone::host(pinging(), &["streams"], Limits::DEFAULT);
    let frames = interval(&mut lone);
    assert!(frames.len() == 1 && is_ping(&frames[0]), "{frames:?}");
    for missed in 1..=6 {
        assert_eq!(interval(&mut lone), [], "one ping is outstanding");
        assert_eq!(lone.event(), Some(Event::PingsMissed(missed)));
        assert_eq!(lone.end.health() == Health::Healthy, missed < 3);
    }
    assert_eq!((lone.end.health(), lone.end.next_timeout()), (Health::Dead, None));
}

#[test]
fn any_complete_frame_answers_a_ping() {
    let mut lone = Lone::host(pinging(), &["streams"], Limits::DEFAULT);
    lone.end.request(get("/"), OutgoingBody::Empty, lone.now).unwrap();
    interval(&mut lone);
    interval(&mut lone);
    assert_eq!(lone.event(), Some(Event::PingsMissed(1)));
    lone.text(r#"{"type":"log","payload":{"level":"info","message":"busy"}}"#).unwrap();
    assert_eq!(lone.event(), Some(Event::PingsMissed(0)));
    assert!(matches!(lone.event(), Some(Event::Log(_))));
    assert!(interval(&mut lone).iter().any(is_ping));
}

#[test]
fn a_plugin_of_one_stream_is_not_pinged_during_a_request_but_after_its_reset() {
    let limits = Limits { max_streams: 1, ..Limits::DEFAULT };
    let mut lone = Lone::host(pinging(), &[], limits);
    assert!(is_ping(&interval(&mut lone)[0]));
    lone.text(r#"{"type":"lifecycle","payload":{"action":"pong"}}"#).unwrap();
    assert!(lone.event().is_some());
    lone.end.request(get("/"), OutgoingBody::Empty, lone.now).unwrap();
    lone.frames();
    for _ in 0..2 {
        assert_eq!(interval(&mut lone), []);
    }
    lone.end.reset(ONE, ResetCode::TIMED_OUT, lone.now);
    lone.frames();
    assert!(is_ping(&interval(&mut lone)[0]));
    interval(&mut lone);
    assert_eq!(lone.event(), Some(Event::PingsMissed(1)));
}

#[test]
fn an_extra_link_is_not_pinged() {
    let now = std::time::Instant::now();
    let mut lone = Lone { end: Connection::host(pinging(), Init { link: Some(1), ..init() }, now), now };
    let ready = Ready { protocol: 2, features: pinging().features, limits: Limits::DEFAULT };
    lone.message(|out| ready.encode(out)).unwrap();
    assert_eq!(lone.end.next_timeout(), None);
}

#[test]
fn a_flood_of_pings_costs_one_pong() {
    let mut lone = Lone::plugin(settings(&[]), &[], Limits::DEFAULT);
    for _ in 0..100_000 {
        lone.text(r#"{"type":"lifecycle","payload":{"action":"ping"}}"#).unwrap();
    }
    assert_eq!(lone.frames().len(), 1);
}
