//! Requests that could be read in two ways (RFC 9112, 11.2): bytes on a real connection.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::host::{TOKEN, TestHost, within};

/// Where the plugin tells what it was sent.
const ROUTE: &str = "/api/plugins/route/tell";

/// Sends bytes, in which `{host}` stands for the fields that every request needs, and gives all that comes until the host closes.
async fn exchange(host: &TestHost, bytes: &str) -> String {
    host.exchange(filled(host, bytes)).await
}

fn filled(host: &TestHost, bytes: &str) -> String {
    bytes.replace("{host}", &format!("host: {}\r\nauthorization: Bearer {TOKEN}\r\n", host.address))
}

/// How many requests the plugin has seen, this one included.
async fn seen(host: &TestHost) -> u64 {
    host.get(ROUTE).await.json()["seen"].as_u64().unwrap()
}

/// All of these are answered 400 once, nothing behind them is read, and the plugin sees none.
async fn assert_refused(messages: &[&str]) {
    let host = TestHost::with_plugin().await;
    for message in messages {
        let smuggled = format!("{message}GET {ROUTE}/smuggled HTTP/1.1\r\n{{host}}\r\n");
        let answer = exchange(&host, &smuggled).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{message:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{message:?}: {answer:?}");
    }
    assert_eq!(seen(&host).await, 1, "no other request reached the plugin");
    host.stop().await;
}

macro_rules! post {
    ($fields:literal, $body:literal) => {
        concat!("POST /api/plugins/route/tell HTTP/1.1\r\n{host}", $fields, "\r\n", $body)
    };
}

#[tokio::test]
async fn two_ways_to_know_the_length_of_a_body_are_refused() {
    assert_refused(&[
        post!("content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n"),
        post!("content-length: 5\r\ncontent-length: 5\r\n", "hello"),
        post!("content-length: 5\r\ncontent-length: 6\r\n", "hello"),
        post!("content-length: 5, 5\r\n", "hello"),
        post!("content-length: +5\r\n", "hello"),
        post!("content-length: 0x5\r\n", "hello"),
        post!("content-length: -1\r\n", "hello"),
        post!("content-length:\r\n", "hello"),
        post!("content-length: 99999999999999999999\r\n", "hello"),
        post!("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
        post!("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"),
        post!("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
        post!("transfer-encoding: \x0bchunked\r\n", "0\r\n\r\n"),
        "POST /api/plugins/route/tell HTTP/1.0\r\n{host}transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn lines_that_end_or_begin_in_two_ways_are_refused() {
    assert_refused(&[
        "GET /api/plugins/route/tell HTTP/1.1\n{host}\r\n",
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}a: b\n\r\n",
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}\n",
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}a: b\rc: d\r\n\r\n",
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}a: b\r\n folded\r\n\r\n",
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}a: b\r\n\tfolded\r\n\r\n",
        "GET /api/plugins/route/tell HTTP/1.1\r\n first: b\r\n{host}\r\n",
        post!("content-length : 5\r\n", "hello"),
        post!("transfer-encoding : chunked\r\n", "0\r\n\r\n"),
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}a : b\r\n\r\n",
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}no colon\r\n\r\n",
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}: no name\r\n\r\n",
    ])
    .await;
}

#[tokio::test]
async fn bytes_that_do_not_belong_into_a_head_are_refused() {
    assert_refused(&[
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}a: b\0c\r\n\r\n",
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}a\0b: c\r\n\r\n",
        "GET /api/plugins/route/te\0ll HTTP/1.1\r\n{host}\r\n",
        "GET /api/plugins/route/te ll HTTP/1.1\r\n{host}\r\n",
        "GE\x01T /api/plugins/route/tell HTTP/1.1\r\n{host}\r\n",
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}a: \x7f\r\n\r\n",
        "GET /api/plugins/route/tell HTTP/1.2x\r\n{host}\r\n",
        "GET /api/plugins/route/tell\r\n{host}\r\n",
    ])
    .await;
}

#[tokio::test]
async fn chunks_that_can_be_read_in_two_ways_are_refused() {
    let long_extension = format!(
        "POST {ROUTE} HTTP/1.1\r\n{{host}}transfer-encoding: chunked\r\n\r\n5;{}\r\nhello\r\n0\r\n\r\n",
        "x".repeat(20 << 10)
    );
    assert_refused(&[
        post!("transfer-encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "5 \r\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "+5\r\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "-1\r\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "\r\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "g\r\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "4\r\nhello\r\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "5\r\nhello\n0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "5\r\nhello0\r\n\r\n"),
        post!("transfer-encoding: chunked\r\n", "5\r\nhello\r\n0\r\na: b\nc: d\r\n\r\n"),
        &long_extension,
    ])
    .await;
}

