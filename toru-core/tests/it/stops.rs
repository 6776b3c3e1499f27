//! Plugins that do not want to end, and what they leave behind.

use std::{fs, time::Duration};

use serde_json::json;
use toru_core::{PluginSupervisor, event::EventType, supervisor::StateName};

use crate::scene::{Scene, Watched, details_of, in_state, running, status_when, within};

fn impatient() -> Scene {
    let mut scene = Scene::new();
    scene.config.shutdown_grace = Duration::from_millis(100);
    scene.config.term_grace = Duration::from_millis(100);
    scene
}

/// The plugin's process and the child that it has started.
async fn family(scene: &Scene, supervisor: &PluginSupervisor, id: &str) -> [Watched; 2] {
    let leader = running(supervisor, id).await.pid.unwrap();
    let child = fs::read_to_string(scene.data(&format!("plugins/{id}/child-pid"))).unwrap();
    [leader, child.parse().unwrap()].map(|pid| Watched::of(pid).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_ignores_the_shutdown_is_terminated() {
    let scene = impatient();
    scene.plugin("deaf", "ignore-shutdown");
    let supervisor = scene.start().await;
    running(&supervisor, "deaf").await;
    within(supervisor.disable("deaf")).await.unwrap();
    in_state(&supervisor, "deaf", StateName::Stopped).await;
    assert_eq!(details_of(&supervisor, "deaf", EventType::Stopped).await, [json!({"signal": 15})]);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_ignores_the_shutdown_and_sigterm_is_killed_with_its_whole_group() {
    let scene = impatient();
    scene.plugin("stubborn", "ignore-term");
    let supervisor = scene.start().await;
    let family = family(&scene, &supervisor, "stubborn").await;
    within(supervisor.disable("stubborn")).await.unwrap();
    in_state(&supervisor, "stubborn", StateName::Stopped).await;
    for process in &family {
        process.gone().await;
    }
    assert_eq!(details_of(&supervisor, "stubborn", EventType::Stopped).await, [json!({"signal": 9})]);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_children_of_a_plugin_that_exits_when_asked_are_ended_too() {
    let scene = Scene::new();
    scene.plugin("parent", "fork-child");
    let supervisor = scene.start().await;
    let family = family(&scene, &supervisor, "parent").await;
    within(supervisor.shutdown()).await;
    for process in &family {
        process.gone().await;
    }
    assert_eq!(details_of(&supervisor, "parent", EventType::Stopped).await, [json!({"exit_code": 0})]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_is_dropped_kills_all_groups() {
    let scene = Scene::new();
    scene.plugin("stubborn", "ignore-term").plugin("parent", "fork-child");
    let supervisor = scene.start().await;
    let mut families = Vec::new();
    for id in ["stubborn", "parent"] {
        families.extend(family(&scene, &supervisor, id).await);
    }
    drop(supervisor);
    for process in &families {
        process.gone().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disable_during_the_start_ends_it() {
    let scene = impatient();
    scene.plugin("slow", "never-ready");
    let supervisor = scene.start().await;
    let pid = status_when(&supervisor, "slow", |status| status.pid.is_some()).await.pid.unwrap();
    let process = Watched::of(pid).unwrap();
    within(supervisor.disable("slow")).await.unwrap();
    in_state(&supervisor, "slow", StateName::Stopped).await;
    process.gone().await;
    within(supervisor.shutdown()).await;
}
