//! Upgraded connections and long answers, through the host into a web app that is a plugin, and in comparison with the app alone.

use std::{net::SocketAddr, process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    sync::oneshot,
    task::JoinHandle,
};
use toru_core::{Config, PluginSupervisor};
use toru_host_axum::{AdminToken, Limits, Server};

use crate::{
    client::{HANG, TOKEN, within},
    host::Host,
    place::{Place, built},
};

/// What stands before the app's paths behind a host.
const BEHIND: &str = "/api/plugins/route/sockets";

fn place() -> Place {
    let place = Place::new();
    place.rust_plugin("sockets", "sockets");
    place
}

/// The web app, as one of its clients reaches it.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) address: SocketAddr,
    /// What stands before its paths.
    pub(crate) prefix: &'static str,
}

/// The app behind a host, and the app alone. Both end when this is dropped.
pub(crate) struct Both {
    pub(crate) host: Host,
    _place: Place,
    _alone: Child,
    alone: App,
}

impl Both {
    pub(crate) async fn start() -> Self {
        let place = place();
        let mut host = Host::start(&place).await;
        host.event("sockets", "ready").await;
        let mut alone = Command::new(built("sockets"))
            .arg("alone")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        within(BufReader::new(alone.stdout.take().unwrap()).read_line(&mut line)).await.unwrap();
        let app = App { address: line.trim().parse().unwrap(), prefix: "" };
        Self { host, _place: place, _alone: alone, alone: app }
    }

    pub(crate) fn behind_the_host(&self) -> App {
        App { address: self.host.address(), prefix: BEHIND }
    }

    /// The way through the host, and the direct one.
    pub(crate) fn ways(&self) -> [App; 2] {
        [self.behind_the_host(), self.alone.clone()]
    }
}

impl App {
    /// A request's head with these lines, and the end of the head.
    fn head(&self, method: &str, path: &str, lines: &str) -> String {
        let Self { address, prefix } = self;
        format!(
            "{method} {prefix}{path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {TOKEN}\r\n{lines}\r\n"
        )
    }

    async fn connect(&self) -> Raw {
        Raw(BufReader::new(within(TcpStream::connect(self.address)).await.unwrap()))
    }

    /// Asks for an upgrade to `raw`, and sends `early` right behind.
    async fn upgrade(&self, path: &str, early: &[u8]) -> Raw {
        let mut raw = self.connect().await;
        let head = self.head("GET", path, "connection: upgrade\r\nupgrade: raw\r\n");
        raw.send(&[head.as_bytes(), early].concat()).await;
        let head = raw.read_head().await;
        assert!(head.starts_with("http/1.1 101 "), "{head}");
        assert!(
            head.contains("\r\nconnection: upgrade\r\n") && head.contains("\r\nupgrade: raw\r\n"),
            "{head}"
        );
        raw
    }
}

/// A client that speaks in bytes.
struct Raw(BufReader<TcpStream>);

impl Raw {
    async fn send(&mut self, bytes: &[u8]) {
        within(self.0.write_all(bytes)).await.unwrap();
    }

    async fn end(&mut self) {
        self.0.shutdown().await.unwrap();
    }

    /// An answer's head in lower case, with the empty line.
    async fn read_head(&mut self) -> String {
        self.read_head_as_it_is().await.to_lowercase()
    }

    async fn read_head_as_it_is(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = within(self.0.read_line(&mut head)).await.unwrap();
            assert!(read > 0, "the connection ended inside the head: {head:?}");
        }
        head
    }

    async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        within(self.0.read_exact(&mut bytes)).await.unwrap();
        bytes
    }

    async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        within(self.0.read_to_end(&mut rest)).await.map(|_| rest)
    }

    async fn read_until(&mut self, wanted: &str) {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert!(within(self.0.read_line(&mut line)).await.unwrap() > 0, "it ended before {wanted:?}");
        }
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_after_an_upgrade_and_each_direction_ends_by_itself() {
    let both = Both::start().await;
    for app in both.ways() {
        let mut raw = app.upgrade("/raw", b"early ").await;
        raw.send(b"late").await;
        assert_eq!(raw.read(16).await, b"hello early late");
        raw.end().await;
        assert_eq!(raw.rest().await.unwrap(), b"bye", "{app:?}");
    }
    assert_eq!(both.host.stop().await.code(), Some(0));
}

#[tokio::test]
async fn a_megabyte_each_way_at_once_arrives_whole() {
    let both = Both::start().await;
    let sent: Vec<u8> = (0..1_u32 << 20).map(|n| (n % 251) as u8).collect();
    for app in both.ways() {
        let raw = app.upgrade("/raw", b"").await;
        let (mut read, mut write) = tokio::io::split(raw.0);
        let send = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        let mut whole = Vec::new();
        let (_, read) = within(async { tokio::join!(send, read.read_to_end(&mut whole)) }).await;
        read.unwrap();
        assert_eq!(whole.len(), b"hello ".len() + sent.len() + b"bye".len());
        assert!(whole[6..].starts_with(&sent));
    }
}

#[tokio::test]
async fn a_plugin_that_breaks_off_cuts_its_client_by_a_reset() {
    let both = Both::start().await;
    let mut raw = both.behind_the_host().upgrade("/abort", b"").await;
    assert_eq!(raw.read(4).await, b"half");
    raw.send(b"x").await;
    let error = raw.rest().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "no end that looks whole");
}

