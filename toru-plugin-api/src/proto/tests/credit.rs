//! Credit (protocol section 3): windows bound what is under way, and a stopped reader blocks nobody else.

use bytes::{Buf, BytesMut};

use super::{
    Lone, Pair,
    pair::{get, ok, post, settings},
};
use crate::{
    frame::{Frame, Limits, ResetCode, StreamId, TransmitBuf, encode_data},
    proto::{Event, OutgoingBody, Progress, ReadOutcome, Settings},
};

const ONE: StreamId = StreamId(1);

const STREAMED_ANSWER: &str = r#"{"type":"http","request_id":"1","payload":{"action":"response","status":200,"headers":[],"body_stream":true}}"#;

fn asking() -> Lone {
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.end.request(get("/"), OutgoingBody::Empty, lone.now).unwrap();
    lone.frames();
    lone.text(STREAMED_ANSWER).unwrap();
    assert!(matches!(lone.event(), Some(Event::Response { .. })));
    lone
}

/// The bytes of DATA among these frames.
fn data(frames: &[Frame]) -> usize {
    frames.iter().map(|frame| if let Frame::Data { bytes, .. } = frame { bytes.len() } else { 0 }).sum()
}

#[test]
fn a_sender_stops_at_the_window_and_goes_on_with_credit() {
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.end.request(post("/"), OutgoingBody::Stream, lone.now).unwrap();
    lone.end.send(ONE, vec![0; 100_000].into(), lone.now).unwrap();
    assert_eq!(data(&lone.frames()), 65_536);
    assert!(!lone.end.can_send(ONE));
    lone.frame(Frame::Credit { stream: ONE, n: 1 }).unwrap();
    assert_eq!(data(&lone.frames()), 1, "data and any credit: sent");
    lone.frame(Frame::Credit { stream: ONE, n: 40_000 }).unwrap();
    assert_eq!(data(&lone.frames()), 100_000 - 65_537);
    assert_eq!(lone.event(), Some(Event::Writable(ONE)));
    assert!(lone.end.can_send(ONE));
}

#[test]
fn end_needs_no_credit() {
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.end.request(post("/"), OutgoingBody::Stream, lone.now).unwrap();
    lone.end.send(ONE, vec![0; 65_536].into(), lone.now).unwrap();
    lone.frames();
    lone.end.finish(ONE, lone.now).unwrap();
    assert_eq!(lone.frames(), [Frame::Data { stream: ONE, end: true, bytes: vec![].into() }]);
}

#[test]
fn data_is_cut_at_the_peers_max_data() {
    let limits = Limits { max_data: 1_024, ..Limits::DEFAULT };
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], limits);
    lone.end.request(post("/"), OutgoingBody::Stream, lone.now).unwrap();
    lone.end.send(ONE, vec![0; 3_000].into(), lone.now).unwrap();
    let frames = lone.frames();
    assert_eq!(data(&frames), 3_000);
    assert!(frames.iter().all(|frame| data(std::slice::from_ref(frame)) <= 1_024));
}

#[test]
fn credit_goes_back_for_what_was_read_when_half_the_window_was() {
    let mut lone = asking();
    lone.data(1, 32_767, false).unwrap();
    assert!(matches!(lone.end.read(ONE, lone.now), ReadOutcome::Data(_)));
    assert_eq!(lone.frames(), []);
    lone.data(1, 1, false).unwrap();
    assert_eq!(lone.frames(), [], "what was not read is not returned");
    assert!(matches!(lone.end.read(ONE, lone.now), ReadOutcome::Data(_)));
    assert_eq!(lone.frames(), [Frame::Credit { stream: ONE, n: 32_768 }]);
}

#[test]
fn more_data_than_credit_is_a_protocol_error() {
    let mut lone = asking();
    lone.data(1, 65_536, false).unwrap();
    assert_eq!(lone.data(1, 1, false).unwrap_err().cause(), "credit_passed");
}

#[test]
fn credit_that_adds_up_to_more_than_a_window_holds_is_a_protocol_error() {
    let upload = || {
        let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
        lone.end.request(post("/"), OutgoingBody::Stream, lone.now).unwrap();
        lone
    };
    let most = (1 << 31) - 1 - 65_536;
    upload().frame(Frame::Credit { stream: ONE, n: most }).unwrap();
    let error = upload().frame(Frame::Credit { stream: ONE, n: most + 1 }).unwrap_err();
    assert_eq!(error.cause(), "credit_overflow");
}

