//! A host for one test, and clients for it.

use std::{
    env, fs,
    future::Future,
    io::{self, Write},
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};
use toru_core::{Config, PluginSupervisor, RestartPolicy, supervisor::StateName};
use toru_host_axum::{AdminToken, Limits, Server, ServerBuilder};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// No test takes as long; a hang ends with its name.
const HANG: Duration = Duration::from_secs(60);

/// Fails a test that hangs.
pub(crate) async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, work).await.expect("it hangs")
}

/// A host that serves until the test ends.
pub(crate) struct TestHost {
    pub(crate) address: SocketAddr,
    pub(crate) supervisor: Arc<PluginSupervisor>,
    pub(crate) folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl TestHost {
    /// A host whose one plugin `tell` tells what it was sent, and runs.
    pub(crate) async fn with_plugin() -> Self {
        Self::behind(None).await
    }

    /// As `with_plugin`, behind a proxy in this network.
    pub(crate) async fn behind(proxy: Option<&str>) -> Self {
        let trust = |builder: ServerBuilder| match proxy {
            Some(network) => builder.trusted_proxy(network.parse().unwrap()),
            None => builder,
        };
        let host = Self::serve(RestartPolicy::default(), trust, |plugins| add_plugin(plugins, "tell")).await;
        let running = host.supervisor.wait_until("tell", |status| status.running);
        let status = within(running).await.unwrap();
        assert_eq!(status.state, StateName::Running);
        host
    }

    /// A host with `hello-python`, a plugin that takes streams.
    pub(crate) async fn with_streams() -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello-plugin-python");
        let host =
            Self::start(Limits::default(), |plugins| copy_folder(&example, &plugins.join("hello-python")))
                .await;
        within(host.supervisor.wait_until("hello-python", |status| status.running)).await.unwrap();
        host
    }

    /// A host with a plugin in Python that has `handle` of this source, on so many threads of its own, or on the test's.
    pub(crate) async fn with_handler(threads: Option<usize>, limits: Limits, source: &str) -> Self {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hello-plugin-python");
        let adjust = |builder: ServerBuilder| {
            let builder = builder.limits(limits);
            match threads.and_then(NonZeroUsize::new) {
                Some(threads) => builder.threads(threads),
                None => builder,
            }
        };
        let host = Self::serve(RestartPolicy::default(), adjust, |plugins| {
            let folder = plugins.join("hello-python");
            copy_folder(&example, &folder);
            fs::write(folder.join("main.py"), format!("import toru\n{source}\ntoru.run(handle)\n")).unwrap();
        })
        .await;
        within(host.supervisor.wait_until("hello-python", |status| status.running)).await.unwrap();
        host
    }

    /// A host without plugins.
    pub(crate) async fn empty(limits: Limits) -> Self {
        Self::start(limits, |_| ()).await
    }

    /// A host on what `fill` puts into the plugins folder.
    pub(crate) async fn start(limits: Limits, fill: impl FnOnce(&Path)) -> Self {
        Self::start_with(RestartPolicy::default(), limits, fill).await
    }

    /// As `start`, with another policy of restarts.
    pub(crate) async fn start_with(restart: RestartPolicy, limits: Limits, fill: impl FnOnce(&Path)) -> Self {
        Self::serve(restart, |builder| builder.limits(limits), fill).await
    }

    /// As `start`, on so many threads of its own.
    pub(crate) async fn on_threads(threads: usize, limits: Limits, fill: impl FnOnce(&Path)) -> Self {
        let threads = NonZeroUsize::new(threads).unwrap();
        Self::serve(RestartPolicy::default(), |builder| builder.limits(limits).threads(threads), fill).await
    }

