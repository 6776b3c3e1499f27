//! Both ends of a link, in memory: what one writes, the other reads, as a socket would hand it over.

use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use toru_plugin_api::{
    frame::{Limits, StreamId, TransmitBuf},
    http::{HeaderMap, Method, StatusCode},
    message::{
        http::{RequestHead, ResponseHead},
        lifecycle::{Features, Init},
    },
    proto::{Connection, Event, OutgoingBody, ReadOutcome, Settings},
};

/// What is written at once.
const BUDGET: usize = 256 << 10;

/// A host and a plugin that have shaken hands.
pub(crate) struct Pair {
    host: Connection,
    plugin: Connection,
    to_plugin: BytesMut,
    to_host: BytesMut,
    out: TransmitBuf,
    now: Instant,
}

impl Pair {
    /// With these features on both sides.
    pub(crate) fn open(features: &[&str]) -> Self {
        let now = Instant::now();
        let init = Init {
            protocol: 2,
            instance_id: "00000000-0000-4000-8000-000000000000".into(),
            plugin_id: "bench".into(),
            plugin_socket: String::new(),
            log_path: String::new(),
            data_dir: String::new(),
            config: serde_json::Map::new(),
            link: None,
            features: Features::new(features.iter().copied()),
            limits: Limits::DEFAULT,
        };
        let host = Connection::host(Settings::default(), init, now);
        let plugin = Connection::plugin(Settings::default(), now);
        let (to_plugin, to_host, out) = (BytesMut::new(), BytesMut::new(), TransmitBuf::new());
        let mut pair = Self { host, plugin, to_plugin, to_host, out, now };
        pair.carry_to_plugin();
        assert!(matches!(pair.plugin.poll_event(), Some(Event::Init(_))), "the plugin was told to begin");
        pair.plugin.ready(now);
        pair.carry_to_host();
        assert!(matches!(pair.host.poll_event(), Some(Event::Ready(_))), "the plugin is ready");
        pair
    }

    fn carry_to_plugin(&mut self) {
        carry(&mut self.host, &mut self.out, &mut self.to_plugin, &mut self.plugin, self.now);
    }

    fn carry_to_host(&mut self) {
        carry(&mut self.plugin, &mut self.out, &mut self.to_host, &mut self.host, self.now);
    }

    /// Opens a request whose body is to come.
    pub(crate) fn upload(&mut self) -> StreamId {
        let head = RequestHead { method: Method::POST, path: path("/count"), headers: HeaderMap::new() };
        let id = self.host.request(head, OutgoingBody::Stream, self.now).expect("the link is open");
        self.carry_to_plugin();
        assert!(matches!(self.plugin.poll_event(), Some(Event::Request { .. })), "the request came");
        id
    }

    /// Sends one chunk of the body and reads it at the other end; credit goes back.
    pub(crate) fn pass(&mut self, id: StreamId, chunk: &Bytes) {
        self.host.send(id, chunk.clone(), self.now).expect("the stream is open");
        let mut left = chunk.len();
        while left > 0 {
            self.carry_to_plugin();
            while self.plugin.poll_event().is_some() {}
            while let ReadOutcome::Data(bytes) = self.plugin.read(id, self.now) {
                left -= bytes.len();
            }
            self.carry_to_host();
            while self.host.poll_event().is_some() {}
        }
    }

    /// One request with these headers and no body, and its answer of these bytes.
    pub(crate) fn exchange(&mut self, head: &RequestHead, answer: &Bytes) {
        self.host.request(head, OutgoingBody::Empty, self.now).expect("the link is open");
        self.carry_to_plugin();
        while let Some(event) = self.plugin.poll_event() {
            let Event::Request { id, .. } = event else { continue };
            let head = ResponseHead { status: StatusCode::OK, headers: HeaderMap::new() };
            let body = OutgoingBody::Full(answer.clone());
            self.plugin.respond(id, head, body, self.now).expect("the stream is open");
        }
        self.carry_to_host();
        let mut answered = false;
        while let Some(event) = self.host.poll_event() {
            answered |= matches!(event, Event::Response { .. });
        }
        assert!(answered, "the answer came");
    }
}

/// The head of a browser's request.
pub(crate) fn browsers_head() -> RequestHead {
    let headers = [
        ("host", "127.0.0.1:3000"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0",
        ),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cache-control", "max-age=0"),
        ("referer", "http://localhost/plugins"),
        ("sec-fetch-dest", "document"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-site", "same-origin"),
        ("upgrade-insecure-requests", "1"),
        ("cookie", "theme=dark; session_hint=6b1d7a2f9c"),
    ];
    let headers = headers.map(|(name, value)| {
        (name.parse().expect("a header's name"), value.parse().expect("a header's value"))
    });
    RequestHead { method: Method::GET, path: path("/json"), headers: headers.into_iter().collect() }
}

fn path(text: &str) -> toru_plugin_api::http::uri::PathAndQuery {
    text.parse().expect("a path")
}

/// Hands over all that is ready.
fn carry(
    from: &mut Connection,
    out: &mut TransmitBuf,
    input: &mut BytesMut,
    to: &mut Connection,
    now: Instant,
) {
    while from.poll_transmit(out, BUDGET, now) {
        while out.has_remaining() {
            let chunk = out.chunk();
            let length = chunk.len();
            input.extend_from_slice(chunk);
            out.advance(length);
        }
        while to.handle_input(input, now).expect("both ends keep the protocol")
            == toru_plugin_api::proto::Progress::More
        {}
    }
}
