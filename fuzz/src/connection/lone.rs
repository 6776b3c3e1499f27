//! One end against any frames.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use toru_plugin_api::{
    frame::{Decoder, Frame, ResetCode, StreamId, TransmitBuf, encode_frame},
    message::{self, lifecycle::Ready},
    proto::{Connection, Phase, Progress, Side},
};

use super::{Input, LIMITS, acts, settings};
use crate::ends::{init, start};

struct Lone {
    end: Connection,
    now: Instant,
    input: BytesMut,
    /// The most DATA that may have been sent, and what was, by stream.
    allowed: HashMap<u32, u64>,
    sent: HashMap<u32, u64>,
    /// Streams of this end that it has reset.
    reset: HashSet<u32>,
}

pub(super) fn run(side: Side, features: &[&str], mut input: Input<'_>) {
    let mut lone = Lone::after_handshake(side, features);
    while lone.operation(&mut input).is_some() {
        lone.check_output();
        let most = usize::try_from(2 * LIMITS.max_streams).unwrap_or(usize::MAX);
        assert!(lone.end.open_streams() <= most, "more streams are open than both sides accept");
    }
    let _ = lone.end.handle_eof(&lone.input, lone.now);
    assert_eq!((lone.end.phase(), lone.end.open_streams()), (Phase::Closed, 0));
    assert_eq!(lone.end.next_timeout(), None, "a closed link has no timers");
}

impl Lone {
    fn after_handshake(side: Side, features: &[&str]) -> Self {
        let now = start();
        let settings = settings(features);
        let mut text = Vec::new();
        let end = match side {
            Side::Host => {
                Ready { protocol: 2, features: settings.features.clone(), limits: LIMITS }.encode(&mut text);
                let init = init(&settings);
                Connection::host(settings, init, now)
            }
            Side::Plugin => {
                init(&settings).encode(&mut text);
                Connection::plugin(settings, now)
            }
        };
        let mut lone = Self {
            end,
            now,
            input: BytesMut::new(),
            allowed: HashMap::new(),
            sent: HashMap::new(),
            reset: HashSet::new(),
        };
        lone.frame(Frame::Message(text.into()));
        lone.end.ready(now);
        assert_eq!(lone.end.phase(), Phase::Open);
        lone
    }

    fn operation(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.byte()? % 8 {
            0 => {
                let count = input.short()?;
                let bytes = input.bytes(usize::from(count));
                self.input.extend_from_slice(bytes);
                self.count_credit(bytes);
                self.handle();
            }
            1 => {
                let (stream, size) = (u32::from(input.byte()?), usize::from(input.short()?) % 1_000);
                let end = size % 2 == 1;
                if size > 0 || end {
                    self.frame(Frame::Data { stream: id(stream), end, bytes: vec![0; size].into() });
                }
            }
            2 => {
                let (stream, n) = (u32::from(input.byte()?), u32::from(input.short()?).max(1));
                self.frame(Frame::Credit { stream: id(stream), n });
            }
            3 => {
                let (stream, code) = (u32::from(input.byte()?), input.byte()?);
                self.frame(Frame::Reset { stream: id(stream), code: ResetCode(code) });
            }
            4 => {
                let (kind, stream) = (input.byte()?, id(input.byte()?.into()));
                self.frame(Frame::Message(text(kind, stream)));
            }
            5 => {
                self.now += Duration::from_millis(input.short()?.into());
                if self.end.next_timeout().is_some_and(|due| due <= self.now) {
                    let _ = self.end.handle_timeout(self.now);
                }
            }
            _ => acts::act(&mut self.end, input, self.now)?,
        }
        while self.end.poll_event().is_some() {}
        Some(())
    }

    fn frame(&mut self, frame: Frame) {
        let mut out = TransmitBuf::new();
        encode_frame(&mut out, frame);
        let bytes = out.copy_to_bytes(out.remaining());
        self.count_credit(&bytes);
        self.input.extend_from_slice(&bytes);
        self.handle();
    }

