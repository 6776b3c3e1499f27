//! One task per plugin, and the facade over them.
//!
//! | file | what |
//! |---|---|
//! | `state/` | what supervision decides: a pure step function, with its diagram |
//! | `restart.rs` | the policy of retries; backoff exists only there |
//! | `task.rs`, `work.rs` | the owner of one plugin: drives the machine, publishes the status |
//! | `prepare.rs`, `launch.rs`, `links.rs` | from a candidate to a live process and its links |
//! | `attach.rs` | a process that a developer starts, in place of a spawned one |
//! | `claims.rs` | who holds a route |
//! | `folders.rs` | private folders, and the lock on the data folder |
//!
//! The facade reads published statuses and writes to mailboxes: nothing it does waits for a plugin, but `enable` and
//! `disable` of that plugin, and `shutdown`.

mod attach;
mod builder;
mod claims;
mod error;
mod folders;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod host;
mod launch;
mod links;
mod prepare;
mod restart;
mod state;
mod status;
mod task;
mod work;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Mutex, oneshot, watch},
};
use toru_plugin_api::message::kv::{KvAnswer, KvError, KvErrorCode, KvOp};

use crate::{
    config::Config,
    discovery::{self, Candidate, Found},
    frontend::Frontend,
    http::PluginService,
    lanes::{Lease, MAX_LANES},
    log::{LogQuery, LogRecord},
    routes::Routes,
    store::{KvStore, StoreError, StoredEvent},
};
use folders::DataLock;
use host::Host;
use prepare::Origin;
use state::Wish;
use task::{Beginning, Command, Published, Task, TaskHandle};

pub use builder::Builder;
pub use error::{CommandError, SupervisorError};
pub use restart::{RestartPolicy, RestartPolicyError, RestartSettings};
pub use status::{Health, PluginStatus, Reason, StateName};

/// How long a task may take beyond the phases of a stop until `shutdown` ends it together with its process, and then the
/// event store for the last events: reaping, and a disk that is slow. It is bounded so that neither can keep the host.
const SHUTDOWN_SLACK: Duration = Duration::from_secs(5);

/// Runs plugins. Cheap to clone; all clones are one supervisor. Dropping the last one without
/// [`shutdown`](Self::shutdown) kills all plugins with their groups.
#[derive(Debug, Clone)]
pub struct PluginSupervisor {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    host: Arc<Host>,
    routes: Arc<Routes>,
    source_dirs: Vec<PathBuf>,
    held: Option<(String, watch::Receiver<bool>)>,
    /// Filled once by `initialize`.
    plugins: OnceLock<BTreeMap<Arc<str>, TaskHandle>>,
    /// Held by an `initialize` under way, so that nothing is started twice or after the end. True: the end has come.
    ended: Mutex<bool>,
    _lock: DataLock,
}

impl Drop for Inner {
    fn drop(&mut self) {
        for plugin in self.plugins.get().into_iter().flat_map(BTreeMap::values) {
            plugin.abort.abort();
        }
    }
}

impl PluginSupervisor {
    /// A builder around this config.
    pub fn builder(config: Config) -> Builder {
        Builder::new(config)
    }

