//! When a request's body is asked for, and what becomes of it once the answer is there.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::host::{TOKEN, TestHost, within};

/// A client that reads as it writes.
struct Client {
    stream: TcpStream,
    head: String,
}

impl Client {
    async fn connect(host: &TestHost) -> Self {
        let head = format!("host: {}\r\nauthorization: Bearer {TOKEN}\r\n", host.address);
        Self { stream: TcpStream::connect(host.address).await.unwrap(), head }
    }

    /// Sends a head with these fields beside the usual ones.
    async fn ask(&mut self, request_line: &str, fields: &str) {
        let head = format!("{request_line}\r\n{}{fields}\r\n", self.head);
        self.send(head.as_bytes()).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Reads until this comes.
    async fn read_until(&mut self, end: &str) -> String {
        let mut read = String::new();
        while !read.ends_with(end) {
            let mut byte = [0];
            let count = within(self.stream.read(&mut byte)).await.unwrap();
            assert_eq!(count, 1, "closed behind {read:?}");
            read.push(byte[0].into());
        }
        read
    }

    /// Reads the end of a connection: all that comes before it.
    async fn read_to_end(mut self) -> String {
        let mut rest = Vec::new();
        // A reset is an end too.
        let _ = within(self.stream.read_to_end(&mut rest)).await;
        String::from_utf8_lossy(&rest).into_owned()
    }
}

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
const EXPECT: &str = "expect: 100-continue\r\ncontent-length: 5\r\n";

#[tokio::test]
async fn an_expected_100_comes_from_the_host_before_a_body_is_streamed() {
    let host = TestHost::with_streams().await;
    let mut client = Client::connect(&host).await;
    client.ask("POST /api/plugins/route/hello-python/count HTTP/1.1", EXPECT).await;
    assert_eq!(client.read_until("\r\n\r\n").await, CONTINUE);
    client.send(b"hello").await;
    let answer = client.read_until("\r\n\r\n5").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    host.stop().await;
}

#[tokio::test]
async fn an_expected_100_comes_from_the_host_before_a_body_is_collected() {
    let host = TestHost::with_plugin().await;
    let mut client = Client::connect(&host).await;
    client.ask("POST /api/plugins/route/tell HTTP/1.1", EXPECT).await;
    assert_eq!(client.read_until("\r\n\r\n").await, CONTINUE);
    client.send(b"hello").await;
    let answer = client.read_until("}").await;
    assert!(answer.contains(r#""body": "hello""#) && !answer.contains("expect"), "{answer}");
    host.stop().await;
}

#[tokio::test]
async fn a_request_that_is_refused_gets_no_100() {
    let host = TestHost::with_plugin().await;
    let too_long = "expect: 100-continue\r\ncontent-length: 1000000\r\n";
    for (path, fields, status) in [
        ("/api/plugins/route/nobody/", EXPECT, "404"),
        ("/api/plugins/route/tell/../x", EXPECT, "400"),
        ("/api/plugins/route/tell/", too_long, "413"),
        ("/nowhere", EXPECT, "404"),
    ] {
        let mut client = Client::connect(&host).await;
        client.ask(&format!("POST {path} HTTP/1.1"), fields).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
    host.stop().await;
}

#[tokio::test]
async fn a_request_without_a_body_or_of_http_1_0_gets_no_100() {
    let host = TestHost::with_plugin().await;
    for (version, fields, body) in
        [("HTTP/1.1", "connection: close\r\nexpect: 100-continue\r\n", ""), ("HTTP/1.0", EXPECT, "hello")]
    {
        let mut client = Client::connect(&host).await;
        client.ask(&format!("POST /api/plugins/route/tell {version}"), fields).await;
        client.send(body.as_bytes()).await;
        let answer = client.read_to_end().await;
        assert!(answer.starts_with(&format!("{version} 200 OK")), "{answer}");
    }
    host.stop().await;
}

#[tokio::test]
async fn another_expectation_is_dropped() {
    let host = TestHost::with_plugin().await;
    let mut client = Client::connect(&host).await;
    let fields = "connection: close\r\nexpect: 200-ok\r\ncontent-length: 5\r\n";
    client.ask("POST /api/plugins/route/tell HTTP/1.1", fields).await;
    client.send(b"hello").await;
    let answer = client.read_to_end().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(r#""body": "hello""#) && !answer.contains("expect"), "{answer}");
    host.stop().await;
}

#[tokio::test]
async fn what_follows_an_early_answer_is_read_and_the_connection_goes_on() {
    let host = TestHost::with_streams().await;
    let mut client = Client::connect(&host).await;
    client.ask("POST /api/plugins/route/hello-python/json HTTP/1.1", "content-length: 900000\r\n").await;
    client.send(&[b'x'; 100_000]).await;
    let answer = client.read_until("\"}").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    client.send(&vec![b'x'; 800_000]).await;
    client.ask("GET /api/plugins/route/hello-python/ HTTP/1.1", "").await;
    let answer = client.read_until("Python\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    host.stop().await;
}

#[tokio::test]
async fn past_1_mib_behind_an_early_answer_the_connection_closes() {
    let host = TestHost::with_streams().await;
    let mut client = Client::connect(&host).await;
    client.ask("POST /api/plugins/route/hello-python/json HTTP/1.1", "content-length: 1000000000\r\n").await;
    client.read_until("\"}").await;
    let mut sent = 0;
    while within(client.stream.write_all(&[b'x'; 100_000])).await.is_ok() {
        sent += 100_000;
        // What was read, and what the sockets hold.
        assert!(sent < 64 << 20, "it is read for ever");
    }
    assert!(sent >= 1 << 20, "only {sent} bytes were read");
    host.stop().await;
}

#[tokio::test]
async fn a_client_that_sends_nothing_behind_an_early_answer_is_let_go() {
    let host = TestHost::with_streams().await;
    let mut client = Client::connect(&host).await;
    client.ask("POST /api/plugins/route/hello-python/json HTTP/1.1", "content-length: 1000000\r\n").await;
    client.read_until("\"}").await;
    assert_eq!(client.read_to_end().await, "");
    host.stop().await;
}
