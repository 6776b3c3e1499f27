//! Room for connections.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The 1,024 connections of a host, the descriptors of some hundred plugins, and as much again. Not the hard limit: that may be a
/// billion, and plugins inherit it, of which some close every number up to it when they start a program.
const ENOUGH: u64 = 16 << 10;

/// Raises the usual soft limit of 1,024 open files, under which the connections that a host accepts leave no descriptor to
/// start a plugin with. A hard limit below is kept to.
pub(crate) fn make_room() {
    let limit = getrlimit(Resource::Nofile);
    // None stands for no limit.
    let wanted = limit.maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
