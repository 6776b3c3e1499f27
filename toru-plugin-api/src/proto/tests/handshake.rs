//! The start of a link (protocol section 2).

use super::{
    Lone, Pair,
    pair::{get, init, settings},
};
use crate::{
    frame::{Frame, Limits, ResetCode, StreamId},
    message::{
        kv::{KvAnswer, KvCall},
        lifecycle::{Failed, Features, Init, Ready, Shutdown},
        log::{Level, LogMessage},
    },
    proto::{Connection, ConnectionError, Event, OpenError, OutgoingBody, Phase, Settings},
};

fn ready() -> Ready {
    Ready { protocol: 2, features: Features::default(), limits: Limits::DEFAULT }
}

/// A host whose plugin has not answered yet.
fn waiting_host(settings: Settings) -> Lone {
    let now = std::time::Instant::now();
    let mut lone = Lone { end: Connection::host(settings, init(), now), now };
    assert_eq!(lone.frames().len(), 1);
    lone
}

/// A plugin to which nothing was said.
fn waiting_plugin(settings: Settings) -> Lone {
    let now = std::time::Instant::now();
    Lone { end: Connection::plugin(settings, now), now }
}

fn cause(result: Result<(), ConnectionError>) -> &'static str {
    result.expect_err("a protocol error").cause()
}

#[test]
fn both_sides_know_each_others_numbers_and_common_features() {
    let limits = Limits { window: 7, max_streams: 8, max_message: 99_999, max_data: 2_000 };
    let host = Settings { limits, ..settings(&["streams", "heads", "x-host"]) };
    let pair = Pair::with(host, settings(&["x-plugin", "heads", "streams"]));
    assert_eq!(pair.plugin.peer_limits(), limits);
    assert_eq!(pair.host.peer_limits(), Limits::DEFAULT);
    let common = Features::new(["heads", "streams"]);
    assert_eq!((pair.host.features(), pair.plugin.features()), (&common, &common));
}

#[test]
fn no_stream_is_opened_before_ready() {
    let mut lone = waiting_host(settings(&[]));
    assert_eq!(lone.end.phase(), Phase::Handshake);
    let opened = lone.end.request(get("/"), OutgoingBody::Empty, lone.now);
    assert_eq!(opened, Err(OpenError::NotOpen));
    let call = KvCall::Get { key: "k".to_owned() };
    assert_eq!(lone.end.call_kv(call.clone(), lone.now), Err(OpenError::NotOpen));
    let mut lone = waiting_plugin(settings(&[]));
    assert_eq!(lone.end.call_kv(call, lone.now), Err(OpenError::NotOpen));
}

#[test]
fn between_init_and_ready_a_plugin_may_log_and_call_kv() {
    let mut pair = Pair::before_ready(settings(&[]), settings(&[]));
    pair.drive();
    assert!(matches!(pair.plugin_event(), Some(Event::Init(_))));
    let log = LogMessage { level: Level::Info, message: "m".to_owned(), fields: serde_json::Map::new() };
    assert!(pair.plugin.log(&log));
    let id = pair.plugin.call_kv(KvCall::Get { key: "k".to_owned() }, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.host_event(), Some(Event::Log(log)));
    assert!(matches!(pair.host_event(), Some(Event::KvCall { .. })));
    pair.host.answer_kv(id, Ok(KvAnswer::Value(None)), pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.plugin_event(), Some(Event::KvAnswer { id, answer: Ok(KvAnswer::Value(None)) }));
    pair.plugin.ready(pair.now);
    pair.drive();
    assert!(matches!(pair.host_event(), Some(Event::Ready(_))));
}

