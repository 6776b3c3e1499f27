//! What is left of crashes, counted in a process of its own: the other tests of this binary open and close files too.
//!
//! `TORU_CRASHES` makes the run longer than the default.

use std::{fs, process::Command, time::Duration};

use toru_core::{PluginSupervisor, RestartPolicy, RestartSettings, supervisor::StateName};

use crate::scene::{Scene, in_state, status_when, within};

/// Tells this binary, started by itself, that it is the one that counts.
const COUNTS: &str = "TORU_TEST_COUNTS";

/// After these the pools of threads and connections are as large as they get.
const WARM_UP: u32 = 20;
const CRASHES: u32 = 200;

#[test]
fn crashes_and_restarts_leave_no_descriptor_and_no_process() {
    if std::env::var_os(COUNTS).is_some() {
        return tokio::runtime::Runtime::new().unwrap().block_on(count());
    }
    let name = "leaks::crashes_and_restarts_leave_no_descriptor_and_no_process";
    let counting = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(COUNTS, "1")
        .output()
        .unwrap();
    assert!(counting.status.success(), "{}", String::from_utf8_lossy(&counting.stderr));
}

async fn count() {
    let crashes = std::env::var("TORU_CRASHES").map_or(CRASHES, |number| number.parse().unwrap());
    let mut scene = Scene::new();
    scene.config.restart = RestartPolicy::try_new(RestartSettings {
        first_delay: Duration::from_millis(1),
        max_delay: Duration::from_millis(1),
        max_in_a_row: 10_000,
        max_in_window: 10_000,
        ..RestartSettings::default()
    })
    .unwrap();
    scene.plugin("bad", "exit-after-ready");
    let supervisor = scene.start().await;
    let before = left_after(&supervisor, WARM_UP).await;
    let after = left_after(&supervisor, crashes).await;
    assert_eq!(before, after);
    assert_eq!(after.1, "", "processes that nobody reaped");
    within(supervisor.shutdown()).await;
}

/// The open descriptors, and the children, after so many crashes.
async fn left_after(supervisor: &PluginSupervisor, crashes: u32) -> (usize, String) {
    within(supervisor.enable("bad")).await.unwrap();
    status_when(supervisor, "bad", |status| status.restarts >= crashes).await;
    within(supervisor.disable("bad")).await.unwrap();
    in_state(supervisor, "bad", StateName::Stopped).await;
    within(supervisor.events("bad", 1)).await.unwrap();
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may end while it is looked at.
    let children = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("children")).ok());
    (fs::read_dir("/proc/self/fd").unwrap().count(), children.collect())
}
