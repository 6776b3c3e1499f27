//! A request and its answer.

use super::{
    Pair,
    pair::{get, ok, post},
};
use crate::{
    frame::StreamId,
    message::http::Framing,
    proto::{Event, OutgoingBody, ReadOutcome},
};

#[test]
fn a_request_and_its_answer_are_one_event_each() {
    for mut pair in [Pair::new(), Pair::binary(), Pair::new().split(1), Pair::binary().split(3)] {
        let id = pair.request(post("/x?y=1"), OutgoingBody::Full("question".into()));
        assert_eq!(id, StreamId(1));
        let body = Framing::Inline("question".into());
        assert_eq!(pair.plugin_event(), Some(Event::Request { id, head: post("/x?y=1"), body }));
        pair.respond(id, ok(), OutgoingBody::Full("answer".into()));
        let body = Framing::Inline("answer".into());
        assert_eq!(pair.host_event(), Some(Event::Response { id, head: Ok(ok()), body }));
        assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
        assert_eq!((pair.host_event(), pair.plugin_event()), (None, None));
        assert_eq!((pair.host.next_timeout(), pair.plugin.next_timeout()), (None, None));
    }
}

#[test]
fn a_body_larger_than_the_window_arrives_whole_in_both_directions() {
    let size = 1 << 20;
    for mut pair in [Pair::new(), Pair::binary(), Pair::new().split(1_000)] {
        let id = pair.request(post("/"), OutgoingBody::Full(vec![b'q'; size].into()));
        let Some(Event::Request { body: Framing::Stream, .. }) = pair.plugin_event() else { panic!() };
        assert_eq!(pair.plugin_reads(id), (size, ReadOutcome::End));
        pair.respond(id, ok(), OutgoingBody::Full(vec![b'a'; size].into()));
        let Some(Event::Response { body: Framing::Stream, .. }) = pair.host_event() else { panic!() };
        assert_eq!(pair.host_reads(id), (size, ReadOutcome::End));
        assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
        assert_eq!(pair.error, None);
    }
}

#[test]
fn a_get_has_no_body() {
    let mut pair = Pair::new();
    let id = pair.request(get("/"), OutgoingBody::Empty);
    let Some(Event::Request { body: Framing::Empty, .. }) = pair.plugin_event() else { panic!() };
    pair.respond(id, ok(), OutgoingBody::Empty);
    assert!(matches!(pair.host_event(), Some(Event::Response { body: Framing::Empty, .. })));
}
