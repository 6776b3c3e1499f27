//! Version 2 over a path: `transport = "path"`.

use std::fs;

use http::StatusCode;
use serde_json::json;
use tokio::{io::AsyncReadExt, net::UnixListener};
use toru_core::{event::EventType, supervisor::StateName};

use crate::scene::{
    Scene, alone, details_of, events, failed, get, in_state, misbehave, no_restarts, running, within,
};

/// A plugin that misbehaves in this mode, over a path.
fn by_path(scene: &Scene, id: &str, mode: &str) {
    let exec = format!("'sh', '-c', 'exec \"$0\" \"$@\"', '''{}''', '{mode}'", misbehave().display());
    by_path_as(scene, id, &exec);
}

fn by_path_as(scene: &Scene, id: &str, exec: &str) {
    scene.manifest(
        id,
        &format!(
            "id = \"{id}\"\nname = \"{id}\"\nversion = \"1\"\nroute = \"/{id}\"\nprotocol = 2\n\
             transport = \"path\"\nexec = [{exec}]\n"
        ),
    );
}

#[test]
fn a_plugin_by_path_answers_on_one_link_and_its_path_is_gone_once_it_is_connected() {
    alone(
        "transport::a_plugin_by_path_answers_on_one_link_and_its_path_is_gone_once_it_is_connected",
        async {
            let scene = Scene::new();
            by_path(&scene, "ok", "ok");
            let supervisor = scene.builder().build().unwrap();
            let mut lane = supervisor.lane();
            supervisor.initialize().await.unwrap();
            let status = running(&supervisor, "ok").await;
            assert_eq!(status.protocol, Some(2));
            let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").unwrap();
            assert_eq!(fs::read_dir(runtime_dir).unwrap().count(), 0, "the path is still there");
            for service in [&mut supervisor.service(), &mut lane] {
                assert_eq!(get(service, "/ok/a?b").await, (StatusCode::OK, "GET /a?b".to_owned()));
            }
            within(supervisor.shutdown()).await;
            assert_eq!(details_of(&supervisor, "ok", EventType::Stopped).await, [json!({"exit_code": 0})]);
        },
    );
}

/// Another process of the same user, in another group, listens where the plugin should.
const STRANGER: &str = r#"
import os, socket, subprocess, sys, time
listener = socket.socket(socket.AF_UNIX)
if len(sys.argv) == 1:
    subprocess.Popen([sys.executable, __file__, "strange"], start_new_session=True)
    time.sleep(1000)
listener.bind(os.environ["TORU_PLUGIN_SOCKET"])
listener.listen()
connection, _ = listener.accept()
teller = socket.socket(socket.AF_UNIX)
teller.connect("heard")
teller.sendall(connection.recv(1) + b"end")
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_on_the_path_is_told_nothing_and_the_start_fails() {
    let mut scene = Scene::new();
    scene.config.restart = no_restarts();
    by_path_as(&scene, "ok", "'python3', 'main.py'");
    let folder = scene.config.plugins_dir.join("ok");
    fs::write(folder.join("main.py"), STRANGER).unwrap();
    let heard = UnixListener::bind(folder.join("heard")).unwrap();
    let supervisor = scene.start().await;
    let reason = in_state(&supervisor, "ok", StateName::Backoff).await.reason.unwrap();
    assert_eq!(reason.code, "stranger", "{reason:?}");
    let (mut stranger, _) = within(heard.accept()).await.unwrap();
    let mut told = String::new();
    within(stranger.read_to_string(&mut told)).await.unwrap();
    assert_eq!(told, "end", "it was told something");
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_exits_before_it_listens_or_never_listens_or_refuses_fails_for_its_own_reason() {
    let mut scene = Scene::new();
    scene.config.restart = no_restarts();
    scene.config.start_timeout = std::time::Duration::from_secs(2);
    by_path(&scene, "exits", "exit-at-once");
    by_path(&scene, "deaf", "never-listen");
    by_path(&scene, "refuses", "refuse");
    let supervisor = scene.start().await;
    let exits = in_state(&supervisor, "exits", StateName::Backoff).await.reason.unwrap();
    assert_eq!(exits.code, "exited");
    assert!(exits.stderr_tail.unwrap().contains("it hurts too much"));
    assert_eq!(failed(&supervisor, "refuses").await.0, "refused");
    let deaf = in_state(&supervisor, "deaf", StateName::Backoff).await.reason.unwrap();
    assert_eq!(deaf.code, "start_timeout");
    within(supervisor.shutdown()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_by_path_that_dies_comes_back_over_a_fresh_path() {
    let scene = Scene::new();
    by_path(&scene, "ok", "crash-on-request");
    let supervisor = scene.start().await;
    running(&supervisor, "ok").await;
    assert_eq!(get(&mut supervisor.service(), "/ok/").await.0, StatusCode::BAD_GATEWAY);
    let back = within(supervisor.wait_until("ok", |status| status.running && status.restarts == 1)).await;
    assert!(back.unwrap().pid.is_some());
    assert!(events(&supervisor, "ok").await.iter().any(|(event, _)| *event == EventType::Crashed));
    within(supervisor.shutdown()).await;
}
