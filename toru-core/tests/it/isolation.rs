//! One plugin cannot disturb another, nor what is asked about it.

use std::time::Duration;

use http::StatusCode;
use tokio::sync::watch;
use toru_core::{PluginSupervisor, supervisor::StateName};

use crate::scene::{Scene, endless_restarts, get, in_state, running, status_when, times, within};

/// `TORU_REQUESTS` makes it more.
const REQUESTS: u32 = 10_000;
const CLIENTS: u32 = 50;

/// 10,000 requests to `good`, each answered, with `list` and `status` asked all the while: `bad` stays in its state.
async fn good_is_undisturbed(supervisor: &PluginSupervisor, bad: StateName) {
    good_answers(supervisor, || assert_eq!(supervisor.status("bad").unwrap().state, bad)).await;
}

async fn good_answers(supervisor: &PluginSupervisor, look: impl Fn()) {
    running(supervisor, "good").await;
    let requests = times("TORU_REQUESTS", REQUESTS);
    let clients = (0..CLIENTS).map(|_| {
        let mut service = supervisor.service();
        tokio::spawn(async move {
            for _ in 0..requests / CLIENTS {
                assert_eq!(get(&mut service, "/good/x").await, (StatusCode::OK, "GET /x".to_owned()));
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        look();
        assert_eq!(supervisor.list().len(), 2);
        within(client).await.unwrap();
    }
    look();
    let good = supervisor.status("good").unwrap();
    assert_eq!((good.running, good.restarts), (true, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_whose_task_stands_still_disturbs_nobody() {
    let scene = Scene::new();
    scene.plugin("bad", "ok").plugin("good", "ok");
    let (hold, held) = watch::channel(true);
    let supervisor = scene.builder().hold_task("bad", held).build().unwrap();
    within(supervisor.initialize()).await.unwrap();
    good_is_undisturbed(&supervisor, StateName::Stopped).await;
    hold.send(false).unwrap();
    running(&supervisor, "bad").await;
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_takes_long_to_start_disturbs_nobody() {
    let mut scene = Scene::new();
    scene.config.start_timeout = Duration::from_secs(600);
    scene.config.term_grace = Duration::from_millis(100);
    scene.plugin("bad", "slow-start 500000").plugin("good", "ok");
    let supervisor = scene.start().await;
    in_state(&supervisor, "bad", StateName::Starting).await;
    good_is_undisturbed(&supervisor, StateName::Starting).await;
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_hangs_on_its_shutdown_disturbs_nobody() {
    let mut scene = Scene::new();
    scene.config.shutdown_grace = Duration::from_secs(600);
    scene.plugin("bad", "ignore-shutdown").plugin("good", "ok");
    let supervisor = scene.start().await;
    running(&supervisor, "bad").await;
    within(supervisor.disable("bad")).await.unwrap();
    in_state(&supervisor, "bad", StateName::Draining).await;
    good_is_undisturbed(&supervisor, StateName::Draining).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_crashes_again_and_again_disturbs_nobody() {
    let mut scene = Scene::new();
    scene.config.restart = endless_restarts();
    scene.plugin("bad", "exit-after-ready").plugin("good", "ok");
    let supervisor = scene.start().await;
    status_when(&supervisor, "bad", |status| status.restarts > 0).await;
    let before = supervisor.status("bad").unwrap().restarts;
    good_answers(&supervisor, || assert!(supervisor.status("bad").unwrap().enabled)).await;
    assert!(supervisor.status("bad").unwrap().restarts > before, "it did crash meanwhile");
    within(supervisor.shutdown()).await;
}
