//! Requests of the plugin to its host (protocol section 4, feature `http-out`).

use bytes::{Buf, BytesMut};

use super::{
    Lone, Pair,
    pair::{get, ok, post, settings},
};
use crate::{
    frame::{Frame, Limits, ResetCode, StreamId, TransmitBuf, encode_frame, head},
    message::{
        http::{Framing, encode_request, encode_response},
        kv::KvAnswer,
    },
    proto::{Event, OpenError, OutgoingBody, Progress, ReadOutcome, StreamGone},
};

const TWO: StreamId = StreamId(2);
const OFFERED: [&str; 2] = ["http-out", "streams"];

fn pair() -> Pair {
    Pair::with(settings(&OFFERED), settings(&OFFERED))
}

fn host() -> Lone {
    Lone::host(settings(&OFFERED), &OFFERED, Limits::DEFAULT)
}

fn request(id: u32, body: usize) -> String {
    let body = "b".repeat(body);
    format!(
        r#"{{"type":"http","request_id":"{id}","payload":{{"action":"request","method":"POST","path":"/","headers":[],"body":"{body}"}}}}"#
    )
}

fn is_refused(frames: &[Frame], id: u32) -> bool {
    frames.contains(&Frame::Reset { stream: StreamId(id), code: ResetCode::REFUSED })
}

#[test]
fn a_plugin_asks_only_where_the_host_offers_it() {
    let mut pair = Pair::with(settings(&["streams"]), settings(&OFFERED));
    assert_eq!(pair.plugin.request(get("/"), OutgoingBody::Empty, pair.now), Err(OpenError::NotOffered));
    let mut early = Pair::before_ready(settings(&OFFERED), settings(&OFFERED));
    early.drive();
    assert_eq!(early.plugin.request(get("/"), OutgoingBody::Empty, early.now), Err(OpenError::NotOpen));
}

#[test]
fn a_plugin_offers_no_upgrade() {
    let mut pair = pair();
    assert_eq!(pair.plugin.request(get("/"), OutgoingBody::Tunnel, pair.now), Err(OpenError::NoUpgrade));
    assert_eq!(pair.plugin.open_streams(), 0);
}

#[test]
fn bodies_larger_than_the_window_flow_both_ways_however_they_are_cut() {
    for split in [usize::MAX, 1_000] {
        let mut pair = pair().split(split);
        let (size, now) = (1 << 20, pair.now);
        let body = OutgoingBody::Full(vec![b'b'; size].into());
        assert_eq!(pair.plugin.request(post("/"), body.clone(), now), Ok(TWO));
        pair.drive();
        let Some(Event::Request { id: TWO, body: Framing::Stream, .. }) = pair.host_event() else { panic!() };
        assert_eq!(pair.host_reads(TWO), (size, ReadOutcome::End));
        pair.host.respond(TWO, ok(), body, pair.now).unwrap();
        pair.drive();
        let answer = std::iter::from_fn(|| pair.plugin_event())
            .find(|event| matches!(event, Event::Response { id: TWO, .. }));
        assert!(answer.is_some());
        assert_eq!(pair.plugin_reads(TWO), (size, ReadOutcome::End));
        assert_eq!((pair.host.known_streams(), pair.plugin.known_streams()), (0, 0));
    }
}

#[test]
fn a_reader_of_the_host_that_stops_blocks_the_body_and_nothing_else() {
    let mut pair = pair();
    let size = 1 << 20;
    pair.plugin.request(post("/"), OutgoingBody::Full(vec![b'b'; size].into()), pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.plugin.request(get("/other"), OutgoingBody::Empty, pair.now), Ok(StreamId(4)));
    pair.drive();
    pair.host.respond(StreamId(4), ok(), OutgoingBody::Empty, pair.now).unwrap();
    pair.drive();
    assert_eq!((pair.plugin.stream(StreamId(4)), pair.error), (None, None));
}

#[test]
fn requests_in_work_hold_4_mib_and_a_further_one_is_refused() {
    let mut lone = host();
    let inline = 512 << 10;
    // Each counts its path too.
    for n in 1..=7 {
        lone.text(&request(2 * n, inline)).unwrap();
        assert!(matches!(lone.event(), Some(Event::Request { .. })), "{n}");
    }
    lone.text(&request(16, inline)).unwrap();
    assert!(is_refused(&lone.frames(), 16));
    assert_eq!(lone.event(), None);
    lone.end.respond(TWO, ok(), OutgoingBody::Empty, lone.now).unwrap();
    lone.text(&request(18, inline)).unwrap();
    assert!(matches!(lone.event(), Some(Event::Request { .. })));
    // One that its plugin gave up holds nothing any more.
    lone.frame(Frame::Reset { stream: StreamId(4), code: ResetCode::CANCELLED }).unwrap();
    lone.frames();
    assert!(matches!(lone.event(), Some(Event::Reset { id: StreamId(4), by_peer: true, .. })));
    lone.text(&request(20, inline)).unwrap();
    assert!(matches!(lone.event(), Some(Event::Request { .. })));
}

