//! Draining, shutdown, and what is not known (protocol section 6).

use std::time::Duration;

use super::{
    Lone, Pair,
    pair::{get, ok, post, settings},
};
use crate::{
    frame::{Frame, Limits, ResetCode, StreamId},
    message::{
        event::EventMessage,
        kv::{KvAnswer, KvCall},
        lifecycle::{Draining, Shutdown},
    },
    proto::{Event, OpenError, OutgoingBody, Phase, ReadOutcome},
};

const ONE: StreamId = StreamId(1);
const GRACE: Duration = Duration::from_secs(5);

fn get_call() -> KvCall {
    KvCall::Get { key: "k".to_owned() }
}

#[test]
fn a_draining_plugin_gets_no_new_streams_and_finishes_those_it_has() {
    let mut pair = Pair::new();
    let id = pair.request(get("/"), OutgoingBody::Empty);
    pair.plugin.drain("out of memory");
    pair.drive();
    let draining = Draining { reason: "out of memory".to_owned() };
    assert_eq!(pair.host_event(), Some(Event::Draining(draining)));
    assert_eq!(pair.host.phase(), Phase::Draining);
    assert_eq!(pair.host.request(get("/"), OutgoingBody::Empty, pair.now), Err(OpenError::Draining));
    pair.respond(id, ok(), OutgoingBody::Empty);
    assert!(matches!(pair.host_event(), Some(Event::Response { head: Ok(_), .. })));
    assert!(pair.plugin.call_kv(get_call(), pair.now).is_ok(), "its own calls are served");
}

#[test]
fn a_request_that_crosses_draining_is_served() {
    let mut pair = Pair::new();
    pair.plugin.drain("");
    let id = pair.request(get("/"), OutgoingBody::Empty);
    pair.respond(id, ok(), OutgoingBody::Empty);
    let events: Vec<_> = std::iter::from_fn(|| pair.host_event()).collect();
    assert!(matches!(events[..], [Event::Draining(_), Event::Response { head: Ok(_), .. }]), "{events:?}");
}

