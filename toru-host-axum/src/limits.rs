//! What one host gives its clients at most.

use std::time::Duration;

/// The bounds of the HTTP server. Going past each has one outcome, named at the field.
///
/// ```
/// let mut limits = toru_host_axum::Limits::default();
/// limits.connections = 64;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections at once. A further one is answered 503 and closed.
    pub connections: usize,
    /// The last of them, kept for administration: they answer everything but plugin routes (503 with `Retry-After`),
    /// so that an operator can still look and disable when plugins hold all the others, and they close after each
    /// answer but one to who has shown credentials and was let in.
    pub reserved_connections: usize,
    /// Until the head of a request has arrived, and between two requests of a connection, from when the client has taken the answer. Then the connection
    /// closes.
    pub head_timeout: Duration,
    /// The head of a request, in bytes: 431.
    pub head_bytes: usize,
    /// The target of a request, in bytes: 414. Only a target that still fits the head can be told apart from it.
    pub uri_bytes: usize,
    /// Until the body of a login or of a call of this host's own API has arrived: 408.
    pub body_timeout: Duration,
    /// Until a client takes more of an answer of the host's own: its connection is cut. Once a plugin was asked on a
    /// connection there is no such bound, for its answer may be read as slowly as one likes.
    ///
    /// What was taken is known by the kernel's send buffer alone: it takes more once a third of it is free, and it grows up to the last number of
    /// `net.ipv4.tcp_wmem` (4 MiB). So a client on a slow line is cut as well if it takes less than that third in this time.
    pub send_timeout: Duration,
    /// The drain at the end: open requests have this long, then their connections are cut.
    pub drain: Duration,
}

/// Enough for a service of some thousand requests a second, and about 64 MiB of buffers at most.
const CONNECTIONS: usize = 1_024;
/// A browser opens six connections to a host; two operators and some curl fit.
const RESERVED_CONNECTIONS: usize = 16;
/// A head is one or two packets; who needs longer holds a connection open on purpose.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Four times what browsers and proxies allow for their cookies together.
const HEAD_BYTES: usize = 32 << 10;
/// The limit of the common servers and proxies.
const URI_BYTES: usize = 8 << 10;
/// As long as a plugin waits for the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// As for a body, in the other direction.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// A little longer than half of a plugin's response timer, and within a service manager's stop timeout together with the stop of the plugins.
const DRAIN: Duration = Duration::from_secs(12);

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            reserved_connections: RESERVED_CONNECTIONS,
            head_timeout: HEAD_TIMEOUT,
            head_bytes: HEAD_BYTES,
            uri_bytes: URI_BYTES,
            body_timeout: BODY_TIMEOUT,
            send_timeout: SEND_TIMEOUT,
            drain: DRAIN,
        }
    }
}
