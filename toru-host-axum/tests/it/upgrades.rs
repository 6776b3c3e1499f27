//! Upgraded connections, and answers without an end, when the server ends.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use toru_core::config::SHUTDOWN_GRACE;
use toru_host_axum::Limits;

use crate::host::{TOKEN, TestHost, within};

/// Takes an upgrade, or gives an endless answer, and ends either in order when the plugin is to end.
const POLITE: &str = r#"
async def connection(plugin):
    yield b"open\n"
    await plugin.shutting_down()
    yield b"bye\n"

async def handle(request, plugin):
    if request.path == "/events":
        return toru.Response(200, {"content-type": "text/event-stream"}, connection(plugin))
    headers = {"connection": "upgrade", "upgrade": "raw"}
    return toru.Response(101, headers, connection(plugin))
"#;

/// A client of an upgraded connection, once the plugin has said the first line on it.
async fn connected(host: &TestHost) -> BufReader<TcpStream> {
    ask(host, "", "connection: upgrade\r\nupgrade: raw\r\n").await
}

/// A client that asks for this path of the plugin's with these lines, once the plugin has said the first line.
async fn ask(host: &TestHost, path: &str, lines: &str) -> BufReader<TcpStream> {
    let mut client = BufReader::new(TcpStream::connect(host.address).await.unwrap());
    let head = format!(
        "GET /api/plugins/route/hello-python/{path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n{lines}\r\n",
        host.address
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut line = String::new();
    while line != "open\n" {
        line.clear();
        assert_ne!(within(client.read_line(&mut line)).await.unwrap(), 0, "it was refused");
    }
    client
}

#[tokio::test]
async fn plugins_end_their_upgraded_connections_in_order_before_the_drain_would_cut_them() {
    for threads in [None, Some(2)] {
        let mut limits = Limits::default();
        limits.drain = Duration::from_secs(3_600);
        let mut host = TestHost::with_handler(threads, limits, POLITE).await;
        let mut clients = [connected(&host).await, connected(&host).await];
        host.begin_stop();
        for client in &mut clients {
            let mut rest = String::new();
            within(client.read_to_string(&mut rest)).await.unwrap();
            assert_eq!(rest, "bye\n");
        }
        drop(clients);
        host.stopped().await;
    }
}

#[tokio::test]
async fn an_answer_without_an_end_keeps_no_plugin_from_ending_in_order() {
    for threads in [None, Some(2)] {
        let mut limits = Limits::default();
        limits.drain = SHUTDOWN_GRACE;
        let mut host = TestHost::with_handler(threads, limits, POLITE).await;
        let mut events = ask(&host, "events", "").await;
        let mut upgraded = connected(&host).await;
        host.begin_stop();
        let mut rest = String::new();
        within(upgraded.read_to_string(&mut rest)).await.unwrap();
        assert_eq!(rest, "bye\n");
        rest.clear();
        within(events.read_to_string(&mut rest)).await.unwrap();
        assert!(rest.ends_with("\r\n4\r\nbye\n\r\n0\r\n\r\n"), "{rest:?}");
        drop(upgraded);
        host.stopped().await;
    }
}
