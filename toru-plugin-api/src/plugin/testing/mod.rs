//! A plugin in memory, against a host side: no process, no socket, the same engine and the same protocol.
//!
//! ```
//! # use toru_plugin_api::{HttpRequest, HttpResponse, PluginContext, PluginMetadata, PluginResult, ToruPlugin, async_trait};
//! # struct Hello;
//! # #[async_trait]
//! # impl ToruPlugin for Hello {
//! #     fn metadata(&self) -> PluginMetadata {
//! #         PluginMetadata::new("hello", "Hello", "1.0.0", "/hello").expect("valid")
//! #     }
//! #     async fn handle_http(&self, _: &PluginContext, _: HttpRequest) -> PluginResult<HttpResponse> {
//! #         Ok(HttpResponse::text("Hello!"))
//! #     }
//! # }
//! use toru_plugin_api::testing::TestHost;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let host = TestHost::start(Hello).await.expect("it starts");
//! let answer = host.get("/").await.expect("it answers");
//! assert_eq!(answer.into_body().text().await.expect("it is text"), "Hello!");
//! host.shutdown().await.expect("it ends in order");
//! # }
//! ```

mod store;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Map, Value};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};
use tower_service::Service;

pub use store::MemoryKv;

use super::{
    Body, KvOp, NoHooks, PluginHooks, PluginService, ServeError, ToruPlugin,
    engine::{self, End, Hooks},
    mount::Mounted,
};
use crate::{
    driver::{BoxError, Handle, Incoming, IncomingEvent, RequestBody, RequestError, drive},
    frame::Limits,
    message::{
        event::EventMessage,
        http::RequestHead,
        kv::{KvAnswer, KvError},
        lifecycle::{Features, Init, Pong, feature},
        log::LogMessage,
    },
    metadata::PluginMetadata,
    proto::{Connection, Settings},
};

/// The bytes that the pipe between both sides holds: like a Unix socket's buffer, so that back-pressure is felt.
const PIPE_BYTES: usize = 64 << 10;
/// How long a plugin may take to finish: the default of a host.
const GRACE: Duration = Duration::from_secs(5);
/// The instance id that plugins are told, unless another is set.
const INSTANCE_ID: &str = "00000000-0000-4000-8000-000000000000";

/// A host side in memory, and the plugin that runs against it. Dropped, it closes the link.
#[derive(Debug)]
pub struct TestHost {
    handle: Handle,
    records: Arc<Mutex<Records>>,
    kv: MemoryKv,
    pong: watch::Receiver<Pong>,
    plugin: JoinHandle<Result<End, ServeError>>,
}

/// What the plugin told.
#[derive(Debug, Default)]
struct Records {
    logs: Vec<LogMessage>,
    events: Vec<EventMessage>,
}

/// Sets what a plugin under test finds.
#[derive(Debug, Clone)]
pub struct TestHostBuilder {
    instance_id: String,
    data_dir: PathBuf,
    config: Map<String, Value>,
    kv: MemoryKv,
    settings: Settings,
}

impl Default for TestHostBuilder {
    fn default() -> Self {
        Self {
            instance_id: INSTANCE_ID.to_owned(),
            data_dir: std::env::temp_dir(),
            config: Map::new(),
            kv: MemoryKv::default(),
            settings: Settings::default(),
        }
    }
}

impl TestHostBuilder {
    /// One setting; without it the defaults of the metadata hold.
    #[must_use]
    pub fn config(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.config.insert(key.to_owned(), value.into());
        self
    }

    /// The id of the host.
    #[must_use]
    pub fn instance_id(mut self, id: &str) -> Self {
        id.clone_into(&mut self.instance_id);
        self
    }

    /// The plugin's own folder; the temporary folder of the system unless it is set.
    #[must_use]
    pub fn data_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.data_dir = folder.into();
        self
    }

    /// A store that has something in it, or that outlives this host.
    #[must_use]
    pub fn kv(mut self, kv: MemoryKv) -> Self {
        self.kv = kv;
        self
    }

    /// What the host side accepts, and its clocks.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Starts a plugin and awaits that it is ready.
    ///
    /// # Errors
    /// It refused to run, or broke the protocol.
    pub async fn start<P: ToruPlugin>(self, plugin: P) -> Result<TestHost, ServeError> {
        let plugin = Arc::new(plugin);
        let metadata = plugin.metadata();
        self.run(&metadata, PluginService(plugin.clone()), PluginHooks(plugin)).await
    }

    /// Starts a service as a plugin and awaits that it is ready.
    ///
    /// # Errors
    /// It broke the protocol.
    pub async fn start_service<S, B>(
        self,
        metadata: &PluginMetadata,
        service: S,
    ) -> Result<TestHost, ServeError>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.run(metadata, Mounted(service), NoHooks).await
    }

    async fn run<S, B, H>(
        self,
        metadata: &PluginMetadata,
        service: S,
        hooks: H,
    ) -> Result<TestHost, ServeError>
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        H: Hooks,
    {
        let (host_end, plugin_end) = tokio::io::duplex(PIPE_BYTES);
        let plugin = tokio::spawn(engine::run(plugin_end, Settings::default(), service, hooks));
        let init = self.init(metadata);
        let now = tokio::time::Instant::now().into_std();
        let (handle, incoming, driver) = drive(host_end, Connection::host(self.settings, init, now));
        tokio::spawn(driver);
        let (pong_sender, pong) = watch::channel(Pong::default());
        let (ready_sender, ready) = oneshot::channel();
        let records = Arc::new(Mutex::new(Records::default()));
        let side = HostSide {
            records: records.clone(),
            kv: self.kv.clone(),
            pong: pong_sender,
            ready: Some(ready_sender),
        };
        tokio::spawn(side.serve(incoming));
        match ready.await {
            Ok(()) => Ok(TestHost { handle, records, kv: self.kv, pong, plugin }),
            Err(_) => {
                handle.close();
                Err(ended(plugin).await.err().unwrap_or(ServeError::LinkLost))
            }
        }
    }

    fn init(&self, metadata: &PluginMetadata) -> Init {
        let mut config = metadata.config().clone();
        config.extend(self.config.clone());
        Init {
            protocol: 2,
            instance_id: self.instance_id.clone(),
            plugin_id: metadata.id().to_owned(),
            plugin_socket: String::new(),
            log_path: String::new(),
            data_dir: self.data_dir.to_string_lossy().into_owned(),
            config,
            link: None,
            features: Features::new(feature::ALL),
            limits: Limits::DEFAULT,
        }
    }
}

