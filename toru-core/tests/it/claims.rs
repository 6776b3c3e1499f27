//! Plugins that want the same route.

use http::StatusCode;
use toru_core::supervisor::StateName;

use crate::scene::{Scene, failed, get, in_state, running, within};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_equal_routes_the_lower_id_gets_it_and_the_other_says_so() {
    let scene = Scene::new();
    scene.plugin_at("beta", "/same", "ok").plugin_at("alpha", "/same", "ok");
    let supervisor = scene.start().await;
    let (code, message) = failed(&supervisor, "beta").await;
    assert_eq!((code.as_str(), message.contains("alpha")), ("route_taken", true), "{message}");
    running(&supervisor, "alpha").await;
    assert_eq!(get(&mut supervisor.service(), "/same/").await.0, StatusCode::OK);
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_running_one_keeps_its_route_until_it_is_disabled() {
    let scene = Scene::new();
    scene.plugin_at("beta", "/same", "ok").plugin_at("alpha", "/same", "ok");
    let supervisor = scene.start().await;
    running(&supervisor, "alpha").await;
    within(supervisor.disable("alpha")).await.unwrap();
    in_state(&supervisor, "alpha", StateName::Stopped).await;
    within(supervisor.enable("beta")).await.unwrap();
    running(&supervisor, "beta").await;
    within(supervisor.enable("alpha")).await.unwrap();
    assert_eq!(failed(&supervisor, "alpha").await.0, "route_taken");
    assert!(supervisor.status("beta").unwrap().running);
    assert_eq!(get(&mut supervisor.service(), "/same/").await.0, StatusCode::OK);
    within(supervisor.shutdown()).await;
}
