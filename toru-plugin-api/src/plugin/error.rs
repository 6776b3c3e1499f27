//! Why a handler failed, and why a plugin could not serve.

use std::{error::Error, fmt};

use http::StatusCode;

use crate::{
    driver::BoxError,
    message::{
        kv::{KvError, KvErrorCode},
        lifecycle::Failed,
    },
};

/// What a handler gives.
pub type PluginResult<T> = Result<T, PluginError>;

/// What a client reads when the fault is not its own: the log has the details.
const INTERNAL_TEXT: &str = "The plugin failed to answer.";
const UNAVAILABLE_TEXT: &str = "The plugin cannot answer now.";

/// Why a handler failed.
///
/// From a `handle_http` it becomes an answer with [`status`](Self::status). The texts of the client's own faults (4xx) are sent to
/// it; of all others it reads a fixed sentence, and the host's log has the details.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The client asked wrongly: 400.
    #[error("{0}")]
    BadRequest(String),
    /// The client may not: 403.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such thing: 404.
    #[error("{0}")]
    NotFound(String),
    /// The method is not for this path: 405.
    #[error("{0}")]
    MethodNotAllowed(String),
    /// The body is larger than the handler takes: 413.
    #[error("the body has more than {limit} bytes")]
    TooLarge {
        /// The most bytes that are taken.
        limit: usize,
    },
    /// Not now: 503.
    #[error("{0}")]
    Unavailable(String),
    /// A setting is missing or wrong: from `init` a refusal, else 500.
    #[error("setting `{key}`: {message}")]
    Config {
        /// The key, as in the operator's settings.
        key: String,
        /// What is wrong with it.
        message: String,
    },
    /// From `init`: the plugin refuses to run, and is not started again.
    #[error("{message}")]
    Refused {
        /// A short code of the plugin's own, such as `licence`.
        code: String,
        /// What the operator reads.
        message: String,
    },
    /// A KV call failed: 503 when the store is unavailable or too slow, else 500.
    #[error("the store failed: {0}")]
    Kv(#[from] KvError),
    /// Anything else: 500.
    #[error("{0}")]
    Internal(BoxError),
}

impl PluginError {
    /// Wraps any error, or a text, as a fault of the plugin's own.
    pub fn internal(error: impl Into<BoxError>) -> Self {
        Self::Internal(error.into())
    }

    /// The status that a client gets.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Kv(error) if matches!(error.code, KvErrorCode::Unavailable | KvErrorCode::Timeout) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Config { .. } | Self::Refused { .. } | Self::Kv(_) | Self::Internal(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// The text that a client gets.
    #[must_use]
    pub fn client_text(&self) -> String {
        let status = self.status();
        if status.is_client_error() {
            self.to_string()
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            UNAVAILABLE_TEXT.to_owned()
        } else {
            INTERNAL_TEXT.to_owned()
        }
    }

    /// What the host is told when `init` ends with this.
    pub(super) fn into_failed(self) -> Failed {
        let code = match &self {
            Self::Refused { code, .. } => code.clone(),
            Self::Config { .. } => "config".to_owned(),
            _ => "init_failed".to_owned(),
        };
        Failed { code, message: with_sources(&self) }
    }
}

impl From<std::io::Error> for PluginError {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error)
    }
}

impl From<serde_json::Error> for PluginError {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(error)
    }
}

impl From<http::Error> for PluginError {
    fn from(error: http::Error) -> Self {
        Self::internal(error)
    }
}

/// The error and all that caused it, in one line, no text twice.
pub(super) fn with_sources(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The fixed sentence for a handler that failed in a way that is not the client's.
pub(super) fn internal_text() -> &'static str {
    INTERNAL_TEXT
}

/// Why a plugin could not serve. Its `Debug` is its text, because that is what a `main` which returns it prints.
#[non_exhaustive]
pub enum ServeError {
    /// No host started this process: neither `TORU_PLUGIN_FD` nor `TORU_PLUGIN_SOCKET` is set.
    NotStartedByHost,
    /// The metadata do not say that the plugin speaks protocol version 2.
    ProtocolVersion,
    /// The socket that the host passed on cannot be used.
    Socket(std::io::Error),
    /// What `TORU_PLUGIN_EXTRA_FDS` says of further sockets cannot be used.
    ExtraSockets(std::io::Error),
    /// No host can be listened for on the path of `TORU_PLUGIN_SOCKET`, which the error names.
    Listen(std::io::Error),
    /// The host broke the protocol, or the socket failed.
    Link(crate::driver::DriveError),
    /// The host closed the connection without a `shutdown`.
    LinkLost,
    /// `init` failed: the host was told, and does not start the plugin again.
    Refused(Failed),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStartedByHost => f.write_str(
                "this program is a Toru plugin and is started by a host: try `toru dev .` in its folder, \
                 or `--metadata` to see what it says of itself",
            ),
            Self::ProtocolVersion => {
                f.write_str("this SDK speaks protocol version 2: write `protocol = 2` into plugin.toml")
            }
            Self::Socket(error) => write!(f, "the socket in TORU_PLUGIN_FD cannot be used: {error}"),
            Self::ExtraSockets(error) => {
                write!(f, "the sockets in TORU_PLUGIN_EXTRA_FDS cannot be used: {error}")
            }
            Self::Listen(error) => write!(f, "no host can be listened for: {error}"),
            Self::Link(error) => write!(f, "the link to the host failed: {}", with_sources(error)),
            Self::LinkLost => f.write_str("the host closed the link without a shutdown"),
            Self::Refused(failed) => write!(f, "init failed ({}): {}", failed.code, failed.message),
        }
    }
}

impl fmt::Debug for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ServeError {}
