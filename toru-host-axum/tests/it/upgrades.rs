//! Upgraded connections when the server ends.

use std::time::Duration;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use toru_host_axum::Limits;

use crate::host::{TOKEN, TestHost, within};

/// Takes an upgrade, and ends it in order when the plugin is to end.
const POLITE: &str = r#"
async def connection(plugin):
    yield b"open\n"
    await plugin.shutting_down()
    yield b"bye\n"

async def handle(request, plugin):
    headers = {"connection": "upgrade", "upgrade": "raw"}
    return toru.Response(101, headers, connection(plugin))
"#;

/// A client of an upgraded connection, once the plugin has said the first line on it.
async fn connected(host: &TestHost) -> BufReader<TcpStream> {
    let mut client = BufReader::new(TcpStream::connect(host.address).await.unwrap());
    let head = format!(
        "GET /api/plugins/route/hello-python/ HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\
         connection: upgrade\r\nupgrade: raw\r\n\r\n",
        host.address
    );
    client.write_all(head.as_bytes()).await.unwrap();
    let mut line = String::new();
    while line != "open\n" {
        line.clear();
        assert_ne!(within(client.read_line(&mut line)).await.unwrap(), 0, "the upgrade was refused");
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
        host.stopped().await;
    }
}
