//! The immutable snapshot of routes: written by the supervisor, read by `http`, knows neither.

use std::sync::Arc;

use crate::link::Link;

/// Whether a plugin's route answers, and through what.
#[derive(Debug, Clone)]
pub enum Availability {
    /// Disabled or auto-disabled: 404.
    Disabled,
    /// Starting, in backoff or draining: requests wait in the queue, then 503.
    Waiting,
    /// Requests go through these links, one per lane; a lane without its own uses the first.
    Ready(Arc<[Option<Link>]>),
    /// Failed for good: 503.
    Failed,
}

/// One plugin as the router sees it. Lives as long as the plugin is known; its availability changes.
#[derive(Debug)]
pub struct Endpoint {
    // id, prefix, raw_paths, ArcSwap<Availability> + a watch for waiters, queue counter, per-link permits
}

/// What an endpoint is made of.
#[derive(Debug, Clone)]
pub struct EndpointSettings {
    /// The plugin.
    pub id: Arc<str>,
    /// Its route: begins with `/`, no trailing `/`.
    pub route: Arc<str>,
    /// `%2f` and `//` pass.
    pub raw_paths: bool,
    /// Requests without an answer's head per link.
    pub max_in_flight: usize,
    /// Requests that wait.
    pub queue_len: usize,
    /// How long each waits.
    pub queue_wait: std::time::Duration,
}

#[allow(unused_variables, clippy::todo)]
impl Endpoint {
    /// An endpoint that is `Waiting`.
    pub fn new(settings: EndpointSettings) -> Arc<Self> {
        todo!("routes")
    }
    /// Changes what requests find; wakes those that wait.
    pub fn set(&self, availability: Availability) {
        todo!("routes")
    }
}

/// The table of all routes. Reading takes no lock; writing replaces it whole.
#[derive(Debug, Default)]
pub struct Routes {}

/// A route that is held already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTaken {
    /// By whom.
    pub by: Arc<str>,
}

#[allow(unused_variables, clippy::todo)]
impl Routes {
    /// Adds an endpoint (or replaces one of the same id).
    ///
    /// # Errors
    /// Another id holds an equal route.
    pub fn insert(&self, endpoint: Arc<Endpoint>) -> Result<(), RouteTaken> {
        todo!("routes")
    }
    /// Removes a plugin's endpoint.
    pub fn remove(&self, id: &str) {
        todo!("routes")
    }
    /// The endpoint whose route is the longest whole-segment prefix of `path`, and the rest of the path (always beginning with `/`).
    pub fn find<'p>(&self, path: &'p str) -> Option<(Arc<Endpoint>, &'p str)> {
        todo!("routes")
    }
}
