//! The host's timers (protocol section 4) and those of KV calls (section 5).

use std::time::Duration;

use super::{
    Pair,
    pair::{get, head, ok, post},
};
use crate::{
    frame::{ResetCode, StreamId},
    message::kv::{KvCall, KvErrorCode},
    proto::{Event, OutgoingBody, ReadOutcome},
};

const SECOND: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(10);

fn timed_out(id: StreamId) -> Event {
    Event::Reset { id, code: ResetCode::TIMED_OUT, by_peer: false }
}

/// The host's events but those that tell that a stream moves.
fn outcomes(pair: &mut Pair) -> Vec<Event> {
    std::iter::from_fn(|| pair.host_event())
        .filter(|event| !matches!(event, Event::Writable(_) | Event::Readable(_)))
        .collect()
}

/// The plugin is told of the RESET, and the stream is gone from both ends.
fn assert_reset(pair: &mut Pair, id: StreamId, code: ResetCode) {
    let events: Vec<_> = std::iter::from_fn(|| pair.plugin_event()).collect();
    assert!(events.contains(&Event::Reset { id, code, by_peer: true }), "{events:?}");
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
}

#[test]
fn an_answer_that_does_not_come_in_30_s_is_reset_with_2() {
    let mut pair = Pair::new();
    let id = pair.request(get("/"), OutgoingBody::Empty);
    pair.pass(30 * SECOND - MOMENT);
    assert_eq!(pair.host_event(), None);
    pair.pass(MOMENT);
    assert_eq!(outcomes(&mut pair), [timed_out(id)]);
    assert_reset(&mut pair, id, ResetCode::TIMED_OUT);
}

#[test]
fn no_timer_covers_an_answer_after_its_head() {
    let mut pair = Pair::new();
    let id = pair.request(get("/"), OutgoingBody::Empty);
    pair.pass(29 * SECOND);
    pair.respond(id, ok(), OutgoingBody::Stream);
    assert_eq!(pair.host.next_timeout(), None);
    pair.pass(1_000 * SECOND);
    assert!(matches!(outcomes(&mut pair)[..], [Event::Response { .. }]));
}

#[test]
fn the_response_timer_begins_with_the_end_of_the_request() {
    let mut pair = Pair::new();
    let id = pair.request(post("/"), OutgoingBody::Stream);
    for _ in 0..5 {
        pair.pass(20 * SECOND);
        pair.host.send(id, "some".into(), pair.now).unwrap();
        pair.drive();
    }
    pair.host.finish(id, pair.now).unwrap();
    pair.pass(30 * SECOND - MOMENT);
    assert_eq!(outcomes(&mut pair), []);
    pair.pass(MOMENT);
    assert_eq!(outcomes(&mut pair), [timed_out(id)]);
}

#[test]
fn a_body_that_waits_for_credit_is_timed_and_each_credit_stops_the_timer() {
    let mut pair = Pair::new();
    let id = pair.request(post("/"), OutgoingBody::Stream);
    pair.host.send(id, vec![0; 8 << 20].into(), pair.now).unwrap();
    for _ in 0..5 {
        pair.pass(20 * SECOND);
        // A window at a time: the body goes on waiting after it.
        while let ReadOutcome::Data(_) = pair.plugin.read(id, pair.now) {}
    }
    pair.pass(30 * SECOND - MOMENT);
    assert_eq!(outcomes(&mut pair), []);
    pair.pass(2 * MOMENT);
    assert_eq!(outcomes(&mut pair), [timed_out(id)]);
    assert_reset(&mut pair, id, ResetCode::TIMED_OUT);
}

#[test]
fn a_client_that_stalls_its_body_for_30_s_is_given_up() {
    let mut pair = Pair::new();
    let id = pair.request(post("/"), OutgoingBody::Stream);
    pair.host.send(id, "some".into(), pair.now).unwrap();
    pair.pass(30 * SECOND - MOMENT);
    assert_eq!(outcomes(&mut pair), []);
    pair.pass(2 * MOMENT);
    let code = ResetCode::CANCELLED;
    assert_eq!(outcomes(&mut pair), [Event::Reset { id, code, by_peer: false }]);
    assert_reset(&mut pair, id, code);
}

