//! What all plugins' tasks share: settings, stores, and the ways out of the supervisor. None of it is a lock of two plugins.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use super::{
    RestartPolicy, SupervisorError,
    claims::Registrar,
    state::{self, AUTO_DISABLED, Failure},
};
use crate::{
    config::Config,
    discovery::Prober,
    event::{EventBus, EventType},
    frontend::Digests,
    lanes::Lanes,
    link::HostService,
    log::Logs,
    process::Spawner,
    store::{EventStore, KvStore, StateStore},
};

/// How far back a plugin's events are looked through for who disabled it: each start of the host adds one or two.
const EVENTS_LOOKED_AT: usize = 1_000;
/// How long that may take for all plugins that are not wanted together.
const EVENTS_TIMEOUT: Duration = Duration::from_secs(1);

/// Everything that a task reaches beyond its own plugin.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) config: Config,
    pub(super) instance_id: String,
    pub(super) kv: Arc<dyn KvStore>,
    /// What plugins may ask of the embedder.
    pub(super) service: Option<Arc<dyn HostService>>,
    pub(super) event_store: Arc<dyn EventStore>,
    pub(super) states: Arc<dyn StateStore>,
    pub(super) events: EventBus,
    pub(super) logs: Logs,
    pub(super) spawner: Spawner,
    pub(super) prober: Prober,
    /// Of all frontends' files.
    pub(super) digests: Arc<Digests>,
    pub(super) registrar: Registrar,
    pub(super) lanes: Lanes,
    /// Bounds how many plugins' files are looked at at once.
    pub(super) preparing: Semaphore,
    /// Plugins that a developer starts, by id: where they listen.
    pub(super) attached: BTreeMap<String, PathBuf>,
}

impl Host {
    pub(super) fn machine_settings(&self, id: &str) -> state::Settings {
        let is_attached = self.attached.contains_key(id);
        state::Settings {
            start_timeout: self.config.start_timeout,
            shutdown_grace: self.config.shutdown_grace,
            term_grace: self.config.term_grace,
            ping_unhealthy: self.config.ping_unhealthy,
            ping_dead: self.config.ping_dead,
            restart: if is_attached { RestartPolicy::of_attached() } else { self.config.restart.clone() },
        }
    }

    /// Whether those that are to be attached are there.
    pub(super) fn check_attached<T>(&self, found: &BTreeMap<Arc<str>, T>) -> Result<(), SupervisorError> {
        let Some(id) = self.attached.keys().find(|id| !found.contains_key(id.as_str())) else {
            return Ok(());
        };
        let known: Vec<&str> = found.keys().map(|id| &**id).collect();
        let known = if known.is_empty() { "there is none".to_owned() } else { known.join(", ") };
        Err(SupervisorError::Config(format!(
            "the plugin {id:?} is to be attached, and is not among the plugins ({known}): name one of them, or add its folder"
        )))
    }

    /// Why plugins that are not wanted were given up, of those that were. The enabled state does not say who disabled one,
    /// but the events do, as long as they are kept. A store that fails or hangs keeps no host from starting: the plugin
    /// is shown as disabled then, and the log says why.
    pub(super) async fn given_up(
        self: &Arc<Self>,
        unwanted: impl Iterator<Item = Arc<str>>,
    ) -> HashMap<Arc<str>, Failure> {
        let deadline = Instant::now() + EVENTS_TIMEOUT;
        let mut asked = JoinSet::new();
        for id in unwanted {
            let host = self.clone();
            asked.spawn(async move {
                let why = host.why_given_up(&id, deadline).await;
                (id, why)
            });
        }
        asked.join_all().await.into_iter().filter_map(|(id, why)| Some((id, why?))).collect()
    }

    async fn why_given_up(&self, id: &str, deadline: Instant) -> Option<Failure> {
        let recent = self.event_store.recent(id, EVENTS_LOOKED_AT);
        let events = match tokio::time::timeout_at(deadline, recent).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) => {
                tracing::warn!(plugin = id, %error, "who disabled it is not known: its events cannot be read");
                return None;
            }
            Err(_) => {
                tracing::warn!(plugin = id, "who disabled it is not known: the event store does not answer");
                return None;
            }
        };
        let is_of_wish = |event_type: &EventType| {
            matches!(event_type, EventType::AutoDisabled | EventType::Enabled | EventType::Disabled)
        };
        let last = events.into_iter().map(|stored| stored.event).find(|event| is_of_wish(&event.event_type));
        last.filter(|event| event.event_type == EventType::AutoDisabled).map(|event| {
            let limit = event.details.get("message").and_then(|message| message.as_str());
            let limit = limit.unwrap_or("it failed too often");
            Failure::new(AUTO_DISABLED, format!("{limit} and was disabled; enable it to try again"))
        })
    }

    /// The folder of a plugin's own.
    pub(super) fn plugin_data_dir(&self, id: &str) -> PathBuf {
        absolute(&self.config.data_dir).join("plugins").join(id)
    }
}

/// A plugin has a working folder of its own, so what it is told of must be absolute.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
