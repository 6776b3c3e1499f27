//! What has happened to a plugin, newest first.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use toru_core::store::StoredEvent;

use super::{Checked, Plugin, query::between_one_and};
use crate::{
    app::Shared,
    problem::{Kind, Problem},
};

const DEFAULT_LIMIT: u32 = 100;
/// At 8 KiB of details, 8 MiB in memory at most.
const MAX_LIMIT: u32 = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    #[serde(default = "default_limit")]
    limit: u32,
}

fn default_limit() -> u32 {
    DEFAULT_LIMIT
}

#[derive(Serialize)]
pub(crate) struct Entry {
    id: i64,
    plugin_id: String,
    event_type: String,
    timestamp: String,
    details: Map<String, Value>,
}

impl From<StoredEvent> for Entry {
    fn from(StoredEvent { id, event }: StoredEvent) -> Self {
        Self {
            id,
            plugin_id: event.plugin_id,
            event_type: event.event_type.to_string(),
            timestamp: event.timestamp.to_string(),
            details: event.details,
        }
    }
}

pub(crate) async fn recent(
    State(app): Shared,
    Plugin(plugin): Plugin,
    Checked(parameters): Checked<Parameters>,
) -> Result<Json<Vec<Entry>>, Problem> {
    let limit = between_one_and("limit", parameters.limit, MAX_LIMIT)?;
    let events = app.supervisor.events(&plugin.id, limit).await.map_err(|error| {
        tracing::error!(%error, plugin = plugin.id, "events cannot be read");
        Problem::new(Kind::Internal, "The plugin's events cannot be read; the host's log says why.")
    })?;
    Ok(Json(events.into_iter().map(Entry::from).collect()))
}
