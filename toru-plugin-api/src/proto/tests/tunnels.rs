//! Upgrades that were taken: raw bytes both ways, and how they end.

use bytes::Bytes;

use super::{
    Pair,
    http::{ONE, upgrade},
    pair::status,
};
use crate::{
    frame::ResetCode,
    message::http::Framing,
    proto::{Connection, Event, OutgoingBody, ReadOutcome, Side},
};

#[test]
fn a_taken_upgrade_is_raw_bytes_both_ways_with_half_close() {
    for mut pair in [Pair::new(), Pair::binary()] {
        let id = pair.request(upgrade(), OutgoingBody::Tunnel);
        let Some(Event::Request { head, body: Framing::Tunnel, .. }) = pair.plugin_event() else { panic!() };
        assert_eq!(head.headers["upgrade"], "websocket");
        pair.host.send(id, "held until the answer".into(), pair.now).unwrap();
        pair.drive();
        assert_eq!(pair.plugin_reads(id), (0, ReadOutcome::Pending));
        pair.respond(id, status(101), OutgoingBody::Tunnel);
        assert!(matches!(pair.host_event(), Some(Event::Response { body: Framing::Tunnel, .. })));
        assert_eq!(pair.plugin_reads(id), (21, ReadOutcome::Pending));
        pair.plugin.send(id, "down".into(), pair.now).unwrap();
        pair.plugin.finish(id, pair.now).unwrap();
        pair.drive();
        assert_eq!(pair.host_reads(id), (4, ReadOutcome::End));
        pair.host.send(id, "up after the plugin's end".into(), pair.now).unwrap();
        pair.host.finish(id, pair.now).unwrap();
        pair.drive();
        assert_eq!(pair.plugin_reads(id), (25, ReadOutcome::End));
        assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
        assert_eq!(pair.error, None);
    }
}

/// A tunnel of stream 1.
fn tunnel() -> Pair {
    let mut pair = Pair::new();
    let id = pair.request(upgrade(), OutgoingBody::Tunnel);
    assert!(matches!(pair.plugin_event(), Some(Event::Request { .. })));
    pair.respond(id, status(101), OutgoingBody::Tunnel);
    assert!(matches!(pair.host_event(), Some(Event::Response { .. })));
    pair
}

#[test]
fn a_tunnel_that_is_hung_up_delivers_what_was_sent_and_wants_no_more() {
    let (mut pair, id) = (tunnel(), ONE);
    let sent = Bytes::from(vec![7; 200 << 10]);
    pair.plugin.send(id, sent.clone(), pair.now).unwrap();
    pair.plugin.hang_up(id, pair.now);
    assert!(pair.plugin.send(id, "more".into(), pair.now).is_err());
    pair.host.send(id, "unwanted".into(), pair.now).unwrap();
    pair.drive();
    assert!(
        pair.host.can_send(id),
        "nothing is said before the end is sent, which the window still holds back"
    );
    let mut received = 0;
    loop {
        let (bytes, then) = pair.host_reads(id);
        received += bytes;
        match then {
            ReadOutcome::Pending => pair.drive(),
            then => break assert_eq!((received, then), (sent.len(), ReadOutcome::End)),
        }
    }
    assert!(std::iter::from_fn(|| pair.host_event()).any(|event| event == Event::StopSending(id)));
    assert!(pair.host.send(id, "more".into(), pair.now).is_err());
    assert_eq!((pair.host.open_streams(), pair.plugin.open_streams()), (0, 0));
    assert_eq!((pair.plugin.known_streams(), pair.error), (0, None));
}

#[test]
fn a_tunnel_that_is_hung_up_after_both_ends_resets_nothing() {
    let (mut pair, id) = (tunnel(), ONE);
    pair.host.finish(id, pair.now).unwrap();
    pair.drive();
    pair.plugin.hang_up(id, pair.now);
    pair.drive();
    assert_eq!(pair.host_reads(id), (0, ReadOutcome::End));
    assert_eq!(pair.host_event(), Some(Event::Readable(id)));
    assert_eq!(pair.host_event(), None, "no reset and no wish to stop");
    assert_eq!((pair.host.open_streams(), pair.plugin.known_streams()), (0, 0));
}

#[test]
fn only_a_tunnel_is_hung_up() {
    let mut pair = Pair::new();
    let id = pair.request(upgrade(), OutgoingBody::Tunnel);
    pair.host.hang_up(id, pair.now);
    pair.plugin.hang_up(id, pair.now);
    pair.respond(id, status(200), OutgoingBody::Full("an answer".into()));
    assert!(matches!(pair.plugin_event(), Some(Event::Request { .. })));
    assert!(matches!(pair.host_event(), Some(Event::Response { body: Framing::Inline(_), .. })));
}

/// All that was sent on stream 1, taken by a reader of the host that begins now.
fn host_reads_to_the_end(pair: &mut Pair) -> usize {
    let mut received = 0;
    loop {
        let (bytes, then) = pair.host_reads(ONE);
        received += bytes;
        match then {
            ReadOutcome::Pending if bytes > 0 => {}
            ReadOutcome::End => return received,
            stuck => panic!("{stuck:?} after {received} bytes"),
        }
    }
}

#[test]
fn a_peer_that_writes_before_it_reads_gets_all_of_a_tunnel_that_is_hung_up() {
    // One chunk waits unread when the tunnel is hung up; the others come after it.
    for before in [0, 1] {
        let mut pair = tunnel();
        let sent = Bytes::from(vec![7; 200 << 10]);
        pair.plugin.send(ONE, sent.clone(), pair.now).unwrap();
        for chunk in 0..8 {
            if chunk == before {
                pair.plugin.hang_up(ONE, pair.now);
            }
            pair.host.send(ONE, sent.clone(), pair.now).unwrap();
            pair.drive();
            assert!(pair.host.can_send(ONE) || chunk < before, "it may write on");
        }
        assert_eq!(host_reads_to_the_end(&mut pair), sent.len());
        assert!(std::iter::from_fn(|| pair.host_event()).any(|event| event == Event::StopSending(ONE)));
        assert_eq!((pair.host.open_streams(), pair.plugin.known_streams(), pair.error), (0, 0, None));
    }
}

#[test]
fn a_tunnel_that_was_finished_is_told_of_a_cut_at_either_end() {
    for finished in [Side::Host, Side::Plugin] {
        let mut pair = tunnel();
        let now = pair.now;
        let (finishes, cuts): (&mut Connection, &mut Connection) = match finished {
            Side::Host => (&mut pair.host, &mut pair.plugin),
            Side::Plugin => (&mut pair.plugin, &mut pair.host),
        };
        finishes.finish(ONE, now).unwrap();
        cuts.reset(ONE, ResetCode::CANCELLED, now);
        pair.drive();
        let told = match finished {
            Side::Host => pair.host_event(),
            Side::Plugin => pair.plugin_event(),
        };
        assert_eq!(told, Some(Event::Reset { id: ONE, code: ResetCode::CANCELLED, by_peer: true }));
        assert_eq!((pair.host.known_streams(), pair.plugin.known_streams()), (0, 0));
    }
}
