//! The messages of version 1, as existing plugins write and read them.

/// A version 1 message.
#[derive(Debug, Clone)]
pub struct Message {}

/// What a version 1 message holds.
#[derive(Debug, Clone)]
pub enum MessagePayload {}

/// What a version 1 `init` holds.
#[derive(Debug, Clone)]
pub struct LifecycleInitPayload {}

/// Reads and writes version 1 messages, for those who speak it by hand.
#[derive(Debug)]
pub struct PluginProtocol {}
