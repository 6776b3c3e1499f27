//! A plugin that behaves: started, asked, killed, enabled and disabled, in any order.

use std::{collections::BTreeMap, sync::Arc};

use http::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use toru_core::{
    api::message::{
        kv::{KvAnswer, KvErrorCode, KvOp},
        lifecycle::feature,
        log::Level,
    },
    event::EventType,
    log::LogQuery,
    store::{StateStore, StoreError},
    supervisor::{CommandError, Health, StateName},
};

use crate::scene::{
    Scene, details_of, events, get, in_state, kill, no_restarts, running, status_when, within,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_started_described_and_answers() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let supervisor = scene.start().await;
    let status = running(&supervisor, "ok").await;
    assert_eq!((status.health, status.protocol, status.enabled), (Health::Healthy, Some(2), true));
    assert_eq!((status.route.as_deref(), status.restarts), (Some("/ok"), 0));
    assert_eq!(
        get(&mut supervisor.service(), "/ok/a/b?c=d").await,
        (StatusCode::OK, "GET /a/b?c=d".to_owned())
    );
    let told: Vec<EventType> = events(&supervisor, "ok").await.into_iter().map(|(event, _)| event).collect();
    assert_eq!(told, [EventType::Discovered, EventType::Started, EventType::Ready]);
    within(supervisor.shutdown()).await;
    assert_eq!(details_of(&supervisor, "ok", EventType::Stopped).await, [json!({"exit_code": 0})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_offered_all_features_but_those_that_its_manifest_leaves_out() {
    let scene = Scene::new();
    scene.plugin("all", "tell-features");
    scene.plugin_with("some", "tell-features", "features = [\"streams\"]");
    let supervisor = scene.start().await;
    let whole = LogQuery { page: 1, page_size: 10, level: Level::Trace };
    for (id, offered) in [("all", feature::USUAL.to_vec()), ("some", vec![feature::STREAMS])] {
        running(&supervisor, id).await;
        let told = supervisor.logs(id, whole).await.unwrap().swap_remove(0).message;
        let mut told: Vec<&str> = told.split(' ').collect();
        told.sort_by_key(|name| offered.iter().position(|offered| offered == name));
        assert_eq!(told, offered);
    }
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_further_lane_is_served_although_the_plugin_leaves_its_link_alone() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let supervisor = scene.builder().build().unwrap();
    let mut lane = supervisor.lane();
    supervisor.initialize().await.unwrap();
    running(&supervisor, "ok").await;
    assert_eq!(get(&mut lane, "/ok/").await, (StatusCode::OK, "GET /".to_owned()));
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_is_a_crash_with_its_signal_and_the_plugin_comes_back() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let supervisor = scene.start().await;
    let first = running(&supervisor, "ok").await.pid.unwrap();
    kill(first, Signal::KILL);
    let back = status_when(&supervisor, "ok", |status| status.running && status.pid != Some(first)).await;
    assert_eq!(back.restarts, 1);
    assert_eq!(details_of(&supervisor, "ok", EventType::Crashed).await, [json!({"signal": 9})]);
    assert_eq!(
        details_of(&supervisor, "ok", EventType::RestartScheduled).await,
        [json!({"attempt": 1, "delay_ms": 1})]
    );
    assert_eq!(get(&mut supervisor.service(), "/ok/").await.0, StatusCode::OK);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disabling_stops_it_and_takes_its_route_and_both_wishes_outlive_the_host() {
    let scene = Scene::new();
    scene.plugin("off", "ok").plugin("on", "ok");
    let supervisor = scene.start().await;
    running(&supervisor, "off").await;
    running(&supervisor, "on").await;
    within(supervisor.disable("off")).await.unwrap();
    assert_eq!(get(&mut supervisor.service(), "/off/").await.0, StatusCode::NOT_FOUND);
    in_state(&supervisor, "off", StateName::Stopped).await;
    within(supervisor.shutdown()).await;
    drop(supervisor);

    let supervisor = scene.start().await;
    running(&supervisor, "on").await;
    let off = supervisor.status("off").unwrap();
    assert_eq!((off.state, off.enabled, off.health), (StateName::Stopped, false, Health::Disabled));
    within(supervisor.enable("off")).await.unwrap();
    running(&supervisor, "off").await;
    within(supervisor.shutdown()).await;
    drop(supervisor);

    let supervisor = scene.start().await;
    running(&supervisor, "off").await;
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disable_in_backoff_spawns_nothing_more_and_an_enable_starts_at_once() {
    let mut scene = Scene::new();
    scene.config.restart = no_restarts();
    scene.plugin("bad", "exit-at-once");
    let supervisor = scene.start().await;
    let waiting = in_state(&supervisor, "bad", StateName::Backoff).await;
    assert!(waiting.next_retry_at.is_some());
    within(supervisor.disable("bad")).await.unwrap();
    let status = in_state(&supervisor, "bad", StateName::Stopped).await;
    assert_eq!((status.next_retry_at, status.reason), (None, None));
    assert_eq!(details_of(&supervisor, "bad", EventType::Started).await.len(), 1);
    within(supervisor.enable("bad")).await.unwrap();
    in_state(&supervisor, "bad", StateName::Backoff).await;
    assert_eq!(details_of(&supervisor, "bad", EventType::Started).await.len(), 2);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_wishes_at_once_the_last_wins_and_there_is_one_process_at_most() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let supervisor = scene.start().await;
    let wishes = (0..1_000).map(|number| {
        let supervisor = supervisor.clone();
        tokio::spawn(async move {
            if number % 2 == 0 { supervisor.disable("ok").await } else { supervisor.enable("ok").await }
        })
    });
    for wish in wishes.collect::<Vec<_>>() {
        within(wish).await.unwrap().unwrap();
    }
    within(supervisor.enable("ok")).await.unwrap();
    running(&supervisor, "ok").await;
    within(supervisor.disable("ok")).await.unwrap();
    in_state(&supervisor, "ok", StateName::Stopped).await;
    let mut alive = false;
    for (event, _) in events(&supervisor, "ok").await {
        match event {
            EventType::Started => assert!(!std::mem::replace(&mut alive, true), "two processes"),
            EventType::Stopped | EventType::Crashed => assert!(std::mem::take(&mut alive)),
            _ => {}
        }
    }
    assert!(!alive);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_asks_for_a_successor_gets_one_and_has_not_crashed() {
    let scene = Scene::new();
    scene.plugin("drains", "drain");
    let supervisor = scene.start().await;
    let first = status_when(&supervisor, "drains", |status| status.pid.is_some()).await.pid;
    status_when(&supervisor, "drains", |status| status.running && status.pid != first).await;
    within(supervisor.disable("drains")).await.unwrap();
    assert_eq!(details_of(&supervisor, "drains", EventType::Crashed).await, [] as [serde_json::Value; 0]);
    assert_eq!(
        details_of(&supervisor, "drains", EventType::Draining).await[0],
        json!({"reason": "new code"})
    );
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kv_operation_reaches_the_plugin_that_runs_and_no_other() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let supervisor = scene.start().await;
    running(&supervisor, "ok").await;
    let get = || KvOp::Get { key: "k".to_owned() };
    assert_eq!(within(supervisor.plugin_kv("ok", get())).await, Ok(KvAnswer::Value(Some("k".into()))));
    let unknown = within(supervisor.plugin_kv("nobody", get())).await.unwrap_err();
    assert_eq!(unknown.code, KvErrorCode::Invalid);
    within(supervisor.disable("ok")).await.unwrap();
    let stopped = within(supervisor.plugin_kv("ok", get())).await.unwrap_err();
    assert_eq!(stopped.code, KvErrorCode::Unavailable);
    within(supervisor.shutdown()).await;
}

/// Reads, and cannot write.
#[derive(Debug)]
struct ReadOnlyStates;

#[async_trait::async_trait]
impl StateStore for ReadOnlyStates {
    async fn load(&self) -> Result<BTreeMap<String, bool>, StoreError> {
        Ok(BTreeMap::new())
    }
    async fn set_enabled(&self, _: &str, _: bool) -> Result<(), StoreError> {
        Err(StoreError::new("the disk is read-only"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wish_that_cannot_be_stored_changes_nothing() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let supervisor = scene.builder().state_store(Arc::new(ReadOnlyStates)).build().unwrap();
    supervisor.initialize().await.unwrap();
    let before = running(&supervisor, "ok").await;
    let error = within(supervisor.disable("ok")).await.unwrap_err();
    assert!(matches!(&error, CommandError::Store(_)), "{error}");
    assert_eq!(supervisor.status("ok"), Some(before));
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_nobody_knows_is_an_error_everywhere() {
    let supervisor = Scene::new().start().await;
    assert!(matches!(supervisor.enable("x").await, Err(CommandError::Unknown(id)) if id == "x"));
    assert!(matches!(supervisor.disable("x").await, Err(CommandError::Unknown(_))));
    assert_eq!((supervisor.status("x"), supervisor.bundle("x")), (None, None));
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_shutdown_wishes_are_refused_and_a_second_shutdown_joins() {
    let scene = Scene::new();
    scene.plugin("ok", "ok");
    let supervisor = scene.start().await;
    running(&supervisor, "ok").await;
    tokio::join!(within(supervisor.shutdown()), within(supervisor.shutdown()));
    assert!(matches!(supervisor.enable("ok").await, Err(CommandError::ShuttingDown)));
    assert_eq!(supervisor.status("ok").unwrap().pid, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_host_on_the_data_folder_is_refused_with_the_pid_of_the_first() {
    let scene = Scene::new();
    let supervisor = scene.start().await;
    let error = scene.builder().build().unwrap_err().to_string();
    assert!(error.contains(&format!("locked by pid {}", std::process::id())), "{error}");
    within(supervisor.shutdown()).await;
}
