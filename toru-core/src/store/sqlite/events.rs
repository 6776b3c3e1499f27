//! The statements on `plugin_events`.

use jiff::Timestamp;
use rusqlite::{Connection, Row, params, types::Type};
use serde_json::Value;

use crate::{
    event::{Event, EventType},
    store::StoredEvent,
};

/// RFC 3339 of one length, so that texts compare as moments do.
fn text_of(timestamp: Timestamp) -> String {
    format!("{timestamp:.9}")
}

pub(super) fn insert(connection: &Connection, event: &Event) -> rusqlite::Result<()> {
    let details = serde_json::to_string(&event.details).expect("a JSON map is always written");
    connection
        .prepare_cached(
            "INSERT INTO plugin_events (plugin_id, event_type, timestamp, details) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![event.plugin_id, event.event_type.as_str(), text_of(event.timestamp), details])
        .map(|_| ())
}

pub(super) fn recent(
    connection: &Connection,
    plugin_id: &str,
    limit: usize,
) -> rusqlite::Result<Vec<StoredEvent>> {
    connection
        .prepare_cached(
            "SELECT id, plugin_id, event_type, timestamp, details FROM plugin_events
             WHERE plugin_id = ?1 ORDER BY id DESC LIMIT ?2",
        )?
        .query_map(params![plugin_id, i64::try_from(limit).unwrap_or(i64::MAX)], read)?
        .collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<StoredEvent> {
    let event_type: String = row.get(2)?;
    let timestamp: String = row.get(3)?;
    let details: String = row.get(4)?;
    let event = Event {
        plugin_id: row.get(1)?,
        event_type: EventType::from_stored(&event_type),
        timestamp: timestamp.parse().map_err(|error| damaged(3, error))?,
        details: match serde_json::from_str(&details).map_err(|error| damaged(4, error))? {
            Value::Object(details) => details,
            other => [("details".to_owned(), other)].into_iter().collect(),
        },
    };
    Ok(StoredEvent { id: row.get(0)?, event })
}

fn damaged(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

/// Deletes some of the events before this moment; how many.
pub(super) fn prune(connection: &Connection, oldest: Timestamp, limit: usize) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "DELETE FROM plugin_events WHERE id IN
             (SELECT id FROM plugin_events WHERE timestamp < ?1 LIMIT ?2)",
        )?
        .execute(params![text_of(oldest), i64::try_from(limit).unwrap_or(i64::MAX)])
}
