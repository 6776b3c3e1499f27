//! How streams open and end (protocol section 3).

use super::{
    Lone, Pair,
    pair::{get, ok, post, settings},
};
use crate::{
    frame::{Frame, Limits, ResetCode, StreamId},
    message::http::Framing,
    proto::{Event, OpenError, OutgoingBody, ReadOutcome, Settings, StreamGone},
};

const ONE: StreamId = StreamId(1);

fn cancelled(id: StreamId, by_peer: bool) -> Event {
    Event::Reset { id, code: ResetCode::CANCELLED, by_peer }
}

fn reset(id: u32, code: ResetCode) -> Frame {
    Frame::Reset { stream: StreamId(id), code }
}

fn request(id: u32) -> String {
    format!(
        r#"{{"type":"http","request_id":"{id}","payload":{{"action":"request","method":"POST","path":"/","headers":[]}}}}"#
    )
}

fn streamed_request(id: u32) -> String {
    request(id).replace(r#""headers":[]"#, r#""headers":[],"body_stream":true"#)
}

fn answer(id: u32) -> String {
    format!(
        r#"{{"type":"http","request_id":"{id}","payload":{{"action":"response","status":200,"headers":[]}}}}"#
    )
}

fn streamed_answer(id: u32) -> String {
    answer(id).replace(r#""headers":[]"#, r#""headers":[],"body_stream":true"#)
}

fn host() -> Lone {
    Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT)
}

fn plugin() -> Lone {
    Lone::plugin(settings(&["streams"]), &["streams"], Limits::DEFAULT)
}

/// A host that has sent a request without a body.
fn asking() -> Lone {
    let mut lone = host();
    assert_eq!(lone.end.request(get("/"), OutgoingBody::Empty, lone.now), Ok(ONE));
    lone.frames();
    lone
}

/// A host in the middle of a request body.
fn uploading() -> Lone {
    let mut lone = host();
    assert_eq!(lone.end.request(post("/"), OutgoingBody::Stream, lone.now), Ok(ONE));
    lone.frames();
    lone
}

fn cause(result: Result<(), crate::proto::ConnectionError>) -> &'static str {
    result.expect_err("a protocol error").cause()
}

#[test]
fn a_cancelled_request_is_answered_with_one_reset_and_forgotten_by_both() {
    for mut pair in [Pair::new(), Pair::binary()] {
        let id = pair.request(post("/"), OutgoingBody::Stream);
        assert!(matches!(pair.plugin_event(), Some(Event::Request { .. })));
        pair.host.reset(id, ResetCode::CANCELLED, pair.now);
        assert_eq!(pair.host.open_streams(), 1, "its place is kept until the peer's end");
        pair.drive();
        assert_eq!(pair.plugin_event(), Some(cancelled(id, true)));
        assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
        assert_eq!((pair.host_event(), pair.plugin_event()), (None, None));
        assert_eq!(pair.plugin.respond(id, ok(), OutgoingBody::Empty, pair.now), Err(StreamGone));
    }
}

#[test]
fn who_receives_reset_answers_reset_0_and_nothing_more() {
    let mut lone = plugin();
    lone.text(&streamed_request(1)).unwrap();
    assert!(lone.event().is_some());
    lone.end.respond(ONE, ok(), OutgoingBody::Stream, lone.now).unwrap();
    lone.frames();
    lone.end.send(ONE, vec![0; 10].into(), lone.now).unwrap();
    lone.frame(reset(1, ResetCode::CANCELLED)).unwrap();
    assert_eq!(lone.event(), Some(cancelled(ONE, true)));
    assert_eq!(lone.frames(), [reset(1, ResetCode::DONE)]);
    assert_eq!(lone.end.send(ONE, vec![0; 10].into(), lone.now), Err(StreamGone));
    assert_eq!(lone.end.open_streams(), 0);
}

#[test]
fn who_has_ended_its_direction_does_not_answer_a_reset() {
    let mut lone = asking();
    lone.frame(reset(1, ResetCode::INTERNAL)).unwrap();
    assert_eq!(lone.frames(), []);
    assert_eq!(lone.event(), Some(Event::Reset { id: ONE, code: ResetCode::INTERNAL, by_peer: true }));
    assert_eq!(lone.event(), None);
    assert_eq!(lone.end.open_streams(), 0);
}

