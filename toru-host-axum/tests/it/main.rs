//! The host over real sockets, with a supervisor on a folder of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod access;
mod api;
mod bodies;
mod framing;
mod frontend;
mod host;
mod kv;
mod limits;
mod pages;
mod plugin_routes;
mod proxy;
mod threads;
mod upgrades;
