//! Runtimes that drive links of their own.

use std::{convert::Infallible, sync::mpsc, thread};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Channel};
use tokio::runtime::{Builder, Runtime};
use toru_core::{
    MAX_LANES, PluginService, PluginSupervisor, api::message::log::Level, event::EventType, log::LogQuery,
};
use tower_service::Service;

use crate::scene::{Scene, details_of, endless_restarts, get, running, status_when, within};

/// A supervisor on a current-thread runtime of its own, on a thread of its own.
struct Control {
    runtime: tokio::runtime::Handle,
    supervisor: PluginSupervisor,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Control {
    /// Starts it, with the lanes that `add` makes before the plugins are started.
    fn start<T>(scene: &Scene, add: impl FnOnce(&PluginSupervisor) -> T) -> (Self, T) {
        let runtime = current_thread();
        let supervisor = {
            let _inside = runtime.enter();
            scene.builder().build().unwrap()
        };
        let added = add(&supervisor);
        let handle = runtime.handle().clone();
        let (end, ended) = tokio::sync::oneshot::channel();
        let (initialized, is_initialized) = mpsc::channel();
        let starting = supervisor.clone();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                starting.initialize().await.unwrap();
                initialized.send(()).unwrap();
                // An error means that the test has failed.
                let _ = ended.await;
                within(starting.shutdown()).await;
            });
        });
        is_initialized.recv().unwrap();
        (Self { runtime: handle, supervisor, end: Some(end), thread: Some(thread) }, added)
    }

    /// The thread does nothing until the guard is dropped.
    fn stand_still(&self) -> mpsc::Sender<()> {
        let (guard, dropped) = mpsc::channel::<()>();
        let (stands, standing) = mpsc::channel();
        self.runtime.spawn(async move {
            stands.send(()).unwrap();
            // It ends by the guard being dropped.
            let _ = dropped.recv();
        });
        standing.recv().unwrap();
        guard
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.end.take();
        let ended = self.thread.take().unwrap().join();
        if !thread::panicking() {
            ended.unwrap();
        }
    }
}

fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn lane_on(runtime: &Runtime, supervisor: &PluginSupervisor) -> PluginService {
    let _inside = runtime.enter();
    supervisor.lane()
}

async fn with_links(supervisor: &PluginSupervisor, id: &str, links: usize) {
    status_when(supervisor, id, |status| status.links == links).await;
}

#[test]
fn a_request_on_a_lane_needs_no_other_thread() {
    let scene = Scene::new();
    scene.sdk_plugin("sdk");
    let runtime = current_thread();
    let (control, mut lane) = Control::start(&scene, |supervisor| lane_on(&runtime, supervisor));
    runtime.block_on(async {
        with_links(&control.supervisor, "sdk", 2).await;
        let _still = control.stand_still();
        for n in 0..100 {
            let path = format!("/sdk/{n}");
            assert_eq!(get(&mut lane, &path).await, (StatusCode::OK, format!("GET /{n}")));
        }
    });
}

#[test]
fn each_lane_has_a_link_and_a_plugin_that_is_started_again_has_them_all_again() {
    let scene = Scene::new();
    scene.sdk_plugin("sdk").plugin("alone", "ok");
    let runtime = current_thread();
    let (control, mut lanes) =
        Control::start(&scene, |supervisor| [(); 3].map(|()| lane_on(&runtime, supervisor)));
    runtime.block_on(async {
        let supervisor = &control.supervisor;
        for _ in 0..2 {
            with_links(supervisor, "sdk", 4).await;
            for lane in &mut lanes {
                assert_eq!(get(lane, "/sdk/x").await.0, StatusCode::OK);
                assert_eq!(get(lane, "/alone/x").await.0, StatusCode::OK);
            }
            assert_eq!(supervisor.status("alone").unwrap().links, 1);
            within(supervisor.disable("sdk")).await.unwrap();
            with_links(supervisor, "sdk", 0).await;
            within(supervisor.enable("sdk")).await.unwrap();
        }
    });
}

#[test]
fn a_lane_that_nobody_sends_on_any_more_ends_with_its_last_answer() {
    let scene = Scene::new();
    scene.sdk_plugin("sdk");
    let runtime = current_thread();
    let (control, mut lane) = Control::start(&scene, |supervisor| lane_on(&runtime, supervisor));
    runtime.block_on(async {
        let supervisor = &control.supervisor;
        with_links(supervisor, "sdk", 2).await;
        let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
        let request = Request::post("/sdk/echo").body(body).unwrap();
        let answer = within(lane.call(request)).await.unwrap();
        drop(lane);
        with_links(supervisor, "sdk", 1).await;
        sender.send(Frame::data(Bytes::from("the rest"))).await.unwrap();
        drop(sender);
        assert_eq!(within(answer.into_body().collect()).await.unwrap().to_bytes(), "the rest");
        // Another in its place finds no link before the next start.
        let mut other = supervisor.lane();
        assert_eq!(get(&mut other, "/sdk/x").await.0, StatusCode::OK);
        assert_eq!(supervisor.status("sdk").unwrap().links, 1);
        within(supervisor.disable("sdk")).await.unwrap();
        within(supervisor.enable("sdk")).await.unwrap();
        with_links(supervisor, "sdk", 2).await;
        assert_eq!(get(&mut other, "/sdk/x").await.0, StatusCode::OK);
    });
}

