//! Writes distinct values for ever and prints each key once its write was acknowledged: what `tests/kv_crash.rs` kills.
//!
//! `kv-writer DATABASE CYCLE`: the keys are `CYCLE-TASK-N`, and each value is its key, repeated.

use std::io::Write;

use toru_core::{
    api::message::kv::KvCall,
    store::{KvStore, SqliteKvStore},
};

/// Callers at the same time, so that commits are shared.
const TASKS: usize = 16;

/// Keys of one task, at most: whoever forgets to kill this process keeps his disk.
const WRITES: usize = 5_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, cycle] = arguments.as_slice() else {
        return Err("usage: kv-writer DATABASE CYCLE".into());
    };
    let store = SqliteKvStore::open(path)?;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        tasks.spawn(write(store.clone(), format!("{cycle}-{task}")));
    }
    while let Some(written) = tasks.join_next().await {
        written??;
    }
    Ok(())
}

async fn write(store: SqliteKvStore, prefix: String) -> Result<(), Failure> {
    for n in 0..WRITES {
        let key = format!("{prefix}-{n}");
        let value = key.repeat(10).into();
        store.call("crash", KvCall::Set { key: key.clone(), value, ttl_ms: None }).await?;
        // One write to the pipe for each line: whoever reads it knows that its key was acknowledged.
        std::io::stdout().lock().write_all(format!("{key}\n").as_bytes())?;
    }
    Ok(())
}
