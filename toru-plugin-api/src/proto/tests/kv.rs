//! KV calls (protocol section 5).

use super::{
    Lone, Pair,
    pair::{get, settings},
};
use crate::{
    frame::{Frame, Limits, ResetCode, StreamId},
    message::kv::{KvAnswer, KvCall, KvError, KvErrorCode},
    proto::{Event, OpenError, OutgoingBody, Settings, StreamGone},
};

fn set(size: usize) -> KvCall {
    KvCall::Set { key: "k".to_owned(), value: vec![b'v'; size].into(), ttl_ms: None }
}

fn host() -> Lone {
    Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT)
}

fn set_text(id: u32, size: usize) -> String {
    let value = "v".repeat(size);
    format!(r#"{{"type":"kv","request_id":"{id}","payload":{{"action":"set","key":"k","value":"{value}"}}}}"#)
}

fn answered_with(frames: &[Frame], id: u32, code: &str) -> bool {
    let (id, code) = (format!("\"{id}\""), format!("\"code\":\"{code}\""));
    frames.iter().any(|frame| {
        matches!(frame, Frame::Message(text) if {
            let text = std::str::from_utf8(text).unwrap();
            text.contains(&id) && text.contains(&code)
        })
    })
}

#[test]
fn calls_are_answered_from_either_side() {
    for mut pair in [Pair::new(), Pair::binary().split(5)] {
        let up = pair.plugin.call_kv(set(100), pair.now).unwrap();
        let down = pair.host.call_kv(set(100), pair.now).unwrap();
        assert_eq!((up, down), (StreamId(2), StreamId(1)));
        pair.drive();
        assert_eq!(pair.host_event(), Some(Event::KvCall { id: up, call: set(100) }));
        assert_eq!(pair.plugin_event(), Some(Event::KvCall { id: down, call: set(100) }));
        pair.host.answer_kv(up, Ok(KvAnswer::Ok), pair.now).unwrap();
        let error = KvError::new(KvErrorCode::Denied, "no");
        pair.plugin.answer_kv(down, Err(error.clone()), pair.now).unwrap();
        pair.drive();
        assert_eq!(pair.plugin_event(), Some(Event::KvAnswer { id: up, answer: Ok(KvAnswer::Ok) }));
        assert_eq!(pair.host_event(), Some(Event::KvAnswer { id: down, answer: Err(error) }));
        assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
        assert_eq!((pair.host.next_timeout(), pair.plugin.next_timeout()), (None, None));
    }
}

#[test]
fn malformed_calls_are_answered_by_the_connection() {
    let mut lone = host();
    for (id, payload, code) in [
        (2, r#"{"action":"get"}"#, "invalid"),
        (4, r#"{"action":"incr","key":"k"}"#, "unknown_action"),
        (6, r#"{"action":"get","key":"k","x":1}"#, "invalid"),
    ] {
        lone.text(&format!(r#"{{"type":"kv","request_id":"{id}","payload":{payload}}}"#)).unwrap();
        assert!(answered_with(&lone.frames(), id, code), "{payload}");
    }
    assert_eq!((lone.event(), lone.end.open_streams()), (None, 0));
}

#[test]
fn a_host_calls_get_set_and_delete_only() {
    let mut lone = Lone::plugin(settings(&[]), &[], Limits::DEFAULT);
    lone.text(r#"{"type":"kv","request_id":"1","payload":{"action":"list","limit":5}}"#).unwrap();
    assert!(answered_with(&lone.frames(), 1, "unknown_action"));
}

#[test]
fn calls_in_work_hold_4_mib_and_a_further_one_is_unavailable() {
    let mut lone = host();
    for n in 1..=8 {
        lone.text(&set_text(2 * n, 512 << 10)).unwrap();
        assert!(matches!(lone.event(), Some(Event::KvCall { .. })));
    }
    lone.text(&set_text(18, 1)).unwrap();
    assert_eq!(lone.event(), None);
    assert!(answered_with(&lone.frames(), 18, "unavailable"));
    lone.end.answer_kv(StreamId(2), Ok(KvAnswer::Ok), lone.now).unwrap();
    lone.text(&set_text(20, 1)).unwrap();
    assert!(matches!(lone.event(), Some(Event::KvCall { .. })));
}

#[test]
fn keys_of_batches_count_as_work_too() {
    let mut lone = host();
    let batch = |id: usize| {
        let ops: Vec<_> = (0..100)
            .map(|n| format!(r#"{{"action":"delete","key":"{n:03}{}"}}"#, "k".repeat(1_021)))
            .collect();
        let ops = ops.join(",");
        format!(r#"{{"type":"kv","request_id":"{id}","payload":{{"action":"batch","ops":[{ops}]}}}}"#)
    };
    let most = (4 << 20) / (100 * 1_024);
    for n in 1..=most {
        lone.text(&batch(2 * n)).unwrap();
        assert!(matches!(lone.event(), Some(Event::KvCall { .. })));
    }
    lone.text(&batch(2 * most + 2)).unwrap();
    assert_eq!(lone.event(), None);
}

#[test]
fn calling_and_resetting_does_not_pass_what_may_be_in_work() {
    let mut lone = host();
    for n in 1..=8 {
        lone.text(&set_text(2 * n, 512 << 10)).unwrap();
        lone.frame(Frame::Reset { stream: StreamId(2 * n), code: ResetCode::CANCELLED }).unwrap();
    }
    assert_eq!(lone.end.open_streams(), 0);
    let events: Vec<_> = std::iter::from_fn(|| lone.event()).collect();
    assert!(events.iter().all(|event| matches!(event, Event::KvCall { .. })), "no reset is told");
    lone.frames();
    lone.text(&set_text(18, 1)).unwrap();
    assert!(answered_with(&lone.frames(), 18, "unavailable"));
    for n in 1..=8 {
        assert_eq!(lone.end.answer_kv(StreamId(2 * n), Ok(KvAnswer::Ok), lone.now), Err(StreamGone));
    }
    assert_eq!(lone.frames(), []);
    lone.text(&set_text(20, 512 << 10)).unwrap();
    assert!(matches!(lone.event(), Some(Event::KvCall { .. })));
}

#[test]
fn a_value_above_512_kib_is_not_sent() {
    let mut pair = Pair::new();
    assert_eq!(pair.plugin.call_kv(set((512 << 10) + 1), pair.now), Err(OpenError::TooLarge));
    assert_eq!(pair.plugin.call_kv(set(512 << 10), pair.now), Ok(StreamId(2)));
}

#[test]
fn a_call_that_passes_max_message_is_not_sent_and_such_an_answer_is_too_large() {
    let limits = Limits { max_message: 65_536, ..Limits::DEFAULT };
    let narrow = Settings { limits, ..settings(&[]) };
    let mut pair = Pair::with(narrow.clone(), narrow);
    assert_eq!(pair.plugin.call_kv(set(65_536), pair.now), Err(OpenError::TooLarge));
    let id = pair.plugin.call_kv(KvCall::Get { key: "k".to_owned() }, pair.now).unwrap();
    pair.drive();
    pair.host.answer_kv(id, Ok(KvAnswer::Value(Some(vec![b'v'; 65_536].into()))), pair.now).unwrap();
    pair.drive();
    let Some(Event::KvAnswer { answer: Err(error), .. }) = pair.plugin_event() else { panic!() };
    assert_eq!(error.code, KvErrorCode::TooLarge);
}

#[test]
fn a_reset_call_is_told_once_as_unavailable() {
    let mut pair = Pair::new();
    let id = pair.plugin.call_kv(set(1), pair.now).unwrap();
    pair.drive();
    pair.host.reset(id, ResetCode::INTERNAL, pair.now);
    pair.drive();
    let Some(Event::KvAnswer { answer: Err(error), .. }) = pair.plugin_event() else { panic!() };
    assert_eq!((error.code, pair.plugin_event()), (KvErrorCode::Unavailable, None));
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
}

#[test]
fn an_answer_of_another_kind_is_reset_with_3() {
    let mut lone = host();
    let http = lone.end.request(get("/"), OutgoingBody::Empty, lone.now).unwrap();
    let kv = lone.end.call_kv(KvCall::Get { key: "k".to_owned() }, lone.now).unwrap();
    lone.frames();
    lone.text(r#"{"type":"kv","request_id":"1","payload":{"value":null}}"#).unwrap();
    let code = ResetCode::INTERNAL;
    assert_eq!(lone.event(), Some(Event::Reset { id: http, code, by_peer: true }));
    assert_eq!(lone.frames(), [Frame::Reset { stream: http, code }]);
    lone.text(r#"{"type":"http","request_id":"3","payload":{"action":"response","status":200}}"#).unwrap();
    assert!(matches!(lone.event(), Some(Event::KvAnswer { id, answer: Err(_) }) if id == kv));
    assert_eq!(lone.frames(), [Frame::Reset { stream: kv, code }]);
    assert_eq!(lone.end.open_streams(), 0);
}

#[test]
fn a_call_that_times_out_before_ready_sends_no_reset() {
    let mut pair = Pair::before_ready(settings(&[]), settings(&[]));
    pair.drive();
    let id = pair.plugin.call_kv(set(1), pair.now).unwrap();
    pair.pass(std::time::Duration::from_secs(6));
    pair.plugin.ready(pair.now);
    pair.drive();
    assert_eq!(pair.error, None, "RESET before ready would fail the handshake");
    assert_eq!(pair.plugin.open_streams(), 1, "the answer is still awaited");
    pair.host.answer_kv(id, Ok(KvAnswer::Ok), pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.plugin.open_streams(), 0);
    let answers =
        std::iter::from_fn(|| pair.plugin_event()).filter(|event| matches!(event, Event::KvAnswer { .. }));
    assert_eq!(answers.count(), 1);
}