#[tokio::test]
async fn a_streamed_body_with_a_malformed_chunk_never_looks_whole() {
    let host = TestHost::with_streams().await;
    // More than is collected before a stream is opened.
    let chunk = "x".repeat(0x8000);
    for malformed in ["g\r\n", "0\n", "0\r\na: b\n"] {
        let message = format!(
            "POST /api/plugins/route/hello-python/count HTTP/1.1\r\n{{host}}transfer-encoding: chunked\r\n\r\n8000\r\n{chunk}\r\n{malformed}\r\n"
        );
        let answer = exchange(&host, &message).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{malformed:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{malformed:?}: {answer}");
    }
    host.stop().await;
}

#[tokio::test]
async fn the_host_is_no_proxy_and_reads_nothing_behind_a_connect() {
    let host = TestHost::with_plugin().await;
    let message = format!(
        "CONNECT elsewhere:443 HTTP/1.1\r\n{{host}}\r\nGET {ROUTE}/smuggled HTTP/1.1\r\n{{host}}\r\n"
    );
    let answer = exchange(&host, &message).await;
    assert!(answer.starts_with("HTTP/1.1 501 ") && answer.contains("connection: close"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(seen(&host).await, 1);
    host.stop().await;
}

#[tokio::test]
async fn a_body_in_another_coding_is_501() {
    let host = TestHost::with_plugin().await;
    let message = post!("connection: close\r\ntransfer-encoding: gzip, chunked\r\n", "0\r\n\r\n");
    let answer = exchange(&host, message).await;
    assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    assert_eq!(seen(&host).await, 1);
    host.stop().await;
}

#[tokio::test]
async fn clear_requests_pass_one_after_the_other() {
    let host = TestHost::with_plugin().await;
    let last = format!("GET {ROUTE}/last HTTP/1.1\r\n{{host}}connection: close\r\n\r\n");
    let message = [
        "\r\nGET /api/plugins/route/tell HTTP/1.1\r\n{host}\r\n",
        post!("content-length: 6\r\n", "a\nb\r\nc"),
        post!(
            "Transfer-Encoding: Chunked\r\n",
            "2;x=y\r\na\n\r\nA\r\n0123456789\r\n0\r\nx-trailer: y\r\n\r\n"
        ),
        &last,
    ]
    .concat();
    let answers = exchange(&host, &message).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 4, "{answers}");
    assert!(answers.contains(r#""body": "a\nb\r\nc""#), "{answers}");
    assert!(answers.contains(r#""body": "a\n0123456789""#), "{answers}");
    assert!(!answers.contains("x-trailer") && !answers.contains("transfer-encoding"), "{answers}");
    assert_eq!(seen(&host).await, 5);
    host.stop().await;
}

/// Until the host has answered once, what comes behind an offered upgrade is neither HTTP nor not.
#[tokio::test]
async fn bytes_behind_an_upgrade_that_is_not_taken_are_no_request() {
    let host = TestHost::with_plugin().await;
    let offer = format!("GET {ROUTE} HTTP/1.1\r\n{{host}}connection: upgrade\r\nupgrade: other\r\n\r\n");
    let answer = exchange(&host, &format!("{offer}GET {ROUTE}/smuggled HTTP/1.1\n{{host}}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("connection: close"), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");

    // Without such bytes the connection goes on, and what comes then is read strictly again.
    let mut stream = TcpStream::connect(host.address).await.unwrap();
    let mut answers = Vec::new();
    for _ in 0..2 {
        stream.write_all(filled(&host, &offer).as_bytes()).await.unwrap();
        let before = answers.len();
        while !answers[before..].ends_with(b"}") {
            assert!(within(stream.read_buf(&mut answers)).await.unwrap() > 0, "it was closed");
        }
    }
    stream.write_all(filled(&host, &offer.replace(" HTTP/1.1\r\n", " HTTP/1.1\n")).as_bytes()).await.unwrap();
    answers.clear();
    within(stream.read_to_end(&mut answers)).await.unwrap();
    assert!(answers.starts_with(b"HTTP/1.1 400 "));
    assert_eq!(seen(&host).await, 4);
    host.stop().await;
}

#[tokio::test]
async fn an_upgrade_with_a_body_declines_no_offer_behind_it() {
    let host = TestHost::with_plugin().await;
    let message = [
        post!("connection: upgrade\r\nupgrade: other\r\ncontent-length: 5\r\n", "hello"),
        "GET /api/plugins/route/tell HTTP/1.1\r\n{host}connection: upgrade\r\nupgrade: other\r\n\r\n",
        "GET /api/plugins/route/tell/smuggled HTTP/1.1\n{host}\r\n",
    ]
    .concat();
    let answers = exchange(&host, &message).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 2, "{answers}");
    assert_eq!(seen(&host).await, 3);
    host.stop().await;
}
