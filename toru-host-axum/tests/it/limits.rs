//! The bounds of the server.

use std::time::Duration;

use http::Method;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use toru_host_axum::Limits;

use crate::host::{TOKEN, TestHost, within};

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("closed without an answer")
}

#[tokio::test]
async fn a_target_past_8_kib_is_414() {
    let host = TestHost::empty(Limits::default()).await;
    let path = |len: usize| format!("/{}", "a".repeat(len - 1));
    host.get(&path(8 << 10)).await.assert_problem(404, "not-found");
    host.get(&path((8 << 10) + 1)).await.assert_problem(414, "uri-too-long");
    host.stop().await;
}

#[tokio::test]
async fn a_head_past_32_kib_or_100_headers_is_431() {
    let host = TestHost::empty(Limits::default()).await;
    let address = host.address;
    let with = |headers: &str| {
        format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\n{headers}connection: close\r\n\r\n")
    };
    assert_eq!(status(&host.exchange(with(&format!("a: {}\r\n", "x".repeat(30 << 10)))).await), "200");
    assert_eq!(status(&host.exchange(with(&format!("a: {}\r\n", "x".repeat(33 << 10)))).await), "431");
    assert_eq!(status(&host.exchange(with(&"a: x\r\n".repeat(98))).await), "200");
    assert_eq!(status(&host.exchange(with(&"a: x\r\n".repeat(99))).await), "431");
    host.stop().await;
}

#[tokio::test]
async fn a_malformed_head_is_400_and_closes() {
    let host = TestHost::empty(Limits::default()).await;
    let address = host.address;
    for head in [
        "GET / HTTP/1.1\r\nhost: x\r\n a: folded\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: x\r\na\0b: c\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "GE\x01T / HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let answer = host.exchange(head.replace("host: x", &format!("host: {address}"))).await;
        assert_eq!(status(&answer), "400", "{head:?}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_head_that_does_not_come_closes_the_connection() {
    let mut limits = Limits::default();
    limits.head_timeout = Duration::from_millis(50);
    let host = TestHost::empty(limits).await;
    assert_eq!(host.exchange("GET /heal").await, "");
    host.stop().await;
}

#[tokio::test]
async fn a_connection_that_says_nothing_closes_before_and_after_an_answer() {
    let mut limits = Limits::default();
    limits.head_timeout = Duration::from_millis(50);
    let host = TestHost::empty(limits).await;
    assert_eq!(host.exchange("").await, "");
    let request = format!("GET /healthz HTTP/1.1\r\nhost: {}\r\n\r\n", host.address);
    let answer = host.exchange(request).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("connection: close"), "{answer}");
    host.stop().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_408() {
    let mut limits = Limits::default();
    limits.body_timeout = Duration::from_millis(50);
    let host = TestHost::start(limits, |plugins| {
        std::fs::create_dir(plugins.join("broken")).unwrap();
        std::fs::write(plugins.join("broken/plugin.toml"), "").unwrap();
    })
    .await;
    let head = format!(
        "POST /api/plugins/broken/kv HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 9\r\nconnection: close\r\n\r\n{{",
        host.address
    );
    assert_eq!(status(&host.exchange(head).await), "408");
    host.stop().await;
}

/// The head of a login whose form has this length.
fn login_head(host: &TestHost, length: usize) -> String {
    format!(
        "POST /login HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n",
        host.address
    )
}

#[tokio::test]
async fn a_login_whose_form_does_not_come_is_408() {
    let mut limits = Limits::default();
    limits.body_timeout = Duration::from_millis(50);
    let host = TestHost::empty(limits).await;
    let begun = format!("{}token=", login_head(&host, 9));
    assert_eq!(status(&host.exchange(begun).await), "408");
    host.stop().await;
}

#[tokio::test]
async fn a_login_past_4_kib_is_413() {
    let host = TestHost::empty(Limits::default()).await;
    for (length, expected) in [(4 << 10, "401"), ((4 << 10) + 1, "413")] {
        let form = format!("token={}", "x".repeat(length - "token=".len()));
        assert_eq!(status(&host.exchange(login_head(&host, length) + &form).await), expected);
    }
    host.stop().await;
}

/// Opens connections that have been admitted: each has answered once and stays open.
pub(crate) async fn open(host: &TestHost, count: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(host.address).await.unwrap();
        assert_eq!(ask(&mut stream, host, "/api/plugins").await, "200");
        open.push(stream);
    }
    open
}

/// The status of a request with the token on an open connection, whose answer fits one read.
pub(crate) async fn ask(stream: &mut TcpStream, host: &TestHost, path: &str) -> String {
    let head =
        format!("GET {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\r\n", host.address);
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 4_096];
    let read = within(stream.read(&mut answer)).await.unwrap();
    status(&String::from_utf8_lossy(&answer[..read])).to_owned()
}

