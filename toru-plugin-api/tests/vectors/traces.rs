//! The golden vectors of kind `trace` are run: one end of a link against frames, step by step.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use serde_json::{Map, Value};
use toru_plugin_api::{
    frame::{Decoder, Frame, ResetCode, StreamId, TransmitBuf, head},
    message::{
        KnownNames,
        http::{RequestHead, ResponseHead},
        kv::{KvAnswer, KvCall},
        lifecycle::{Failed, Init, Ready},
        parse,
    },
    proto::{
        Connection, ConnectionError, Direction, Event, OutgoingBody, Progress, ReadOutcome, Settings, Side,
    },
};

use super::{
    expand::expand,
    files, meaning,
    trace::{Act, Offer, Start, Step, Trace},
};

/// One end, and what it has sent that no `out` has taken.
struct End {
    connection: Connection,
    now: Instant,
    sent: VecDeque<Value>,
    error: Option<ConnectionError>,
    /// The most bytes that arrive at once.
    piece: usize,
}

fn init(offer: &Offer) -> Init {
    Init {
        protocol: 2,
        instance_id: "i".to_owned(),
        plugin_id: "p".to_owned(),
        plugin_socket: String::new(),
        log_path: "l".to_owned(),
        data_dir: "d".to_owned(),
        config: Map::new(),
        link: None,
        features: offer.features(),
        limits: offer.limits(),
    }
}

fn message(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut text = Vec::new();
    encode(&mut text);
    [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], &text].concat()
}

impl End {
    fn new(trace: &Trace, piece: usize) -> Self {
        let now = Instant::now();
        let mut settings = Settings::default();
        settings.features = trace.own.features();
        settings.limits = trace.own.limits();
        settings.ping_interval = None;
        let side = match &*trace.side {
            "host" => Side::Host,
            "plugin" => Side::Plugin,
            other => panic!("{other} is no side"),
        };
        let connection = match side {
            Side::Host => Connection::host(settings, init(&trace.own), now),
            Side::Plugin => Connection::plugin(settings, now),
        };
        let mut end = Self { connection, now, sent: VecDeque::new(), error: None, piece };
        if trace.start == Start::Ready {
            end.shake_hands(&trace.peer);
        } else {
            end.collect();
        }
        end.connection.continue_numbers_after(trace.last.own, trace.last.peer);
        end
    }

    fn shake_hands(&mut self, peer: &Offer) {
        match self.connection.side() {
            Side::Host => {
                let ready = Ready { protocol: 2, features: peer.features(), limits: peer.limits() };
                self.input(&message(|out| ready.encode(out)));
            }
            Side::Plugin => {
                self.input(&message(|out| init(peer).encode(out)));
                self.connection.ready(self.now);
            }
        }
        self.collect();
        assert_eq!((self.sent.len(), &self.error), (1, &None), "init or ready");
        self.sent.clear();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::In(hex) => {
                self.assert_all_taken();
                self.input(&expand(&hex));
                self.collect();
            }
            Step::Do(act) => {
                self.assert_all_taken();
                self.act(act);
                self.collect();
            }
            Step::Out(expected) => {
                let sent = self.sent.pop_front().expect("a frame");
                let expected = meaning::normalize(&expected);
                for (key, value) in expected.as_object().expect("a meaning") {
                    assert_eq!(sent.get(key), Some(value), "{key} of {sent}");
                }
            }
            Step::Streams(expected) => {
                let open: usize = expected.len();
                for (id, (sending, receiving)) in expected {
                    let state = self.connection.stream(StreamId(id.parse().unwrap()));
                    let state = state.unwrap_or_else(|| panic!("stream {id} is open"));
                    assert_eq!(
                        (direction(state.sending), direction(state.receiving)),
                        (&*sending, &*receiving),
                        "stream {id}"
                    );
                }
                assert_eq!(self.connection.open_streams(), open, "no other stream is open");
            }
            Step::Error(cause) => {
                let error = self.error.take().expect("a protocol error");
                assert_eq!(error.cause(), cause);
            }
        }
    }

    fn assert_all_taken(&self) {
        assert_eq!((&self.sent, &self.error), (&VecDeque::new(), &None), "an outcome that no step names");
    }

    fn input(&mut self, bytes: &[u8]) {
        let mut input = BytesMut::new();
        for piece in bytes.chunks(self.piece) {
            input.extend_from_slice(piece);
            loop {
                match self.connection.handle_input(&mut input, self.now) {
                    Ok(Progress::More) => {}
                    Ok(Progress::NeedInput) => break,
                    Err(error) => {
                        self.error = Some(error);
                        return;
                    }
                }
            }
        }
        assert!(input.is_empty(), "whole frames arrive");
    }

    /// Takes what the end has to send, as meanings.
    fn collect(&mut self) {
        let mut out = TransmitBuf::default();
        while self.connection.poll_transmit(&mut out, usize::MAX, self.now) {}
        let mut bytes = BytesMut::from(&out.copy_to_bytes(out.remaining())[..]);
        let mut decoder = Decoder::new(u32::MAX, u32::MAX);
        while let Some(frame) = decoder.decode(&mut bytes).unwrap() {
            self.sent.push_back(understand(&frame));
        }
        while let Some(event) = self.connection.poll_event() {
            assert!(!matches!(event, Event::PingsMissed(_)));
        }
    }

    fn act(&mut self, act: Act) {
        let (end, now) = (&mut self.connection, self.now);
        match act {
            Act::Ready => end.ready(now),
            Act::Fail { code, message } => end.fail(Failed { code, message }, now),
            Act::Request { stream, method, path, headers: pairs, body } => {
                let head = RequestHead {
                    method: method.parse().unwrap(),
                    path: path.parse().unwrap(),
                    headers: headers(&pairs),
                };
                assert_eq!(end.request(head, outgoing(&body), now), Ok(StreamId(stream)));
            }
            Act::Respond { stream, status, headers: pairs, body } => {
                let head = ResponseHead { status: status.try_into().unwrap(), headers: headers(&pairs) };
                end.respond(StreamId(stream), head, outgoing(&body), now).unwrap();
            }
            Act::CallKv { stream, key } => {
                assert_eq!(end.call_kv(KvCall::Get { key }, now), Ok(StreamId(stream)));
            }
            Act::AnswerKv { stream, value } => {
                let answer = KvAnswer::Value(value.map(Bytes::from));
                end.answer_kv(StreamId(stream), Ok(answer), now).unwrap();
            }
            Act::Send { stream, bytes } => end.send(StreamId(stream), content(&bytes), now).unwrap(),
            Act::Finish { stream } => end.finish(StreamId(stream), now).unwrap(),
            Act::Read { stream, bytes, then } => self.read(StreamId(stream), bytes, &then),
            Act::Reset { stream, code } => end.reset(StreamId(stream), ResetCode(code), now),
            Act::Wait { ms } => {
                self.now += Duration::from_millis(ms);
                end.handle_timeout(self.now).unwrap();
            }
            Act::Last { own, peer } => end.continue_numbers_after(own, peer),
            Act::Together { acts } => acts.into_iter().for_each(|act| self.act(act)),
        }
    }

    fn read(&mut self, id: StreamId, expected: usize, then: &str) {
        let mut read = 0;
        let outcome = loop {
            match self.connection.read(id, self.now) {
                ReadOutcome::Data(bytes) => read += bytes.len(),
                ReadOutcome::Pending => break "pending",
                ReadOutcome::End => break "end",
                ReadOutcome::Reset(_) => break "reset",
            }
        };
        assert_eq!((read, outcome), (expected, then));
    }
}

