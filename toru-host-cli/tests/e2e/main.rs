//! The whole system as its users have it: the `toru` binary, plugins as processes, clients on sockets.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod browser;
mod client;
mod crash;
mod death;
mod docs;
mod durability;
mod floods;
mod folder;
mod host;
mod lanes;
mod load;
mod nginx;
mod place;
mod processes;
mod programs;
mod todo;
mod upgrade;
mod websocket;
