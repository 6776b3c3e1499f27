//! What can go wrong with the file, as the host's log and as a plugin may read it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::ErrorCode;
use toru_plugin_api::message::kv::{KvError, KvErrorCode};

use crate::store::StoreError;

/// Why a write was not done.
#[derive(Debug, Clone)]
pub(super) enum WriteError {
    /// The call breaks a rule or a bound.
    Refused(KvError),
    /// The database failed.
    Failed(Fault),
}

impl From<Fault> for WriteError {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

/// A failure of SQLite, in the kinds that are told apart here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// SQLite's words, for the operator.
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    DiskFull,
    Damaged,
    NotWritable,
    Busy,
    Closed,
    Other,
}

impl Fault {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => FaultKind::DiskFull,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => FaultKind::Damaged,
            Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                FaultKind::NotWritable
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => FaultKind::Busy,
            _ => FaultKind::Other,
        };
        Self { kind, text: error.to_string() }
    }

    pub(super) fn io(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FaultKind::DiskFull,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FaultKind::NotWritable,
            _ => FaultKind::Other,
        };
        Self { kind, text: error.to_string() }
    }

    pub(super) fn damaged(text: impl Into<String>) -> Self {
        Self { kind: FaultKind::Damaged, text: text.into() }
    }

    pub(super) fn closed() -> Self {
        Self { kind: FaultKind::Closed, text: "the writer of the database has ended".into() }
    }

    /// The refusal to start: the path, what is wrong, and the remedy.
    pub(super) fn at_start(&self, path: &Path) -> StoreError {
        let path = path.display();
        let text = &self.text;
        StoreError::new(match self.kind {
            FaultKind::DiskFull => format!("{path} cannot be opened, the disk is full ({text}); make room"),
            FaultKind::Damaged => format!(
                "{path} is damaged ({text}) and was left as it is; restore it from a backup, or move it away \
                 together with the files {path}-wal and {path}-shm to start with an empty one"
            ),
            FaultKind::NotWritable => format!(
                "{path} cannot be written ({text}); let the host's user write this file and its folder, or choose another data folder"
            ),
            FaultKind::Busy => {
                format!(
                    "{path} is locked by another program ({text}); end the other host or tool that has it open"
                )
            }
            FaultKind::Closed | FaultKind::Other => format!(
                "{path} cannot be opened ({text}); see that it is a file on a local disk that the host's user may write"
            ),
        })
    }

    /// What a plugin reads of it: no paths, and no words of the database.
    pub(super) fn for_plugin(&self) -> KvError {
        match self.kind {
            FaultKind::DiskFull => KvError::new(
                KvErrorCode::StorageFull,
                "the host's disk is full: nothing was written; delete what is not needed, or try again later",
            ),
            _ => KvError::new(
                KvErrorCode::Unavailable,
                "the host's store failed; its log says why; try again later",
            ),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Between two reports of faults: a full disk fails every write of every plugin, and saying so each time would flood the host's log.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// Tells the host's log of faults, now and then, with how many there were.
#[derive(Debug)]
pub(super) struct FaultLog {
    path: PathBuf,
    untold: Mutex<Untold>,
}

#[derive(Debug, Default)]
struct Untold {
    faults: u64,
    last_report: Option<Instant>,
}

impl FaultLog {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), untold: Mutex::default() }
    }

    /// `what` could not be done: `read` or `written`.
    pub(super) fn report(&self, what: &str, fault: &Fault) {
        let mut untold = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        untold.faults += 1;
        if untold.last_report.is_some_and(|last| last.elapsed() < REPORT_INTERVAL) {
            return;
        }
        let faults = std::mem::take(&mut untold.faults);
        untold.last_report = Some(Instant::now());
        drop(untold);
        tracing::error!(path = %self.path.display(), %fault, faults, "the database cannot be {what}");
    }
}
