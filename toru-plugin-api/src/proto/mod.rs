//! The protocol of version 2 without I/O: bytes and an [`Instant`](std::time::Instant) in, frames and events out.
//!
//! Four families of methods: getters; `handle_*`, something arrived; commands, the application wants
//! something; `poll_*`, what comes out.

mod buffer;
mod connection;
mod error;
mod event;
mod handshake;
mod health;
mod ids;
mod pieces;
mod queue;
mod recv;
mod send;
mod stream;
mod streams;
mod timer;
mod window;
mod work;

#[cfg(test)]
mod tests;

pub use connection::{Connection, Direction, OutgoingBody, Phase, Progress, ReadOutcome, Side, StreamState};
pub use error::{ConnectionError, OpenError, StreamGone};
pub use event::Event;
pub use health::Health;
#[cfg(feature = "driver")]
pub(crate) use streams::StreamMap;

use std::time::Duration;

use crate::{
    frame::Limits,
    message::lifecycle::{Features, feature},
};

/// What this side accepts, and its clocks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// What this side accepts.
    pub limits: Limits,
    /// What this side speaks.
    pub features: Features,
    /// Until the head of the answer to a request of this side (protocol section 4, timers).
    pub response_timeout: Duration,
    /// Host: how long a request body that the client owes is awaited. A plugin owes nobody the body of its own request.
    pub body_idle_timeout: Duration,
    /// How long a KV call of this side is awaited.
    pub kv_timeout: Duration,
    /// Host: how often to ping; `None` never.
    pub ping_interval: Option<Duration>,
    /// Host: missed pings after which the peer is unhealthy.
    pub ping_unhealthy: u32,
    /// Host: missed pings after which the peer is dead.
    pub ping_dead: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::DEFAULT,
            features: Features::new(feature::USUAL),
            response_timeout: Duration::from_secs(30),
            body_idle_timeout: Duration::from_secs(30),
            kv_timeout: Duration::from_secs(5),
            ping_interval: Some(Duration::from_secs(10)),
            ping_unhealthy: 3,
            ping_dead: 6,
        }
    }
}
