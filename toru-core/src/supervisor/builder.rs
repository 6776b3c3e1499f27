//! From settings and stores to a supervisor.

use std::{collections::BTreeMap, fmt, io, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, watch},
};
use toru_plugin_api::driver::BoxError;

use super::{
    PluginSupervisor, SupervisorError, attach,
    claims::Registrar,
    folders::{self, DataLock},
    host::Host,
    prepare::PREPARED_AT_ONCE,
};
use crate::{
    config::Config,
    discovery::Prober,
    event::{EventBus, EventHook, LogHook},
    http::{RequestBody, out},
    instance,
    lanes::Lanes,
    link::HostService,
    log::Logs,
    process::Spawner,
    routes::Routes,
    store::{Database, EventStore, JsonStateStore, KvStore, StateStore},
};

/// The database in the data folder.
const DATABASE: &str = "toru.db";

/// Makes the service for plugins, which looks up in the routes who else is there.
type MakeService = Box<dyn FnOnce(Arc<Routes>) -> Arc<dyn HostService> + Send>;

/// Builds a supervisor. Stores that are not given are SQLite and `config.json`, in the folders of the config.
#[must_use]
pub struct Builder {
    config: Config,
    kv: Option<Arc<dyn KvStore>>,
    events: Option<Arc<dyn EventStore>>,
    states: Option<Arc<dyn StateStore>>,
    hooks: Vec<Box<dyn EventHook>>,
    service: Option<MakeService>,
    source_dirs: Vec<PathBuf>,
    attached: Vec<(String, PathBuf)>,
    held: Option<(String, watch::Receiver<bool>)>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("source_dirs", &self.source_dirs)
            .field("hooks", &self.hooks.len())
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            kv: None,
            events: None,
            states: None,
            hooks: Vec::new(),
            service: None,
            source_dirs: Vec::new(),
            attached: Vec::new(),
            held: None,
        }
    }

    /// Takes this KV store.
    pub fn kv_store(mut self, store: Arc<dyn KvStore>) -> Self {
        self.kv = Some(store);
        self
    }

    /// Takes this event store.
    pub fn event_store(mut self, store: Arc<dyn EventStore>) -> Self {
        self.events = Some(store);
        self
    }

    /// Takes this state store.
    pub fn state_store(mut self, store: Arc<dyn StateStore>) -> Self {
        self.states = Some(store);
        self
    }

    /// Adds a hook that is told of every event, after the log and the store.
    pub fn event_hook(mut self, hook: impl EventHook) -> Self {
        self.hooks.push(Box::new(hook));
        self
    }

    /// Lets plugins send requests to this service: the embedder's own API for them, such as "send this mail". Each request carries the
    /// [`PluginId`](crate::http::PluginId) of its plugin as an extension; context headers that a plugin sets (`x-toru-*`,
    /// `x-forwarded-*`) are dropped. It is called on the supervisor's own runtime, which serves all plugins, so it must not block a thread: what does belongs into
    /// `spawn_blocking`. It is called for at most 128 requests of a link at once, and its future is dropped when the plugin gives up. What it does wrong (an error, a panic) is a 502 for the plugin
    /// and a line in the host's log. Without it the feature `http-out` is not offered.
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// # use bytes::Bytes;
    /// # use http::{Request, Response};
    /// # use http_body_util::Full;
    /// use toru_core::{Config, PluginSupervisor, http::{PluginId, RequestBody}};
    ///
    /// # fn builder(service: impl tower_service::Service<
    /// #     Request<RequestBody>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send,
    /// # > + Clone + Send + 'static) {
    /// // `service` is an axum `Router`, or any other tower service for `http::Request<RequestBody>`.
    /// let builder = PluginSupervisor::builder(Config::new("plugins", "data")).host_service(service);
    /// # }
    /// # fn whose(request: &Request<RequestBody>) {
    /// // In a handler:
    /// let plugin = request.extensions().get::<PluginId>().expect("every request of a plugin has it");
    /// # }
    /// ```
    pub fn host_service<S, B>(mut self, service: S) -> Self
    where
        S: tower_service::Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.service = Some(Box::new(move |routes| Arc::new(out::HostService::new(service, routes))));
        self
    }

    /// Adds a source folder outside the plugins folder (`toru dev`): built already, run by its `[dev] exec` if it has one.
    pub fn source_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.source_dirs.push(dir.into());
        self
    }

    /// For development: the plugin `id` is started by hand, under a debugger perhaps, with `TORU_PLUGIN_SOCKET` set to this path
    /// and no other variable of a host's. It is waited for and connected to, not spawned; no start or response timeout and no ping
    /// runs against it, no signal is sent to it, and when it has gone the next one is waited for. It has to be of this host's user.
    /// An id that is attached twice is refused by [`build`](Self::build), and one that no plugin has by
    /// [`initialize`](PluginSupervisor::initialize).
    pub fn attach(mut self, id: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        self.attached.push((id.into(), path.into()));
        self
    }

    /// For tests only: the task of the plugin `id` stands still while `held` is true, as if it were stuck.
    #[doc(hidden)]
    pub fn hold_task(mut self, id: impl Into<String>, held: watch::Receiver<bool>) -> Self {
        self.held = Some((id.into(), held));
        self
    }

    /// Builds it on the current tokio runtime, which drives its tasks and links. The data folder is made, locked and its
    /// stores are opened; no plugin runs yet.
    ///
    /// # Errors
    /// A setting makes no sense, another host holds the data folder, a folder or store is damaged or not writable, or there is no tokio runtime; see
    /// [`SupervisorError`].
    pub fn build(self) -> Result<PluginSupervisor, SupervisorError> {
        let runtime = Handle::try_current().map_err(|_| {
            SupervisorError::Config(
                "a supervisor is built on a tokio runtime: call build() inside one".to_owned(),
            )
        })?;
        self.config.validate().map_err(|error| SupervisorError::Config(error.to_string()))?;
        let attached = check_attached(self.attached)?;
        let data_dir = self.config.data_dir.clone();
        let io_error = |error: io::Error| SupervisorError::Io {
            path: data_dir.clone(),
            message: format!(
                "cannot be used as the data folder: {error}; name another one, or let this user write there"
            ),
        };
        folders::make_private(&data_dir).map_err(io_error)?;
        let lock = DataLock::acquire(&data_dir)?;
        folders::sweep_socket_folders();
        let instance_id = instance::load_or_create(&data_dir).map_err(io_error)?;
        let logs = Logs::open(&self.config).map_err(|error| SupervisorError::Io {
            path: self.config.log_dir.clone(),
            message: format!(
                "cannot be used as the folder of the logs: {error}; name another one, or let this user write there"
            ),
        })?;
        let (kv, event_store) = open_stores(self.kv, self.events, &self.config)?;
        let states = self.states.unwrap_or_else(|| Arc::new(JsonStateStore::new(&self.config.plugins_dir)));

        let mut hooks: Vec<Box<dyn EventHook>> = vec![Box::new(LogHook::new(logs.clone()))];
        hooks.extend(self.hooks);
        let retention = Duration::from_secs(u64::from(self.config.event_days) * 24 * 60 * 60);
        let events = EventBus::with_retention(event_store.clone(), hooks, retention);
        let routes = Arc::new(Routes::default());
        let host = Host {
            instance_id,
            kv,
            service: self.service.map(|make| make(routes.clone())),
            event_store,
            states,
            events,
            logs,
            spawner: Spawner::new().map_err(io_error)?,
            prober: Prober::default(),
            digests: Arc::default(),
            registrar: Registrar::start(routes.clone()),
            lanes: Lanes::new(runtime),
            preparing: Semaphore::new(PREPARED_AT_ONCE),
            attached,
            config: self.config,
        };
        Ok(PluginSupervisor::new(host, routes, lock, self.source_dirs, self.held))
    }
}

