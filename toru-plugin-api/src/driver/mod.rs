//! The only I/O: a [`Connection`] over a socket.
//!
//! [`drive`] gives three things: a [`Handle`] to command the connection with (clone it at will), an
//! [`Incoming`] that tells what the peer starts, and a [`Driver`], a future that does the I/O
//! until the connection has ended. A `Handle` and the bodies it gives share one mutex with the driver, held
//! for a few hundred nanoseconds and never across an await.
//!
//! ```text
//!  Handle::request, Responder, RecvBody, Tunnel ----commands----> +--------------------+
//!                                                                | Mutex: Connection, |
//!  their wakers <---Response, Readable, Writable, Reset---------- | who waits for what |
//!  Incoming::next <---Init, Request, KvCall, Log, ...------------ +--------------------+
//!                                                                   ^ read   | write
//!                                                                   Driver (one task)
//! ```
//!
//! A command wakes the driver only when it sleeps, so all that is commanded until it runs leaves in one write.
//! Reading never waits for writing.

mod body;
mod handle;
mod incoming;
mod io;
mod pump;
mod quiet;
mod shared;
mod socket;
mod tunnel;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

pub use body::{RecvBody, RecvError};
pub use handle::{Handle, RequestBody, RequestError, Response};
pub use incoming::{Incoming, IncomingEvent, IncomingKv, IncomingRequest, KvResponder, Responder};
pub use io::Driver;
pub use socket::Socket;
pub use tunnel::Tunnel;

use crate::proto::{Connection, ConnectionError};

/// The boxed error that a body source may end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Puts a connection on a socket.
///
/// The [`Driver`] is to be spawned or awaited inside a tokio runtime with I/O and time; it ends when the peer closes
/// the socket, breaks the protocol, or [`Handle::close`] is called.
pub fn drive<IO>(io: IO, connection: Connection) -> (Handle, Incoming, Driver<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let shared = Arc::new(shared::Shared::new(connection));
    (Handle::new(shared.clone()), Incoming::new(shared.clone()), Driver::new(io, shared))
}

/// Why a connection ended badly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveError {
    /// The peer broke the protocol.
    #[error("protocol error: {0}")]
    Protocol(ConnectionError),
    /// The socket failed.
    #[error("the link failed")]
    Io(#[from] std::io::Error),
    /// The peer does not read what it forces this side to send.
    #[error("the peer does not read")]
    PeerDoesNotRead,
}

impl From<ConnectionError> for DriveError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::PeerDoesNotRead => Self::PeerDoesNotRead,
            error => Self::Protocol(error),
        }
    }
}