#[tokio::test]
async fn lanes_past_the_bound_are_served_by_the_first_link() {
    let scene = Scene::new();
    scene.sdk_plugin("sdk");
    let supervisor = scene.builder().build().unwrap();
    let mut lanes: Vec<PluginService> = (0..=MAX_LANES).map(|_| supervisor.lane()).collect();
    supervisor.initialize().await.unwrap();
    with_links(&supervisor, "sdk", 1 + MAX_LANES).await;
    assert_eq!(get(&mut lanes[MAX_LANES], "/sdk/x").await.0, StatusCode::OK);
    within(supervisor.shutdown()).await;
}

/// What `sh` does with the second socket before it becomes a plugin that behaves.
async fn with_second_socket(scene: &Scene, first: &str) -> (PluginSupervisor, PluginService) {
    let misbehave = crate::scene::misbehave().display().to_string();
    let script = format!(r#"{first}; exec "$0" ok 0<&3 3<&-"#);
    scene.manifest(
        "p",
        &format!("id = 'p'\nname = 'p'\nversion = '1'\nroute = '/p'\nprotocol = 2\nexec = ['sh', '-c', '''{script}''', '{misbehave}']\n"),
    );
    let supervisor = scene.builder().build().unwrap();
    let lane = supervisor.lane();
    supervisor.initialize().await.unwrap();
    (supervisor, lane)
}

#[tokio::test]
async fn a_further_link_that_the_plugin_closes_is_no_failure() {
    let scene = Scene::new();
    let (supervisor, mut lane) = with_second_socket(&scene, "exec 4<&-").await;
    running(&supervisor, "p").await;
    for _ in 0..100 {
        assert_eq!(get(&mut lane, "/p/x").await, (StatusCode::OK, "GET /x".to_owned()));
    }
    let status = supervisor.status("p").unwrap();
    assert_eq!((status.links, status.restarts), (1, 0));
    within(supervisor.shutdown()).await;
}

#[tokio::test]
async fn a_further_link_that_fails_or_drains_is_told_in_the_log_and_done_without() {
    let ready = r#"{"type":"lifecycle","payload":{"action":"ready","protocol":2}}"#;
    for (said, told) in [
        (vec![r#"{"type":"lifecycle","payload":{"action":"ready","protocol":3}}"#], "speaks version 3"),
        (
            vec![
                r#"{"type":"lifecycle","payload":{"action":"failed","code":"licence","message":"one link"}}"#,
            ],
            "licence: one link",
        ),
        (vec![ready, r#"{"type":"lifecycle","payload":{"action":"draining","reason":"tired"}}"#], "tired"),
    ] {
        let scene = Scene::new();
        let frames: String =
            said.iter().map(|frame| format!("\\0\\0\\0\\{:03o}{}", frame.len(), frame)).collect();
        let printed = format!("printf '{frames}' >&4");
        let (supervisor, mut lane) = with_second_socket(&scene, &printed).await;
        running(&supervisor, "p").await;
        within(async {
            while !warnings(&supervisor, "p").await.iter().any(|message| message.contains(told)) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        with_links(&supervisor, "p", 1).await;
        assert_eq!(get(&mut lane, "/p/x").await, (StatusCode::OK, "GET /x".to_owned()));
        assert_eq!(supervisor.status("p").unwrap().restarts, 0);
        within(supervisor.shutdown()).await;
    }
}

async fn warnings(supervisor: &PluginSupervisor, id: &str) -> Vec<String> {
    let query = LogQuery { page: 1, page_size: 100, level: Level::Warn };
    supervisor.logs(id, query).await.unwrap().into_iter().map(|record| record.message).collect()
}

#[tokio::test]
async fn a_protocol_error_on_a_further_link_counts_as_on_the_first() {
    let mut scene = Scene::new();
    scene.config.restart = endless_restarts();
    let garbage = r"printf '\0\0\0\005hello, this is no frame' >&4";
    let (supervisor, _lane) = with_second_socket(&scene, garbage).await;
    status_when(&supervisor, "p", |status| status.restarts > 0).await;
    let told = details_of(&supervisor, "p", EventType::ProtocolError).await;
    assert_eq!(told[0]["cause"], "unknown_kind");
    within(supervisor.shutdown()).await;
}
