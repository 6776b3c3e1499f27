//! Opening the file: made whole or not at all, checked before it is used, brought to this version's schema.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use rustix::fs::{Access, AtFlags, CWD};

use super::fault::Fault;
use crate::store::StoreError;

/// The schema, step by step: `PRAGMA user_version` says how many of these were done.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE plugin_kv (
        plugin_id  TEXT NOT NULL,
        key        TEXT NOT NULL,
        value      BLOB NOT NULL,
        expires_at INTEGER,              -- milliseconds since 1970; null: never
        PRIMARY KEY (plugin_id, key)
    );
    CREATE INDEX plugin_kv_expiry ON plugin_kv (plugin_id, expires_at) WHERE expires_at IS NOT NULL;

    CREATE TABLE plugin_events (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        plugin_id  TEXT NOT NULL,
        event_type TEXT NOT NULL,
        timestamp  TEXT NOT NULL,        -- RFC 3339 in UTC, nine digits of a second
        details    TEXT NOT NULL         -- a JSON object
    );
    CREATE INDEX plugin_events_by_plugin ON plugin_events (plugin_id, id);
    CREATE INDEX plugin_events_by_time ON plugin_events (timestamp);
"];

/// The schema that this version writes.
const SCHEMA: u32 = MIGRATIONS.len() as u32;

/// The largest file whose structure is checked whole at each start, in bytes: about a tenth of a second. Damage in a
/// larger one shows when it is read.
const MAX_CHECKED_BYTES: u64 = 64 << 20;

/// How long the writer waits for a lock that another program holds, say a backup.
const WRITER_BUSY: Duration = Duration::from_secs(5);

/// The same for a reader, which may stand on a serving thread, and at the start, which should fail soon if it must.
const SHORT_BUSY: Duration = Duration::from_millis(100);

/// What the write-ahead log is cut back to when it is folded into the file, in bytes.
const KEPT_LOG_BYTES: i64 = 16 << 20;

/// The connection that writes, to a file that was checked.
pub(super) fn writer(path: &Path) -> Result<Connection, StoreError> {
    let file = match fs::metadata(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create(path)?;
            fs::metadata(path).map_err(|error| io_error(path, &error))?
        }
        Err(error) => return Err(io_error(path, &error)),
    };
    if file.len() == 0 {
        // It is made whole under another name, so a crash while it was made does not explain this.
        return Err(Fault::damaged("it is empty").at_start(path));
    }
    if file.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(|error| io_error(path, &error))?;
    }
    // SQLite would open a file that it cannot write for reading, and leave a log beside it that nobody can write. Asked by path,
    // since closing a descriptor of the file would drop the locks of another connection of this process.
    rustix::fs::accessat(CWD, path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS)
        .map_err(|error| io_error(path, &error.into()))?;
    check_version(path)?;
    let refused = |error: rusqlite::Error| Fault::of(&error).at_start(path);
    let mut connection = connect(path).map_err(refused)?;
    use_write_ahead_log(&connection, path)?;
    if file.len() <= MAX_CHECKED_BYTES {
        check_structure(&connection, path)?;
    }
    // Taking the write lock shows now what would otherwise fail the first write.
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .and_then(migrate)
        .map_err(refused)?;
    connection.busy_timeout(WRITER_BUSY).map_err(refused)?;
    Ok(connection)
}

/// A connection that only reads, beside a writer that has opened the file.
pub(super) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let refused = |error: rusqlite::Error| Fault::of(&error).at_start(path);
    let connection = connect(path).map_err(refused)?;
    connection.pragma_update(None, "query_only", true).map_err(refused)?;
    Ok(connection)
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    // A connection is used by one thread at a time, which is what NO_MUTEX asks for.
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(SHORT_BUSY)?;
    Ok(connection)
}

/// Refuses a newer schema before anything is changed.
fn check_version(path: &Path) -> Result<(), StoreError> {
    let version = connect(path)
        .and_then(|connection| schema_version(&connection))
        .map_err(|error| Fault::of(&error).at_start(path))?;
    if version <= SCHEMA {
        return Ok(());
    }
    Err(StoreError::new(format!(
        "{} has schema {version}, written by a newer Toru; this one knows up to {}: install the newer one, \
         or restore the backup made before the upgrade",
        path.display(),
        SCHEMA
    )))
}

fn schema_version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// WAL, with a sync for each commit: an acknowledged write outlives the power.
fn use_write_ahead_log(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let refused = |error: rusqlite::Error| Fault::of(&error).at_start(path);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(refused)?;
    if mode != "wal" {
        return Err(StoreError::new(format!(
            "{} cannot have a write-ahead log (SQLite chose {mode:?}); put the data folder on a local disk",
            path.display()
        )));
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(refused)?;
    // The writer folds the log itself.
    connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(refused)?;
    connection.pragma_update(None, "journal_size_limit", KEPT_LOG_BYTES).map_err(refused)
}

fn check_structure(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let found: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| Fault::of(&error).at_start(path))?;
    if found == "ok" {
        return Ok(());
    }
    Err(Fault::damaged(found).at_start(path))
}

/// Does the steps that are missing, all or none.
fn migrate(transaction: Transaction<'_>) -> rusqlite::Result<()> {
    let version = schema_version(&transaction)?;
    for step in MIGRATIONS.iter().skip(version as usize) {
        transaction.execute_batch(step)?;
    }
    if version < SCHEMA {
        transaction.pragma_update(None, "user_version", SCHEMA)?;
    }
    transaction.commit()
}

/// Makes the file under another name and then gives it its own, so that it is there whole or not at all.
fn create(path: &Path) -> Result<(), StoreError> {
    let log = with_suffix(path, "-wal");
    if log.exists() {
        return Err(Fault::damaged(format!("it is missing, while {} is there", log.display())).at_start(path));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| io_error(path, &error))?;
    let unnamed = with_suffix(path, &format!(".new-{}", uuid::Uuid::new_v4()));
    let made = create_at(&unnamed, path);
    // It has its name by now, or is of no use; that it cannot be removed harms nobody.
    let _ = fs::remove_file(&unnamed);
    made?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| io_error(path, &error))
}

fn create_at(unnamed: &Path, path: &Path) -> Result<(), StoreError> {
    let refused = |error: rusqlite::Error| Fault::of(&error).at_start(path);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(unnamed)
        .map_err(|error| io_error(path, &error))?;
    let mut connection = connect(unnamed).map_err(refused)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(refused)?;
    connection.transaction().and_then(migrate).map_err(refused)?;
    connection.close().map_err(|(_, error)| refused(error))?;
    match fs::hard_link(unnamed, path) {
        // Another host was faster; its file is used.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked.map_err(|error| io_error(path, &error)),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn io_error(path: &Path, error: &io::Error) -> StoreError {
    Fault::io(error).at_start(path)
}
