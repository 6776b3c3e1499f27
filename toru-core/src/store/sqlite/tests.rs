use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::atomic::{AtomicBool, Ordering},
};

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::{event::EventType, store::conformance};

fn set(key: &str, value: impl Into<Bytes>) -> KvCall {
    KvCall::Set { key: key.into(), value: value.into(), ttl_ms: None }
}

fn get(key: &str) -> KvCall {
    KvCall::Get { key: key.into() }
}

fn open(folder: &TempDir) -> Result<Database, StoreError> {
    Database::open(folder.path().join("toru.db"))
}

/// A database that holds a few hundred pages, closed.
async fn filled(folder: &TempDir) -> PathBuf {
    let database = open(folder).unwrap();
    for n in 0..200 {
        database.kv_store().call("a", set(&n.to_string(), vec![n; 5_000])).await.unwrap();
    }
    database.path().to_owned()
}

fn refusal(folder: &TempDir) -> String {
    let path = folder.path().join("toru.db");
    let before = fs::read(&path).ok();
    let error = open(folder).expect_err("the database is refused").message;
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    assert_eq!(fs::read(&path).ok(), before, "what is refused is left as it is");
    error
}

#[tokio::test]
async fn sqlite_passes_the_conformance_suite() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::manual();
    let next = std::cell::Cell::new(0);
    let new = |limits| {
        next.set(next.get() + 1);
        let path = folder.path().join(format!("{}.db", next.get()));
        Database::with_clock(path, limits, clock.clone()).unwrap()
    };
    let default = || new(KvLimits::default()).kv_store();
    conformance::kv_values(&default()).await;
    conformance::kv_bounds(&default()).await;
    conformance::kv_list(&default()).await;
    conformance::kv_swaps_and_batches(&default()).await;
    conformance::kv_expiry(&default(), &clock).await;
    conformance::kv_list_over_expired(&default(), &clock).await;
    let small = || new(conformance::small_limits()).kv_store();
    conformance::kv_quota(&small(), &clock).await;
    conformance::kv_quota_raced(Arc::new(small())).await;
    conformance::kv_swaps_raced(Arc::new(default())).await;
    conformance::events(&new(KvLimits::default()).event_store()).await;
    conformance::event_pruning(&new(KvLimits::default()).event_store(), &clock).await;
}

#[tokio::test]
async fn the_tables_have_the_given_names_and_columns() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).unwrap();
    database.kv_store().call("hello", set("k", "v")).await.unwrap();
    let details = serde_json::json!({"signal": 9}).as_object().unwrap().clone();
    let timestamp = "2026-01-02T03:04:05.5Z".parse().unwrap();
    let event = Event { plugin_id: "hello".into(), event_type: EventType::Crashed, timestamp, details };
    database.event_store().append(vec![event]).await.unwrap();
    let other = Connection::open(database.path()).unwrap();
    let row: (String, String, Vec<u8>) = other
        .query_row("SELECT plugin_id, key, value FROM plugin_kv", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .unwrap();
    assert_eq!(row, ("hello".into(), "k".into(), b"v".to_vec()));
    let row: (i64, String, String, String, String) = other
        .query_row("SELECT id, plugin_id, event_type, timestamp, details FROM plugin_events", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .unwrap();
    let timestamp = "2026-01-02T03:04:05.500000000Z".to_owned();
    assert_eq!(row, (1, "hello".into(), "crashed".into(), timestamp, r#"{"signal":9}"#.into()));
}

#[tokio::test]
async fn commits_go_to_a_write_ahead_log_with_a_sync_each() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("toru.db");
    let connection = open::writer(&path).unwrap();
    let ask = |pragma: &str| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, rusqlite::types::Value>(0))
    };
    assert_eq!(ask("journal_mode").unwrap(), "wal".to_owned().into());
    assert_eq!(ask("synchronous").unwrap(), 2.into(), "2 is FULL");
    assert_eq!(ask("user_version").unwrap(), 1.into());
}