#[test]
fn credit_does_not_give_a_stalled_client_more_time() {
    let mut pair = Pair::new();
    let id = pair.request(post("/"), OutgoingBody::Stream);
    pair.host.send(id, vec![0; 60_000].into(), pair.now).unwrap();
    pair.pass(20 * SECOND);
    assert_eq!(pair.plugin_reads(id).0, 60_000);
    pair.pass(10 * SECOND);
    let code = ResetCode::CANCELLED;
    assert_eq!(outcomes(&mut pair), [Event::Reset { id, code, by_peer: false }]);
}

#[test]
fn an_offered_upgrade_is_timed_until_its_answer_and_a_tunnel_is_not() {
    for mut pair in [Pair::new(), Pair::new()] {
        let mut request = get("/socket");
        request.headers.insert("upgrade", "websocket".parse().unwrap());
        let id = pair.request(request, OutgoingBody::Tunnel);
        pair.pass(29 * SECOND);
        pair.respond(id, super::pair::status(101), OutgoingBody::Tunnel);
        assert_eq!(pair.host.next_timeout(), None);
        pair.pass(1_000 * SECOND);
        assert!(matches!(outcomes(&mut pair)[..], [Event::Response { head: Ok(_), .. }]));
    }
    let mut pair = Pair::new();
    let mut request = get("/socket");
    request.headers.insert("upgrade", "websocket".parse().unwrap());
    let id = pair.request(request, OutgoingBody::Tunnel);
    pair.pass(30 * SECOND);
    assert_eq!(outcomes(&mut pair), [timed_out(id)]);
}

#[test]
fn a_request_body_is_still_awaited_after_the_answers_head() {
    let mut pair = Pair::new();
    let id = pair.request(post("/echo"), OutgoingBody::Stream);
    pair.respond(id, ok(), OutgoingBody::Stream);
    pair.pass(30 * SECOND);
    let events = outcomes(&mut pair);
    let code = ResetCode::CANCELLED;
    assert!(matches!(events[..], [Event::Response { .. }, Event::Reset { code: c, .. }] if c == code));
    assert!(matches!(pair.host_reads(id), (0, ReadOutcome::Reset(_))));
}

#[test]
fn a_kv_call_times_out_after_5_s_from_either_side() {
    let mut pair = Pair::new();
    let call = || KvCall::Get { key: "k".to_owned() };
    let plugins = pair.plugin.call_kv(call(), pair.now).unwrap();
    let hosts = pair.host.call_kv(call(), pair.now).unwrap();
    pair.pass(5 * SECOND - MOMENT);
    assert!(matches!(pair.host_event(), Some(Event::KvCall { .. })));
    assert!(matches!(pair.plugin_event(), Some(Event::KvCall { .. })));
    assert_eq!((pair.host_event(), pair.plugin_event()), (None, None));
    pair.pass(MOMENT);
    for (event, own) in [(pair.host_event(), hosts), (pair.plugin_event(), plugins)] {
        let Some(Event::KvAnswer { id, answer: Err(error) }) = event else { panic!("{event:?}") };
        assert_eq!((id, error.code), (own, KvErrorCode::Timeout));
    }
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
    assert_eq!((pair.host_event(), pair.plugin_event()), (None, None));
}

#[test]
fn a_thousand_timers_expire_each_at_its_moment() {
    let mut pair = Pair::new();
    let mut due = Vec::new();
    for n in 0..1_000 {
        due.push((
            pair.now + 30 * SECOND,
            pair.host.request(head(http::Method::GET, "/"), OutgoingBody::Empty, pair.now),
        ));
        pair.now += Duration::from_millis(1 + n % 7);
    }
    for (at, id) in due {
        assert_eq!(pair.host.next_timeout(), Some(at));
        pair.host.handle_timeout(at).unwrap();
        assert_eq!(pair.host.poll_event(), Some(timed_out(id.unwrap())));
    }
    assert_eq!(pair.host.next_timeout(), None);
}