#[test]
fn any_other_frame_before_ready_fails_the_handshake() {
    let frames = [
        Frame::Data { stream: StreamId(2), end: true, bytes: vec![].into() },
        Frame::Credit { stream: StreamId(2), n: 1 },
        Frame::Reset { stream: StreamId(2), code: ResetCode::DONE },
        Frame::Message(r#"{"type":"lifecycle","payload":{"action":"pong"}}"#.into()),
        Frame::Message(r#"{"type":"lifecycle","payload":{"action":"draining","reason":""}}"#.into()),
        Frame::Message(r#"{"type":"news","payload":{}}"#.into()),
        Frame::Message(
            r#"{"type":"http","request_id":"2","payload":{"action":"request","method":"GET","path":"/"}}"#
                .into(),
        ),
    ];
    for frame in frames {
        assert_eq!(cause(waiting_host(settings(&[])).frame(frame)), "before_ready");
    }
}

#[test]
fn a_plugin_takes_nothing_before_init_and_no_stream_before_its_ready() {
    let ping = r#"{"type":"lifecycle","payload":{"action":"ping"}}"#;
    assert_eq!(cause(waiting_plugin(settings(&[])).text(ping)), "not_init");
    let reset = Frame::Reset { stream: StreamId(1), code: ResetCode::DONE };
    assert_eq!(cause(waiting_plugin(settings(&[])).frame(reset)), "not_init");
    let mut lone = waiting_plugin(settings(&[]));
    lone.message(|out| init().encode(out)).unwrap();
    assert_eq!(cause(lone.text(ping)), "before_ready");
}

#[test]
fn another_version_fails_the_handshake_on_both_sides() {
    let mut lone = waiting_host(settings(&[]));
    assert_eq!(cause(lone.message(|out| Ready { protocol: 3, ..ready() }.encode(out))), "version");
    assert_eq!(lone.end.phase(), Phase::Closed);
    let mut lone = waiting_plugin(settings(&[]));
    assert_eq!(cause(lone.message(|out| Init { protocol: 1, ..init() }.encode(out))), "version");
}

#[test]
fn numbers_out_of_range_fail_the_handshake() {
    for limits in [
        Limits { window: 0, ..Limits::DEFAULT },
        Limits { max_streams: 1 << 31, ..Limits::DEFAULT },
        Limits { max_message: 65_535, ..Limits::DEFAULT },
        Limits { max_data: 1_023, ..Limits::DEFAULT },
    ] {
        let mut lone = waiting_host(settings(&[]));
        assert_eq!(cause(lone.message(|out| Ready { limits, ..ready() }.encode(out))), "limit_out_of_range");
    }
}

#[test]
fn a_plugin_that_refuses_to_run_is_no_error() {
    let mut pair = Pair::before_ready(settings(&[]), settings(&[]));
    pair.drive();
    let failed = Failed { code: "licence".to_owned(), message: "expired".to_owned() };
    pair.plugin.fail(failed.clone(), pair.now);
    pair.drive();
    assert_eq!(pair.host_event(), Some(Event::Failed(failed)));
    assert_eq!((pair.host.phase(), pair.error.clone()), (Phase::Draining, None));
    assert_eq!(pair.host.request(get("/"), OutgoingBody::Empty, pair.now), Err(OpenError::Draining));
}

#[test]
fn a_second_init_or_ready_changes_nothing() {
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.message(|out| ready().encode(out)).unwrap();
    assert_eq!(lone.event(), Some(Event::Unknown { what: "ready".to_owned() }));
    assert!(lone.end.features().has("streams"));
    lone.message(|out| ready().encode(out)).unwrap();
    assert_eq!(lone.event(), None, "told once");
}

#[test]
fn a_plugin_that_is_shut_down_before_ready_learns_of_it() {
    let mut pair = Pair::before_ready(settings(&[]), settings(&[]));
    pair.host.shutdown(std::time::Duration::from_secs(5));
    pair.drive();
    assert!(matches!(pair.plugin_event(), Some(Event::Init(_))));
    let grace = std::time::Duration::from_secs(5);
    assert_eq!(pair.plugin_event(), Some(Event::Shutdown(Shutdown { grace })));
    assert_eq!(pair.plugin.phase(), Phase::Handshake);
    pair.plugin.ready(pair.now);
    assert_eq!(pair.plugin.phase(), Phase::Draining);
}

#[test]
fn answers_made_under_the_defaults_pass_after_ready_and_no_later_ones() {
    let limits = Limits { max_message: 65_536, ..Limits::DEFAULT };
    let mut lone = waiting_plugin(Settings { limits, ..settings(&[]) });
    lone.message(|out| init().encode(out)).unwrap();
    let get = || KvCall::Get { key: "k".to_owned() };
    lone.end.call_kv(get(), lone.now).unwrap();
    lone.end.ready(lone.now);
    let answer = |id: u32| {
        format!(r#"{{"type":"kv","request_id":"{id}","payload":{{"value":"{}"}}}}"#, "v".repeat(100_000))
    };
    lone.text(&answer(2)).unwrap();
    lone.end.call_kv(get(), lone.now).unwrap();
    assert_eq!(cause(lone.text(&answer(4))), "too_long");
}

#[test]
fn an_end_inside_a_frame_is_an_error_and_between_frames_it_is_not() {
    let mut lone = waiting_plugin(settings(&[]));
    assert_eq!(cause(lone.end.handle_eof(&[0, 0], lone.now)), "eof_inside_frame");
    let mut lone = waiting_plugin(settings(&[]));
    lone.end.handle_eof(&[], lone.now).unwrap();
    assert_eq!(lone.end.phase(), Phase::Closed);
}

#[test]
fn the_offending_frame_is_kept_for_who_tells_of_it() {
    let mut lone = waiting_plugin(settings(&[]));
    lone.text(r#"{"type":"lifecycle","payload":{"action":"ping"}}"#).unwrap_err();
    assert!(lone.end.offending().starts_with(br#"{"type":"lifecycle""#));
    assert!(lone.end.offending().len() <= 200);
    let mut lone = Lone::host(settings(&[]), &[], Limits::DEFAULT);
    lone.data(2, 100, false).unwrap_err();
    assert_eq!(lone.end.offending(), [1, 0, 0, 0, 0, 2]);
}
