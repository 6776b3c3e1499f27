//! The tower service: route, filter headers, stream bodies, map errors to statuses.

/// A tower service for `http::Request<B>`.
#[derive(Debug, Clone)]
pub struct PluginService {}
