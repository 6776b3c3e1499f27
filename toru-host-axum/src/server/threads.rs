//! Threads that serve, each with a current-thread runtime, a listener and links of its own.

use std::{io, net, thread};

use tokio::{
    net::TcpListener,
    runtime::{self, Runtime},
    sync::oneshot,
};

use super::acceptor::{Acceptor, Course};

/// A thread that serves once it is told to; dropped before that, it ends.
#[derive(Debug)]
pub(super) struct ServingThread {
    begin: oneshot::Sender<Course>,
    ended: oneshot::Receiver<()>,
}

/// Drops its runtime where that may not block: in a task of another.
struct Lane(Option<Runtime>);

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl ServingThread {
    /// Starts the thread of this number, which from now on drives its links. `make` is called inside its runtime.
    ///
    /// # Errors
    /// The system gives no more threads or descriptors.
    pub(super) fn start(
        number: usize,
        listener: net::TcpListener,
        make: impl FnOnce(TcpListener) -> Acceptor,
    ) -> io::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let acceptor = {
            let _inside = runtime.enter();
            make(TcpListener::from_std(listener)?)
        };
        let lane = Lane(Some(runtime));
        let (begin, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name(format!("toru-lane-{number}")).spawn(move || {
            let runtime = lane.0.as_ref().expect("it is taken by the drop alone");
            runtime.block_on(async {
                if let Ok(course) = begun.await {
                    acceptor.run(course).await;
                }
            });
            drop(lane);
            // A server that was dropped waits for nobody.
            let _ = end.send(());
        })?;
        Ok(Self { begin, ended })
    }

    /// Has it serve; what is given back resolves when it has ended.
    pub(super) fn begin(self, course: Course) -> oneshot::Receiver<()> {
        // A thread that has ended already has panicked, which the receiver tells.
        let _ = self.begin.send(course);
        self.ended
    }
}
