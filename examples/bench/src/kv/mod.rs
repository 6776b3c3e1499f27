//! KV calls of a plugin, against Redis on a Unix socket with `appendfsync always`: an acknowledged write has been synced by both.
//!
//! Both are asked for 1,000 keys with values of 100 bytes that differ each time: writing the same value again is no write for SQLite.

mod plugin;
mod rivals;

use std::{collections::BTreeMap, fmt::Write as _};

use clap::Args;

use crate::{Outcome, system};

pub(crate) use plugin::serve as serve_plugin;

/// The keys that are read and written.
const KEYS: usize = 1_000;
/// The bytes of a value.
const VALUE_BYTES: usize = 100;
/// Callers at once: one, and as many as share a commit.
const CALLERS: [usize; 2] = [1, 64];

#[derive(Args)]
pub(crate) struct Options {
    /// Rounds; each measures every system once, in turn. The median is shown.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of load per measurement.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    seconds: u32,
    /// A missing tool is an error, not a row SKIPPED.
    #[arg(long)]
    require: bool,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Set,
    Get,
}

impl Operation {
    const ALL: [Self; 2] = [Self::Set, Self::Get];

    fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Get => "get",
        }
    }
}

/// One measurement of one system.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

/// A line of the result: the median of the rounds.
#[derive(Debug)]
pub(crate) struct Row {
    /// `set` or `get`.
    pub(crate) workload: &'static str,
    /// Callers at once.
    pub(crate) callers: usize,
    /// `toru`, `redis-unix`, or `disk`: writes of 4 KiB, each synced, which no store can pass that syncs one write at a time.
    pub(crate) system: &'static str,
    /// Per second; `None`: its tool is missing.
    pub(crate) per_second: Option<f64>,
    /// From the call to its answer; none of a disk.
    pub(crate) p50_us: Option<f64>,
    /// From the call to its answer; none of a disk.
    pub(crate) p99_us: Option<f64>,
    /// To `redis-unix`.
    pub(crate) ratio_to_redis: Option<f64>,
    /// To `disk`, of sets.
    pub(crate) ratio_to_disk: Option<f64>,
}

pub(crate) fn run(options: &Options) -> Outcome<()> {
    let rows = measure(options.rounds, options.seconds, options.require)?;
    println!("## KV from a plugin\n");
    println!(
        "{} rounds of {} s each, in turn; median; {VALUE_BYTES}-byte values that differ, {KEYS} keys; acknowledged means synced.\n",
        options.rounds, options.seconds
    );
    print!("{}", table(&rows));
    Ok(())
}

/// Measures all systems in turn, so many rounds of so many seconds each.
pub(crate) fn measure(rounds: u32, seconds: u32, require: bool) -> Outcome<Vec<Row>> {
    system::build()?;
    let toru = plugin::start()?;
    let redis = match rivals::Redis::start() {
        Ok(redis) => Some(redis),
        Err(error) if require => return Err(error),
        Err(_) => None,
    };
    let mut samples: BTreeMap<(Operation, usize, &'static str), Vec<Sample>> = BTreeMap::new();
    for _ in 0..rounds {
        let mut keep = |operation, callers, system, sample| {
            samples.entry((operation, callers, system)).or_default().push(sample);
        };
        keep(Operation::Set, 1, DISK, rivals::disk(seconds)?);
        for operation in Operation::ALL {
            for callers in CALLERS {
                keep(operation, callers, TORU, plugin::load(&toru, operation, callers, seconds)?);
                if let Some(redis) = &redis {
                    keep(operation, callers, REDIS, redis.load(operation, callers, seconds)?);
                }
            }
        }
    }
    Ok(rows(&samples))
}

const TORU: &str = "toru";
const REDIS: &str = "redis-unix";
const DISK: &str = "disk";

fn rows(samples: &BTreeMap<(Operation, usize, &'static str), Vec<Sample>>) -> Vec<Row> {
    let rate = |operation, callers, system| {
        samples.get(&(operation, callers, system)).map(|samples| median(samples, |sample| sample.per_second))
    };
    let mut rows = Vec::new();
    for operation in Operation::ALL {
        let disk = (operation == Operation::Set).then(|| rate(Operation::Set, 1, DISK)).flatten();
        for callers in CALLERS {
            let redis = rate(operation, callers, REDIS);
            for system in [TORU, REDIS, DISK] {
                let measured = samples.get(&(operation, callers, system));
                if measured.is_none() && system == DISK {
                    continue;
                }
                let per_second = rate(operation, callers, system);
                let latency = |of: fn(&Sample) -> f64| {
                    measured.filter(|_| system != DISK).map(|samples| median(samples, of))
                };
                let ratio = |base: Option<f64>| Some(per_second? / base?);
                rows.push(Row {
                    workload: operation.name(),
                    callers,
                    system,
                    per_second,
                    p50_us: latency(|sample| sample.p50_us),
                    p99_us: latency(|sample| sample.p99_us),
                    ratio_to_redis: ratio(redis),
                    ratio_to_disk: ratio(disk),
                });
            }
        }
    }
    rows
}

fn median(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> f64 {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn table(rows: &[Row]) -> String {
    let shown =
        |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    let mut text = String::from(
        "| operation | callers | system | per second | p50 us | p99 us | to redis | to the disk's syncs |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let per_second = row.per_second.map_or("SKIPPED".into(), |rate| format!("{rate:.0}"));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {per_second} | {} | {} | {} | {} |",
            row.workload,
            row.callers,
            row.system,
            shown(row.p50_us, 0),
            shown(row.p99_us, 0),
            shown(row.ratio_to_redis, 2),
            shown(row.ratio_to_disk, 2),
        );
    }
    text
}
