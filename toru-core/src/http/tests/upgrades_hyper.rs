//! Upgrades by hyper's own means: the service joins both connections itself.

use std::{io::ErrorKind, time::Duration};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    net::{TcpListener, TcpStream},
};

use super::{
    upgrades::{PIPE, rest, taking},
    *,
};

fn hyper_service(
    rig: &Rig,
) -> impl hyper::service::Service<
    Request<hyper::body::Incoming>,
    Response = Response<AnswerBody>,
    Error = std::convert::Infallible,
    Future: Send,
> + Send
+ 'static {
    let service = rig.service.clone();
    hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let service = service.clone();
        async move { Ok::<_, std::convert::Infallible>(service.forward(request).await) }
    })
}

/// A client of a hyper server that forwards to the service.
fn over_hyper(rig: &Rig) -> DuplexStream {
    let (client, io) = duplex(PIPE);
    let service = hyper_service(rig);
    let server = hyper::server::conn::http1::Builder::new();
    tokio::spawn(server.serve_connection(TokioIo::new(io), service).with_upgrades());
    client
}

const HANDSHAKE: &[u8] =
    b"GET /r/ws HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: echo/1\r\n\r\nearly ";

/// Reads an answer's head.
async fn read_head(client: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap().to_lowercase()
}

#[tokio::test(start_paused = true)]
async fn the_upgrade_of_hyper_is_taken_by_the_service_itself() {
    let (rig, _plugin, mut tunnels) = taking().await;
    let mut client = over_hyper(&rig);
    client.write_all(HANDSHAKE).await.unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(
        head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: echo/1\r\n"),
        "{head}"
    );
    let mut plugin = tunnels.recv().await.unwrap();
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut plugin).await, b"early late", "nothing sent before the 101 is lost");
    plugin.write_all(b"answer").await.unwrap();
    plugin.close();
    assert_eq!(rest(client).await, b"answer");
}

#[tokio::test(start_paused = true)]
async fn the_plugin_is_not_joined_before_the_client_has_its_101() {
    let (rig, plugin) = (Rig::new(), std::sync::Arc::new(tokio::sync::Notify::new()));
    let go = plugin.clone();
    rig.start(Settings::default(), move |request| {
        let go = go.clone();
        async move {
            go.notified().await;
            let mut tunnel =
                request.responder.upgrade(head(101, &[("upgrade", "echo/1")]).headers).await.unwrap();
            tunnel.write_all(b"first bytes").await.unwrap();
            tunnel.close();
        }
    })
    .await;
    let mut client = over_hyper(&rig);
    client.write_all(HANDSHAKE).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_secs(10), client.read_u8()).await;
    assert!(waits.is_err(), "nothing comes before the plugin's answer");
    plugin.notify_one();
    assert!(read_head(&mut client).await.starts_with("http/1.1 101 "));
    assert_eq!(rest(client).await, b"first bytes");
}

#[tokio::test]
async fn a_cut_resets_the_clients_tcp_connection_whichever_server_of_hyper_has_it() {
    let (rig, _plugin, mut tunnels) = taking().await;
    for is_auto in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let io = TokioIo::new(listener.accept().await.unwrap().0);
        let service = hyper_service(&rig);
        if is_auto {
            // What `axum::serve` does.
            let server = auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move { server.serve_connection_with_upgrades(io, service).await });
        } else {
            let server = hyper::server::conn::http1::Builder::new();
            tokio::spawn(server.serve_connection(io, service).with_upgrades());
        }
        client.write_all(HANDSHAKE).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.unwrap());
        }
        let mut plugin = tunnels.recv().await.unwrap();
        let mut early = [0; 6];
        plugin.read_exact(&mut early).await.unwrap();
        assert_eq!(&early, b"early ");
        drop(plugin);
        assert_eq!(client.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset, "{is_auto}");
    }
}