#[test]
fn what_comes_after_a_sent_reset_is_discarded_until_the_peers_end() {
    let mut lone = asking();
    lone.end.reset(ONE, ResetCode::CANCELLED, lone.now);
    assert_eq!(lone.frames(), [reset(1, ResetCode::CANCELLED)]);
    lone.text(&streamed_answer(1)).unwrap();
    lone.data(1, 65_536, false).unwrap();
    assert_eq!((lone.event(), lone.frames()), (None, vec![]), "no event, no credit");
    assert_eq!(lone.end.open_streams(), 1);
    assert_eq!(cause(lone.data(1, 1, false)), "credit_passed", "the window bounds what is discarded");

    let mut lone = asking();
    lone.end.reset(ONE, ResetCode::CANCELLED, lone.now);
    lone.text(&answer(1)).unwrap();
    assert_eq!((lone.event(), lone.end.open_streams()), (None, 0), "the answer was the end");
}

#[test]
fn resets_that_cross_end_the_stream_without_another() {
    let mut lone = uploading();
    lone.end.reset(ONE, ResetCode::CANCELLED, lone.now);
    lone.frames();
    lone.frame(reset(1, ResetCode::INTERNAL)).unwrap();
    assert_eq!(lone.frames(), []);
    assert_eq!((lone.event(), lone.end.open_streams()), (None, 0));
}

#[test]
fn credit_and_reset_for_a_forgotten_stream_are_ignored() {
    let mut lone = asking();
    lone.text(&answer(1)).unwrap();
    lone.frame(Frame::Credit { stream: ONE, n: u32::MAX }).unwrap();
    lone.frame(reset(1, ResetCode::DONE)).unwrap();
    assert_eq!(lone.frames(), []);
}

#[test]
fn data_and_messages_for_a_forgotten_stream_are_protocol_errors() {
    for late in [answer(1), r#"{"type":"kv","request_id":"1","payload":{"value":null}}"#.to_owned()] {
        let mut lone = asking();
        lone.text(&answer(1)).unwrap();
        assert_eq!(cause(lone.text(&late)), "stream_forgotten");
    }
    let mut lone = asking();
    lone.text(&answer(1)).unwrap();
    assert_eq!(cause(lone.data(1, 1, true)), "stream_forgotten");
    let mut lone = plugin();
    lone.text(&request(5)).unwrap();
    assert_eq!(cause(lone.text(&request(3))), "stream_forgotten", "passed over is forgotten");
}

#[test]
fn any_frame_for_a_stream_not_opened_is_a_protocol_error() {
    let frames = [
        Frame::Data { stream: StreamId(9), end: true, bytes: vec![].into() },
        Frame::Credit { stream: StreamId(9), n: 1 },
        reset(9, ResetCode::DONE),
        Frame::Message(answer(9).into()),
        Frame::Message(r#"{"type":"kv","request_id":"9","payload":{"value":null}}"#.into()),
    ];
    for frame in frames {
        assert_eq!(cause(asking().frame(frame)), "stream_not_opened");
    }
}

#[test]
fn a_stream_is_opened_once_and_by_the_side_of_its_parity() {
    let mut lone = plugin();
    lone.text(&request(1)).unwrap();
    assert_eq!(cause(lone.text(&request(1))), "stream_in_use");
    assert_eq!(cause(plugin().text(&request(2))), "stream_parity");
}

#[test]
fn opening_more_than_max_streams_is_a_protocol_error() {
    let limits = Limits { max_streams: 2, ..Limits::DEFAULT };
    let mut lone = Lone::plugin(Settings { limits, ..settings(&["streams"]) }, &["streams"], Limits::DEFAULT);
    lone.text(&request(1)).unwrap();
    lone.text(&request(3)).unwrap();
    lone.end.respond(ONE, ok(), OutgoingBody::Empty, lone.now).unwrap();
    lone.text(&request(5)).unwrap();
    assert_eq!(cause(lone.text(&request(7))), "too_many_streams");
}

#[test]
fn a_reset_stream_keeps_its_place_until_the_peers_end() {
    let limits = Limits { max_streams: 1, ..Limits::DEFAULT };
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], limits);
    lone.end.request(get("/"), OutgoingBody::Empty, lone.now).unwrap();
    lone.end.reset(ONE, ResetCode::CANCELLED, lone.now);
    assert_eq!(lone.end.request(get("/"), OutgoingBody::Empty, lone.now), Err(OpenError::Full));
    lone.frame(reset(1, ResetCode::DONE)).unwrap();
    assert_eq!(lone.end.request(get("/"), OutgoingBody::Empty, lone.now), Ok(StreamId(3)));
}