#[tokio::test]
async fn writes_that_wait_share_a_commit() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).unwrap();
    let other = Connection::open(database.path()).unwrap();
    // Another program's lock keeps the writer in its first transaction until all writes are queued.
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut writes = JoinSet::new();
    for n in 0..64 {
        let store = database.kv_store();
        writes.spawn(async move { store.call("a", set(&n.to_string(), n.to_string())).await });
    }
    while database.shared.queue.pushed() < 64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(database.commits(), 0);
    other.execute_batch("ROLLBACK").unwrap();
    for write in writes.join_all().await {
        assert_eq!(write, Ok(KvAnswer::Ok));
    }
    // One for what the writer had taken by then, one for all others.
    assert!((1..=2).contains(&database.commits()), "{} commits", database.commits());
    assert_eq!(database.waiting_writes(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_get_sees_every_write_that_was_acknowledged_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder).unwrap().kv_store();
    let mut callers = JoinSet::new();
    for caller in 0..8 {
        let store = store.clone();
        callers.spawn(async move {
            for n in 0..100 {
                let (own, shared) = (caller.to_string(), format!("{caller}/{n}"));
                store.call("a", set(&own, n.to_string())).await.unwrap();
                let answer = store.call("a", get(&own)).await.unwrap();
                assert_eq!(answer, KvAnswer::Value(Some(n.to_string().into())));
                store.call("a", set(&shared, "v")).await.unwrap();
                let list = KvCall::List { prefix: shared.clone(), after: None, limit: 1 };
                let expected = KvAnswer::Keys { keys: vec![shared], next: None };
                assert_eq!(store.call("a", list).await.unwrap(), expected);
            }
        });
    }
    callers.join_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_log_is_started_over_while_gets_never_pause() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).unwrap();
    let log = folder.path().join("toru.db-wal");
    let store = database.kv_store();
    store.call("a", set("k", "v")).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let mut gets = JoinSet::new();
    for _ in 0..2 {
        let (store, done) = (store.clone(), done.clone());
        gets.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                store.call("a", get("k")).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
    }
    // Each takes some thirty pages: together they would fill the log six times.
    let large = |n: u8| Bytes::from(vec![n; 100_000]);
    for n in 0..200 {
        store.call("a", set("large", large(n))).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    gets.join_all().await;
    let bytes = fs::metadata(&log).unwrap().len();
    assert!(bytes < 8 << 20, "the log has grown to {bytes} bytes");
    drop((store, database));
    assert!(!log.exists() || fs::metadata(&log).unwrap().len() == 0, "at the end it is folded whole");
}

#[tokio::test]
async fn reads_do_not_wait_for_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).unwrap();
    let store = database.kv_store();
    store.call("a", set("k", "before")).await.unwrap();
    let other = Connection::open(database.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let write = tokio::spawn({
        let store = store.clone();
        async move { store.call("a", set("k", "after")).await }
    });
    while database.shared.queue.pushed() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.call("a", get("k")).await, Ok(KvAnswer::Value(Some("before".into()))));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(write.await.unwrap(), Ok(KvAnswer::Ok));
    assert_eq!(store.call("a", get("k")).await, Ok(KvAnswer::Value(Some("after".into()))));
}

#[tokio::test]
async fn a_reopened_database_holds_all_and_leaves_no_log_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(&folder).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["toru.db"]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let database = open(&folder).unwrap();
    assert_eq!(mode(&path), 0o600, "a file that others could read is closed to them");
    let store = database.kv_store();
    for n in 0..200 {
        let value = store.call("a", get(&n.to_string())).await;
        assert_eq!(value, Ok(KvAnswer::Value(Some(vec![n; 5_000].into()))));
    }
    store.call("a", set("k", "v")).await.unwrap();
    assert_eq!(mode(&folder.path().join("toru.db-wal")), 0o600);
}

#[tokio::test]
async fn what_was_queued_is_written_before_the_database_closes() {
    let folder = tempfile::tempdir().unwrap();
    let database = open(&folder).unwrap();
    let answers: Vec<_> = (0..100)
        .map(|n| Work::Kv { namespace: "a".into(), call: set(&n.to_string(), "v") })
        .map(|work| database.shared.queue.push(work).unwrap())
        .collect();
    drop(database);
    for answer in answers {
        assert!(matches!(answer.await, Ok(Ok(Done::Kv(KvAnswer::Ok)))));
    }
    let store = open(&folder).unwrap().kv_store();
    assert_eq!(store.call("a", get("99")).await, Ok(KvAnswer::Value(Some("v".into()))));
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_its_path_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(&folder).await;
    let whole = fs::read(&path).unwrap();
    let mut page_zeroed = whole.clone();
    page_zeroed[4_096..8_192].fill(0);
    let damages = [
        b"this is no database, but it is longer than a header of one would be, which is a hundred bytes long"
            .to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..50].to_vec(),
        page_zeroed,
        Vec::new(),
    ];
    for damage in damages {
        fs::write(&path, &damage).unwrap();
        let error = refusal(&folder);
        assert!(error.contains("is damaged"), "{error}");
        assert!(error.contains("restore it from a backup, or move it away"), "{error}");
    }
    fs::write(&path, &whole).unwrap();
    assert!(open(&folder).is_ok());
}

