//! What is asked of every system.

use std::time::Duration;

/// One kind of request.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) path: &'static str,
    pub(crate) headers: &'static [&'static str],
    pub(crate) sends: Sends,
    pub(crate) client: Client,
    /// Only the status and the length of the answers must be equal: each system names itself in a fixed length.
    pub(crate) names_itself: bool,
}

/// The body of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sends {
    Nothing,
    /// So many bytes, by POST.
    Bytes(usize),
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    Wrk,
    /// A blocking client of our own, one thread per connection: wrk holds a request's body in memory, and does not look
    /// into an answer.
    Own,
}

impl Workload {
    /// A GET whose answers are all the same; where, is still to be said.
    pub(crate) const GET: Self = Self {
        name: "",
        about: "",
        path: "",
        headers: &[],
        sends: Sends::Nothing,
        client: Client::Own,
        names_itself: false,
    };

    /// The part of a request or an answer that a call with one message each way cannot carry.
    pub(crate) fn streams(&self) -> bool {
        self.client == Client::Own
    }
}

/// What one upload has.
pub(crate) const UPLOAD: usize = 64 << 20;

pub(crate) const HOP: [Workload; 2] = [
    Workload {
        name: "g",
        about: "a bare GET of 100 bytes of JSON",
        path: "/json",
        client: Client::Wrk,
        names_itself: true,
        ..Workload::GET
    },
    Workload {
        name: "h",
        about: "the same with a browser's 11 headers",
        path: "/json",
        headers: &[
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
            "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            "Accept-Language: en-GB,en;q=0.9,de;q=0.8",
            "Accept-Encoding: gzip, deflate, br, zstd",
            "Cache-Control: max-age=0",
            "Referer: http://localhost/plugins",
            "Sec-Fetch-Dest: document",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Site: same-origin",
            "Upgrade-Insecure-Requests: 1",
            "Cookie: theme=dark; session_hint=6b1d7a2f9c",
        ],
        client: Client::Wrk,
        names_itself: true,
        ..Workload::GET
    },
];

pub(crate) const BODIES: [Workload; 4] = [
    Workload {
        name: "p",
        about: "a body of 64 KiB, echoed",
        path: "/echo",
        headers: &["Content-Type: application/octet-stream"],
        sends: Sends::Bytes(64 << 10),
        client: Client::Wrk,
        ..Workload::GET
    },
    Workload {
        name: "d",
        about: "a download of 1 MiB",
        path: "/download?bytes=1048576",
        client: Client::Wrk,
        ..Workload::GET
    },
    Workload {
        name: "u",
        about: "an upload of 64 MiB, counted",
        path: "/count",
        sends: Sends::Bytes(UPLOAD),
        ..Workload::GET
    },
    Workload {
        name: "e",
        about: "10,000 server-sent events in one answer",
        path: "/events?n=10000",
        ..Workload::GET
    },
];

/// The events of [`PACED`], and the pause before each.
pub(crate) const PACED_EVENTS: usize = 100;
pub(crate) const PACED_PAUSE: Duration = Duration::from_millis(10);

/// Events that are sent one by one: a system that collects them is seen.
pub(crate) const PACED: Workload = Workload {
    name: "e-paced",
    about: "100 server-sent events, one every 10 ms",
    path: "/events?n=100&ms=10",
    ..Workload::GET
};