    /// Counts what may be credit, wherever it stands in the bytes.
    fn count_credit(&mut self, bytes: &[u8]) {
        for part in bytes.windows(10).filter(|part| part[..2] == [2, 0]) {
            let (mut stream, mut n) = (&part[2..6], &part[6..]);
            *self.allowed.entry(stream.get_u32()).or_default() += u64::from(n.get_u32());
        }
    }

    fn handle(&mut self) {
        loop {
            match self.end.handle_input(&mut self.input, self.now) {
                Ok(Progress::More) => {}
                Ok(Progress::NeedInput) => return,
                Err(error) => {
                    assert_eq!(self.end.phase(), Phase::Closed, "{error}");
                    assert!(!error.cause().is_empty());
                    assert!(self.end.offending().len() <= 200);
                    return;
                }
            }
        }
    }

    /// Whatever came in, what goes out keeps the protocol.
    fn check_output(&mut self) {
        let mut out = TransmitBuf::new();
        while self.end.poll_transmit(&mut out, 1 << 20, self.now) && out.len() < 1 << 22 {}
        let mut bytes = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
        let mut decoder = Decoder::new(LIMITS.max_message, LIMITS.max_data);
        while let Some(frame) =
            decoder.decode(&mut bytes).expect("the end sends frames that its peer accepts")
        {
            self.check_frame(&frame);
        }
        assert!(bytes.is_empty(), "whole frames are sent");
    }

    fn check_frame(&mut self, frame: &Frame) {
        let stream = match frame {
            Frame::Message(text) => {
                message::parse(text).expect("the end sends messages that can be read");
                return;
            }
            Frame::Data { stream, bytes, .. } => {
                let sent = self.sent.entry(stream.0).or_default();
                *sent += bytes.len() as u64;
                let credit = self.allowed.get(&stream.0).copied().unwrap_or_default();
                // A number of the peer that came round again has a window of its own.
                let own = (stream.0 % 2 == 1) == (self.end.side() == Side::Host);
                assert!(!own || *sent <= credit + u64::from(LIMITS.window), "more than the credit was sent");
                stream
            }
            Frame::Credit { stream, .. } | Frame::Head { stream, .. } => stream,
            Frame::Reset { stream, .. } => {
                let own = (stream.0 % 2 == 1) == (self.end.side() == Side::Host);
                assert!(self.reset.insert(stream.0) || !own, "two RESETs of one stream");
                return;
            }
        };
        let own = (stream.0 % 2 == 1) == (self.end.side() == Side::Host);
        assert!(!own || !self.reset.contains(&stream.0), "something follows a RESET");
    }
}

fn id(number: u32) -> StreamId {
    StreamId(number.max(1))
}

/// A message of each kind.
fn text(kind: u8, id: StreamId) -> Bytes {
    let (kind, payload) = match kind % 16 {
        0 => ("http", r#"{"action":"request","method":"GET","path":"/"}"#),
        1 => ("http", r#"{"action":"request","method":"POST","path":"/","body_stream":true}"#),
        2 => ("http", r#"{"action":"request","method":"GET","path":"/","upgrade":"x"}"#),
        3 => ("http", r#"{"action":"response","status":200,"body":"b"}"#),
        4 => ("http", r#"{"action":"response","status":200,"body_stream":true}"#),
        5 => ("http", r#"{"action":"response","status":101}"#),
        6 => (
            "http",
            r#"{"action":"response","status":200,"headers":[["content-length","5"]],"body_stream":true}"#,
        ),
        7 => ("http", r#"{"action":"response","status":700,"body_stream":true}"#),
        8 => ("kv", r#"{"action":"get","key":"k"}"#),
        9 => ("kv", r#"{"action":"set","key":"k","value":"v"}"#),
        10 => ("kv", r#"{"value":"v"}"#),
        11 => ("news", r#"{"action":"x"}"#),
        12 => ("lifecycle", r#"{"action":"ping"}"#),
        13 => ("lifecycle", r#"{"action":"shutdown"}"#),
        14 => ("lifecycle", r#"{"action":"draining","reason":""}"#),
        _ => ("lifecycle", r#"{"action":"pong"}"#),
    };
    let id = if kind == "lifecycle" { String::new() } else { format!(r#""request_id":"{}","#, id.0) };
    format!(r#"{{"type":"{kind}",{id}"payload":{payload}}}"#).into()
}