    fn new(
        host: Host,
        routes: Arc<Routes>,
        lock: DataLock,
        source_dirs: Vec<PathBuf>,
        held: Option<(String, watch::Receiver<bool>)>,
    ) -> Self {
        let inner = Inner {
            host: Arc::new(host),
            routes,
            source_dirs,
            held,
            plugins: OnceLock::new(),
            ended: Mutex::new(false),
            _lock: lock,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Discovers the plugins and starts the enabled ones, on the runtime that the supervisor was built on; waits for the
    /// discovery, not for the plugins. Later calls do nothing. Cancel safe: a call that was dropped has started nothing.
    ///
    /// # Errors
    /// The plugins folder cannot be made or read, the enabled state is damaged, two source folders are the same plugin, a plugin
    /// to be attached is not there, or the supervisor or its runtime has ended: see [`SupervisorError`]. A broken plugin
    /// is no error but a failed plugin in the list.
    pub async fn initialize(&self) -> Result<(), SupervisorError> {
        let inner = &self.inner;
        let ended = inner.ended.lock().await;
        if *ended || inner.host.registrar.is_gone() {
            return Err(SupervisorError::ShutDown);
        }
        if inner.plugins.get().is_some() {
            return Ok(());
        }
        let states = inner.host.states.load().await?;
        let found = self.discover().await?;
        inner.host.check_attached(&found)?;
        let wish = |id: &str| Wish::from_enabled(states.get(id).copied().unwrap_or(true));
        let unwanted = found.keys().filter(|id| wish(id) == Wish::Down).cloned();
        let mut given_up = inner.host.given_up(unwanted).await;
        let mut beginnings = Vec::new();
        // In the order of the ids, so that of two equal routes the lower id gets it.
        for (id, (origin, found)) in found {
            let wish = wish(&id);
            let given_up = given_up.remove(&id);
            let lease = match (&found, wish) {
                // One that is refused hears of it again, and tells it, when it is prepared.
                (Found::Plugin(definition), Wish::Up) => {
                    prepare::claim(&inner.host, &definition.metadata).await.ok()
                }
                _ => None,
            };
            let held = inner.held.as_ref().filter(|(held, _)| **held == *id).map(|(_, held)| held.clone());
            beginnings.push(Beginning { id, origin, found, wish, given_up, lease, held });
        }
        // All at once, after the last await: whoever drops this future has started none.
        let start = |beginning: Beginning| (beginning.id.clone(), Task::start(inner.host.clone(), beginning));
        inner
            .plugins
            .set(beginnings.into_iter().map(start).collect())
            .expect("only the holder of `ended` sets it");
        Ok(())
    }

    async fn discover(&self) -> Result<BTreeMap<Arc<str>, (Origin, Found)>, SupervisorError> {
        let plugins_dir = self.inner.host.config.plugins_dir.clone();
        let source_dirs = self.inner.source_dirs.clone();
        let scan = tokio::task::spawn_blocking(move || {
            let candidates = discovery::scan(&plugins_dir).map_err(|error| SupervisorError::Io {
                path: plugins_dir,
                message: format!(
                    "cannot be used as the plugins folder: {error}; name another one, or let this user write there"
                ),
            })?;
            join_candidates(candidates, &source_dirs)
        });
        scan.await.map_err(|error| SupervisorError::Config(format!("the discovery was ended: {error}")))?
    }

    /// All plugins, by id. Never waits; empty before [`initialize`](Self::initialize).
    #[must_use]
    pub fn list(&self) -> Vec<PluginStatus> {
        let plugins = self.inner.plugins.get().into_iter().flat_map(BTreeMap::values);
        plugins.map(|plugin| plugin.published.borrow().status.clone()).collect()
    }

    /// One plugin. Never waits.
    #[must_use]
    pub fn status(&self, id: &str) -> Option<PluginStatus> {
        self.published(id).map(|published| published.status)
    }

    /// Resolves when the plugin's status fulfils the predicate. Changes that follow each other closely may be seen as one.
    /// Cancel safe.
    ///
    /// # Errors
    /// No plugin has this id, or the supervisor has shut down.
    pub async fn wait_until(
        &self,
        id: &str,
        mut predicate: impl FnMut(&PluginStatus) -> bool + Send,
    ) -> Result<PluginStatus, CommandError> {
        let mut published = self.plugin(id)?.published.clone();
        match published.wait_for(|published| predicate(&published.status)).await {
            Ok(published) => Ok(published.status.clone()),
            Err(_) => Err(CommandError::ShuttingDown),
        }
    }

    /// Wants it up; stored before this resolves. Also the way out of auto-disabled and failed: its failures are forgotten,
    /// and its files are read anew. Dropping the future may or may not undo it.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn enable(&self, id: &str) -> Result<(), CommandError> {
        self.want(id, Wish::Up).await
    }

    /// Wants it down; stored before this resolves, the process may still be ending. Dropping the future may or may not
    /// undo it.
    ///
    /// # Errors
    /// See [`CommandError`].
    pub async fn disable(&self, id: &str) -> Result<(), CommandError> {
        self.want(id, Wish::Down).await
    }

    async fn want(&self, id: &str, wish: Wish) -> Result<(), CommandError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::Want(wish, reply);
        self.plugin(id)?.mailbox.send(command).await.map_err(|_| CommandError::ShuttingDown)?;
        answer.await.map_err(|_| CommandError::ShuttingDown)?
    }

