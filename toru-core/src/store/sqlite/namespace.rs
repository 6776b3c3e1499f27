//! The statements on `plugin_kv`.

use std::collections::HashMap;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use toru_plugin_api::message::kv::KvAnswer;

use crate::store::{
    apply::{Row, Rows},
    limits::Usage,
    memory::KeyPage,
};

/// A value that has not expired.
pub(super) fn get(
    connection: &Connection,
    namespace: &str,
    key: &str,
    now_ms: i64,
) -> rusqlite::Result<Option<Bytes>> {
    connection
        .prepare_cached(
            "SELECT value FROM plugin_kv
             WHERE plugin_id = ?1 AND key = ?2 AND (expires_at IS NULL OR expires_at > ?3)",
        )?
        .query_row(params![namespace, key, now_ms], |row| {
            Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_bytes()?))
        })
        .optional()
}

const LIST_FROM: &str = "SELECT key, expires_at IS NULL OR expires_at > ?3 FROM plugin_kv
    WHERE plugin_id = ?1 AND key >= ?2 ORDER BY key";

const LIST_AFTER: &str = "SELECT key, expires_at IS NULL OR expires_at > ?3 FROM plugin_kv
    WHERE plugin_id = ?1 AND key > ?2 ORDER BY key";

/// A page of the keys that have not expired, in byte order.
pub(super) fn list(
    connection: &Connection,
    namespace: &str,
    prefix: &str,
    after: Option<&str>,
    limit: u32,
    now_ms: i64,
) -> rusqlite::Result<KvAnswer> {
    // One lower bound: given two, SQLite walks the index from either of them.
    let (sql, from) = match after {
        Some(after) if after >= prefix => (LIST_AFTER, after),
        _ => (LIST_FROM, prefix),
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![namespace, from, now_ms])?;
    let mut page = KeyPage::new(limit as usize);
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_str()?;
        if !key.starts_with(prefix) || !page.look_at(key, row.get(1)?) {
            break;
        }
    }
    Ok(page.into_answer())
}

/// The rows of one namespace in a transaction of the writer.
pub(super) struct Namespace<'a> {
    transaction: &'a Transaction<'a>,
    id: &'a str,
    usages: &'a mut HashMap<String, Usage>,
}

impl<'a> Namespace<'a> {
    pub(super) fn new(
        transaction: &'a Transaction<'a>,
        id: &'a str,
        usages: &'a mut HashMap<String, Usage>,
    ) -> Self {
        Self { transaction, id, usages }
    }
}

impl Rows for Namespace<'_> {
    type Error = rusqlite::Error;

    fn find(&mut self, key: &str) -> rusqlite::Result<Option<Row>> {
        self.transaction
            .prepare_cached(
                "SELECT octet_length(value), expires_at FROM plugin_kv WHERE plugin_id = ?1 AND key = ?2",
            )?
            .query_row(params![self.id, key], |row| Ok(Row { len: length(row, 0)?, expires_at: row.get(1)? }))
            .optional()
    }

    fn value_is(&mut self, key: &str, expected: &[u8]) -> rusqlite::Result<bool> {
        self.transaction
            .prepare_cached("SELECT value FROM plugin_kv WHERE plugin_id = ?1 AND key = ?2")?
            .query_row(params![self.id, key], |row| Ok(row.get_ref(0)?.as_bytes()? == expected))
            .optional()
            .map(|is_equal| is_equal.unwrap_or(false))
    }

    fn put(&mut self, key: &str, value: &Bytes, expires_at: Option<i64>) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached(
                "INSERT INTO plugin_kv (plugin_id, key, value, expires_at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (plugin_id, key)
                 DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at",
            )?
            .execute(params![self.id, key, value.as_ref(), expires_at])
            .map(|_| ())
    }

    fn remove(&mut self, key: &str) -> rusqlite::Result<()> {
        self.transaction
            .prepare_cached("DELETE FROM plugin_kv WHERE plugin_id = ?1 AND key = ?2")?
            .execute(params![self.id, key])
            .map(|_| ())
    }

    fn sweep(&mut self, now_ms: i64) -> rusqlite::Result<()> {
        let mut usage = self.usage()?;
        let mut statement = self.transaction.prepare_cached(
            "DELETE FROM plugin_kv WHERE plugin_id = ?1 AND expires_at <= ?2
             RETURNING key, octet_length(value)",
        )?;
        let mut rows = statement.query(params![self.id, now_ms])?;
        while let Some(row) = rows.next()? {
            let key: String = row.get(0)?;
            usage = usage.replaced(&key, Some(length(row, 1)?), None);
        }
        self.set_usage(usage);
        Ok(())
    }

    fn usage(&mut self) -> rusqlite::Result<Usage> {
        if let Some(usage) = self.usages.get(self.id) {
            return Ok(*usage);
        }
        let usage = self
            .transaction
            .prepare_cached(
                "SELECT count(*), coalesce(sum(octet_length(key) + octet_length(value)), 0)
                 FROM plugin_kv WHERE plugin_id = ?1",
            )?
            .query_row([self.id], |row| Ok(Usage { keys: count(row, 0)?, bytes: count(row, 1)? }))?;
        self.set_usage(usage);
        Ok(usage)
    }

    fn set_usage(&mut self, usage: Usage) {
        match self.usages.get_mut(self.id) {
            Some(known) => *known = usage,
            None => {
                self.usages.insert(self.id.to_owned(), usage);
            }
        }
    }
}

fn length(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<usize> {
    row.get::<_, u32>(column).map(|length| length as usize)
}

fn count(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let count: i64 = row.get(column)?;
    u64::try_from(count).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, count))
}