#[test]
fn opening_and_cancelling_never_passes_the_limit() {
    let limits = Limits { max_streams: 8, ..Limits::DEFAULT };
    let mut pair = Pair::with(settings(&["streams"]), Settings { limits, ..settings(&["streams"]) });
    let mut opened = 0;
    while opened < 10_000 {
        match pair.host.request(get("/"), OutgoingBody::Empty, pair.now) {
            Ok(id) => {
                pair.host.reset(id, ResetCode::CANCELLED, pair.now);
                opened += 1;
            }
            Err(error) => {
                assert_eq!((error, pair.host.open_streams()), (OpenError::Full, 8));
                pair.drive();
                while pair.plugin_event().is_some() {}
            }
        }
    }
    pair.drive();
    assert_eq!((pair.error, pair.host.open_streams(), pair.plugin.open_streams()), (None, 0, 0));
}

#[test]
fn an_answer_that_ended_before_a_reset_is_complete() {
    let mut lone = uploading();
    lone.text(&streamed_answer(1)).unwrap();
    lone.data(1, 5, true).unwrap();
    lone.frame(reset(1, ResetCode::INTERNAL)).unwrap();
    assert!(matches!(lone.event(), Some(Event::Response { head: Ok(_), body: Framing::Stream, .. })));
    assert!(matches!(lone.end.read(ONE, lone.now), ReadOutcome::Data(bytes) if bytes.len() == 5));
    assert_eq!(lone.end.read(ONE, lone.now), ReadOutcome::End);
}

#[test]
fn after_the_end_of_the_answer_an_unfinished_request_body_is_ended_by_reset_0() {
    let mut pair = Pair::new();
    let id = pair.request(post("/"), OutgoingBody::Stream);
    assert!(pair.plugin_event().is_some());
    pair.respond(id, ok(), OutgoingBody::Full("early".into()));
    assert!(matches!(pair.host_event(), Some(Event::Response { head: Ok(_), .. })));
    assert_eq!(pair.host_event(), Some(Event::StopSending(id)));
    assert_eq!(pair.host.send(id, "more".into(), pair.now), Err(StreamGone));
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
    assert_eq!(pair.plugin_event(), Some(Event::Readable(id)), "its reader learns of the cut");
    assert_eq!(pair.plugin_event(), None, "its answer had ended: the handler is not cancelled");
}

#[test]
fn a_handler_that_reads_on_after_its_answer_learns_that_the_body_was_cut() {
    let mut pair = Pair::new();
    let id = pair.request(post("/"), OutgoingBody::Stream);
    assert!(pair.plugin_event().is_some());
    assert_eq!(pair.plugin_reads(id), (0, ReadOutcome::Pending));
    pair.respond(id, ok(), OutgoingBody::Empty);
    assert_eq!(pair.plugin_event(), Some(Event::Readable(id)));
    assert!(matches!(pair.plugin_reads(id), (0, ReadOutcome::Reset(_))));
}

#[test]
fn a_reset_inside_the_answer_cuts_it() {
    let mut pair = Pair::new();
    let id = pair.request(get("/"), OutgoingBody::Empty);
    pair.respond(id, ok(), OutgoingBody::Stream);
    pair.plugin.send(id, "part".into(), pair.now).unwrap();
    pair.drive();
    pair.plugin.reset(id, ResetCode::INTERNAL, pair.now);
    pair.drive();
    assert!(matches!(pair.host_event(), Some(Event::Response { .. })));
    assert_eq!(pair.host_event(), Some(Event::Readable(id)));
    assert_eq!(pair.host_event(), Some(Event::Reset { id, code: ResetCode::INTERNAL, by_peer: true }));
    assert!(matches!(pair.host_reads(id), (0, ReadOutcome::Reset(_))));
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
}