    /// The HTTP service, on links that the supervisor's runtime drives: the one to take inside a multi-thread runtime, whose
    /// threads share one link for each plugin. See [`lane`](Self::lane) for a runtime per thread.
    #[must_use]
    pub fn service(&self) -> PluginService {
        self.service_of(Lease::own())
    }

    /// The HTTP service whose links are driven by the runtime that this is called on, which needs I/O and time: for a host that
    /// serves on several current-thread runtimes, where a request then wakes no other thread. Requests are to be sent on that
    /// runtime.
    ///
    /// Processes that are spawned from now on have a link for it, so call it before [`initialize`](Self::initialize); the
    /// others, and those of plugins that leave further links alone, serve it through the supervisor's own. It ends with the last
    /// clone of the service: its links are closed once the answers on them have ended. There are at most
    /// [`MAX_LANES`] at once; past that this is [`service`](Self::service), and a warning.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn lane(&self) -> PluginService {
        let lease = self.inner.host.lanes.add(Handle::current()).unwrap_or_else(|| {
            tracing::warn!("there are {MAX_LANES} lanes already: this one uses the supervisor's own links");
            Lease::own()
        });
        self.service_of(lease)
    }

    fn service_of(&self, lane: Lease) -> PluginService {
        PluginService::new(self.inner.routes.clone(), lane, &self.inner.host.config)
    }

    /// A KV operation on the plugin itself: reaches its `handle_kv`.
    ///
    /// # Errors
    /// The plugin's error; `unavailable` when it does not run, `invalid` when there is no such plugin.
    pub async fn plugin_kv(&self, id: &str, op: KvOp) -> Result<KvAnswer, KvError> {
        let published = self.published(id).ok_or_else(|| {
            KvError::new(KvErrorCode::Invalid, CommandError::Unknown(id.to_owned()).to_string())
        })?;
        let link = published.link.ok_or_else(|| {
            KvError::new(
                KvErrorCode::Unavailable,
                format!("the plugin {id:?} does not run: enable it and try again"),
            )
        })?;
        link.kv(op.into()).await
    }

    /// The host's store, whose namespaces are the plugins' ids.
    #[must_use]
    pub fn kv_store(&self) -> &Arc<dyn KvStore> {
        &self.inner.host.kv
    }

    /// The newest events of a plugin, newest first, with all that were emitted before.
    ///
    /// # Errors
    /// The store failed.
    pub async fn events(&self, id: &str, limit: usize) -> Result<Vec<StoredEvent>, StoreError> {
        self.inner.host.events.flush().await;
        self.inner.host.event_store.recent(id, limit).await
    }

    /// A page of a plugin's log.
    ///
    /// # Errors
    /// A file cannot be read; `NotFound` when there is no such plugin.
    pub async fn logs(&self, id: &str, query: LogQuery) -> io::Result<Vec<LogRecord>> {
        // The id becomes part of a path, so only a known one may.
        self.plugin(id).map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))?;
        self.inner.host.logs.plugin(id).query(query).await
    }

    /// The plugin's frontend bundle: an absolute path that was checked to lie inside its folder. Where the frontend is a folder, ask
    /// [`frontend`](Self::frontend) for `bundle.js`.
    #[must_use]
    pub fn bundle(&self, id: &str) -> Option<PathBuf> {
        self.published(id)?.frontend.bundle.map(|path| host::absolute(&path))
    }

    /// The plugin's frontend, where that is a folder (`frontend = "dist/"`): it answers for the files, whether or not the plugin
    /// runs. `None` for a plugin that is disabled or has none.
    #[must_use]
    pub fn frontend(&self, id: &str) -> Option<Frontend> {
        let published = self.published(id).filter(|published| published.status.enabled)?;
        Some(Frontend::new(published.frontend.folder?, self.inner.host.digests.clone()))
    }

    /// The instance id.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.inner.host.instance_id
    }

    /// Stops all plugins in phases and resolves when all groups are gone and the events of it are stored. Later calls join
    /// the first. A plugin whose task is stuck is killed after the phases and 5 s more; an event store that is stuck is
    /// waited for as long.
    pub async fn shutdown(&self) {
        *self.inner.ended.lock().await = true;
        let Some(plugins) = self.inner.plugins.get() else {
            return;
        };
        let config = &self.inner.host.config;
        let limit = config.shutdown_grace + config.term_grace + SHUTDOWN_SLACK;
        let deadline = tokio::time::Instant::now() + limit;
        let stops: Vec<_> =
            plugins.values().map(|plugin| tokio::spawn(stop(plugin.mailbox.clone()))).collect();
        for (plugin, stop) in plugins.values().zip(stops) {
            if tokio::time::timeout_at(deadline, stop).await.is_err() {
                plugin.abort.abort();
                plugin.mailbox.closed().await;
            }
        }
        if tokio::time::timeout(SHUTDOWN_SLACK, self.inner.host.events.flush()).await.is_err() {
            tracing::error!("the last events may not be stored: the event store is stuck");
        }
    }

    fn plugin(&self, id: &str) -> Result<&TaskHandle, CommandError> {
        let plugins = self.inner.plugins.get();
        plugins.and_then(|plugins| plugins.get(id)).ok_or_else(|| CommandError::Unknown(id.to_owned()))
    }

    fn published(&self, id: &str) -> Option<Published> {
        Some(self.plugin(id).ok()?.published.borrow().clone())
    }
}