#[test]
fn credit_for_a_direction_that_has_ended_or_has_no_body_is_ignored() {
    let mut lone = asking();
    lone.frame(Frame::Credit { stream: ONE, n: u32::MAX }).unwrap();
    let mut lone = Lone::plugin(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.text(r#"{"type":"kv","request_id":"1","payload":{"action":"get","key":"k"}}"#).unwrap();
    lone.frame(Frame::Credit { stream: ONE, n: u32::MAX }).unwrap();
}

#[test]
fn credit_before_the_answer_counts_for_it() {
    let mut lone = Lone::plugin(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    lone.text(r#"{"type":"http","request_id":"1","payload":{"action":"request","method":"GET","path":"/"}}"#)
        .unwrap();
    lone.frame(Frame::Credit { stream: ONE, n: 10 }).unwrap();
    lone.end.respond(ONE, ok(), OutgoingBody::Full(vec![0; 1 << 20].into()), lone.now).unwrap();
    assert_eq!(data(&lone.frames()), 65_546);
}

#[test]
fn a_stopped_reader_blocks_nobody_else() {
    let mut pair = Pair::new();
    let stopped = pair.request(get("/stopped"), OutgoingBody::Empty);
    let other = pair.request(get("/other"), OutgoingBody::Empty);
    for id in [stopped, other] {
        pair.respond(id, ok(), OutgoingBody::Full(vec![0; 1 << 20].into()));
    }
    assert_eq!(pair.host_reads(other), (1 << 20, ReadOutcome::End));
    assert_eq!(pair.host.open_streams(), 1);
    assert_eq!(pair.host_reads(stopped), (1 << 20, ReadOutcome::End));
}

#[test]
fn a_window_of_one_byte_still_moves_a_body() {
    let limits = Limits { window: 1, ..Limits::DEFAULT };
    let mut pair = Pair::with(settings(&["streams"]), Settings { limits, ..settings(&["streams"]) });
    let id = pair.request(post("/"), OutgoingBody::Full(vec![0; 100].into()));
    assert_eq!(pair.plugin_reads(id), (100, ReadOutcome::End));
    assert_eq!(pair.error, None);
}

#[test]
fn a_fast_reader_gets_up_to_256_kib_and_all_raises_together_4_mib() {
    let streams: u32 = 40;
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], Limits::DEFAULT);
    let mut window = vec![65_536_usize; streams as usize];
    for n in 0..streams {
        let id = lone.end.request(get("/"), OutgoingBody::Empty, lone.now).unwrap();
        lone.text(&STREAMED_ANSWER.replace(r#""1""#, &format!("\"{}\"", id.0))).unwrap();
        assert_eq!(id.0, 2 * n + 1);
    }
    lone.frames();
    for _ in 0..10 {
        for n in 0..streams {
            let id = 2 * n + 1;
            let open = &mut window[n as usize];
            for _ in 0..2 {
                let bytes = *open / 2;
                *open -= bytes;
                lone.data(id, bytes, false).unwrap();
                while let ReadOutcome::Data(_) = lone.end.read(StreamId(id), lone.now) {}
                for frame in lone.frames() {
                    let Frame::Credit { stream, n } = frame else { panic!("{frame:?}") };
                    assert_eq!(stream, StreamId(id));
                    *open += n as usize;
                }
            }
        }
    }
    assert_eq!(window[0], 256 << 10);
    let raised: usize = window.iter().map(|window| window - 65_536).sum();
    assert_eq!(raised, 4 << 20);
}

#[test]
fn single_bytes_are_no_offence() {
    let mut lone = asking();
    for _ in 0..65_536 {
        lone.data(1, 1, false).unwrap();
    }
    assert_eq!(lone.event(), Some(Event::Readable(ONE)));
    assert_eq!(lone.event(), None, "told once");
    assert!(matches!(lone.end.read(ONE, lone.now), ReadOutcome::Data(bytes) if bytes.len() == 65_536));
}

#[test]
fn what_nobody_reads_keeps_no_read_buffer() {
    const ROOM: usize = 256 << 10;
    let (mut lone, size) = (asking(), 6 << 10);
    let mut read_into = Vec::new();
    for n in 0..8 {
        let mut out = TransmitBuf::default();
        encode_data(&mut out, ONE, vec![n; size].into(), false);
        let mut input = BytesMut::with_capacity(ROOM);
        input.extend_from_slice(&out.copy_to_bytes(out.remaining()));
        assert_eq!(lone.end.handle_input(&mut input, lone.now), Ok(Progress::NeedInput));
        lone.end.let_go_of_input();
        read_into.push(input);
    }
    assert!(read_into.iter_mut().all(|input| input.try_reclaim(ROOM)));
    for n in 0..8 {
        assert_eq!(lone.end.read(ONE, lone.now), ReadOutcome::Data(vec![n; size].into()));
    }
}

#[test]
fn no_credit_follows_a_reset() {
    let mut lone = asking();
    lone.data(1, 65_536, false).unwrap();
    assert!(matches!(lone.end.read(ONE, lone.now), ReadOutcome::Data(_)));
    lone.end.reset(ONE, ResetCode::CANCELLED, lone.now);
    assert_eq!(lone.frames(), [Frame::Reset { stream: ONE, code: ResetCode::CANCELLED }]);
}

#[test]
fn bytes_under_way_never_pass_the_window() {
    let mut pair = Pair::new();
    let id = pair.request(post("/"), OutgoingBody::Stream);
    for _ in 0..100 {
        if pair.host.can_send(id) {
            pair.host.send(id, vec![0; 10_000].into(), pair.now).unwrap();
        }
        pair.drive();
    }
    assert!(!pair.host.can_send(id));
    let mut unread = 0;
    while let ReadOutcome::Data(bytes) = pair.plugin.read(id, pair.now) {
        unread += bytes.len();
    }
    assert_eq!(unread, 65_536);
}
