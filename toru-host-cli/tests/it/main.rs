//! The `toru` command as its users run it.

mod call;
mod check;
mod command;
mod dev;
mod serve;