#[tokio::test]
async fn a_plugin_that_dies_cuts_its_clients() {
    let both = Both::start().await;
    let mut raw = both.behind_the_host().upgrade("/raw", b"").await;
    raw.read(6).await;
    let pid = both.host.client().pid("sockets").await;
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    assert_eq!(raw.rest().await.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_that_is_cut_off_is_told_to_the_plugin() {
    let both = Both::start().await;
    let mut raw = both.behind_the_host().upgrade("/raw", b"").await;
    raw.read(6).await;
    raw.0.get_ref().set_zero_linger().unwrap();
    drop(raw);
    within(async {
        loop {
            let logs = both.host.client().get("/api/plugins/sockets/logs").await;
            if logs.text().contains("the client was cut off") {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_an_answer_and_the_connection_goes_on() {
    let both = Both::start().await;
    for app in both.ways() {
        let mut raw = app.connect().await;
        for (lines, status) in
            [("connection: upgrade\r\nupgrade: raw\r\n", "200"), ("upgrade: raw\r\n", "200"), ("", "200")]
        {
            raw.send(app.head("GET", "/plain", lines).as_bytes()).await;
            let head = raw.read_head().await;
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{app:?}: {head}");
            assert!(!head.contains("\r\nupgrade:"), "{head}");
            assert_eq!(raw.read(5).await, b"plain");
        }
        raw.send(app.head("GET", "/raw", "").as_bytes()).await;
        let head = raw.read_head().await;
        assert!(head.starts_with("http/1.1 426 ") && head.contains("\r\nupgrade: raw\r\n"), "{head}");
    }
}

#[tokio::test]
async fn an_event_reaches_the_client_before_the_next_is_made() {
    let both = Both::start().await;
    for app in both.ways() {
        let mut listener = app.connect().await;
        listener.send(app.head("GET", "/events", "").as_bytes()).await;
        let head = listener.read_head().await;
        assert!(head.contains("\r\ncontent-type: text/event-stream\r\n"), "{head}");
        let mut sender = app.connect().await;
        for n in 0..20 {
            sender
                .send((app.head("POST", "/events", "content-length: 2\r\n") + &format!("{n:02}")).as_bytes())
                .await;
            let head = sender.read_head().await;
            assert!(head.starts_with("http/1.1 200 "), "{head}");
            assert_eq!(sender.read(1).await, b"1", "one listener");
            listener.read_until(&format!("data: {n:02}")).await;
        }
    }
}

/// The reference server in this process, with a drain of this length, begun by what is given back.
async fn serve(place: &Place, drain: Duration) -> (App, oneshot::Sender<()>, JoinHandle<()>) {
    let supervisor = PluginSupervisor::builder(Config::new(place.plugins(), place.data())).build().unwrap();
    let supervisor = Arc::new(supervisor);
    let mut limits = Limits::default();
    limits.drain = drain;
    let builder = Server::builder(supervisor.clone(), AdminToken::new(TOKEN).unwrap()).limits(limits);
    let server = builder.bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr();
    supervisor.initialize().await.unwrap();
    within(supervisor.wait_until("sockets", |status| status.running)).await.unwrap();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        server.run(stopped).await;
        supervisor.shutdown().await;
    });
    (App { address, prefix: BEHIND }, stop, served)
}

/// No connection is accepted any more.
async fn drains(app: &App) {
    within(async { while TcpStream::connect(app.address).await.is_ok() {} }).await;
}

#[tokio::test]
async fn a_host_that_stops_waits_for_its_tunnels() {
    let place = place();
    let (app, stop, served) = serve(&place, HANG).await;
    let mut raw = app.upgrade("/raw", b"").await;
    drop(stop);
    drains(&app).await;
    raw.send(b"still here").await;
    raw.end().await;
    assert_eq!(raw.rest().await.unwrap(), b"hello still herebye");
    within(served).await.unwrap();
}

#[tokio::test]
async fn after_the_drain_tunnels_are_cut() {
    let place = place();
    let (app, stop, served) = serve(&place, Duration::from_millis(50)).await;
    let mut raw = app.upgrade("/raw", b"").await;
    assert_eq!(raw.read(6).await, b"hello ");
    drop(stop);
    let error = raw.rest().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "no end that looks whole");
    within(served).await.unwrap();
}

#[tokio::test]
async fn a_page_of_another_site_cannot_upgrade_with_a_browsers_session() {
    let both = Both::start().await;
    let app = both.behind_the_host();
    let cookie = session(&app).await;
    let ask = async |lines: String| {
        let mut raw = app.connect().await;
        let head = app.head("GET", "/raw", &lines).replace(&format!("authorization: Bearer {TOKEN}\r\n"), "");
        raw.send(head.as_bytes()).await;
        raw.read_head().await["http/1.1 ".len()..][..3].to_owned()
    };
    let upgrade = format!("cookie: {cookie}\r\nconnection: upgrade\r\nupgrade: raw\r\n");
    assert_eq!(ask(format!("{upgrade}origin: http://{}\r\n", app.address)).await, "101");
    assert_eq!(ask(format!("{upgrade}origin: http://evil.example\r\n")).await, "403");
    assert_eq!(ask(upgrade.clone()).await, "403", "no origin at all");
    assert_eq!(ask("connection: upgrade\r\nupgrade: raw\r\n".to_owned()).await, "401");
}

/// Enters as a browser does; gives its cookie.
async fn session(app: &App) -> String {
    let mut raw = app.connect().await;
    let head = format!("GET /login?token={TOKEN} HTTP/1.1\r\nhost: {}\r\n\r\n", app.address);
    raw.send(head.as_bytes()).await;
    let head = raw.read_head_as_it_is().await;
    let (_, cookie) = head.split_once("toru_session=").unwrap_or_else(|| panic!("{head}"));
    format!("toru_session={}", cookie.split(';').next().unwrap())
}
