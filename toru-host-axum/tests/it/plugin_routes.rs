//! Requests to plugins, as they see them.

use std::fs::OpenOptions;

use http::{Method, header};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::host::{Answer, TOKEN, TestHost, within};

const ROUTE: &str = "/api/plugins/route/tell";

/// The header fields that the plugin was sent under this name.
fn told<'a>(request: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = request["headers"].as_array().unwrap().iter();
    headers.filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap()).collect()
}

#[tokio::test]
async fn path_and_query_arrive_without_the_mount() {
    let host = TestHost::with_plugin().await;
    for (sent, arrived) in
        [("", "/"), ("/", "/"), ("?a=b", "/?a=b"), ("/a/b%20c?d=%2f&e", "/a/b%20c?d=%2f&e")]
    {
        let request = host.get(&format!("{ROUTE}{sent}")).await.json();
        assert_eq!(request["path"], arrived, "{sent}");
        assert_eq!(request["method"], "GET");
        assert_eq!(told(&request, "x-forwarded-prefix"), [ROUTE]);
        assert_eq!(told(&request, "x-toru-user"), ["admin"]);
        assert_eq!(told(&request, "x-forwarded-for"), ["127.0.0.1"]);
    }
    assert_eq!(host.get("/api/plugins/route/nobody/").await.status, 404);
    assert_eq!(host.get("/api/plugins/route").await.status, 404);
    host.stop().await;
}

#[tokio::test]
async fn the_token_and_the_session_end_at_the_host_and_other_credentials_pass() {
    let host = TestHost::with_plugin().await;
    let request = host.get(ROUTE).await.json();
    assert!(told(&request, "authorization").is_empty(), "{request}");

    let login = host.send(host.anonymous(Method::GET, &format!("/login?token={TOKEN}"))).await;
    let session = login.header("set-cookie").split(';').next().unwrap().to_owned();
    let mut by_session = host.anonymous(Method::GET, ROUTE);
    let headers = by_session.headers_mut();
    headers.insert(header::COOKIE, format!("a=1; {session}; b=2").parse().unwrap());
    headers.insert(header::AUTHORIZATION, "Basic dTpw".parse().unwrap());
    let request = host.send(by_session).await.json();
    assert_eq!(told(&request, "cookie"), ["a=1; b=2"]);
    assert_eq!(told(&request, "authorization"), ["Basic dTpw"]);
    assert!(!request.to_string().contains(&session["toru_session=".len()..]), "{request}");
    host.stop().await;
}

#[tokio::test]
async fn a_plugin_cannot_set_the_session() {
    let host = TestHost::with_plugin().await;
    let answer = host.get(ROUTE).await;
    let cookies: Vec<_> = answer.headers.get_all(header::SET_COOKIE).iter().collect();
    assert_eq!(cookies, ["own=1"]);
    host.stop().await;
}

#[tokio::test]
async fn an_open_request_is_answered_during_the_drain_and_its_connection_then_closes() {
    let mut host = TestHost::with_plugin().await;
    let gate = host.folder.path().join("data/plugins/tell/gate");
    let address = host.address;
    let mut idle = TcpStream::connect(address).await.unwrap();
    let mut open = TcpStream::connect(address).await.unwrap();
    let head =
        format!("GET {ROUTE}/hold HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    open.write_all(head.as_bytes()).await.unwrap();
    // Opening the gate succeeds once the plugin waits at it.
    let gate = within(tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(gate))).await;
    host.begin_stop();
    let mut rest = Vec::new();
    within(idle.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty(), "an idle connection closes at once");
    assert!(TcpStream::connect(address).await.is_err(), "no connection is accepted any more");
    drop(gate.unwrap().unwrap());
    within(open.read_to_end(&mut rest)).await.unwrap();
    assert!(String::from_utf8_lossy(&rest).starts_with("HTTP/1.1 200 OK\r\n"));
    host.stopped().await;
}

/// TCP does not tell it from a client that has closed: both send no more, and only a write would show who still reads.
#[tokio::test]
async fn a_client_that_closes_its_half_before_the_answer_has_left() {
    let host = TestHost::with_plugin().await;
    let gate = host.folder.path().join("data/plugins/tell/gate");
    let mut client = TcpStream::connect(host.address).await.unwrap();
    let head = format!(
        "GET {ROUTE}/hold HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\r\n",
        host.address
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let gate = within(tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(gate))).await;
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    within(client.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
    drop(gate);
    host.stop().await;
}

#[tokio::test]
async fn disabling_works_while_requests_hold_the_plugin() {
    let host = TestHost::with_plugin().await;
    let gate = host.folder.path().join("data/plugins/tell/gate");
    let hold = host.request(Method::GET, &format!("{ROUTE}/hold"));
    let held = host.send(hold);
    let disabled = async {
        let gate =
            within(tokio::task::spawn_blocking(move || OpenOptions::new().write(true).open(gate))).await;
        let answer: Answer = host.post("/api/plugins/tell/disable", "").await;
        assert_eq!(answer.status, 200);
        drop(gate);
    };
    tokio::join!(held, disabled);
    host.stop().await;
}
