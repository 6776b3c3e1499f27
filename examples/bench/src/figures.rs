//! From measurements to the figures of a row.

use std::time::Duration;

use crate::{
    load::Sample,
    report::{Row, line, median},
    size::mebibytes,
};

/// One measurement of one system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) load: Sample,
    pub(crate) cpu_per_request: Duration,
    /// How far the peak of memory rose, in bytes: of the processes that clients connect to, and of those behind them.
    pub(crate) front_growth: u64,
    pub(crate) back_growth: u64,
}

/// The medians of all rounds, but where it says otherwise.
pub(crate) struct Figures {
    pub(crate) rps: f64,
    /// From the slowest to the fastest round, as a part of the median.
    pub(crate) spread: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) cpu_us: f64,
    /// The most of all rounds, in MiB.
    pub(crate) front_growth: f64,
    pub(crate) back_growth: f64,
}

impl Figures {
    pub(crate) fn of(all: &[Measured]) -> Option<Self> {
        let of = |value: fn(&Measured) -> f64| median(all.iter().map(value));
        let most = |value: fn(&Measured) -> u64| all.iter().map(value).max();
        let rps = of(|m| m.load.per_second)?;
        let all_rps = all.iter().map(|m| m.load.per_second);
        let (slowest, fastest) = (all_rps.clone().fold(rps, f64::min), all_rps.fold(rps, f64::max));
        Some(Self {
            rps,
            spread: (fastest - slowest) / rps,
            p50_us: of(|m| micros(m.load.p50))?,
            p99_us: of(|m| micros(m.load.p99))?,
            cpu_us: of(|m| micros(m.cpu_per_request))?,
            front_growth: mebibytes(most(|m| m.front_growth)?),
            back_growth: mebibytes(most(|m| m.back_growth)?),
        })
    }

    /// A line of the table, with ratios to the base.
    pub(crate) fn line(&self, system: &str, base: Option<&Self>) -> String {
        let ratio = |of: fn(&Self) -> f64| match base {
            Some(base) => format!("{:.2}", of(self) / of(base)),
            None => "null".to_owned(),
        };
        line([
            system.to_owned(),
            short(self.rps),
            format!("{:.0} %", self.spread * 100.0),
            ratio(|f| f.rps),
            format!("{:.0}", self.p50_us),
            format!("{:.0}", self.p99_us),
            ratio(|f| f.p99_us),
            short(self.cpu_us),
            ratio(|f| f.cpu_us),
            format!("{:.1}", self.front_growth),
            format!("{:.1}", self.back_growth),
        ])
    }

    pub(crate) fn row(&self, row: Row, base: Option<&Self>) -> Row {
        let row = Row {
            rps: Some(self.rps),
            p50_us: Some(self.p50_us),
            p99_us: Some(self.p99_us),
            cpu_us: Some(self.cpu_us),
            ratio_to_nginx: base.map(|base| self.rps / base.rps),
            ..row
        };
        row.with("spread", self.spread)
            .with("front_growth_mib", self.front_growth)
            .with("back_growth_mib", self.back_growth)
    }
}

/// Three digits, as far as a figure is worth.
fn short(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