    async fn serve(
        restart: RestartPolicy,
        adjust: impl FnOnce(ServerBuilder) -> ServerBuilder,
        fill: impl FnOnce(&Path),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plugins = folder.path().join("plugins");
        fs::create_dir(&plugins).unwrap();
        fill(&plugins);
        let mut config = Config::new(plugins, folder.path().join("data"));
        config.restart = restart;
        let supervisor = Arc::new(PluginSupervisor::builder(config).build().unwrap());
        let builder = Server::builder(supervisor.clone(), AdminToken::new(TOKEN).unwrap());
        let server =
            adjust(builder.allow_host("toru.example".parse().unwrap())).bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr();
        supervisor.initialize().await.unwrap();
        let (stop, stopped) = oneshot::channel();
        let plugins = supervisor.clone();
        let served = tokio::spawn(async move {
            let stopped = async {
                let _ = stopped.await;
            };
            server.run_then(stopped, plugins.shutdown()).await;
        });
        Self { address, supervisor, folder, stop: Some(stop), served }
    }

    /// Drops the server, as its owner may at any time.
    pub(crate) fn abandon(&self) {
        self.served.abort();
    }

    /// Begins the drain.
    pub(crate) fn begin_stop(&mut self) {
        let _ = self.stop.take().expect("a host is stopped once").send(());
    }

    /// Waits until the drain is over and the plugins have stopped.
    pub(crate) async fn stopped(self) {
        within(self.served).await.unwrap();
    }

    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        self.stopped().await;
    }

    /// A request with the admin token.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request<Full<Bytes>> {
        let mut request = self.anonymous(method, path);
        request.headers_mut().insert(header::AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap());
        request
    }

    /// A request without credentials.
    pub(crate) fn anonymous(&self, method: Method, path: &str) -> Request<Full<Bytes>> {
        let request =
            Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        request.body(Full::default()).unwrap()
    }

    /// Sends a request on a connection of its own.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        within(async {
            let stream = TcpStream::connect(self.address).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            Answer::collect(sender.send_request(request).await.unwrap()).await
        })
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(self.request(Method::POST, path).map(|_| Full::new(body.into()))).await
    }

    /// Sends bytes as they are and reads until the host closes.
    pub(crate) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        within(async {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(bytes.as_ref()).await.unwrap();
            let mut answer = Vec::new();
            // A reset after the answer is an end, too.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        })
        .await
    }
}

/// What a host listens on for all addresses of this machine. Without IPv6 that half is skipped, and `TORU_REQUIRE=ipv6` makes it a failure.
pub(crate) fn all_addresses() -> Vec<&'static str> {
    if TcpListener::bind("[::1]:0").is_ok() {
        return vec!["0.0.0.0:0", "[::]:0"];
    }
    let is_required =
        env::var("TORU_REQUIRE").is_ok_and(|names| names.split(',').any(|name| name.trim() == "ipv6"));
    assert!(!is_required, "TORU_REQUIRE names `ipv6`, but [::1] cannot be bound");
    // Past the capture of the test runner, which would hide it.
    io::stderr().write_all(b"SKIPPED: [::1] cannot be bound, so nothing is tried on [::]\n").unwrap();
    vec!["0.0.0.0:0"]
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, copy) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if path.is_dir() {
            copy_folder(&path, &copy);
        } else {
            fs::copy(&path, &copy).unwrap();
        }
    }
}

/// Installs the plugin that tells what it was sent.
pub(crate) fn add_plugin(plugins: &Path, id: &str) {
    let folder = plugins.join(id);
    fs::create_dir(&folder).unwrap();
    let manifest = format!(
        "id = \"{id}\"\nname = \"Tell <b>\"\nversion = \"1.2.3\"\nauthor = \"A & B\"\nicon = \"📣\"\nroute = \"/{id}\"\n\
         protocol = 2\nexec = [\"python3\", \"plugin.py\"]\nfrontend = \"bundle.js\"\n"
    );
    fs::write(folder.join("plugin.toml"), manifest).unwrap();
    fs::write(folder.join("plugin.py"), include_str!("../fixtures/plugin.py")).unwrap();
    fs::write(folder.join("bundle.js"), "window.ToruPlugins = {};\n").unwrap();
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    async fn collect(response: Response<hyper::body::Incoming>) -> Self {
        let (head, body) = response.into_parts();
        Self { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Asserts that it is a problem of this status and type.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:toru:error:{kind}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(!problem["title"].as_str().unwrap().is_empty(), "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
    }
}
