//! The supervisor against real processes, sockets and files. The plugin is `examples/misbehave.rs`, which cargo builds with
//! the tests. Nothing here waits by sleeping: statuses and events are awaited, and a guard ends what hangs.

mod claims;
mod failures;
mod isolation;
mod lifecycle;
mod scene;
mod stops;