fn check_attached(wanted: Vec<(String, PathBuf)>) -> Result<BTreeMap<String, PathBuf>, SupervisorError> {
    let refused =
        |id: &str, why: &str| SupervisorError::Config(format!("the plugin {id:?} cannot be attached: {why}"));
    let mut attached = BTreeMap::new();
    for (id, path) in wanted {
        let path = attach::check_path(&path).map_err(|why| refused(&id, &why))?;
        if let Some(other) = attached.get(&id) {
            let other: &PathBuf = other;
            let (other, path) = (other.display(), path.display());
            return Err(refused(&id, &format!("it is named twice, at {other} and at {path}: name it once")));
        }
        attached.insert(id, path);
    }
    Ok(attached)
}

type Stores = (Arc<dyn KvStore>, Arc<dyn EventStore>);

fn open_stores(
    kv: Option<Arc<dyn KvStore>>,
    events: Option<Arc<dyn EventStore>>,
    config: &Config,
) -> Result<Stores, SupervisorError> {
    match (kv, events) {
        (Some(kv), Some(events)) => Ok((kv, events)),
        (kv, events) => {
            let database = Database::open(config.data_dir.join(DATABASE))?;
            let kv = kv.unwrap_or_else(|| Arc::new(database.kv_store()));
            let events = events.unwrap_or_else(|| Arc::new(database.event_store()));
            Ok((kv, events))
        }
    }
}
