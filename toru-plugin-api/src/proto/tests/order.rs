//! What goes first, and what the peer can force to be queued (protocol section 3).

use super::{
    Lone, Pair,
    pair::{get, ok, post, settings},
};
use crate::{
    frame::{Frame, Limits, ResetCode, StreamId},
    message::log::{Level, LogMessage},
    proto::{ConnectionError, Event, OutgoingBody, Phase, Settings},
};

fn uploads(count: u32, size: usize) -> Lone {
    let limits = Limits { window: 1 << 20, ..Limits::DEFAULT };
    let mut lone = Lone::host(settings(&["streams"]), &["streams"], limits);
    for _ in 0..count {
        let id = lone.end.request(post("/"), OutgoingBody::Stream, lone.now).unwrap();
        lone.end.send(id, vec![0; size].into(), lone.now).unwrap();
    }
    lone
}

/// The stream and size of each DATA frame.
fn turns(frames: &[Frame]) -> Vec<(u32, usize)> {
    frames
        .iter()
        .filter_map(|frame| match frame {
            Frame::Data { stream, bytes, .. } => Some((stream.0, bytes.len())),
            _ => None,
        })
        .collect()
}

#[test]
fn a_stream_alone_sends_frames_of_max_data() {
    assert_eq!(turns(&uploads(1, 600_000).frames()), [(1, 262_144), (1, 262_144), (1, 75_712)]);
}

#[test]
fn streams_take_turns_of_64_kib_while_others_wait() {
    let mut lone = uploads(2, 100_000);
    assert_eq!(turns(&lone.frames()), [(1, 65_536), (3, 65_536), (1, 34_464), (3, 34_464)]);
}

#[test]
fn frames_other_than_data_go_first() {
    let mut lone = uploads(1, 1_000);
    lone.end.request(get("/late"), OutgoingBody::Empty, lone.now).unwrap();
    let frames = lone.frames();
    assert!(matches!(frames[..], [Frame::Message(_), Frame::Message(_), Frame::Data { .. }]), "{frames:?}");
}

#[test]
fn reset_discards_the_streams_unsent_data() {
    let mut lone = uploads(2, 1_000);
    lone.end.reset(StreamId(1), ResetCode::CANCELLED, lone.now);
    assert_eq!(turns(&lone.frames()), [(3, 1_000)]);
}

#[test]
fn the_budget_of_a_write_is_kept_to_about_a_frame() {
    let mut lone = uploads(4, 500_000);
    let mut out = crate::frame::TransmitBuf::default();
    assert!(lone.end.poll_transmit(&mut out, 100_000, lone.now));
    assert!((100_000..100_000 + 65_536 + 10).contains(&out.len()), "{}", out.len());
}

#[test]
fn a_peer_that_does_not_read_what_it_forces_ends_the_link() {
    let limits = Limits { max_streams: 4, ..Limits::DEFAULT };
    let mut lone = Lone::plugin(Settings { limits, ..settings(&[]) }, &[], limits);
    let request = |id: u32| {
        format!(
            r#"{{"type":"http","request_id":"{id}","payload":{{"action":"request","method":"GET","path":"/"}}}}"#
        )
    };
    let forced = 4 * (4 + 4) + 64;
    for n in 0..forced {
        lone.text(&request(2 * n + 1)).unwrap();
        lone.frame(Frame::Reset { stream: StreamId(2 * n + 1), code: ResetCode::CANCELLED }).unwrap();
    }
    let id = 2 * forced + 1;
    lone.text(&request(id)).unwrap();
    let error = lone.frame(Frame::Reset { stream: StreamId(id), code: ResetCode::CANCELLED }).unwrap_err();
    assert_eq!(error, ConnectionError::PeerDoesNotRead);
    assert_eq!(lone.end.phase(), Phase::Closed);
}

#[test]
fn a_peer_that_names_a_huge_max_streams_may_not_force_more_frames() {
    let limits = Limits { max_streams: (1 << 31) - 1, ..Limits::DEFAULT };
    let mut lone = Lone::host(settings(&[]), &[], limits);
    let forced = 4 * (1_024 + 1_024) + 64;
    let mut call = |n: u32| {
        lone.text(&format!(r#"{{"type":"kv","request_id":"{}","payload":{{"action":"x"}}}}"#, 2 * n))
    };
    for n in 1..=forced {
        call(n).unwrap();
    }
    assert_eq!(call(forced + 1), Err(ConnectionError::PeerDoesNotRead));
}

#[test]
fn a_peer_that_reads_may_force_frames_for_ever() {
    let mut lone = Lone::host(settings(&[]), &[], Limits { max_streams: 1, ..Limits::DEFAULT });
    for n in 1..20_000 {
        lone.text(&format!(r#"{{"type":"kv","request_id":"{}","payload":{{"action":"x"}}}}"#, 2 * n))
            .unwrap();
        assert_eq!(lone.frames().len(), 1);
    }
}

#[test]
fn one_mebibyte_of_messages_leaves_no_room_and_logs_are_dropped_then() {
    let mut pair = Pair::new();
    let message = "m".repeat(60_000);
    let log = LogMessage { level: Level::Info, message, fields: serde_json::Map::new() };
    let mut sent = 0;
    while pair.plugin.log(&log) {
        sent += 1;
    }
    assert!((17..=18).contains(&sent), "{sent}");
    assert!(!pair.plugin.has_room());
    pair.drive();
    assert!(pair.plugin.has_room());
    let logs = std::iter::from_fn(|| pair.host_event()).filter(|event| matches!(event, Event::Log(_)));
    assert_eq!(logs.count(), sent);
}

#[test]
fn a_turn_handles_a_bounded_number_of_frames() {
    let mut lone = Lone::host(settings(&[]), &[], Limits::DEFAULT);
    let text = br#"{"type":"log","payload":{"message":"m"}}"#;
    let mut input = bytes::BytesMut::new();
    for _ in 0..1_000 {
        input.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
        input.extend_from_slice(text);
    }
    let mut turns = 1;
    while lone.end.handle_input(&mut input, lone.now).unwrap() == crate::proto::Progress::More {
        turns += 1;
    }
    let logs = std::iter::from_fn(|| lone.event()).count();
    assert_eq!((turns, logs, input.len()), (4, 1_000, 0));
}

#[test]
fn an_answer_is_written_after_its_stream_was_forgotten() {
    let mut pair = Pair::new();
    let id = pair.request(get("/"), OutgoingBody::Empty);
    pair.plugin.respond(id, ok(), OutgoingBody::Full("answer".into()), pair.now).unwrap();
    assert_eq!(pair.plugin.open_streams(), 0);
    pair.drive();
    assert!(matches!(pair.host_event(), Some(Event::Response { head: Ok(_), .. })));
}