#[test]
fn after_shutdown_a_plugin_refuses_new_streams_and_serves_the_old() {
    let mut lone = Lone::plugin(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    let request = |id: u32, rest: &str| {
        format!(
            r#"{{"type":"http","request_id":"{id}","payload":{{"action":"request","method":"POST","path":"/"{rest}}}}}"#
        )
    };
    lone.text(&request(1, "")).unwrap();
    assert!(matches!(lone.event(), Some(Event::Request { .. })));
    lone.text(r#"{"type":"lifecycle","payload":{"action":"shutdown","grace_ms":5000}}"#).unwrap();
    assert_eq!(lone.event(), Some(Event::Shutdown(Shutdown { grace: GRACE })));
    let refused = |id: u32| Frame::Reset { stream: StreamId(id), code: ResetCode::REFUSED };
    lone.text(&request(3, "")).unwrap();
    lone.text(&request(5, r#","body_stream":true"#)).unwrap();
    lone.text(r#"{"type":"kv","request_id":"7","payload":{"action":"get","key":"k"}}"#).unwrap();
    assert_eq!(lone.frames(), [refused(3), refused(5), refused(7)]);
    assert_eq!((lone.event(), lone.end.open_streams()), (None, 2), "5 until its end comes");
    lone.frame(Frame::Reset { stream: StreamId(5), code: ResetCode::DONE }).unwrap();
    lone.end.respond(ONE, ok(), OutgoingBody::Empty, lone.now).unwrap();
    assert_eq!((lone.frames().len(), lone.end.open_streams()), (1, 0));
}

#[test]
fn a_further_link_refuses_new_streams_when_told_to_and_serves_the_old() {
    let mut pair = Pair::new();
    let old = pair.request(get("/"), OutgoingBody::Empty);
    pair.plugin.refuse_streams();
    let late = pair.host.request(get("/"), OutgoingBody::Empty, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.host_event(), Some(Event::Reset { id: late, code: ResetCode::REFUSED, by_peer: true }));
    pair.respond(old, ok(), OutgoingBody::Empty);
    assert!(matches!(pair.host_event(), Some(Event::Response { head: Ok(_), .. })));
}

#[test]
fn a_refused_request_is_told_as_refused() {
    let mut pair = Pair::new();
    let id = pair.host.request(post("/"), OutgoingBody::Stream, pair.now).unwrap();
    let mut late = Lone::plugin(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    late.text(r#"{"type":"lifecycle","payload":{"action":"shutdown"}}"#).unwrap();
    std::mem::swap(&mut pair.plugin, &mut late.end);
    pair.drive();
    assert_eq!(pair.host_event(), Some(Event::Reset { id, code: ResetCode::REFUSED, by_peer: true }));
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
}

#[test]
fn a_host_that_shut_down_opens_nothing_and_serves_the_plugins_calls() {
    let mut pair = Pair::new();
    pair.host.shutdown(GRACE);
    pair.host.shutdown(GRACE);
    assert_eq!(pair.host.request(get("/"), OutgoingBody::Empty, pair.now), Err(OpenError::Draining));
    assert_eq!(pair.host.call_kv(get_call(), pair.now), Err(OpenError::Draining));
    pair.drive();
    assert_eq!(pair.plugin_event(), Some(Event::Shutdown(Shutdown { grace: GRACE })));
    assert_eq!(pair.plugin_event(), None, "said once");
    let id = pair.plugin.call_kv(get_call(), pair.now).unwrap();
    pair.drive();
    pair.host.answer_kv(id, Ok(KvAnswer::Value(None)), pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.plugin_event(), Some(Event::KvAnswer { id, answer: Ok(KvAnswer::Value(None)) }));
}

#[test]
fn an_unknown_opener_is_answered_with_an_error() {
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.text(r#"{"type":"cache","request_id":"2","payload":{"action":"warm"}}"#).unwrap();
    assert_eq!(lone.event(), Some(Event::Unknown { what: "cache warm".to_owned() }));
    let frames = lone.frames();
    let [Frame::Message(text)] = &frames[..] else { panic!("{frames:?}") };
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.contains(r#""request_id":"2""#) && text.contains(r#""code":"unknown_action""#), "{text}");
    assert_eq!(lone.end.open_streams(), 0);
}

#[test]
fn an_unknown_answer_is_reset_with_3() {
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.end.request(get("/"), OutgoingBody::Empty, lone.now).unwrap();
    lone.frames();
    lone.text(r#"{"type":"http","request_id":"1","payload":{"action":"teapot"}}"#).unwrap();
    let code = ResetCode::INTERNAL;
    assert_eq!(lone.frames(), [Frame::Reset { stream: ONE, code }]);
    assert_eq!(lone.event(), Some(Event::Unknown { what: "http teapot".to_owned() }));
    assert_eq!(lone.event(), Some(Event::Reset { id: ONE, code, by_peer: true }));
    assert_eq!(lone.end.open_streams(), 0);
}

#[test]
fn anything_else_unknown_is_ignored_and_told_once_per_kind_up_to_64_kinds() {
    let mut lone = Lone::host(settings(&[]), &[], Limits::DEFAULT);
    for _ in 0..3 {
        for kind in 0..100 {
            lone.text(&format!(r#"{{"type":"new-{kind}","payload":{{}}}}"#)).unwrap();
        }
    }
    let events: Vec<_> = std::iter::from_fn(|| lone.event()).collect();
    assert_eq!(events.len(), 64);
    assert_eq!(lone.frames(), []);
}

#[test]
fn a_plugin_event_reaches_the_host() {
    let mut pair = Pair::new();
    let event = EventMessage { name: "restored".to_owned(), details: serde_json::Map::new() };
    assert!(pair.plugin.event(&event));
    assert!(!pair.host.event(&event), "hosts send none");
    pair.drive();
    assert_eq!(pair.host_event(), Some(Event::Plugin(event)));
}

#[test]
fn a_closed_connection_refuses_every_command() {
    let mut pair = Pair::new();
    let id = pair.request(get("/"), OutgoingBody::Empty);
    pair.plugin.handle_eof(&[], pair.now).unwrap();
    pair.host.handle_eof(&[], pair.now).unwrap();
    assert_eq!(pair.host.phase(), Phase::Closed);
    assert_eq!(pair.host.request(get("/"), OutgoingBody::Empty, pair.now), Err(OpenError::NotOpen));
    assert_eq!(pair.plugin.call_kv(get_call(), pair.now), Err(OpenError::NotOpen));
    assert!(pair.plugin.respond(id, ok(), OutgoingBody::Empty, pair.now).is_err());
    assert!(matches!(pair.host.read(id, pair.now), ReadOutcome::Reset(_)));
    pair.host.reset(id, ResetCode::CANCELLED, pair.now);
    pair.drive();
    assert_eq!((pair.host.open_streams(), pair.host.next_timeout()), (0, None));
}

#[test]
fn draining_is_told_once() {
    let mut lone = Lone::host(settings(&[]), &[], Limits::DEFAULT);
    let draining = r#"{"type":"lifecycle","payload":{"action":"draining","reason":"update"}}"#;
    lone.text(draining).unwrap();
    assert!(matches!(lone.event(), Some(Event::Draining(_))));
    lone.text(draining).unwrap();
    assert_eq!(lone.event(), None);
}
