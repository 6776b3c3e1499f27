//! `kill -9` while writing: what was acknowledged is there, and the file is whole.
//!
//! `TORU_CRASH_CYCLES` and `TORU_CRASH_WRITES` (the acknowledged writes in all) make the run longer than the default.

#![allow(clippy::unwrap_used, reason = "all of this file is a test")]

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use toru_core::{
    api::message::kv::{KvAnswer, KvCall},
    store::{KvStore, SqliteKvStore},
};

const CYCLES: usize = 100;
const WRITES: usize = 10_000;

fn setting(name: &str, default: usize) -> usize {
    env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")))
}

/// The example that cargo built beside this test.
fn writer() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("examples").join("kv-writer")
}

/// Runs the writer until it has acknowledged so many writes, kills it, and returns all keys that it acknowledged.
fn run_and_kill(database: &Path, cycle: usize, writes: usize) -> Vec<String> {
    let mut child = Command::new(writer())
        .arg(database)
        .arg(cycle.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "{}: {error}; `cargo test` builds it, `cargo test --test` needs `cargo build --examples`",
                writer().display()
            )
        });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut acknowledged: Vec<String> = lines.by_ref().take(writes).map(|line| line.unwrap()).collect();
    child.kill().unwrap();
    // What it had written to the pipe by then was acknowledged too.
    acknowledged.extend(lines.map(|line| line.unwrap()));
    let status = child.wait().unwrap();
    assert_eq!(
        status.code(),
        None,
        "cycle {cycle}: the writer ended by itself after {} writes",
        acknowledged.len()
    );
    acknowledged
}

fn assert_whole(database: &Path) {
    let connection = rusqlite::Connection::open(database).unwrap();
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
}

#[tokio::test]
async fn no_acknowledged_write_is_lost_when_the_host_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("toru.db");
    let (cycles, writes) = (setting("TORU_CRASH_CYCLES", CYCLES), setting("TORU_CRASH_WRITES", WRITES));
    let per_cycle = writes.div_ceil(cycles);
    let mut acknowledged = Vec::new();
    for cycle in 0..cycles {
        // Kills fall at different places of the work: after more or fewer writes than the mean.
        let spread = per_cycle / 2 + 1;
        acknowledged.extend(run_and_kill(&database, cycle, per_cycle + (cycle * 7) % spread));
        if cycle % 10 == 0 {
            assert_whole(&database);
        }
    }
    assert!(acknowledged.len() >= writes, "{} writes", acknowledged.len());
    assert_whole(&database);
    let store = SqliteKvStore::open(&database).unwrap();
    for key in &acknowledged {
        let found = store.call("crash", KvCall::Get { key: key.clone() }).await;
        assert_eq!(found, Ok(KvAnswer::Value(Some(key.repeat(10).into()))), "{key} was acknowledged");
    }
    println!("{} acknowledged writes in {cycles} cycles, none lost", acknowledged.len());
}
