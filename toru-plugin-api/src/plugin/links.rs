//! The links of a plugin: the first, which is its life line, and those that it serves beside it.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};

use super::{PluginError, ServeError, engine::End};
use crate::{
    driver::{DriveError, Handle, Incoming, drive},
    message::lifecycle::Shutdown,
    proto::{Connection, Settings},
};

/// The plugin's end of a link, and the task that drives it.
pub(super) struct Link {
    handle: Handle,
    driver: JoinHandle<Result<(), DriveError>>,
}

impl Link {
    pub(super) fn open<IO>(io: IO, settings: Settings) -> (Self, Incoming)
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connection = Connection::plugin(settings, tokio::time::Instant::now().into_std());
        let (handle, incoming, driver) = drive(io, connection);
        (Self { handle, driver: tokio::spawn(driver) }, incoming)
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Finishes what is in flight on this link and the others, within the grace; then closes them.
    pub(super) async fn finish(self, extra: ExtraLinks, shutdown: Shutdown) -> Result<End, ServeError> {
        extra.refuse_streams();
        let idle = async {
            self.handle.idle().await;
            extra.idle().await;
        };
        // What is not done by then is cut: the host's patience ends here.
        let _ = tokio::time::timeout(shutdown.grace, idle).await;
        if self.handle.is_closed() {
            // A host waits for the exit before it closes the link: this one has died.
            return extra.blame(self.lost().await);
        }
        extra.close().await;
        self.handle.close();
        // Shutting down is what was asked for: how the socket ended does not matter any more.
        let _ = self.driver.await;
        Ok(End::Shutdown)
    }

    pub(super) async fn refuse(self, error: PluginError) -> Result<End, ServeError> {
        let failed = error.into_failed();
        self.handle.fail(failed.clone());
        self.handle.close();
        // The refusal is what counts, not how the socket ended after it.
        let _ = self.driver.await;
        Err(ServeError::Refused(failed))
    }

    pub(super) async fn lost(self) -> Result<End, ServeError> {
        match self.ended().await {
            Ok(()) => Ok(End::LinkLost),
            Err(error) => Err(ServeError::Link(error)),
        }
    }

    /// How the connection ended. A panic of its driver goes on here.
    async fn ended(self) -> Result<(), DriveError> {
        match self.driver.await {
            Ok(ended) => ended,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down.
                Err(_) => Ok(()),
            },
        }
    }
}

/// The links of the host's further lanes. One that ends is no failure; the host breaking the protocol on one is.
#[derive(Debug)]
pub(super) struct ExtraLinks {
    links: Vec<(Handle, JoinHandle<()>)>,
    /// Why the first link was closed, if it was because of another.
    broken: Arc<Mutex<Option<DriveError>>>,
}

impl ExtraLinks {
    pub(super) fn none() -> Self {
        Self { links: Vec::new(), broken: Arc::default() }
    }

    /// Opens one and serves it, until it ends, in a task of its own.
    pub(super) fn open<IO, F>(
        &mut self,
        io: IO,
        settings: Settings,
        first: &Handle,
        serve: impl FnOnce(Handle, Incoming) -> F,
    ) where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (link, incoming) = Link::open(io, settings);
        let handle = link.handle.clone();
        let (first, broken) = (first.clone(), self.broken.clone());
        let serving = serve(handle.clone(), incoming);
        let task = tokio::spawn(async move {
            serving.await;
            if let Err(error @ DriveError::Protocol(_)) = link.ended().await {
                *broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                first.close();
            }
        });
        self.links.push((handle, task));
    }

    fn refuse_streams(&self) {
        for (handle, _) in &self.links {
            handle.refuse_streams();
        }
    }

    /// Resolves when no stream is open on any.
    async fn idle(&self) {
        for (handle, _) in &self.links {
            handle.idle().await;
        }
    }

    /// Writes what is queued and closes them.
    async fn close(self) {
        for (handle, _) in &self.links {
            handle.close();
        }
        for (_, task) in self.links {
            // What became of one that is closed matters no more.
            let _ = task.await;
        }
    }

    /// How the plugin ended: by the fault on one of these links, if it was that.
    pub(super) fn blame(self, ended: Result<End, ServeError>) -> Result<End, ServeError> {
        let broken = self.broken.lock().unwrap_or_else(PoisonError::into_inner).take();
        broken.map_or(ended, |error| Err(ServeError::Link(error)))
    }
}
