//! A host in memory around one link, and plugins of both versions to hold at its other end.

use std::{path::PathBuf, sync::Arc};

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{UnixListener, UnixStream},
    time::Instant,
};
use toru_plugin_api::{
    driver::{Handle, IncomingEvent, IncomingRequest, drive},
    message::{
        kv::{KvAnswer, KvCall},
        lifecycle::Init,
    },
    proto::{Connection, Settings},
};

use super::{LinkSetup, PathSocket, Peer};
use crate::{
    config::Config,
    event::EventBus,
    log::{LogQuery, LogRecord, Logs, PluginLog},
    store::{EventStore, KvStore, MemoryEventStore, MemoryKvStore},
};

/// The id of the plugin in these tests.
pub(crate) const PLUGIN: &str = "p";

/// What a link needs of a host.
#[derive(Debug)]
pub(crate) struct TestHost {
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
    pub(crate) kv: Arc<MemoryKvStore>,
    store: Arc<MemoryEventStore>,
    bus: EventBus,
    log: PluginLog,
}

impl TestHost {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().join("plugins"), dir.path().join("data"));
        let store = Arc::new(MemoryEventStore::new());
        let bus = EventBus::new(store.clone(), Vec::new());
        let log = Logs::open(&config).unwrap().plugin(PLUGIN);
        Self { dir, config, kv: Arc::default(), store, bus, log }
    }

    pub(crate) fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.response_timeout = self.config.response_timeout;
        settings.body_idle_timeout = self.config.body_idle_timeout;
        settings.kv_timeout = self.config.kv_timeout;
        settings
    }

    pub(crate) fn setup(&self, protocol: u32) -> LinkSetup {
        let settings = self.settings();
        let init = Init {
            protocol,
            instance_id: "00000000-0000-4000-8000-000000000000".to_owned(),
            plugin_id: PLUGIN.to_owned(),
            plugin_socket: String::new(),
            log_path: String::new(),
            data_dir: String::new(),
            config: Map::new(),
            link: None,
            features: settings.features.clone(),
            limits: settings.limits,
        };
        LinkSetup {
            plugin_id: PLUGIN.into(),
            init,
            settings,
            stream_numbers_after: None,
            kv: self.kv.clone(),
            store_timeout: self.config.kv_timeout,
            service: None,
            log: self.log.clone(),
            events: self.bus.clone(),
        }
    }

    /// The plugin's events, oldest first, as type and details.
    pub(crate) async fn events(&self) -> Vec<(String, Value)> {
        self.bus.flush().await;
        let newest_first = self.store.recent(PLUGIN, 1_000).await.unwrap();
        let event = |stored: crate::store::StoredEvent| {
            (stored.event.event_type.to_string(), Value::Object(stored.event.details))
        };
        newest_first.into_iter().rev().map(event).collect()
    }

    /// The plugin's log, newest first.
    pub(crate) async fn records(&self) -> Vec<LogRecord> {
        let all = LogQuery { page: 1, page_size: 1_000, level: toru_plugin_api::message::log::Level::Trace };
        self.log.query(all).await.unwrap()
    }

    pub(crate) async fn stored(&self, key: &str) -> Option<bytes::Bytes> {
        match self.kv.call(PLUGIN, KvCall::Get { key: key.to_owned() }).await.unwrap() {
            KvAnswer::Value(value) => value,
            other => panic!("{other:?}"),
        }
    }

    /// Where a version 1 plugin listens.
    pub(crate) fn socket(&self) -> PathSocket {
        let own_group = rustix::process::getpgrp().as_raw_nonzero().get();
        PathSocket { path: self.socket_path(), peer: Peer::Group(u32::try_from(own_group).unwrap()) }
    }

    fn socket_path(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    pub(crate) fn listen(&self) -> FakeV1 {
        FakeV1 { listener: UnixListener::bind(self.socket_path()).unwrap() }
    }

    /// Nobody listens any more, as after the death of a plugin.
    pub(crate) fn unlisten(&self, plugin: FakeV1) {
        drop(plugin);
        std::fs::remove_file(self.socket_path()).unwrap();
    }
}

/// A version 1 plugin, driven by hand.
#[derive(Debug)]
pub(crate) struct FakeV1 {
    listener: UnixListener,
}

