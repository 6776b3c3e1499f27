//! The same app behind a host's mount, and alone.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::{process::Stdio, time::Duration};

use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::Command,
    time::Instant,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        protocol::{Role, frame::coding::CloseCode},
    },
};
use toru_plugin_api::{
    Body, PluginMetadata,
    driver::Tunnel,
    http::{Request, Response},
    testing::TestHost,
};

const MOUNT: &str = "/api/plugins/route/todo";

async fn host() -> TestHost {
    let metadata = PluginMetadata::from_manifest(include_str!("../plugin.toml")).unwrap();
    TestHost::builder().start_service(&metadata, todo_axum::app()).await.unwrap()
}

async fn ask(host: &TestHost, method: &str, path: &str, form: &'static str) -> Response<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "toru.example")
        .header("x-forwarded-prefix", MOUNT)
        .header("x-forwarded-proto", "https")
        .header("x-toru-user", "admin")
        .header("content-type", "application/x-www-form-urlencoded");
    host.request(request.body(form).unwrap()).await.unwrap()
}

#[tokio::test]
async fn below_a_mount_links_redirects_and_cookies_stay_below_it() {
    let host = host().await;
    let added = ask(&host, "POST", "/todos", "text=milk").await;
    assert_eq!(
        (added.status().as_u16(), &added.headers()["location"]),
        (303, &format!("{MOUNT}/").parse().unwrap())
    );
    let named = ask(&host, "POST", "/name", "name=Ann").await;
    assert_eq!(named.headers()["location"], format!("https://toru.example{MOUNT}/"));
    let cookie = named.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with(&format!("name=Ann; Path={MOUNT};")), "{cookie}");
    let page = ask(&host, "GET", "/", "").await.into_body().text().await.unwrap();
    for text in [&format!("<base href=\"{MOUNT}/\">"), "milk", "<small>admin</small>"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    let kept = host.kv().get("todos").expect("the list is in the plugin's store");
    assert!(String::from_utf8_lossy(&kept).contains("milk"));
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let host = host().await;
    let request =
        Request::post("/todos").header("host", "toru.example").header("origin", "https://evil.example");
    let refused = host.request(request.body("text=milk").unwrap()).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(host.kv().get("todos"), None);
}

/// A page that shows the list, as the first message has come.
async fn live(host: &TestHost) -> WebSocketStream<Tunnel> {
    let handshake = Request::get("/live")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let (answer, tunnel) = host.upgrade(handshake.body(()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 101);
    let mut page = WebSocketStream::from_raw_socket(tunnel.unwrap(), Role::Client, None).await;
    assert!(page.next().await.unwrap().unwrap().is_text());
    page
}

#[tokio::test(start_paused = true)]
async fn at_shutdown_open_pages_are_told_that_the_app_goes_away() {
    let host = host().await;
    let mut pages = [live(&host).await, live(&host).await];
    let begin = Instant::now();
    let shutdown = tokio::spawn(host.shutdown());
    for page in &mut pages {
        let Some(Ok(Message::Close(Some(close)))) = page.next().await else { panic!("no close") };
        assert_eq!(close.code, CloseCode::Away);
        page.flush().await.unwrap();
    }
    shutdown.await.unwrap().unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO, "nothing had to be waited for");
}

#[tokio::test(start_paused = true)]
async fn a_page_that_does_not_answer_holds_the_end_for_a_second_at_most() {
    let host = host().await;
    let _page = live(&host).await;
    let begin = Instant::now();
    host.shutdown().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(1));
}

#[tokio::test]
async fn the_same_program_runs_alone() {
    let mut app = Command::new(env!("CARGO_BIN_EXE_todo-axum"))
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(app.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let address = line.strip_prefix("listening on http://").unwrap();
    let ask = async |request: &str| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let close = format!("host: {address}\r\nconnection: close\r\n");
    let added = ask(&format!(
        "POST /todos HTTP/1.1\r\n{close}content-type: application/x-www-form-urlencoded\r\ncontent-length: 9\r\n\r\ntext=milk"
    ))
    .await;
    assert!(added.starts_with("HTTP/1.1 303 ") && added.contains("\r\nlocation: /\r\n"), "{added}");
    let page = ask(&format!("GET / HTTP/1.1\r\n{close}\r\n")).await;
    assert!(page.contains("<base href=\"/\">") && page.contains("milk"), "{page}");
}