/// Asks a task to end, and resolves when it has.
async fn stop(mailbox: tokio::sync::mpsc::Sender<Command>) {
    // An error says that it has ended already.
    let _ = mailbox.send(Command::Shutdown).await;
    mailbox.closed().await;
}

/// The plugins folder's candidates and the source folders, which go before a candidate of the same id.
fn join_candidates(
    candidates: Vec<Candidate>,
    source_dirs: &[PathBuf],
) -> Result<BTreeMap<Arc<str>, (Origin, Found)>, SupervisorError> {
    let mut all: BTreeMap<Arc<str>, (Origin, Found)> = BTreeMap::new();
    for candidate in candidates {
        all.insert(candidate.id.into(), (Origin::Folder, candidate.found));
    }
    for dir in source_dirs {
        let (id, found) = match discovery::read_source_dir(dir) {
            Ok((definition, _)) => (definition.metadata.id().to_owned(), Found::Plugin(Arc::new(definition))),
            Err(problem) => (folder_name(dir), Found::Problem(problem)),
        };
        if let Some((Origin::Source(other), _)) = all.get(&*id) {
            let (other, dir) = (other.display(), dir.display());
            return Err(SupervisorError::Config(format!(
                "{other} and {dir} are both the plugin {id:?}: give one of them another id, or leave it out"
            )));
        }
        all.insert(id.into(), (Origin::Source(dir.clone()), found));
    }
    Ok(all)
}

fn folder_name(dir: &Path) -> String {
    dir.file_name().map_or_else(|| dir.display().to_string(), |name| name.to_string_lossy().into_owned())
}
