//! A supervisor inside the programs and runtimes of others.

use std::time::Duration;

use http::StatusCode;
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
};
use toru_core::{
    PluginSupervisor, SupervisorError,
    event::EventType,
    supervisor::{Health, StateName},
};

use crate::scene::{Scene, Watched, details_of, get, running, within};

fn small_runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn process_of(supervisor: &PluginSupervisor, id: &str) -> Watched {
    Watched::of(supervisor.status(id).unwrap().pid.unwrap()).unwrap()
}

#[test]
fn outside_of_a_runtime_the_error_says_where_to_build_it() {
    let error = Scene::new().builder().build().unwrap_err().to_string();
    assert!(error.contains("call build() inside one"), "{error}");
}

#[test]
fn plugins_live_on_the_runtime_that_the_supervisor_was_built_on_whichever_initializes_it() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let own = Runtime::new().unwrap();
    let supervisor = {
        let _inside = own.enter();
        scene.builder().build().unwrap()
    };
    let other = small_runtime();
    other.block_on(within(supervisor.initialize())).unwrap();
    drop(other);
    own.block_on(async {
        running(&supervisor, "ok").await;
        assert_eq!(get(&mut supervisor.service(), "/ok/").await.0, StatusCode::OK);
    });
    let last = small_runtime();
    last.block_on(within(supervisor.shutdown()));
    assert_eq!(supervisor.status("ok").unwrap().pid, None);
}

#[test]
fn a_lane_whose_runtime_has_ended_is_no_loss_to_the_others() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let own = Runtime::new().unwrap();
    let supervisor = {
        let _inside = own.enter();
        scene.builder().build().unwrap()
    };
    let lane_runtime = small_runtime();
    let mut lane = {
        let _inside = lane_runtime.enter();
        supervisor.lane()
    };
    own.block_on(async {
        supervisor.initialize().await.unwrap();
        running(&supervisor, "ok").await;
    });
    assert_eq!(lane_runtime.block_on(get(&mut lane, "/ok/")).0, StatusCode::OK);
    drop(lane_runtime);
    own.block_on(async {
        assert_eq!(get(&mut supervisor.service(), "/ok/").await.0, StatusCode::OK);
        within(supervisor.disable("ok")).await.unwrap();
        within(supervisor.enable("ok")).await.unwrap();
        running(&supervisor, "ok").await;
        assert_eq!(get(&mut lane, "/ok/").await.0, StatusCode::OK);
        within(supervisor.shutdown()).await;
    });
}

#[test]
fn a_runtime_that_ends_without_a_shutdown_ends_the_plugins_and_refuses_another_start() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let own = Runtime::new().unwrap();
    let (supervisor, process) = own.block_on(async {
        let supervisor = scene.start().await;
        running(&supervisor, "ok").await;
        let process = process_of(&supervisor, "ok");
        (supervisor, process)
    });
    drop(own);
    let other = small_runtime();
    other.block_on(process.gone());
    assert!(matches!(other.block_on(supervisor.initialize()), Err(SupervisorError::ShutDown)));
    other.block_on(within(supervisor.shutdown()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_initialize_starts_nothing_again() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let supervisor = scene.builder().build().unwrap();
    let (first, second) = tokio::join!(supervisor.initialize(), supervisor.initialize());
    first.and(second).unwrap();
    let pid = running(&supervisor, "ok").await.pid;
    supervisor.initialize().await.unwrap();
    assert_eq!(supervisor.status("ok").unwrap().pid, pid);
    assert_eq!(details_of(&supervisor, "ok", EventType::Started).await.len(), 1);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_initialize_after_the_shutdown_is_refused_and_starts_nothing() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let supervisor = scene.builder().build().unwrap();
    within(supervisor.shutdown()).await;
    assert!(matches!(supervisor.initialize().await, Err(SupervisorError::ShutDown)));
    assert!(supervisor.list().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_is_stuck_is_ended_with_its_process_by_the_shutdown() {
    let mut scene = Scene::new();
    (scene.config.shutdown_grace, scene.config.term_grace) = (Duration::ZERO, Duration::ZERO);
    scene.plugin("stuck", "ok");
    let (hold, held) = watch::channel(false);
    let supervisor = scene.builder().hold_task("stuck", held).build().unwrap();
    supervisor.initialize().await.unwrap();
    running(&supervisor, "stuck").await;
    let process = process_of(&supervisor, "stuck");
    hold.send(true).unwrap();
    within(supervisor.shutdown()).await;
    process.gone().await;
    let status = supervisor.status("stuck").unwrap();
    assert_eq!((status.running, status.pid, status.protocol), (false, None, None));
    assert_eq!((status.state, status.health), (StateName::Stopped, Health::Unhealthy));
}