#[test]
fn a_dropped_reader_of_an_answer_resets_its_stream() {
    let mut pair = Pair::new();
    let id = pair.request(get("/"), OutgoingBody::Empty);
    assert!(pair.plugin_event().is_some());
    pair.respond(id, ok(), OutgoingBody::Stream);
    pair.host.discard(id, pair.now);
    pair.drive();
    assert_eq!(pair.plugin_event(), Some(cancelled(id, true)));
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
}

#[test]
fn an_answer_outlives_a_dropped_reader_of_its_request() {
    let mut pair = Pair::new();
    let id = pair.request(post("/"), OutgoingBody::Full(vec![0; 1 << 20].into()));
    pair.plugin.discard(id, pair.now);
    pair.drive();
    assert!(matches!(pair.plugin_event(), Some(Event::Request { .. })));
    assert_eq!(pair.plugin_event(), Some(Event::Readable(id)));
    pair.respond(id, ok(), OutgoingBody::Empty);
    assert!(matches!(pair.host_event(), Some(Event::Writable(_)) | Some(Event::Response { .. })));
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
}

#[test]
fn data_after_end_and_before_the_head_are_protocol_errors() {
    let mut lone = asking();
    assert_eq!(cause(lone.data(1, 1, false)), "data_before_head");
    let mut lone = plugin();
    lone.text(&streamed_request(1)).unwrap();
    lone.data(1, 1, true).unwrap();
    assert_eq!(cause(lone.data(1, 1, true)), "data_after_end");
    let mut lone = plugin();
    lone.text(&request(1)).unwrap();
    assert_eq!(cause(lone.data(1, 1, true)), "data_after_end", "there was no body");
}

#[test]
fn a_second_head_is_a_protocol_error() {
    let mut lone = asking();
    lone.text(&streamed_answer(1)).unwrap();
    assert_eq!(cause(lone.text(&answer(1))), "second_head");
    let mut lone = plugin();
    lone.text(&streamed_request(1)).unwrap();
    assert_eq!(cause(lone.text(&answer(1))), "second_head", "the opener answers itself");
}

#[test]
fn numbers_wrap_and_skip_those_still_open() {
    let mut pair = Pair::new();
    let first = pair.request(get("/held"), OutgoingBody::Empty);
    assert_eq!(first, StreamId(1));
    pair.host.continue_numbers_after(Some(u32::MAX - 2), None);
    pair.plugin.continue_numbers_after(None, Some(u32::MAX - 2));
    assert_eq!(pair.request(get("/last"), OutgoingBody::Empty), StreamId(u32::MAX));
    assert_eq!(pair.request(get("/first"), OutgoingBody::Empty), StreamId(3), "1 is open, 0 is not used");
    for id in [u32::MAX, 3, 1] {
        pair.respond(StreamId(id), ok(), OutgoingBody::Empty);
    }
    assert_eq!((pair.error, pair.host.open_streams(), pair.plugin.open_streams()), (None, 0, 0));
}

#[test]
fn a_receiver_takes_any_first_number_of_the_right_parity() {
    let mut lone = plugin();
    lone.text(&request(u32::MAX)).unwrap();
    lone.text(&request(7)).unwrap();
    assert_eq!(cause(lone.text(&request(u32::MAX - 2))), "stream_forgotten");
}

#[test]
fn what_was_whole_when_the_link_ended_can_be_read_and_the_rest_is_cut() {
    let mut lone = host();
    for _ in 0..2 {
        lone.end.request(get("/"), OutgoingBody::Empty, lone.now).unwrap();
    }
    for id in [1, 3] {
        lone.text(&streamed_answer(id)).unwrap();
        lone.data(id, 5, id == 1).unwrap();
    }
    lone.end.handle_eof(&[], lone.now).unwrap();
    assert!(matches!(lone.end.read(ONE, lone.now), ReadOutcome::Data(_)));
    assert_eq!(lone.end.read(ONE, lone.now), ReadOutcome::End);
    assert!(matches!(lone.end.read(StreamId(3), lone.now), ReadOutcome::Reset(_)));
    assert_eq!(lone.end.next_timeout(), None);
}