impl TestHost {
    /// Starts a plugin and awaits that it is ready.
    ///
    /// # Errors
    /// It refused to run, or broke the protocol.
    pub async fn start<P: ToruPlugin>(plugin: P) -> Result<Self, ServeError> {
        Self::builder().start(plugin).await
    }

    /// For a plugin that needs settings, a store with something in it, and so on.
    #[must_use]
    pub fn builder() -> TestHostBuilder {
        TestHostBuilder::default()
    }

    /// Sends a request, as the host does after it has removed the plugin's route from the path.
    ///
    /// # Errors
    /// See [`RequestError`].
    ///
    /// # Panics
    /// The URI has no path.
    pub async fn request<B: Into<Body>>(&self, request: Request<B>) -> Result<Response<Body>, RequestError> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned().expect("the URI of a request has a path");
        let head = RequestHead { method: parts.method, path, headers: parts.headers };
        let body = match body.into().into_whole() {
            Ok(bytes) if bytes.is_empty() => RequestBody::Empty,
            Ok(bytes) => RequestBody::Full(bytes),
            Err(body) => RequestBody::Stream(body),
        };
        let answer = self.handle.request(head, body).await?;
        let mut response = Response::new(Body::from(answer.body));
        *response.status_mut() = answer.head.status;
        *response.headers_mut() = answer.head.headers;
        Ok(response)
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// See [`RequestError`].
    ///
    /// # Panics
    /// `path` is no path in origin form.
    pub async fn get(&self, path: &str) -> Result<Response<Body>, RequestError> {
        self.request(Request::get(path).body(()).expect("a path in origin form, such as `/a?b=c`")).await
    }

    /// Asks a KV operation of the plugin (`handle_kv`).
    ///
    /// # Errors
    /// The plugin's error, `timeout`, or `unavailable` when the link is lost.
    pub async fn plugin_kv(&self, op: KvOp) -> Result<KvAnswer, KvError> {
        self.handle.call_kv(op.into()).await
    }

    /// The plugin's store.
    #[must_use]
    pub fn kv(&self) -> &MemoryKv {
        &self.kv
    }

    /// The log records that have come so far.
    #[must_use]
    pub fn logs(&self) -> Vec<LogMessage> {
        lock(&self.records).logs.clone()
    }

    /// The events that have come so far.
    #[must_use]
    pub fn events(&self) -> Vec<EventMessage> {
        lock(&self.records).events.clone()
    }

    /// How the plugin last said it is, in the answer to a ping.
    #[must_use]
    pub fn pong(&self) -> Pong {
        self.pong.borrow().clone()
    }

    /// The host's end of the link, for what has no method here.
    #[must_use]
    pub fn link(&self) -> &Handle {
        &self.handle
    }

    /// Asks the plugin to finish, and awaits its end.
    ///
    /// # Errors
    /// The plugin ended otherwise.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.handle.shutdown(GRACE);
        self.await_end().await
    }

    /// Cuts the link as a dying host does, and awaits the plugin's end. A real plugin then kills its process group.
    ///
    /// # Errors
    /// [`ServeError::LinkLost`], unless the plugin ended otherwise.
    pub async fn cut(self) -> Result<(), ServeError> {
        self.handle.close();
        self.await_end().await
    }

    async fn await_end(mut self) -> Result<(), ServeError> {
        match ended(&mut self.plugin).await? {
            End::Shutdown => Ok(()),
            End::LinkLost => Err(ServeError::LinkLost),
        }
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.handle.close();
    }
}

/// How the plugin ended; a panic of its engine goes on here.
async fn ended(
    plugin: impl Future<Output = Result<Result<End, ServeError>, tokio::task::JoinError>>,
) -> Result<End, ServeError> {
    match plugin.await {
        Ok(end) => end,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// What the host side does with what the plugin starts.
struct HostSide {
    records: Arc<Mutex<Records>>,
    kv: MemoryKv,
    pong: watch::Sender<Pong>,
    /// Dropped unsent when the plugin does not become ready.
    ready: Option<oneshot::Sender<()>>,
}

impl HostSide {
    async fn serve(mut self, mut incoming: Incoming) {
        while let Some(event) = incoming.next().await {
            match event {
                IncomingEvent::Ready(_) => {
                    if let Some(ready) = self.ready.take() {
                        // Nobody waits when the test has given up: then nobody needs to know.
                        let _ = ready.send(());
                    }
                }
                IncomingEvent::Failed(_) => self.ready = None,
                IncomingEvent::Kv(call) => call.responder.answer(Ok(self.kv.call(call.call))),
                IncomingEvent::Log(log) => lock(&self.records).logs.push(log),
                IncomingEvent::Event(event) => lock(&self.records).events.push(event),
                IncomingEvent::Pong(pong) => {
                    self.pong.send_replace(pong);
                }
                _ => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
