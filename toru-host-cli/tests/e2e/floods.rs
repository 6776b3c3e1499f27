//! Clients and plugins that take more than their share, on a real host. The counts are small by default; `TORU_WRAPPED`, `TORU_CANCELLED`
//! and `TORU_FAIR_ROUNDS` make them those of docs/RELIABILITY.md.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::Method;
use http_body_util::BodyExt;
use tokio::{io::AsyncWriteExt, net::TcpStream, process::Command, sync::mpsc, task::JoinSet};

use crate::{
    client::{Connection, TOKEN, within},
    host::Host,
    place::Place,
    processes::{self, Memory},
};

const MIB: u64 = 1 << 10;

/// How often something is done; an environment variable makes it more than the default.
fn times(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |number| number.parse().unwrap())
}

async fn host_with_gauges(ids: &[&str]) -> (Place, Host) {
    host_by(Command::new(env!("CARGO_BIN_EXE_toru")), ids).await
}

async fn host_by(command: Command, ids: &[&str]) -> (Place, Host) {
    let place = Place::new();
    for id in ids {
        place.rust_plugin("gauge", id);
    }
    let mut host = Host::start_by(command, &place, &[]).await;
    for id in ids {
        host.event(id, "ready").await;
    }
    (place, host)
}

/// So many requests of each link are numbered before the numbers begin anew.
const BEFORE_THE_WRAP: u32 = 200;
const WRAPPED_CLIENTS: u32 = 64;

