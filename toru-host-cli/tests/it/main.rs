//! The `toru` command as its users run it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod attach;
mod call;
mod check;
mod command;
mod dev;
mod serve;
