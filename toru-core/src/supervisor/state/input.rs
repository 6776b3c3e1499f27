//! What goes into a machine and what comes out: plain values.

use serde_json::{Map, Value, json};

use crate::{
    event::EventType,
    process::{Exit, GroupSignal},
};

/// The number of a start. What is told of an older one is of a process that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(in crate::supervisor) struct Generation(pub(super) u64);

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Wish {
    Up,
    Down,
}

impl Wish {
    pub(in crate::supervisor) fn from_enabled(enabled: bool) -> Self {
        if enabled { Self::Up } else { Self::Down }
    }
}

/// Why a plugin is not running: a stable code, one sentence for the operator, and what it last wrote to stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::supervisor) struct Failure {
    pub(in crate::supervisor) code: String,
    pub(in crate::supervisor) message: String,
    pub(in crate::supervisor) stderr_tail: Option<String>,
}

impl Failure {
    pub(in crate::supervisor) fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), stderr_tail: None }
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub(in crate::supervisor) enum Input {
    /// The operator's wish; it has been stored.
    Want(Wish),
    /// The host ends. Nothing is started from now on, and the wish stays as it is.
    Shutdown,
    /// The plugin may not run although nothing of its own failed: another one took its route.
    Evicted(Failure),
    /// `next_timeout` has come.
    Timeout,
    /// Of a start and its process.
    Of(Generation, Occurrence),
}

/// What happens to a start and its process.
#[derive(Debug, Clone)]
pub(in crate::supervisor) enum Occurrence {
    /// All that is needed to spawn it is known.
    Prepared,
    /// It cannot run as it is: its manifest, metadata, settings, version or route. Not retried.
    Unfit(Failure),
    /// There is a process. Its number is unknown where nobody of this host's started it and the kernel does not tell.
    Spawned {
        pid: Option<u32>,
    },
    SpawnFailed(Failure),
    Ready {
        protocol: u32,
    },
    /// It refuses to run, in its own words. Not retried.
    Refused {
        code: String,
        message: String,
    },
    PingsMissed(u32),
    /// It asked for a successor.
    Draining {
        reason: String,
    },
    LinkLost(Loss),
    Exited {
        exit: Exit,
        stderr_tail: Option<String>,
    },
    /// An attached process has ended or closed its link: all that can be known of a process that is nobody's child.
    Gone,
}

/// How the first link ended.
#[derive(Debug, Clone)]
pub(in crate::supervisor) enum Loss {
    /// The plugin closed it, or has died and the exit is about to be known.
    Closed,
    /// It ended inside a frame: as `Closed`, but if the plugin lives on it has broken the protocol.
    CutShort { message: String },
    /// The plugin broke the protocol.
    Protocol { cause: String, message: String, excerpt: String },
    /// It speaks no version that was offered. Not retried.
    Incompatible { message: String },
    /// Anything else.
    Failed(Failure),
}

/// What requests to the plugin's route find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::supervisor) enum Reachable {
    Disabled,
    Waiting,
    Ready,
    Failed,
}

/// What the driver has to do, in order.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::supervisor) enum Action {
    /// Find out all that is needed to spawn it, and report `Prepared` or `Unfit`.
    Prepare(Generation),
    /// Give the preparation up, or the wait for a process that is to be attached.
    AbandonPreparation,
    /// Spawn it, or wait until it can be attached, report `Spawned` or `SpawnFailed`, and then open its links.
    Spawn(Generation),
    /// Send `shutdown` on the first link.
    AskShutdown,
    Signal(GroupSignal),
    CloseLinks,
    SetReachable(Reachable),
    /// Store that the plugin is disabled, before the next action.
    PersistDisabled,
    Emit(EventType, Map<String, Value>),
}

/// The details of `crashed` and `stopped`: `{"signal": 9}` or `{"exit_code": 3}`.
pub(super) fn exit_details(exit: Exit) -> Map<String, Value> {
    match exit {
        Exit::Signal(signal) => details([("signal", json!(signal))]),
        Exit::Code(code) => details([("exit_code", json!(code))]),
    }
}

pub(super) fn details<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