#[tokio::test]
async fn the_numbers_of_streams_wrap_under_load_without_a_lost_request() {
    let requests = times("TORU_WRAPPED", 6_400) / WRAPPED_CLIENTS;
    let mut command = Command::new(env!("CARGO_BIN_EXE_toru"));
    let first = u32::MAX - 2 * BEFORE_THE_WRAP;
    command.env("TORU_TEST_STREAM_NUMBERS_AFTER", first.to_string());
    let (_place, host) = host_by(command, &["gauge"]).await;
    let mut clients = JoinSet::new();
    for client in 0..WRAPPED_CLIENTS {
        let mut connection = Connection::open(host.address()).await;
        clients.spawn(async move {
            for number in 0..requests {
                // Inline bodies, and such as go in DATA.
                let size = if number % 8 == 0 { 100_000 } else { 10 };
                let body = format!("{client} {number} {}", ".".repeat(size));
                let answer = within(connection.try_post("/api/plugins/route/gauge/echo", body.clone()));
                let answer = answer.await.unwrap();
                assert!(
                    answer.status == 200 && answer.body == body,
                    "{} of {client} {number}",
                    answer.status
                );
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    println!("{} requests passed the wrap", requests * WRAPPED_CLIENTS);
    assert_eq!(host.stop().await.code(), Some(0));
}

const FAST_CLIENTS: u32 = 200;
const FAST_REQUESTS: u32 = 5;
const FAST_BYTES: usize = 64 << 10;
/// More than all buffers between the plugin and a client that does not read.
const SLOW_BYTES: usize = 32 << 20;

/// All fast clients ask and read, at once. Gives the 99th percentile of the times that their requests took.
async fn fast_clients(address: SocketAddr) -> Duration {
    let mut clients = JoinSet::new();
    for _ in 0..FAST_CLIENTS {
        let mut connection = Connection::open(address).await;
        clients.spawn(async move {
            let mut times = Vec::new();
            for _ in 0..FAST_REQUESTS {
                let began = Instant::now();
                let path = format!("/api/plugins/route/gauge/bytes?{FAST_BYTES}");
                let answer = within(connection.try_get(&path)).await.unwrap();
                assert_eq!((answer.status.as_u16(), answer.body.len()), (200, FAST_BYTES));
                times.push(began.elapsed());
            }
            times
        });
    }
    let mut times = clients.join_all().await.concat();
    assert_eq!(times.len(), (FAST_CLIENTS * FAST_REQUESTS) as usize, "all are served");
    times.sort();
    times[times.len() * 99 / 100]
}

#[tokio::test]
async fn a_slow_reader_among_200_fast_ones_holds_up_none_of_them() {
    let (_place, host) = host_with_gauges(&["gauge"]).await;
    fast_clients(host.address()).await;
    let mut ratios = Vec::new();
    for _ in 0..times("TORU_FAIR_ROUNDS", 1) {
        let alone = fast_clients(host.address()).await;

        let mut slow = Connection::open(host.address()).await;
        let request = slow.request(Method::GET, &format!("/api/plugins/route/gauge/bytes?{SLOW_BYTES}"));
        let mut unread = within(slow.try_begin(request)).await.unwrap().into_body();
        // It has begun, and stops while all the others are served.
        let mut read = within(unread.frame()).await.unwrap().unwrap().into_data().unwrap().len();
        let beside = fast_clients(host.address()).await;
        ratios.push(beside.as_secs_f64() / alone.as_secs_f64());

        while let Some(frame) = within(unread.frame()).await {
            read += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(read, SLOW_BYTES, "who has waited gets the rest");
    }
    ratios.sort_by(f64::total_cmp);
    println!("p99 of fast clients beside a slow reader, to that without: {:.2}", ratios[ratios.len() / 2]);
    assert_eq!(host.stop().await.code(), Some(0));
}

/// The requests without an answer's head that a plugin has at once.
const ALL_PLACES: u32 = 128;

#[tokio::test]
async fn requests_opened_and_cancelled_by_clients_leave_memory_and_places_as_they_were() {
    let (_place, host) = host_with_gauges(&["gauge"]).await;
    let client = host.client();
    client.ask("/gauge/seen").await;
    let memory = Memory::of(host.pid());
    let head = format!(
        "GET /api/plugins/route/gauge/hold HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {TOKEN}\r\n\r\n",
        host.address()
    );
    for number in 0..times("TORU_CANCELLED", 2_000) {
        let mut stream = TcpStream::connect(host.address()).await.unwrap();
        // Closed by RST: so many connections that wait for their end would use up the ports.
        stream.set_zero_linger().unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        if number % 50 == 0 {
            // Those before it have been seen, whatever became of them.
            client.ask("/gauge/seen").await;
        }
    }
    let growth = memory.growth_kib();
    println!("requests opened and cancelled by clients: the host's memory grew by {growth} KiB");
    assert!(growth <= 16 * MIB, "{growth} KiB");

    // Every place is free again: so many requests run at once, and the one that sees them has the last.
    let mut holding = JoinSet::new();
    for _ in 1..ALL_PLACES {
        let mut connection = Connection::open(host.address()).await;
        holding.spawn(async move { connection.try_get("/api/plugins/route/gauge/hold").await });
    }
    let seen = client.ask(&format!("/gauge/seen?running={}", ALL_PLACES - 1)).await;
    assert!(seen.starts_with(&format!(r#"{{"running":{},"#, ALL_PLACES - 1)), "{seen}");
    drop(holding);
    assert_eq!(host.stop().await.code(), Some(0));
}

const UPLOADS: u32 = 200;
const UPLOAD_BYTES: usize = 64 << 20;
const NEIGHBOURLY_REQUESTS: u32 = 1_000;

/// A client that sends 64 MiB as fast as they are taken, and tells when the first are. An error when the host has closed the
/// connection: only 128 uploads run at once, and the others wait for 5 s.
async fn upload(address: SocketAddr, begun: mpsc::Sender<()>) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let head = format!(
        "POST /api/plugins/route/deaf/echo HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {UPLOAD_BYTES}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let chunk = [b'x'; 64 << 10];
    for _ in 0..UPLOAD_BYTES / chunk.len() {
        stream.write_all(&chunk).await?;
        let _ = begun.try_send(());
    }
    Ok(())
}

#[tokio::test]
async fn a_plugin_that_reads_nothing_of_200_uploads_costs_its_host_at_most_48_mib() {
    let (_place, host) = host_with_gauges(&["deaf", "good"]).await;
    let deaf = host.client().pid("deaf").await;
    host.client().ask("/good/seen").await;
    let memory = Memory::of(host.pid());
    processes::freeze(deaf);
    let mut uploads = JoinSet::new();
    for _ in 0..UPLOADS {
        let (begun, mut has_begun) = mpsc::channel(1);
        uploads.spawn(upload(host.address(), begun));
        within(has_begun.recv()).await.unwrap();
    }
    // Meanwhile its neighbour is served, and the uploads get as far as they can.
    let mut connection = Connection::open(host.address()).await;
    for _ in 0..NEIGHBOURLY_REQUESTS {
        let answer = within(connection.try_get("/api/plugins/route/good/seen")).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    let growth = memory.growth_kib();
    println!("{UPLOADS} uploads that nobody reads: the host's memory grew by {growth} KiB");
    assert!(growth <= 48 * MIB, "{growth} KiB");
    while let Some(ended) = uploads.try_join_next() {
        assert!(ended.unwrap().is_err(), "no upload was taken whole");
    }
    assert!(!uploads.is_empty(), "those that run go on");
    drop(uploads);
    processes::kill(deaf);
    assert_eq!(host.stop().await.code(), Some(0));
}
