//! HTTP over streams (protocol section 4).

use super::{
    Lone, Pair,
    pair::{get, head, ok, post, settings, status},
};
use crate::{
    frame::{Frame, Limits, ResetCode, StreamId, head::HeadFlags},
    message::http::{Framing, HeadError, RequestHead, ResponseHead},
    proto::{ConnectionError, Event, OpenError, OutgoingBody, ReadOutcome, Settings, StreamGone},
};

pub(super) const ONE: StreamId = StreamId(1);

fn asking(request: RequestHead) -> Lone {
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.end.request(request, OutgoingBody::Empty, lone.now).unwrap();
    lone.frames();
    lone
}

fn answer(status: u16, rest: &str) -> String {
    format!(r#"{{"type":"http","request_id":"1","payload":{{"action":"response","status":{status}{rest}}}}}"#)
}

pub(super) fn upgrade() -> RequestHead {
    let mut request = get("/socket");
    request.headers.insert("upgrade", "websocket".parse().unwrap());
    request
}

fn with_length(mut head: ResponseHead, length: u64) -> ResponseHead {
    head.headers.insert("content-length", length.into());
    head
}

fn internal(id: StreamId) -> Frame {
    Frame::Reset { stream: id, code: ResetCode::INTERNAL }
}

#[test]
fn a_head_that_is_none_costs_its_stream_and_not_the_link() {
    for (text, error, left) in [
        (answer(200, r#","headers":[["X","y"]]"#), HeadError::HeaderName(0), 0),
        (answer(200, r#","headers":[["x","y\n"]],"body_stream":true"#), HeadError::HeaderValue(0), 1),
        (answer(99, ""), HeadError::Status(99), 0),
        (answer(101, ""), HeadError::Status(101), 1),
        (answer(100, ""), HeadError::Status(100), 0),
        (answer(103, r#","headers":[]"#), HeadError::Status(103), 0),
    ] {
        let mut lone = asking(get("/"));
        lone.text(&text).unwrap();
        let body = Framing::Empty;
        assert_eq!(lone.event(), Some(Event::Response { id: ONE, head: Err(error), body }), "{text}");
        assert_eq!((lone.event(), lone.frames()), (None, vec![internal(ONE)]));
        assert_eq!(lone.end.open_streams(), left, "a body that follows is discarded first");
        if left == 1 {
            lone.data(1, 100, false).unwrap();
            lone.frame(Frame::Reset { stream: ONE, code: ResetCode::DONE }).unwrap();
        }
        assert_eq!((lone.event(), lone.end.open_streams()), (None, 0));
    }
}

#[test]
fn a_101_of_a_plugin_without_streams_costs_its_stream_and_not_the_link() {
    let mut lone = Lone::host(settings(&["streams"]), &[], Limits { max_streams: 1, ..Limits::DEFAULT });
    assert_eq!(lone.end.request(get("/"), OutgoingBody::Empty, lone.now), Ok(ONE));
    lone.frames();
    lone.text(&answer(101, "")).unwrap();
    let head = Err(HeadError::Status(101));
    assert_eq!(lone.event(), Some(Event::Response { id: ONE, head, body: Framing::Empty }));
    assert_eq!(lone.frames(), [internal(ONE)]);
    assert_eq!(lone.end.open_streams(), 0, "it may ignore RESET: its answer was the end");
}

#[test]
fn a_request_head_that_is_none_is_reset_by_the_plugin() {
    let mut lone = Lone::plugin(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.text(r#"{"type":"http","request_id":"1","payload":{"action":"request","method":"G T","path":"/"}}"#)
        .unwrap();
    assert_eq!((lone.event(), lone.frames()), (None, vec![internal(ONE)]));
    assert_eq!(lone.end.open_streams(), 0);
}

#[test]
fn body_bytes_of_an_answer_without_a_body_are_discarded_under_credit() {
    for (request, response) in [
        (head(http::Method::HEAD, "/"), with_length(ok(), 1 << 20)),
        (get("/"), status(204)),
        (get("/"), with_length(status(304), 5)),
    ] {
        let mut pair = Pair::new();
        let id = pair.request(request, OutgoingBody::Empty);
        pair.respond(id, response.clone(), OutgoingBody::Stream);
        pair.plugin.send(id, vec![0; 1 << 20].into(), pair.now).unwrap();
        pair.plugin.finish(id, pair.now).unwrap();
        pair.drive();
        let expected = Event::Response { id, head: Ok(response), body: Framing::Empty };
        assert_eq!((pair.host_event(), pair.host_event()), (Some(expected), None));
        assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
        assert_eq!(pair.error, None);
    }
}

#[test]
fn an_inline_body_of_an_answer_without_a_body_is_dropped() {
    let mut lone = asking(head(http::Method::HEAD, "/"));
    lone.text(&answer(200, r#","headers":[],"body":"x""#)).unwrap();
    assert!(matches!(lone.event(), Some(Event::Response { body: Framing::Empty, .. })));
    let mut pair = Pair::new();
    let id = pair.request(head(http::Method::HEAD, "/"), OutgoingBody::Empty);
    pair.respond(id, ok(), OutgoingBody::Full("dropped before it is sent".into()));
    assert!(matches!(pair.host_event(), Some(Event::Response { body: Framing::Empty, .. })));
}

#[test]
fn a_body_that_differs_from_its_content_length_is_cut_and_never_ends() {
    for (length, sent) in [(10, 9), (10, 11), (0, 1), (1, 0)] {
        let mut pair = Pair::new();
        let id = pair.request(get("/"), OutgoingBody::Empty);
        pair.respond(id, with_length(ok(), length), OutgoingBody::Stream);
        assert!(matches!(pair.host_event(), Some(Event::Response { .. })));
        pair.plugin.send(id, vec![0; sent].into(), pair.now).unwrap();
        pair.plugin.finish(id, pair.now).unwrap();
        pair.drive();
        let events: Vec<_> = std::iter::from_fn(|| pair.host_event()).collect();
        let code = ResetCode::INTERNAL;
        assert_eq!(events.last(), Some(&Event::Reset { id, code, by_peer: true }), "{length} {sent}");
        assert!(matches!(pair.host_reads(id), (0, ReadOutcome::Reset(_))));
        assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
        assert_eq!(pair.error, None);
    }
}

#[test]
fn a_request_body_that_differs_from_its_content_length_is_cut_too() {
    let mut pair = Pair::new();
    let mut request = post("/");
    request.headers.insert("content-length", 10.into());
    let id = pair.request(request, OutgoingBody::Stream);
    assert!(matches!(pair.plugin_event(), Some(Event::Request { .. })));
    pair.host.send(id, vec![0; 9].into(), pair.now).unwrap();
    pair.host.finish(id, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.plugin_event(), Some(Event::Reset { id, code: ResetCode::INTERNAL, by_peer: true }));
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
}

#[test]
fn a_body_of_its_content_length_is_whole() {
    let mut pair = Pair::new();
    let id = pair.request(get("/"), OutgoingBody::Empty);
    pair.respond(id, with_length(ok(), 1 << 20), OutgoingBody::Full(vec![0; 1 << 20].into()));
    assert_eq!(pair.host_reads(id), (1 << 20, ReadOutcome::End));
}

#[test]
fn bodies_go_inline_up_to_512_kib_and_the_window() {
    let wide = Settings { limits: Limits { window: 1 << 20, ..Limits::DEFAULT }, ..settings(&["streams"]) };
    let sent_inline = |settings: Settings, size: usize| {
        let mut pair = Pair::with(super::pair::settings(&["streams"]), settings);
        pair.request(post("/"), OutgoingBody::Full(vec![b'x'; size].into()));
        let Some(Event::Request { body, .. }) = pair.plugin_event() else { panic!() };
        matches!(body, Framing::Inline(_))
    };
    assert!(sent_inline(settings(&["streams"]), 65_536));
    assert!(!sent_inline(settings(&["streams"]), 65_537));
    assert!(sent_inline(wide.clone(), 512 << 10));
    assert!(!sent_inline(wide, (512 << 10) + 1));
    let narrow = Limits { max_message: 65_536, window: 1 << 20, ..Limits::DEFAULT };
    let narrow = Settings { limits: narrow, ..settings(&["streams"]) };
    assert!(sent_inline(narrow.clone(), 60_000));
    assert!(!sent_inline(narrow, 65_536), "the message would pass max_message");
}

#[test]
fn without_streams_a_body_is_inline_or_refused() {
    let mut lone = Lone::host(settings(&["streams"]), &[], Limits { window: 1, ..Limits::DEFAULT });
    let mut send = |body| lone.end.request(post("/"), body, lone.now);
    assert_eq!(send(OutgoingBody::Full(vec![b'x'; 512 << 10].into())), Ok(ONE));
    let long = vec![b'x'; (512 << 10) + 1];
    assert_eq!(send(OutgoingBody::Full(long.into())), Err(OpenError::TooLarge));
    assert_eq!(send(OutgoingBody::Stream), Err(OpenError::NoStreams));
    assert_eq!(send(OutgoingBody::Tunnel), Err(OpenError::NoStreams));
    assert_eq!(send(OutgoingBody::Empty), Ok(StreamId(3)), "what was refused used no number");
    assert_eq!(lone.frames().len(), 2);
}

#[test]
fn an_answer_that_a_host_without_streams_cannot_take_is_reset() {
    for body in [OutgoingBody::Stream, OutgoingBody::Full(vec![0; 1 << 20].into())] {
        let mut pair = Pair::with(settings(&[]), settings(&["streams"]));
        let id = pair.request(get("/"), OutgoingBody::Empty);
        assert_eq!(pair.plugin.respond(id, ok(), body, pair.now), Err(StreamGone));
        pair.drive();
        assert_eq!(pair.host_event(), Some(Event::Reset { id, code: ResetCode::INTERNAL, by_peer: true }));
    }
}

#[test]
fn features_that_are_not_in_force_may_not_be_used() {
    let mut lone = Lone::host(settings(&["heads"]), &["streams"], Limits::DEFAULT);
    lone.end.request(get("/"), OutgoingBody::Empty, lone.now).unwrap();
    let error = lone.text(&answer(200, r#","body_stream":true"#)).unwrap_err();
    assert_eq!(error, ConnectionError::FeatureNotInForce("streams"));
    let mut lone = asking(get("/"));
    let flags = HeadFlags(HeadFlags::ANSWER | HeadFlags::NO_BODY);
    let bytes = vec![0, 200, 0, 0].into();
    let error = lone.frame(Frame::Head { stream: ONE, flags, bytes }).unwrap_err();
    assert_eq!(error, ConnectionError::FeatureNotInForce("heads"));
}

#[test]
fn heads_are_binary_when_both_sides_say_so_and_json_stays_valid() {
    let mut lone = Lone::host(settings(&["heads", "streams"]), &["heads", "streams"], Limits::DEFAULT);
    for _ in 0..2 {
        lone.end.request(post("/"), OutgoingBody::Full("body".into()), lone.now).unwrap();
    }
    assert!(lone.frames().iter().all(|frame| matches!(frame, Frame::Head { .. })));
    lone.text(&answer(200, r#","body":"b""#)).unwrap();
    assert!(matches!(lone.event(), Some(Event::Response { head: Ok(_), .. })));
    let flags = HeadFlags(HeadFlags::ANSWER | HeadFlags::WHOLE_BODY);
    lone.frame(Frame::Head { stream: StreamId(3), flags, bytes: vec![0, 200, 0, 0, b'b'].into() }).unwrap();
    let body = Framing::Inline("b".into());
    assert_eq!(lone.event(), Some(Event::Response { id: StreamId(3), head: Ok(ok()), body }));
}

#[test]
fn a_head_too_large_for_a_binary_frame_goes_as_json() {
    let mut pair = Pair::binary();
    let mut request = get("/");
    for n in 0..3_u8 {
        request.headers.append("x-long", [b'a' + n; 30_000].as_slice().try_into().unwrap());
    }
    pair.request(request.clone(), OutgoingBody::Empty);
    assert!(matches!(pair.plugin_event(), Some(Event::Request { head, .. }) if head == request));
}

#[test]
fn an_upgrade_that_is_not_taken_is_ended_by_end_and_not_by_reset() {
    for body in [r#","body":"no""#, r#","body_stream":true"#] {
        let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
        lone.end.request(upgrade(), OutgoingBody::Tunnel, lone.now).unwrap();
        lone.frames();
        lone.text(&answer(426, body)).unwrap();
        assert!(matches!(lone.event(), Some(Event::Response { head: Ok(_), .. })));
        assert_eq!(lone.event(), None);
        assert_eq!(lone.frames(), [Frame::Data { stream: ONE, end: true, bytes: vec![].into() }]);
        assert_eq!(lone.end.send(ONE, "x".into(), lone.now), Err(StreamGone));
    }
}

#[test]
fn a_plugin_cannot_answer_with_a_1xx_that_was_not_asked_for() {
    for (code, body) in [(101, OutgoingBody::Tunnel), (101, OutgoingBody::Empty), (103, OutgoingBody::Empty)]
    {
        let mut pair = Pair::new();
        let id = pair.request(get("/"), OutgoingBody::Empty);
        assert_eq!(pair.plugin.respond(id, status(code), body, pair.now), Err(StreamGone));
        pair.drive();
        assert_eq!(pair.host_event(), Some(Event::Reset { id, code: ResetCode::INTERNAL, by_peer: true }));
    }
}

#[test]
fn a_plugin_answers_once() {
    let mut pair = Pair::new();
    let id = pair.request(get("/"), OutgoingBody::Empty);
    pair.respond(id, ok(), OutgoingBody::Stream);
    assert_eq!(pair.plugin.respond(id, ok(), OutgoingBody::Empty, pair.now), Err(StreamGone));
}

#[test]
fn a_plugin_opens_no_requests_and_is_told_so_when_it_tries() {
    let mut pair = Pair::new();
    assert_eq!(pair.plugin.request(get("/"), OutgoingBody::Empty, pair.now), Err(OpenError::NotOffered));
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.text(r#"{"type":"http","request_id":"2","payload":{"action":"request","method":"GET","path":"/","body_stream":true}}"#)
        .unwrap();
    let frames = lone.frames();
    assert!(
        matches!(&frames[..], [Frame::Message(text)] if text[..].windows(16).any(|part| part == b"\"unknown_action\""))
    );
    assert_eq!(lone.end.open_streams(), 1, "its body is discarded first");
    lone.data(2, 65_536, true).unwrap();
    assert_eq!(lone.end.open_streams(), 0);
}
