//! The tower service: route, filter headers, stream bodies, map errors to statuses.
//!
//! [`PluginService`] takes a request whose path begins with a plugin's route (below the mount, if it has one), and answers it:
//! by the plugin, or by a problem (RFC 9457) that says why not. The embedder has authenticated it before.
//!
//! | file | what it decides |
//! |---|---|
//! | `path` | which paths pass |
//! | `headers` | which header fields pass, and the context that the host adds |
//! | `body` | how bodies pass, timed and counted |
//! | `forward` | one request from its arrival to the answer's head |
//! | `answer` | what of an answer passes |
//! | `upgrade` | which upgrades are offered, and which 101 passes |
//! | `tunnel` | what goes on after a 101 |
//! | `problem` | what a client is told when there is none |
//! | `out` | the other direction: what a plugin asks of the embedder's service |

mod answer;
mod body;
mod caller;
mod forward;
mod headers;
pub(crate) mod out;
mod path;
mod problem;
mod service;
#[cfg(test)]
mod tests;
mod trace;
mod tunnel;
mod upgrade;

pub use body::{AnswerBody, AnswerBodyError};
pub use caller::{Caller, Identity, IdentityError};
pub use out::{PluginId, RequestBody, RequestBodyError};
pub use service::PluginService;
pub use tunnel::{PluginTunnel, TunnelError};
pub use upgrade::UpgradeSupport;
