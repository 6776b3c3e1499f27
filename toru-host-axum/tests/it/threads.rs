//! A server on threads of its own.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use toru_core::MAX_LANES;
use toru_host_axum::{AdminToken, Limits, Server};

use crate::{
    host::{TOKEN, TestHost, add_plugin, within},
    limits::{ask, open},
};

const THREADS: usize = 4;
/// So many that each thread has some of them, whatever the kernel does.
const CONNECTIONS: usize = 64;

#[tokio::test]
async fn every_connection_is_served_whichever_thread_has_it() {
    let host = TestHost::on_threads(THREADS, Limits::default(), |plugins| add_plugin(plugins, "tell")).await;
    within(host.supervisor.wait_until("tell", |status| status.running)).await.unwrap();
    let mut connections = open(&host, CONNECTIONS).await;
    for _ in 0..2 {
        for connection in &mut connections {
            assert_eq!(ask(connection, &host, "/api/plugins/route/tell/x").await, "200");
            assert_eq!(ask(connection, &host, "/api/plugins").await, "200");
        }
    }
    drop(connections);
    host.stop().await;
}

#[tokio::test]
async fn connections_are_bounded_over_all_threads() {
    let mut limits = Limits::default();
    (limits.connections, limits.reserved_connections) = (CONNECTIONS, 2);
    let host = TestHost::on_threads(THREADS, limits, |_| ()).await;
    let mut connections = open(&host, CONNECTIONS).await;
    for (number, connection) in connections.iter_mut().enumerate() {
        let expected = if number < CONNECTIONS - 2 { "404" } else { "503" };
        assert_eq!(ask(connection, &host, "/api/plugins/route/x/").await, expected, "{number}");
    }
    let refused = host.exchange("").await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    drop(connections);
    host.stop().await;
}

#[tokio::test]
async fn a_second_server_on_the_same_port_is_refused_however_many_threads_it_has() {
    let host = TestHost::on_threads(THREADS, Limits::default(), |_| ()).await;
    for threads in [1, THREADS] {
        let builder = Server::builder(host.supervisor.clone(), AdminToken::new(TOKEN).unwrap());
        let builder = builder.threads(NonZeroUsize::new(threads).unwrap());
        let error = builder.bind(host.address).await.unwrap_err().to_string();
        assert!(
            error.ends_with("another program listens there; stop it or choose another address"),
            "{error}"
        );
    }
    host.stop().await;
}

#[tokio::test]
async fn more_threads_than_lanes_are_refused() {
    let host = TestHost::empty(Limits::default()).await;
    let builder = Server::builder(Arc::clone(&host.supervisor), AdminToken::new(TOKEN).unwrap());
    let error =
        builder.threads(NonZeroUsize::new(MAX_LANES + 1).unwrap()).bind("127.0.0.1:0").await.unwrap_err();
    assert_eq!(error.to_string(), "cannot listen on 127.0.0.1:0: there may be at most 64 threads");
    host.stop().await;
}

/// A body that ends the requests of [`begun`].
const BODY: &[u8] = b"token=x";

/// Connections with a request that the host waits for the body of.
async fn begun(host: &TestHost) -> Vec<TcpStream> {
    let mut connections = open(host, CONNECTIONS).await;
    let head = format!(
        "POST /login HTTP/1.1\r\nhost: {}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        host.address,
        BODY.len()
    );
    for connection in &mut connections {
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut told = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
        within(connection.read_exact(&mut told)).await.unwrap();
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    }
    connections
}

/// What comes until the end.
async fn rest(connection: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = within(connection.read_to_end(&mut rest)).await;
    rest
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once_and_requests_that_have_begun_are_answered() {
    let mut host = TestHost::on_threads(THREADS, Limits::default(), |_| ()).await;
    let mut idle = open(&host, CONNECTIONS).await;
    let mut begun = begun(&host).await;
    host.begin_stop();
    for connection in &mut idle {
        assert!(rest(connection).await.is_empty());
    }
    for connection in &mut begun {
        connection.write_all(BODY).await.unwrap();
        let answer = rest(connection).await;
        assert!(answer.starts_with(b"HTTP/1.1 401 "), "{}", String::from_utf8_lossy(&answer));
    }
    let address = host.address;
    host.stopped().await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_has_not_finished_after_the_drain_is_cut_on_all_threads() {
    let mut limits = Limits::default();
    limits.drain = Duration::from_millis(50);
    let mut host = TestHost::on_threads(THREADS, limits, |_| ()).await;
    let mut connections = begun(&host).await;
    host.begin_stop();
    for connection in &mut connections {
        assert!(rest(connection).await.is_empty());
    }
    host.stopped().await;
}

#[tokio::test]
async fn dropping_the_server_cuts_the_connections_of_all_threads() {
    let host = TestHost::on_threads(THREADS, Limits::default(), |_| ()).await;
    let mut connections = begun(&host).await;
    host.abandon();
    for connection in &mut connections {
        assert!(rest(connection).await.is_empty());
    }
    within(host.supervisor.shutdown()).await;
}

#[tokio::test]
async fn a_server_that_is_never_run_ends_its_threads_when_it_is_dropped() {
    let host = TestHost::empty(Limits::default()).await;
    let builder = Server::builder(host.supervisor.clone(), AdminToken::new(TOKEN).unwrap());
    let server = builder.threads(NonZeroUsize::new(THREADS).unwrap()).bind("127.0.0.1:0").await.unwrap();
    let mut waiting = TcpStream::connect(server.local_addr()).await.unwrap();
    drop(server);
    assert!(rest(&mut waiting).await.is_empty());
    host.stop().await;
}