impl FakeV1 {
    pub(crate) async fn accept(&self) -> V1Peer {
        V1Peer { stream: self.listener.accept().await.unwrap().0 }
    }

    /// Accepts and takes `init`.
    pub(crate) async fn start(&self) -> V1Peer {
        let mut peer = self.accept().await;
        assert_eq!(peer.read().await.unwrap()["payload"]["action"], "init");
        peer
    }
}

/// A connection of a version 1 plugin.
#[derive(Debug)]
pub(crate) struct V1Peer {
    stream: UnixStream,
}

impl V1Peer {
    /// The next message; `None`: the host has closed.
    pub(crate) async fn read(&mut self) -> Option<Value> {
        let length = self.stream.read_u32().await.ok()?;
        let mut text = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut text).await.ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    pub(crate) async fn write(&mut self, text: &[u8]) {
        self.stream.write_u32(u32::try_from(text.len()).unwrap()).await.unwrap();
        self.stream.write_all(text).await.unwrap();
    }

    pub(crate) async fn write_json(&mut self, message: &Value) {
        self.write(message.to_string().as_bytes()).await;
    }

    /// Answers a request with 200 and this text.
    pub(crate) async fn answer(&mut self, request: &Value, body: &str) {
        let payload = json!({"status": 200, "headers": {}, "body": body});
        self.write_json(&json!({"type": "http", "request_id": request["request_id"], "payload": payload}))
            .await;
    }
}

/// The bytes that the pipe between host and plugin holds: like a Unix socket's buffer.
const PIPE_BYTES: usize = 64 << 10;

/// A version 2 plugin in memory, whose handler gets each request on a task of its own.
#[derive(Debug, Clone)]
pub(crate) struct FakeV2 {
    pub(crate) handle: Handle,
}

impl FakeV2 {
    /// A plugin that accepts what `settings` say, and the host's end of its pipe.
    pub(crate) fn new<H, F>(settings: Settings, handler: H) -> (Self, DuplexStream)
    where
        H: Fn(IncomingRequest) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (io, host) = tokio::io::duplex(PIPE_BYTES);
        let connection = Connection::plugin(settings, Instant::now().into_std());
        let (handle, mut incoming, driver) = drive(io, connection);
        tokio::spawn(driver);
        let ready = handle.clone();
        tokio::spawn(async move {
            while let Some(event) = incoming.next().await {
                match event {
                    IncomingEvent::Init(_) => ready.ready(),
                    IncomingEvent::Request(request) => {
                        tokio::spawn(handler(request));
                    }
                    IncomingEvent::Kv(call) => {
                        call.responder.answer(Ok(KvAnswer::Value(Some("plugin's".into()))))
                    }
                    _ => {}
                }
            }
        });
        (Self { handle }, host)
    }
}

/// A version 2 plugin that writes frames by hand.
#[derive(Debug)]
pub(crate) struct RawV2 {
    pub(crate) io: DuplexStream,
}

impl RawV2 {
    pub(crate) fn new() -> (Self, DuplexStream) {
        let (io, host) = tokio::io::duplex(PIPE_BYTES);
        (Self { io }, host)
    }

    /// The next frame's payload, which has to be a message.
    pub(crate) async fn read(&mut self) -> Value {
        serde_json::from_slice(&self.read_frame().await).unwrap()
    }

    pub(crate) async fn read_frame(&mut self) -> Vec<u8> {
        let length = self.io.read_u32().await.unwrap();
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.io.read_exact(&mut payload).await.unwrap();
        payload
    }

    pub(crate) async fn write(&mut self, payload: &[u8]) {
        self.io.write_u32(u32::try_from(payload.len()).unwrap()).await.unwrap();
        self.io.write_all(payload).await.unwrap();
    }

    pub(crate) async fn write_json(&mut self, message: &Value) {
        self.write(message.to_string().as_bytes()).await;
    }

    /// Takes `init` and says `ready`.
    pub(crate) async fn start(&mut self) {
        assert_eq!(self.read().await["payload"]["action"], "init");
        let ready = json!({"action": "ready", "protocol": 2, "features": ["streams"]});
        self.write_json(&json!({"type": "lifecycle", "payload": ready})).await;
    }

    pub(crate) async fn respond(&mut self, request: &Value, payload: &Value) {
        let id = &request["request_id"];
        self.write_json(&json!({"type": "http", "request_id": id, "payload": payload})).await;
    }
}
