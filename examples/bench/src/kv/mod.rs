//! KV calls of a plugin, against Redis on a Unix socket with `appendfsync always`: an acknowledged write has been synced by both.
//!
//! Both are asked for 1,000 keys with values of 100 bytes that differ each time: writing the same value again is no write for SQLite.

mod plugin;
mod rivals;

use std::collections::BTreeMap;

use crate::{
    Outcome, aims,
    options::Common,
    report::{Report, Row, head, line, median},
    tool,
};

pub(crate) use plugin::serve as serve_plugin;

/// The keys that are read and written.
const KEYS: usize = 1_000;
/// The bytes of a value.
const VALUE_BYTES: usize = 100;
/// Callers at once: one, and as many as share a commit.
const CALLERS: [usize; 2] = [1, 64];

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

const TORU: &str = "toru";
const REDIS: &str = "redis-unix";
/// Writes of 4 KiB, each synced: no store can pass it that syncs one write at a time.
const DISK: &str = "disk";

/// What was done, by how many callers, on which system.
type Key = (Operation, usize, &'static str);

/// What was measured, round by round.
type Samples = BTreeMap<Key, Vec<Sample>>;

pub(crate) fn run(options: &Common, report: &mut Report) -> Outcome<()> {
    println!("## KV from a plugin\n");
    println!(
        "{VALUE_BYTES}-byte values that differ, {KEYS} keys; acknowledged means synced. {}.\n",
        options.describe_rounds("")
    );
    let redis = tool::or_skipped(REDIS, rivals::Redis::start(), options.require)?;
    let samples = measure(options, redis.as_ref().ok())?;
    println!(
        "{}",
        head([
            "operation",
            "callers",
            "system",
            "per second",
            "p50 us",
            "p99 us",
            "to redis",
            "to the disk's syncs"
        ])
    );
    for row in rows(&samples, redis.as_ref().err().map(String::as_str)) {
        println!("{}", table_line(&row));
        report.add(row);
    }
    println!();
    aims::tell(aims::KV, report);
    Ok(())
}

/// All systems in turn, round after round.
fn measure(options: &Common, redis: Option<&rivals::Redis>) -> Outcome<Samples> {
    let seconds = options.seconds();
    let toru = plugin::start()?;
    let mut samples = Samples::new();
    for _ in 0..options.rounds() {
        let mut keep = |operation, callers, system, sample| {
            samples.entry((operation, callers, system)).or_default().push(sample);
        };
        keep(Operation::Set, 1, DISK, rivals::disk(seconds)?);
        for operation in Operation::ALL {
            for callers in CALLERS {
                keep(operation, callers, TORU, plugin::load(&toru, operation, callers, seconds)?);
                if let Some(redis) = redis {
                    keep(operation, callers, REDIS, redis.load(operation, callers, seconds)?);
                }
            }
        }
    }
    Ok(samples)
}

fn rows(samples: &Samples, without_redis: Option<&str>) -> Vec<Row> {
    let middle = |key: Key, of: fn(&Sample) -> f64| median(samples.get(&key)?.iter().map(of));
    // The median of the rounds' own ratios: what disturbs a round disturbs all.
    let ratio = |of: Key, to: Key| {
        let both = samples.get(&of)?.iter().zip(samples.get(&to)?);
        median(both.map(|(of, to)| of.per_second / to.per_second))
    };
    let mut rows = Vec::new();
    for operation in Operation::ALL {
        for callers in CALLERS {
            for system in [TORU, REDIS, DISK] {
                let key = (operation, callers, system);
                let row = Row::new(operation.name(), u32::try_from(callers).ok(), system);
                let rps = middle(key, |sample| sample.per_second);
                match (rps, without_redis) {
                    (None, Some(why)) if system == REDIS => rows.push(row.skipped(why)),
                    (None, _) => {}
                    (Some(_), _) => rows.push(
                        Row {
                            rps,
                            p50_us: middle(key, |sample| sample.p50_us),
                            p99_us: middle(key, |sample| sample.p99_us),
                            ..row
                        }
                        .with("ratio_to_redis", ratio(key, (operation, callers, REDIS)))
                        .with("ratio_to_disk", ratio(key, (Operation::Set, 1, DISK))),
                    ),
                }
            }
        }
    }
    rows
}

fn table_line(row: &Row) -> String {
    let shown =
        |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
    let ratio = |name: &str| shown(row.more.get(name).and_then(serde_json::Value::as_f64), 2);
    line([
        row.workload.to_owned(),
        row.connections.unwrap_or_default().to_string(),
        row.system.to_owned(),
        row.rps.map_or("SKIPPED".into(), |rate| format!("{rate:.0}")),
        shown(row.p50_us, 0),
        shown(row.p99_us, 0),
        ratio("ratio_to_redis"),
        ratio("ratio_to_disk"),
    ])
}
