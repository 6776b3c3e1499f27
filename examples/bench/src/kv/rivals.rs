//! What KV is measured against: Redis, and the disk itself.

use std::{
    fs::File,
    os::unix::{fs::FileExt, net::UnixStream},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{KEYS, Operation, Sample, VALUE_BYTES};
use crate::{
    Outcome, place,
    process::Guard,
    tool::{self, NotStarted},
};

/// Requests of each caller in the run that tells how many fill the time.
const PROBE: u64 = 300;
/// Callers that write the keys first: together, since each write is synced.
const FILLERS: usize = 64;

/// What the load generator replaces, by as many bytes.
const RANDOM: &str = "__rand_int__";

/// A Redis of its own, which syncs each write before it answers.
pub(super) struct Redis {
    _process: Guard,
    _folder: tempfile::TempDir,
    /// Of its socket, whose path has a hundred bytes at most.
    sockets: tempfile::TempDir,
}

impl Redis {
    pub(super) fn start() -> Result<Self, NotStarted> {
        tool::require("redis-server", "redis-server")?;
        tool::require("redis-benchmark", "redis-tools")?;
        let (folder, sockets) = (place::on_disk()?, tempfile::tempdir()?);
        let mut process = Guard::spawn(
            Command::new("redis-server")
                .args([
                    "--port",
                    "0",
                    "--save",
                    "",
                    "--appendonly",
                    "yes",
                    "--appendfsync",
                    "always",
                    "--dir",
                ])
                .arg(folder.path())
                .arg("--unixsocket")
                .arg(sockets.path().join("redis.sock"))
                .stdout(Stdio::null()),
        )?;
        process.wait_until(|| UnixStream::connect(sockets.path().join("redis.sock")).is_ok())?;
        let redis = Self { _process: process, _folder: folder, sockets };
        // So many at random that no key is left without a value; many at once, since each is synced.
        redis.benchmark(Operation::Set, FILLERS, KEYS as u64 * 20)?;
        Ok(redis)
    }

    pub(super) fn load(&self, operation: Operation, callers: usize, seconds: u32) -> Outcome<Sample> {
        let probe = self.benchmark(operation, callers, PROBE * callers as u64)?;
        let requests = probe.per_second * f64::from(seconds);
        self.benchmark(operation, callers, requests as u64)
    }

    /// Redis' own load generator, with the same keys and sizes. Each `__rand_int__` becomes 12 digits below the number of keys, for
    /// each request anew; `-t set` would write one value again and again.
    fn benchmark(&self, operation: Operation, callers: usize, requests: u64) -> Outcome<Sample> {
        let output = Command::new("redis-benchmark")
            .arg("-s")
            .arg(self.sockets.path().join("redis.sock"))
            .args(["-c", &callers.to_string(), "-n", &requests.to_string(), "-r", &KEYS.to_string()])
            .args(["--csv", operation.name(), &format!("key:{RANDOM}")])
            .args((operation == Operation::Set).then(|| format!("{:.>VALUE_BYTES$}", RANDOM)))
            .output()
            .map_err(|error| format!("redis-benchmark (Debian's package redis-tools): {error}"))?;
        let text = String::from_utf8(output.stdout)?;
        // "SET","6734.01","0.144","0.072","0.135","0.239","0.391","1.567": rate, average, least, p50, p95, p99, most.
        let numbers = text.lines().last().map(|line| {
            line.split(',')
                .skip(1)
                .filter_map(|word| word.trim_matches('"').parse().ok())
                .collect::<Vec<f64>>()
        });
        match numbers.as_deref() {
            Some(&[per_second, _, _, p50, _, p99, _]) => {
                Ok(Sample { per_second, p50_us: p50 * 1e3, p99_us: p99 * 1e3 })
            }
            _ => Err(format!("redis-benchmark said nothing that can be read:\n{text}").into()),
        }
    }
}

/// Writes of 4 KiB into a file that is there, each synced: as often as this disk does it.
pub(super) fn disk(seconds: u32) -> Outcome<Sample> {
    const PAGE: usize = 4 << 10;
    const PAGES: u64 = 1_000;
    let folder = place::on_disk()?;
    let file = File::create(folder.path().join("file"))?;
    file.write_all_at(&vec![0; PAGE * PAGES as usize], 0)?;
    file.sync_all()?;
    let (began, most) = (Instant::now(), Duration::from_secs(seconds.into()));
    let mut took = Vec::new();
    let mut page = vec![0; PAGE];
    while began.elapsed() < most {
        let write = took.len() as u64;
        let start = Instant::now();
        page[..8].copy_from_slice(&write.to_be_bytes());
        file.write_all_at(&page, write % PAGES * PAGE as u64)?;
        file.sync_data()?;
        took.push(start.elapsed());
    }
    let per_second = took.len() as f64 / began.elapsed().as_secs_f64();
    took.sort_unstable();
    let percentile = |part: usize| took[took.len() * part / 100].as_secs_f64() * 1e6;
    Ok(Sample { per_second, p50_us: percentile(50), p99_us: percentile(99) })
}
