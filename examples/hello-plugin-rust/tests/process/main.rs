//! The plugin as a process: its arguments, the socket that it inherits, its end.

#![allow(
    clippy::unwrap_used,
    reason = "what a test cannot go on without is its failure; clippy knows test functions only, not their helpers"
)]

mod links;
mod path;

use std::{
    os::{fd::AsRawFd, unix::net::UnixStream, unix::process::CommandExt, unix::process::ExitStatusExt},
    process::{Child, Command, Output, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Empty};
use rustix::io::{FdFlags, fcntl_setfd};
use toru_plugin_api::{
    Body, PluginMetadata,
    driver::{Handle, Incoming, IncomingEvent, RequestBody, RequestError, drive},
    frame::Limits,
    http::{HeaderMap, Method},
    message::{http::RequestHead, lifecycle::Init},
    proto::{Connection, Settings},
};

/// A descriptor is open to all children while one of them inherits it: so they are started one by one.
static STARTING: Mutex<()> = Mutex::new(());

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hello-plugin-rust"));
    command
        .env_remove("TORU_PLUGIN_FD")
        .env_remove("TORU_PLUGIN_EXTRA_FDS")
        .env_remove("TORU_PLUGIN_SOCKET")
        .env_remove("TORU_INSTANCE_ID")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The plugin's process, and the host's end of its socket.
fn spawn(command: &mut Command) -> (Child, UnixStream) {
    let (child, [first]) = spawn_with_links(command);
    (child, first)
}

/// The plugin's process with so many links, and the host's ends of them.
fn spawn_with_links<const LINKS: usize>(command: &mut Command) -> (Child, [UnixStream; LINKS]) {
    let pairs = [(); LINKS].map(|()| UnixStream::pair().unwrap());
    let _starting = STARTING.lock().unwrap();
    let numbers = pairs.each_ref().map(|(_, plugin)| {
        fcntl_setfd(plugin, FdFlags::empty()).unwrap();
        plugin.as_raw_fd().to_string()
    });
    command.env("TORU_PLUGIN_FD", &numbers[0]);
    if LINKS > 1 {
        command.env("TORU_PLUGIN_EXTRA_FDS", numbers[1..].join(","));
    }
    (command.spawn().unwrap(), pairs.map(|(host, _)| host))
}

/// Shakes hands on the first link, as a host.
async fn connect(socket: UnixStream) -> (Handle, Incoming) {
    connect_as(socket, None).await
}

/// Shakes hands on a link of this number.
async fn connect_as(socket: UnixStream, link: Option<u32>) -> (Handle, Incoming) {
    socket.set_nonblocking(true).unwrap();
    let socket = tokio::net::UnixStream::from_std(socket).unwrap();
    let init = Init {
        protocol: 2,
        instance_id: "00000000-0000-4000-8000-000000000000".into(),
        plugin_id: "hello-rust".into(),
        plugin_socket: String::new(),
        log_path: String::new(),
        data_dir: String::new(),
        config: serde_json::Map::new(),
        link,
        features: Settings::default().features,
        limits: Limits::DEFAULT,
    };
    let (handle, mut incoming, driver) =
        drive(socket, Connection::host(Settings::default(), init, Instant::now()));
    tokio::spawn(driver);
    let told = incoming.next().await;
    assert!(matches!(told, Some(IncomingEvent::Ready(_))), "{told:?}");
    (handle, incoming)
}

/// Asks for `/json`; gives how many bytes came.
async fn get_json(handle: &Handle) -> Result<usize, RequestError> {
    let head = RequestHead { method: Method::GET, path: "/json".parse().unwrap(), headers: HeaderMap::new() };
    let response = handle.request(head, RequestBody::<Empty<_>>::Empty).await?;
    Ok(response.body.collect().await.unwrap().to_bytes().len())
}

async fn output(child: Child) -> Output {
    tokio::task::spawn_blocking(|| child.wait_with_output()).await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn metadata_is_printed_as_a_host_reads_it() {
    let output = command().arg("--metadata").output().unwrap();
    assert!(output.status.success());
    let metadata = PluginMetadata::from_json(text(&output.stdout)).unwrap();
    assert_eq!((metadata.id(), metadata.route(), metadata.protocol()), ("hello-rust", "/hello-rust", 2));
}

#[test]
fn started_by_hand_it_says_what_to_do() {
    let output = command().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("toru dev ."), "{output:?}");
}

#[test]
fn descriptor_that_is_no_socket_is_refused() {
    for (number, complaint) in [("999", "Bad file descriptor"), ("1", "standard stream"), ("x", "no number")]
    {
        let output = command().env("TORU_PLUGIN_FD", number).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains(complaint), "{output:?}");
    }
}

#[tokio::test]
async fn plugin_serves_over_the_socket_it_inherits_and_ends_in_order() {
    let (child, socket) = spawn(&mut command());
    let (handle, _incoming) = connect(socket).await;
    assert_eq!(get_json(&handle).await.unwrap(), 100);
    handle.shutdown(Duration::from_secs(5));
    let output = output(child).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// The most memory that a process has had, in KiB.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn echo_of_a_large_body_needs_little_memory() {
    const CHUNK: usize = 256 << 10;
    const CHUNKS: usize = 256;
    let (child, socket) = spawn(&mut command());
    let (handle, _incoming) = connect(socket).await;
    let before = peak_memory(child.id());
    let (sender, body) = Body::channel();
    let sending = tokio::spawn(async move {
        for n in 0..CHUNKS {
            sender.send(vec![n as u8; CHUNK]).await.unwrap();
        }
    });
    let head =
        RequestHead { method: Method::POST, path: "/echo".parse().unwrap(), headers: HeaderMap::new() };
    let mut echo = handle.request(head, RequestBody::Stream(body)).await.unwrap().body;
    let mut read = 0;
    while let Some(frame) = echo.frame().await {
        for byte in frame.unwrap().into_data().unwrap() {
            assert_eq!(byte, (read / CHUNK) as u8, "byte {read}");
            read += 1;
        }
    }
    assert_eq!(read, CHUNK * CHUNKS);
    sending.await.unwrap();
    let grown = peak_memory(child.id()) - before;
    assert!(grown < 16 << 10, "the plugin has grown by {grown} KiB");
    handle.shutdown(Duration::from_secs(5));
    assert_eq!(output(child).await.status.code(), Some(0));
}

#[tokio::test]
async fn plugin_that_leads_its_group_dies_with_its_host() {
    let (child, socket) = spawn(command().process_group(0));
    let (handle, _incoming) = connect(socket).await;
    handle.close();
    let output = output(child).await;
    assert_eq!(output.status.signal(), Some(9), "{output:?}");
    assert!(text(&output.stderr).contains("without a shutdown"), "{output:?}");
}

#[tokio::test]
async fn plugin_in_anothers_group_leaves_it_alone() {
    let (child, socket) = spawn(&mut command());
    let (handle, _incoming) = connect(socket).await;
    handle.close();
    let output = output(child).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
