//! Sets the scene of a test.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Map, Value};
use tokio::{
    io::DuplexStream,
    sync::{oneshot, watch},
};
use tower_service::Service;

use super::{HostService, HostSide, MemoryKv, Records, TestHost, ended};
use crate::{
    driver::{BoxError, drive},
    frame::Limits,
    message::lifecycle::{Features, Init, Pong, feature},
    metadata::PluginMetadata,
    plugin::{
        Body, NoHooks, PluginContext, PluginHooks, PluginService, ServeError, ToruPlugin,
        engine::{self, Greeted, Hooks},
        mount::Mounted,
    },
    proto::{Connection, Settings},
};

/// The bytes that the pipe between both sides holds: like a Unix socket's buffer, so that back-pressure is felt.
const PIPE_BYTES: usize = 64 << 10;
/// The instance id that plugins are told, unless another is set.
const INSTANCE_ID: &str = "00000000-0000-4000-8000-000000000000";

/// Sets what a plugin under test finds.
#[derive(Debug, Clone)]
pub struct TestHostBuilder {
    instance_id: String,
    data_dir: PathBuf,
    config: Map<String, Value>,
    kv: MemoryKv,
    service: Option<HostService>,
    settings: Settings,
}

impl Default for TestHostBuilder {
    fn default() -> Self {
        Self {
            instance_id: INSTANCE_ID.to_owned(),
            data_dir: std::env::temp_dir(),
            config: Map::new(),
            kv: MemoryKv::default(),
            service: None,
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

    /// What the plugin reaches by [`PluginContext::host`](crate::PluginContext::host). Without it the host offers nothing.
    #[must_use]
    pub fn host_service<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.service = Some(HostService::new(service));
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
        self.run(&metadata, PluginService::of(plugin.clone()), PluginHooks(plugin)).await
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
        self.run(metadata, |context| Mounted::new(service, context), NoHooks).await
    }

    async fn run<S, B, H>(
        self,
        metadata: &PluginMetadata,
        service: impl FnOnce(PluginContext) -> S + Send + 'static,
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
        let plugin = tokio::spawn(async move {
            let first = Greeted::over(plugin_end).await?;
            engine::run(first, Vec::<DuplexStream>::new(), service, hooks).await
        });
        let init = self.init(metadata);
        let mut settings = self.settings;
        if self.service.is_some() {
            settings.features = Features::new(settings.features.iter().chain([feature::HTTP_OUT]));
        }
        let now = tokio::time::Instant::now().into_std();
        let (handle, incoming, driver) = drive(host_end, Connection::host(settings, init, now));
        tokio::spawn(driver);
        let (pong_sender, pong) = watch::channel(Pong::default());
        let (ready_sender, ready) = oneshot::channel();
        let records = Arc::new(Mutex::new(Records::default()));
        let side = HostSide {
            records: records.clone(),
            kv: self.kv.clone(),
            service: self.service,
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
            features: Features::new(feature::USUAL),
            limits: Limits::DEFAULT,
        }
    }
}
