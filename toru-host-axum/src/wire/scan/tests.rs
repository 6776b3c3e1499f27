//! What is clear, and what is not, however it is cut.

use super::*;

const MAX_HEAD: usize = 32 << 10;

/// What becomes of these bytes when they come in pieces of this size: where the refusal stands, and what follows an offer.
fn read(bytes: &str, piece: usize) -> (Option<usize>, Option<usize>) {
    let mut scan = Scan::new(MAX_HEAD);
    let mut read = bytes.as_bytes().to_vec();
    for (number, part) in read.chunks_mut(piece).enumerate() {
        let begin = number * piece;
        match scan.feed(part) {
            Seen::All => {}
            Seen::Offered { rest } => return (None, Some(bytes.len() - begin - part.len() + rest)),
            Seen::Refused { kept } => {
                assert_eq!(part[kept - 1], REFUSAL, "{bytes:?}");
                assert_eq!(scan.feed(&mut [b'x'; 10]), Seen::Refused { kept: 0 }, "nothing counts any more");
                return (Some(begin + kept - 1), None);
            }
        }
    }
    (None, None)
}

/// As `read`, and the same at every way to cut it.
#[track_caller]
fn read_anyhow(bytes: &str) -> (Option<usize>, Option<usize>) {
    let whole = read(bytes, bytes.len());
    for piece in 1..bytes.len() {
        assert_eq!(read(bytes, piece), whole, "{bytes:?} in pieces of {piece}");
    }
    whole
}

const NEXT: &str = "GET /next HTTP/1.1\r\nhost: x\r\n\r\n";
/// A head that is refused, to see that what is before it was read to its end.
const BAD: &str = "GET / HTTP/1.1\n";

#[test]
fn clear_requests_are_followed_to_their_ends() {
    for request in [
        "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length:5\r\n\r\na\nb\r\n",
        "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\na\nb\r\n\r\nA;x=\"y\"\r\n0123456789\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\nx-trailer: content-length: 9\r\n\r\n",
        "GET / HTTP/1.1\r\ncontent-length-x: 1\r\ncontent-length-x: 2\r\ntransfer-encodings: x\r\nupgrades: x\r\n\r\n",
        "POST / HTTP/1.1\r\nupgrade: x\r\ncontent-length: 2\r\n\r\nab",
    ] {
        assert_eq!(read_anyhow(&format!("{request}{NEXT}")), (None, None), "{request:?}");
        let refused_at = request.len() + BAD.len() - 1;
        assert_eq!(read_anyhow(&format!("{request}{BAD}")), (Some(refused_at), None), "{request:?}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    for (before, refused) in [
        ("", "GET / HTTP/1.1\n"),
        ("GET / HTTP/1.1\r\nhost: x", "\n"),
        ("GET / HTTP/1.1\r\nhost: x\r\n", "\n"),
        ("GET / HTTP/1.1\r\nhost: x\r\n", " folded: y\r\n"),
        ("GET / HTTP/1.1\r\n", "\tfolded: y\r\n"),
        ("POST / HTTP/1.1\r\ncontent-length: 5\r\n", "content-length: 5\r\n"),
        ("POST / HTTP/1.1\r\ncontent-length: 5\r\n", "Content-Length: 6\r\n"),
        ("POST / HTTP/1.1\r\n", "content-length: 5, 5\r\n"),
        ("POST / HTTP/1.1\r\n", "content-length: +5\r\n"),
        ("POST / HTTP/1.1\r\n", "content-length:\r\n"),
        ("POST / HTTP/1.1\r\n", "content-length: 18446744073709551616\r\n"),
        ("POST / HTTP/1.1\r\n", "content-length : 5\r\n"),
        ("POST / HTTP/1.1\r\n", "transfer-encoding\t: chunked\r\n"),
        ("POST / HTTP/1.1\r\n", "transfer-encoding: chunked, identity\r\n"),
        ("POST / HTTP/1.1\r\n", "transfer-encoding: xchunked\r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n", "\r\n"),
        ("POST / HTTP/1.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n", "\r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "5\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "0x5\r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "+5\r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "5 \r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", ";x\r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "5;a\rb\r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "fffffffffffffffff\r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", "ffffffffffffffff\r\n"),
        ("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "a: b\n"),
    ] {
        let refused_at = before.len() + refused.len() - 1;
        let message = format!("{before}{refused}rest\n\r\n");
        assert_eq!(read_anyhow(&message), (Some(refused_at), None), "{message:?}");
    }
}

#[test]
fn what_follows_an_offered_upgrade_is_not_looked_at() {
    let offer = "GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for (before, after) in [("", ""), ("", "\n\0 any bytes\n"), (NEXT, "x\n")] {
        let message = format!("{before}{offer}{after}");
        assert_eq!(read_anyhow(&message), (None, Some(after.len())), "{message:?}");
    }
}

#[test]
fn a_line_that_never_ends_is_kept_up_to_a_bound() {
    let mut scan = Scan::new(MAX_HEAD);
    for _ in 0..1_000 {
        let _ = scan.feed(&mut [b'a'; 4_096]);
        assert!(scan.line.capacity() <= 2 * MAX_HEAD);
    }
    assert_eq!(scan.state, State::Refused);
}