/// The frame arrives in a large read buffer; gives the event, and whether the memory of the buffer is free again.
fn read_in_a_large_buffer(lone: &mut Lone, frame: Frame) -> (Event, bool) {
    const ROOM: usize = 256 << 10;
    let mut out = TransmitBuf::default();
    encode_frame(&mut out, frame);
    let mut input = BytesMut::with_capacity(ROOM);
    input.extend_from_slice(&out.copy_to_bytes(out.remaining()));
    assert_eq!(lone.end.handle_input(&mut input, lone.now), Ok(Progress::NeedInput));
    (lone.event().expect("a request"), input.try_reclaim(ROOM))
}

#[test]
fn a_request_in_work_does_not_keep_the_buffer_that_it_was_read_into() {
    let mut head = post("/mail?to=ann");
    head.headers.insert("host", "host".parse().unwrap());
    let framing = Framing::Inline("text".into());
    let mut text = Vec::new();
    encode_request(&mut text, TWO, &head, &framing);
    let mut bytes = Vec::new();
    let flags = head::encode_request(&mut bytes, &head, &framing).unwrap();
    for frame in [Frame::Message(text.into()), Frame::Head { stream: TWO, flags, bytes: bytes.into() }] {
        let features = ["heads", "http-out", "streams"];
        let mut lone = Lone::host(settings(&features), &features, Limits::DEFAULT);
        let (event, is_free) = read_in_a_large_buffer(&mut lone, frame);
        assert_eq!(event, Event::Request { id: TWO, head: head.clone(), body: framing.clone() });
        assert!(is_free);
    }
}

#[test]
fn an_answer_of_the_plugin_is_not_copied() {
    let mut lone = host();
    let id = lone.end.request(get("/"), OutgoingBody::Empty, lone.now).unwrap();
    lone.frames();
    let body = Framing::Inline("b".repeat(100_000).into());
    let mut text = Vec::new();
    encode_response(&mut text, id, &ok(), &body);
    let (event, is_free) = read_in_a_large_buffer(&mut lone, Frame::Message(text.into()));
    assert_eq!(event, Event::Response { id, head: Ok(ok()), body });
    assert!(!is_free, "its body is no piece of the buffer");
}

#[test]
fn requests_in_work_count_all_that_they_hold() {
    let admitted = |request: &dyn Fn(u32) -> String| {
        let mut lone = host();
        let mut requests = (1..=1_024).map(|n| 2 * n);
        let refused = requests.find(|&id| {
            lone.text(&request(id)).unwrap();
            is_refused(&lone.frames(), id)
        });
        refused.expect("one is too many") / 2 - 1
    };
    let with = |id, fields: &str| {
        format!(
            r#"{{"type":"http","request_id":"{id}","payload":{{"action":"request","method":"GET","path":"/",{fields}}}}}"#
        )
    };
    // What the head does not say, but its frame holds.
    let padding = format!(r#""padding":"{}""#, "x".repeat(1_000_000));
    assert_eq!(admitted(&|id| with(id, &padding)), 4);
    // What the frame does not say, but the map of its headers holds.
    let headers = format!(r#""headers":[{}["a",""]]"#, r#"["a",""],"#.repeat(9_999));
    assert_eq!(admitted(&|id| with(id, &headers)), 3);
}

#[test]
fn a_plugin_without_an_answer_gives_up_in_time() {
    let mut pair = pair();
    pair.plugin.request(get("/"), OutgoingBody::Empty, pair.now).unwrap();
    pair.drive();
    let timeout = pair.plugin.next_timeout().expect("the response timer runs") - pair.now;
    pair.pass(timeout);
    assert_eq!(
        pair.plugin_event(),
        Some(Event::Reset { id: TWO, code: ResetCode::TIMED_OUT, by_peer: false })
    );
    assert!(matches!(pair.host_event(), Some(Event::Request { .. })));
    assert_eq!(pair.host_event(), Some(Event::Reset { id: TWO, code: ResetCode::TIMED_OUT, by_peer: true }));
    assert_eq!((pair.host.known_streams(), pair.plugin.known_streams()), (0, 0));
}

#[test]
fn a_request_of_the_plugin_is_not_answered_as_a_call() {
    let mut pair = pair();
    let id = pair.plugin.request(get("/"), OutgoingBody::Empty, pair.now).unwrap();
    pair.drive();
    assert_eq!(pair.host.answer_kv(id, Ok(KvAnswer::Ok), pair.now), Err(StreamGone));
    pair.host.respond(id, ok(), OutgoingBody::Empty, pair.now).unwrap();
    pair.drive();
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
}
