//! How failures are retried.

/// How failures are retried: a value, validated once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestartPolicy {}
