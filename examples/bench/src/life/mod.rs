//! Starts, crashes, and what a hundred plugins and a thousand WebSockets cost.
//!
//! Times from a start or a crash are taken where a program that embeds the supervisor sees them: from the call of `enable`, or from
//! the kill, to the published status. What a host as a whole costs is measured on the shipped `toru serve`.

mod bare;
mod beside;
mod crash;
mod hundred;
mod idle;
mod scene;
mod serving;
mod sockets;
mod start;

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{Outcome, aims, options::Common, report::Report, workload::Workload};

/// A request to the host that needs no plugin.
const LIST: Workload = Workload { path: "/api/plugins", ..Workload::GET };

/// Plugins of the measurements with many.
const MANY: usize = 100;

pub(crate) fn run(options: &Common, report: &mut Report) -> Outcome<()> {
    println!("## Life\n");
    // As `#[tokio::main]` makes it.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(start::run(options, report))?;
    runtime.block_on(crash::run(options, report))?;
    runtime.block_on(hundred::run(options, report))?;
    serving::run(options, report)?;
    idle::run(options, report)?;
    sockets::run(options, report)?;
    aims::tell(aims::LIFE, report);
    Ok(())
}

/// Times of the same thing.
#[derive(Debug, Default)]
struct Times(Vec<Duration>);

impl Times {
    fn push(&mut self, time: Duration) {
        self.0.push(time);
        self.0.sort_unstable();
    }

    fn percentile_us(&self, percent: usize) -> Option<f64> {
        let index = (self.0.len() * percent).div_ceil(100).max(1) - 1;
        self.0.get(index).map(|time| time.as_secs_f64() * 1e6)
    }
}

/// Lets time pass.
fn pause(time: Duration) {
    let began = Instant::now();
    while let Some(left) = time.checked_sub(began.elapsed()).filter(|left| !left.is_zero()) {
        thread::park_timeout(left);
    }
}

fn ratio(value: Option<f64>, base: Option<f64>) -> Option<f64> {
    Some(value? / base?)
}

/// A figure, or a dash.
fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}
