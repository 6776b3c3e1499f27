//! Bodies on their way through: the client's to the plugin, the plugin's to the client.

mod answer;
mod client;
mod length;

pub use answer::{AnswerBody, AnswerBodyError};
pub(super) use client::{ClientBody, ClientBodyError, Outgoing};
pub(super) use length::{LengthMismatch, content_length};
