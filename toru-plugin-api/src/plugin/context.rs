//! What a plugin knows of its place, and how it talks to its host.

use std::{cell::RefCell, path::Path, sync::Arc};

use serde::de::{DeserializeOwned, value::MapDeserializer};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{HostClient, PluginError, PluginKvStore, PluginResult};
use crate::{
    driver::Handle,
    message::{
        event::EventMessage,
        lifecycle::{Init, Pong},
        log::{Level, LogMessage},
    },
};

/// What a plugin knows of its place, and how it talks to its host. Cheap to clone.
///
/// A service finds it in the extensions of each request.
#[derive(Debug, Clone)]
pub struct PluginContext {
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    init: Init,
    handle: Handle,
    kv: PluginKvStore,
    host: HostClient,
    is_ending: watch::Sender<bool>,
}

impl PluginContext {
    pub(super) fn new(init: Init, handle: Handle) -> Self {
        let kv = PluginKvStore::new(handle.clone());
        let host = HostClient::new(handle.clone());
        Self { place: Arc::new(Place { init, handle, kv, host, is_ending: watch::Sender::new(false) }) }
    }

    /// Tells all who wait for it that the plugin is to end.
    pub(super) fn tell_end(&self) {
        self.place.is_ending.send_replace(true);
    }

    /// The id of this plugin, as its host knows it.
    #[must_use]
    pub fn plugin_id(&self) -> &str {
        &self.place.init.plugin_id
    }

    /// The id of the host (a UUID), the same for all its life.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.place.init.instance_id
    }

    /// A folder of this plugin's own.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        Path::new(&self.place.init.data_dir)
    }

    /// The settings as they came: the operator's over those of the manifest.
    #[must_use]
    pub fn raw_config(&self) -> &Map<String, Value> {
        &self.place.init.config
    }

    /// The settings, read as a type of the plugin's own.
    ///
    /// # Errors
    /// [`PluginError::Config`], which names the key that is missing or wrong.
    pub fn config<T: DeserializeOwned>(&self) -> PluginResult<T> {
        read_config(self.raw_config())
    }

    /// This plugin's store.
    #[must_use]
    pub fn kv(&self) -> &PluginKvStore {
        &self.place.kv
    }

    /// What the host's embedder offers to plugins.
    #[must_use]
    pub fn host(&self) -> &HostClient {
        &self.place.host
    }

    /// Writes a record into this plugin's log. False: dropped, because the host reads too slowly.
    pub fn log(&self, level: Level, message: impl Into<String>) -> bool {
        self.log_with(level, message, Map::new())
    }

    /// Writes a record with fields into this plugin's log. False: dropped, because the host reads too slowly.
    pub fn log_with(&self, level: Level, message: impl Into<String>, fields: Map<String, Value>) -> bool {
        self.place.handle.log(&LogMessage { level, message: message.into(), fields })
    }

    /// Reports an event, which the host stores as `plugin.<name>`: `[a-z0-9_.-]{1,64}`, details of at most 8 KiB, 10 a
    /// second. False: dropped.
    pub fn event(&self, name: impl Into<String>, details: Map<String, Value>) -> bool {
        self.place.handle.event(&EventMessage { name: name.into(), details })
    }

    /// Says that the plugin works with less than it needs, until [`set_healthy`](Self::set_healthy).
    pub fn set_degraded(&self, detail: impl Into<String>) {
        self.place.handle.set_pong(Pong { degraded: true, detail: Some(detail.into()) });
    }

    /// Takes [`set_degraded`](Self::set_degraded) back.
    pub fn set_healthy(&self) {
        self.place.handle.set_pong(Pong::default());
    }

    /// Ready once the host has asked this plugin to finish, or is gone; at once, where that has been so for a while. Any number may wait for it,
    /// for as long as they like. Cancel safe.
    ///
    /// What ends by itself needs it not: requests in flight are awaited. What does not, a WebSocket or an endless answer, holds the
    /// plugin's end until the host's patience does (`grace_ms` of `shutdown`, 5 s unless configured), and is then cut. So its task waits for
    /// this too, and says good-bye in its own protocol:
    ///
    /// ```
    /// # use toru_plugin_api::{PluginContext, Upgraded};
    /// use tokio::io::AsyncWriteExt;
    ///
    /// async fn tick(context: PluginContext, mut connection: Upgraded) -> std::io::Result<()> {
    ///     let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
    ///     loop {
    ///         tokio::select! {
    ///             _ = ticks.tick() => connection.write_all(b"tick\n").await?,
    ///             () = context.shutting_down() => {
    ///                 connection.write_all(b"good-bye\n").await?;
    ///                 return connection.shutdown().await;
    ///             }
    ///         }
    ///     }
    /// }
    /// ```
    pub fn shutting_down(&self) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut is_ending = self.place.is_ending.subscribe();
        async move {
            // An error says that nobody serves this plugin any more.
            let _ = is_ending.wait_for(|is_ending| *is_ending).await;
        }
    }

    /// Takes no new requests and has the host start a successor.
    pub fn drain(&self, reason: &str) {
        self.place.handle.drain(reason);
    }
}

/// Reads settings, and names the key at which that failed.
fn read_config<T: DeserializeOwned>(config: &Map<String, Value>) -> PluginResult<T> {
    let current = RefCell::new("");
    let entries = config.iter().map(|(key, value)| {
        *current.borrow_mut() = key;
        (key.as_str(), value)
    });
    T::deserialize(MapDeserializer::<_, serde_json::Error>::new(entries)).map_err(|error| {
        let message = error.to_string();
        // What serde says of a missing field comes after the last key, and names the field itself.
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        let (key, message) = match missing {
            Some(key) => (key.to_owned(), "is missing".to_owned()),
            None => (current.borrow().to_string(), message),
        };
        PluginError::Config { key, message }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Settings {
        name: String,
        limit: u32,
        note: Option<String>,
    }

    fn read(config: &Value) -> PluginResult<Settings> {
        read_config(config.as_object().unwrap())
    }

    #[test]
    fn config_reads_a_struct_and_leaves_the_rest() {
        let settings = read(&json!({"name": "a", "limit": 3, "other": true})).unwrap();
        assert_eq!(settings, Settings { name: "a".into(), limit: 3, note: None });
    }

    #[test]
    fn config_error_names_the_missing_key() {
        let error = read(&json!({"name": "a"})).unwrap_err();
        assert_eq!(error.to_string(), "setting `limit`: is missing");
    }

    #[test]
    fn config_error_names_the_key_of_the_wrong_type() {
        let error = read(&json!({"limit": "three", "name": "a"})).unwrap_err();
        assert_eq!(error.to_string(), "setting `limit`: invalid type: string \"three\", expected u32");
    }
}