#[tokio::test]
async fn a_missing_file_beside_its_log_is_damage() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("toru.db-wal"), "what a crash left").unwrap();
    assert!(refusal(&folder).contains("is missing"));
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_its_path_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(&folder).await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    let error = refusal(&folder);
    assert!(error.contains("has schema 2") && error.contains("install the newer one"), "{error}");
}

#[tokio::test]
async fn a_file_locked_by_another_program_is_no_reason_to_wait_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(&folder).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE").unwrap();
    assert!(refusal(&folder).contains("locked by another program"));
}

#[test]
fn a_read_only_folder_is_refused_with_its_path_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    // Even root is bound by the mode of a folder without this capability; it is the thread's, and ends with it.
    let mut capabilities = rustix::thread::capabilities(None).unwrap();
    capabilities.effective -= rustix::thread::CapabilitySet::DAC_OVERRIDE;
    rustix::thread::set_capabilities(None, capabilities).unwrap();
    let path = folder.path().join("toru.db");
    let read_only = |is_read_only: bool| {
        let mode = if is_read_only { 0o555 } else { 0o755 };
        fs::set_permissions(&folder, fs::Permissions::from_mode(mode)).unwrap();
    };
    read_only(true);
    let error = refusal(&folder);
    assert!(error.contains("cannot be written") && error.contains("let the host's user write"), "{error}");
    read_only(false);
    drop(open(&folder).unwrap());
    read_only(true);
    assert!(refusal(&folder).contains("cannot be written"));
    read_only(false);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(refusal(&folder).contains("cannot be written"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(open(&folder).is_ok());
}

/// A database that may not grow past what it holds now.
fn full(folder: &TempDir) -> (Writer, Database) {
    let database = open(folder).unwrap();
    let connection = open::writer(database.path()).unwrap();
    connection.pragma_update(None, "max_page_count", 1).unwrap();
    let queue = Arc::clone(&database.shared.queue);
    let readers = Arc::clone(&database.shared.readers);
    let faults = Arc::clone(&database.shared.faults);
    (Writer::new(connection, queue, readers, faults, KvLimits::default(), Clock::default()), database)
}

#[tokio::test]
async fn a_full_disk_refuses_only_the_writes_that_find_no_room() {
    let folder = tempfile::tempdir().unwrap();
    let (mut writer, _database) = full(&folder);
    let mut answers = Vec::new();
    let jobs = [("small", 10), ("large", 500_000), ("little", 10)].map(|(key, bytes)| {
        let (reply, answer) = tokio::sync::oneshot::channel();
        answers.push(answer);
        queue::Job { work: Work::Kv { namespace: "a".into(), call: set(key, vec![0; bytes]) }, reply }
    });
    writer.write(jobs.into());
    let mut codes = Vec::new();
    for answer in answers {
        codes.push(match answer.await.unwrap() {
            Ok(_) => None,
            Err(WriteError::Failed(fault)) => Some(fault.for_plugin().code),
            Err(WriteError::Refused(error)) => panic!("{error}"),
        });
    }
    assert_eq!(codes, [None, Some(KvErrorCode::StorageFull), None]);
}

#[tokio::test]
async fn a_quota_is_counted_anew_after_a_rollback_and_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let limits = KvLimits { namespace_bytes: 600_000, ..KvLimits::default() };
    let path = folder.path().join("toru.db");
    {
        let database = Database::with_limits(&path, limits).unwrap();
        let store = database.kv_store();
        store.call("a", set("k", vec![0; 300_000])).await.unwrap();
    }
    let store = Database::with_limits(&path, limits).unwrap().kv_store();
    let most = 600_000 - 300_001 - 1;
    let error = store.call("a", set("l", vec![0; most + 1])).await.unwrap_err();
    assert_eq!(error.code, KvErrorCode::QuotaExceeded);
    store.call("a", set("l", vec![0; most])).await.unwrap();
}
