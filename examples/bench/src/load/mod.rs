//! Who asks: wrk, or a client of our own.

mod client;
mod own;
mod wrk;

use std::time::Duration;

pub(crate) use client::{Answer, Connection};
pub(crate) use own::{Paced, paced};

use crate::{
    Outcome,
    workload::{Client, Workload},
};

/// Where a system answers, and what every request to it carries.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) authority: String,
    /// Before the path of the workload.
    pub(crate) prefix: String,
    /// `Name: value`.
    pub(crate) header: Option<String>,
}

/// One run of load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// Asks for so long, over so many connections.
///
/// # Errors
/// The client cannot run, a connection failed, or a single answer was not the one that is expected.
pub(crate) fn run(target: &Target, workload: &Workload, connections: u32, seconds: u32) -> Outcome<Sample> {
    match workload.client {
        Client::Wrk => wrk::run(target, workload, connections, seconds),
        Client::Own => own::run(target, workload, connections, Duration::from_secs(seconds.into())),
    }
}

/// One answer, whole.
pub(crate) fn probe(target: &Target, workload: &Workload) -> Outcome<Answer> {
    Connection::open(target)?.ask(workload)
}
