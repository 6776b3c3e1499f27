//! What is under way for one plugin: one thing at most.

use std::{fmt, future::pending, pin::Pin};

use super::{
    launch::{Live, LiveNews},
    prepare::{Prepared, Unfit},
    state::Failure,
};

type Pending<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// What is under way. Dropping it ends it: a preparation is given up, a process is killed with its group.
pub(super) enum Work {
    Idle,
    Preparing(Pending<Box<Prepared>, Unfit>),
    Prepared(Box<Prepared>),
    Spawning(Pending<Box<Live>, Failure>),
    Live(Box<Live>),
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "Idle",
            Self::Preparing(_) => "Preparing",
            Self::Prepared(_) => "Prepared",
            Self::Spawning(_) => "Spawning",
            Self::Live(_) => "Live",
        })
    }
}

/// What `Work::next` tells.
pub(super) enum WorkNews {
    Prepared(Result<Box<Prepared>, Unfit>),
    Spawned(Result<Box<Live>, Failure>),
    Live(LiveNews),
}

impl Work {
    /// What comes of it next. Cancel safe.
    pub(super) async fn next(&mut self) -> WorkNews {
        match self {
            Self::Idle | Self::Prepared(_) => pending().await,
            Self::Preparing(future) => WorkNews::Prepared(future.await),
            Self::Spawning(future) => WorkNews::Spawned(future.await),
            Self::Live(live) => WorkNews::Live(live.next().await),
        }
    }

    pub(super) fn live(&self) -> Option<&Live> {
        match self {
            Self::Live(live) => Some(live),
            _ => None,
        }
    }
}
