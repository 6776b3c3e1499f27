//! What is left of crashes. `TORU_CRASHES` makes the run longer than the default.

use std::{fs, sync::Arc, time::Duration};

use toru_core::{
    PluginSupervisor,
    event::Event,
    store::{EventStore, StoreError, StoredEvent},
    supervisor::StateName,
};

use crate::scene::{Memory, Scene, alone, endless_restarts, in_state, status_when, times, within};

/// After these the pools of threads and connections are as large as they get.
const WARM_UP: u32 = 100;
const CRASHES: u32 = 200;
/// What the crashes may add to the resident memory, in KiB (reliability, figures).
const MAX_GROWTH_KIB: u64 = 2 << 10;

/// One of each version of the protocol: an inherited socket, and one by path.
const CRASHING: [&str; 2] = ["bad", "old-bad"];

/// What is open, runs, and waits to be reaped in this process.
#[derive(Debug, PartialEq)]
struct Held {
    descriptors: usize,
    /// But for those of the runtime, which come and go.
    threads: usize,
    children: String,
}

/// Keeps no events: the cache of a database that grows is memory too, and bounded by itself.
#[derive(Debug)]
struct Forgetful;

#[async_trait::async_trait]
impl EventStore for Forgetful {
    async fn append(&self, _: Vec<Event>) -> Result<(), StoreError> {
        Ok(())
    }
    async fn recent(&self, _: &str, _: usize) -> Result<Vec<StoredEvent>, StoreError> {
        Ok(Vec::new())
    }
    async fn prune(&self, _: Duration) -> Result<usize, StoreError> {
        Ok(0)
    }
}

#[test]
fn crashes_and_restarts_leave_no_descriptor_thread_process_folder_or_memory() {
    alone("leaks::crashes_and_restarts_leave_no_descriptor_thread_process_folder_or_memory", count());
}

async fn count() {
    let mut scene = Scene::new();
    scene.config.restart = endless_restarts();
    scene.plugin("bad", "exit-after-ready");
    scene.manifest(
        "old-bad",
        "id = \"old-bad\"\nname = \"o\"\nversion = \"1\"\nroute = \"/o\"\nexec = [\"sh\", \"-c\", \"exit 3\"]\n",
    );
    let supervisor = scene.builder().event_store(Arc::new(Forgetful)).build().unwrap();
    supervisor.initialize().await.unwrap();
    let before = held_after(&supervisor, WARM_UP).await;
    let memory = Memory::now();
    let after = held_after(&supervisor, times("TORU_CRASHES", CRASHES)).await;
    let growth = memory.growth_kib();
    eprintln!("the resident memory grew by {growth} KiB");
    assert_eq!(before, after);
    assert_eq!(after.children, "", "processes that nobody reaped");
    assert!(growth <= MAX_GROWTH_KIB, "{growth} KiB");
    within(supervisor.shutdown()).await;
}

async fn held_after(supervisor: &PluginSupervisor, crashes: u32) -> Held {
    for id in CRASHING {
        within(supervisor.enable(id)).await.unwrap();
    }
    for id in CRASHING {
        status_when(supervisor, id, |status| status.restarts >= crashes).await;
        within(supervisor.disable(id)).await.unwrap();
        in_state(supervisor, id, StateName::Stopped).await;
        within(supervisor.events(id, 1)).await.unwrap();
    }
    let tasks = || fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    // A thread may end while it is looked at.
    let names = tasks().filter_map(|task| fs::read_to_string(task.join("comm")).ok());
    Held {
        descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
        threads: names.filter(|name| !name.starts_with("tokio")).count(),
        children: tasks().filter_map(|task| fs::read_to_string(task.join("children")).ok()).collect(),
    }
}
