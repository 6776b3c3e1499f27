//! The supervisor against real processes, sockets and files. The plugin is `examples/misbehave.rs`, which cargo builds with
//! the tests. Nothing here waits by sleeping: statuses and events are awaited, and a guard ends what hangs.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod attach;
mod bounds;
mod claims;
mod embedding;
mod failures;
mod isolation;
mod lanes;
mod leaks;
mod lifecycle;
mod scene;
mod stops;
mod transport;