fn understand(frame: &Frame) -> Value {
    match frame {
        Frame::Message(text) => meaning::of_message(&parse(text).unwrap()),
        Frame::Head { stream, flags, bytes } if flags.is_answer() => {
            let (head, body) =
                head::parse_response(*flags, bytes.clone(), &mut KnownNames::default()).unwrap();
            meaning::of_response(*stream, &head, &body)
        }
        Frame::Head { stream, flags, bytes } => {
            let (head, body) =
                head::parse_request(*flags, bytes.clone(), &mut KnownNames::default()).unwrap();
            meaning::of_request(*stream, &head, &body)
        }
        other => meaning::of_binary(other),
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::AwaitsHead => "head",
        Direction::Open => "open",
        Direction::Ended => "ended",
    }
}

fn headers(pairs: &[(String, String)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn content(value: &Value) -> Bytes {
    expand(&value["hex"]).into()
}

fn outgoing(body: &Value) -> OutgoingBody {
    match body.as_str() {
        Some("none") => OutgoingBody::Empty,
        Some("stream") => OutgoingBody::Stream,
        Some("tunnel") => OutgoingBody::Tunnel,
        Some(other) => panic!("{other} is no body"),
        None => OutgoingBody::Full(content(body)),
    }
}

#[test]
fn each_side_does_what_its_traces_say_at_every_split() {
    let mut names = HashSet::new();
    let mut failed = Vec::new();
    for (file_name, file) in files("trace") {
        assert_eq!(file.version, 2, "{file_name}");
        for vector in &file.vectors {
            for piece in [usize::MAX, 1, 7] {
                let trace: Trace = serde_json::from_value(vector.clone()).expect(&file_name);
                let name = format!("{file_name}: {}", trace.name);
                assert!(names.insert((name.clone(), piece)), "{name}: twice");
                let mut end = End::new(&trace, piece);
                let mut place = format!("{name}, before its steps");
                let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    for (number, step) in trace.steps.into_iter().enumerate() {
                        place = format!("{name}, step {}", number + 1);
                        end.step(step);
                    }
                    end.assert_all_taken();
                }));
                if ran.is_err() {
                    failed.push(place);
                }
            }
        }
    }
    assert_eq!(failed, [""; 0], "their failed assertions stand above");
}

#[test]
fn the_readme_names_every_cause_of_a_trace_and_each_has_a_vector() {
    let readme = include_str!("README.md");
    let table = readme.rsplit_once("| cause | of |").expect("the table of causes").1;
    let named: HashSet<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
        .flat_map(|(causes, _)| causes.split(", ").map(|cause| cause.trim_matches('`')))
        .collect();
    let files = files("trace");
    let tried: HashSet<&str> = files
        .iter()
        .flat_map(|(_, file)| &file.vectors)
        .flat_map(|vector| vector["steps"].as_array().unwrap())
        .filter_map(|step| step.get("error")?.as_str())
        // It is in the table of kind `reject`.
        .filter(|&cause| cause != "limit_out_of_range")
        .collect();
    assert_eq!(named, tried);
}
