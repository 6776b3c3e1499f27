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
    pub(crate) fn line(&self, system: &str, ratios: Option<&Ratios>) -> String {
        let ratio =
            |of: fn(&Ratios) -> f64| ratios.map_or("null".to_owned(), |ratios| format!("{:.2}", of(ratios)));
        line([
            system.to_owned(),
            short(self.rps),
            format!("{:.0} %", self.spread * 100.0),
            ratios.map_or("null".to_owned(), |r| format!("{:.2} ({:.2} to {:.2})", r.rps, r.least, r.most)),
            format!("{:.0}", self.p50_us),
            ratio(|r| r.p50),
            format!("{:.0}", self.p99_us),
            ratio(|r| r.p99),
            short(self.cpu_us),
            ratio(|r| r.cpu),
            format!("{:.1}", self.front_growth),
            format!("{:.1}", self.back_growth),
        ])
    }

    pub(crate) fn row(&self, row: Row, ratios: Option<&Ratios>) -> Row {
        let row = Row {
            rps: Some(self.rps),
            p50_us: Some(self.p50_us),
            p99_us: Some(self.p99_us),
            cpu_us: Some(self.cpu_us),
            ratio_to_nginx: ratios.map(|ratios| ratios.rps),
            ..row
        };
        row.with("spread", self.spread)
            .with("p50_ratio_to_nginx", ratios.map(|ratios| ratios.p50))
            .with("p99_ratio_to_nginx", ratios.map(|ratios| ratios.p99))
            .with("cpu_ratio_to_nginx", ratios.map(|ratios| ratios.cpu))
            .with("front_growth_mib", self.front_growth)
            .with("back_growth_mib", self.back_growth)
    }
}

/// One system by another: each the median of the rounds' own ratios, since what disturbs a round disturbs both.
pub(crate) struct Ratios {
    pub(crate) rps: f64,
    /// The least and the most of all rounds, of the requests per second.
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) cpu: f64,
}

impl Ratios {
    /// Both were measured in turn: a place in one list is the same round in the other.
    pub(crate) fn of(all: &[Measured], base: &[Measured]) -> Option<Self> {
        let each = |value: fn(&Measured) -> f64| all.iter().zip(base).map(move |(a, b)| value(a) / value(b));
        let per_second = each(|m| m.load.per_second);
        let rps = median(per_second.clone())?;
        Some(Self {
            rps,
            least: per_second.clone().fold(rps, f64::min),
            most: per_second.fold(rps, f64::max),
            p50: median(each(|m| micros(m.load.p50)))?,
            p99: median(each(|m| micros(m.load.p99)))?,
            cpu: median(each(|m| micros(m.cpu_per_request)))?,
        })
    }
}

/// Three digits, as far as a figure is worth.
fn short(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(per_second: f64) -> Measured {
        let time = Duration::from_micros(10);
        let load = Sample { requests: 1, per_second, p50: time, p99: time };
        Measured { load, cpu_per_request: time, front_growth: 0, back_growth: 0 }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_own_ratios() {
        // The second round was disturbed for both, the third only for the base.
        let (all, base) = ([at(200.0), at(20.0), at(220.0)], [at(100.0), at(10.0), at(50.0)]);
        let ratios = Ratios::of(&all, &base).unwrap();
        assert_eq!((ratios.rps, ratios.least, ratios.most), (2.0, 2.0, 4.4));
        assert_eq!(ratios.cpu, 1.0);
        assert!(Ratios::of(&all, &[]).is_none());
    }
}