#[tokio::test]
async fn the_last_connections_are_for_administration_and_a_further_one_is_refused() {
    let mut limits = Limits::default();
    limits.connections = 5;
    limits.reserved_connections = 2;
    let host = TestHost::empty(limits).await;
    let mut common = open(&host, 3).await;
    let mut reserved = open(&host, 2).await;
    for stream in &mut common {
        assert_eq!(ask(stream, &host, "/api/plugins/route/x/").await, "404");
    }
    for stream in &mut reserved {
        assert_eq!(ask(stream, &host, "/api/plugins").await, "200");
        assert_eq!(ask(stream, &host, "/api/plugins/route/x/").await, "503");
    }
    let refused = host.exchange("").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("retry-after: 1"), "{refused}");
    drop((common, reserved));
    host.stop().await;
}

#[tokio::test]
async fn a_reserved_connection_closes_after_an_answer_to_a_stranger() {
    let mut limits = Limits::default();
    limits.connections = 2;
    limits.reserved_connections = 2;
    let host = TestHost::empty(limits).await;
    let own = host.address.to_string();
    for (target, name, expected) in [
        ("GET /", &*own, "401"),
        ("GET /healthz", &own, "200"),
        ("GET /style.css", &own, "200"),
        ("GET /login", &own, "200"),
        ("POST /healthz", &own, "405"),
        ("GET /healthz", "elsewhere", "421"),
        ("CONNECT elsewhere:1", "elsewhere:1", "501"),
    ] {
        let answer = host.exchange(format!("{target} HTTP/1.1\r\nhost: {name}\r\n\r\n")).await;
        assert_eq!(status(&answer), expected, "{target}");
        assert!(answer.contains("connection: close"), "{target}: {answer}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_the_hosts_own_answers_is_cut() {
    let mut limits = Limits::default();
    limits.send_timeout = Duration::from_millis(50);
    let host = TestHost::empty(limits).await;
    let mut stream = TcpStream::connect(host.address).await.unwrap();
    let requests = format!("GET /style.css HTTP/1.1\r\nhost: {}\r\n\r\n", host.address).repeat(100);
    let asks = async { while stream.write_all(requests.as_bytes()).await.is_ok() {} };
    within(asks).await;
    host.stop().await;
}

#[tokio::test]
async fn what_has_not_finished_after_the_drain_is_cut() {
    let mut limits = Limits::default();
    limits.drain = Duration::from_millis(50);
    let mut host = TestHost::empty(limits).await;
    let mut stream = TcpStream::connect(host.address).await.unwrap();
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 9\r\n\r\n",
        host.address
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The answer to another request shows that the host has read this far.
    assert_eq!(host.send(host.anonymous(Method::GET, "/healthz")).await.status, 200);
    host.begin_stop();
    let mut rest = Vec::new();
    let _ = within(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    host.stopped().await;
}

#[tokio::test]
async fn a_refused_upload_can_be_sent_on_and_its_answer_read() {
    let host = TestHost::empty(Limits::default()).await;
    let mut upload = format!(
        "POST /api/plugins/x/kv HTTP/1.1\r\nhost: {}\r\ncontent-length: 1000000\r\nconnection: close\r\n\r\n",
        host.address
    );
    upload.push_str(&"x".repeat(1_000_000));
    assert_eq!(status(&host.exchange(upload).await), "401");
    host.stop().await;
}
