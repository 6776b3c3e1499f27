//! The task that owns a version 1 connection.
//!
//! ```text
//! connect ──init──> idle ──job──> writing ──> awaiting ──answer──> idle
//!                    │               │           │
//!                    └──── closed ───┴─ timeout ─┴──> connect again, within 1 s ──> idle
//! ```

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout, timeout_at},
};
use toru_plugin_api::message::lifecycle::Init;

use super::{
    Job, JobError, Wish,
    connect::{Connection, ReadError},
    wire::{self, Answer},
};
use crate::link::{
    LinkLost, LinkNews, PathSocket,
    host_side::HostSide,
    path::{FIRST_RETRY, LAST_RETRY},
};

/// How long a plugin that closed its connection may take to be reachable again before that is a failure (protocol section 4).
const RECONNECT_WITHIN: Duration = Duration::from_secs(1);
/// On how many connections a plugin is asked to end: the current one, and a new one if that was lost.
const ASKS_TO_END: u32 = 2;
/// The version of the protocol that this link speaks.
const PROTOCOL: u32 = 1;

/// Serves the jobs of one plugin process, in order.
#[derive(Debug)]
pub(super) struct Session {
    socket: PathSocket,
    init: Init,
    host: Arc<HostSide>,
    jobs: mpsc::Receiver<Job>,
    wish: watch::Receiver<Wish>,
    /// How often the plugin was asked to end; from the first time on it gets no jobs.
    asked_to_end: u32,
    /// How long the next reconnect waits first: nothing, unless the last connections were closed without an answer on them.
    pause: Duration,
    /// It was told in the log that something came that nobody asked for.
    has_told_stray: bool,
}

/// How the exchange of one job ended.
enum Outcome {
    Answered(Answer),
    /// The connection is of no use any more; the asker is told this.
    Broken(JobError),
    /// The link ends.
    Over(LinkLost),
}

impl Session {
    pub(super) fn new(
        socket: PathSocket,
        init: Init,
        host: Arc<HostSide>,
        jobs: mpsc::Receiver<Job>,
        wish: watch::Receiver<Wish>,
    ) -> Self {
        Self { socket, init, host, jobs, wish, asked_to_end: 0, pause: Duration::ZERO, has_told_stray: false }
    }

    /// Runs until the link is lost; then nothing is left waiting.
    pub(super) async fn run(mut self, news: mpsc::Sender<LinkNews>) {
        let lost = match self.start().await {
            Ok(connection) => {
                // Supervision that has dropped its end does not want to know.
                let _ = news.send(LinkNews::Ready { protocol: PROTOCOL }).await;
                self.serve(connection).await
            }
            Err(lost) => lost,
        };
        self.jobs.close();
        while let Some(job) = self.jobs.recv().await {
            job.end(Err(JobError::NotTaken));
        }
        let _ = news.send(LinkNews::Lost(lost)).await;
    }

    /// The first connection, and `init` on it.
    async fn start(&mut self) -> Result<Connection, LinkLost> {
        let init = wire::init(&self.init);
        let opening = async {
            let mut connection = Connection::open(&self.socket).await?;
            connection.write(&init).await.map_err(|_| LinkLost::Handshake {
                code: "handshake",
                message: "the plugin closed its connection before it had read init".to_owned(),
            })?;
            Ok(connection)
        };
        tokio::select! {
            opened = opening => opened,
            // A plugin that was not reached yet has nothing to finish.
            _ = self.wish.wait_for(|wish| *wish > Wish::Serve) => Err(LinkLost::Closed),
        }
    }

    async fn serve(&mut self, mut connection: Connection) -> LinkLost {
        loop {
            let is_usable = tokio::select! {
                biased;
                wish = later_wish(&mut self.wish, self.asked_to_end) => match wish {
                    Wish::Close => return LinkLost::Closed,
                    _ => self.ask_to_end(&mut connection).await,
                },
                message = connection.next() => match message {
                    Ok(_) => {
                        self.tell_stray();
                        true
                    }
                    Err(ReadError::Closed) => false,
                    Err(ReadError::Broken(lost)) => return lost,
                },
                Some(job) = self.jobs.recv(), if self.asked_to_end == 0 => {
                    match self.work(job, &mut connection).await {
                        Ok(is_usable) => is_usable,
                        Err(lost) => return lost,
                    }
                }
            };
            if is_usable {
                continue;
            }
            // After `shutdown` the end is what was asked for, unless it came before the plugin could read that.
            if self.asked_to_end >= ASKS_TO_END {
                return LinkLost::Closed;
            }
            connection = match self.reconnect(Some(connection)).await {
                Ok(connection) => connection,
                Err(lost) => return lost,
            };
        }
    }

    /// A new connection in place of a lost one, which is closed first: a plugin serves one at a time. `init` is not said again.
    async fn reconnect(&mut self, lost: Option<Connection>) -> Result<Connection, LinkLost> {
        drop(lost);
        let pause = self.pause;
        // A plugin that closes each connection at once must not keep two processes busy.
        self.pause = (pause * 2).clamp(FIRST_RETRY, LAST_RETRY);
        let opening = async {
            tokio::time::sleep(pause).await;
            Connection::open(&self.socket).await
        };
        tokio::select! {
            opened = timeout(RECONNECT_WITHIN, opening) => opened.unwrap_or(Err(LinkLost::Closed)),
            _ = self.wish.wait_for(|wish| *wish == Wish::Close) => Err(LinkLost::Closed),
        }
    }

    /// Does one job; whether the connection is still of use.
    async fn work(&mut self, job: Job, connection: &mut Connection) -> Result<bool, LinkLost> {
        // What was not written yet is dropped with the client that wanted it; what was written is awaited to its end.
        if job.is_abandoned() {
            return Ok(true);
        }
        match self.exchange(&job, connection).await {
            Outcome::Answered(answer) => {
                self.pause = Duration::ZERO;
                job.end(Ok(answer));
                Ok(true)
            }
            Outcome::Broken(error) => {
                job.end(Err(error));
                Ok(false)
            }
            Outcome::Over(lost) => {
                job.end(Err(JobError::Lost));
                Err(lost)
            }
        }
    }

    async fn exchange(&mut self, job: &Job, connection: &mut Connection) -> Outcome {
        let mut deadline = Instant::now() + job.timeout;
        let mut written = self.write(job, deadline, connection).await;
        // Closed before a byte was written: opened again once.
        if matches!(written, Err(Outcome::Broken(JobError::NotTaken))) {
            *connection = match self.reconnect(None).await {
                Ok(connection) => connection,
                Err(lost) => return Outcome::Over(lost),
            };
            deadline = Instant::now() + job.timeout;
            written = self.write(job, deadline, connection).await;
        }
        match written {
            Ok(()) => self.answer(job, deadline, connection).await,
            Err(Outcome::Broken(JobError::NotTaken)) => Outcome::Broken(JobError::Lost),
            Err(outcome) => outcome,
        }
    }

    async fn write(
        &mut self,
        job: &Job,
        deadline: Instant,
        connection: &mut Connection,
    ) -> Result<(), Outcome> {
        tokio::select! {
            written = timeout_at(deadline, connection.write(&job.frame)) => match written {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) if error.is_partial => Err(Outcome::Broken(JobError::Lost)),
                Ok(Err(_)) => Err(Outcome::Broken(JobError::NotTaken)),
                Err(_) => Err(Outcome::Broken(JobError::TimedOut)),
            },
            _ = self.wish.wait_for(|wish| *wish == Wish::Close) => Err(Outcome::Over(LinkLost::Closed)),
        }
    }

    async fn answer(&mut self, job: &Job, deadline: Instant, connection: &mut Connection) -> Outcome {
        loop {
            tokio::select! {
                biased;
                wish = later_wish(&mut self.wish, self.asked_to_end) => match wish {
                    Wish::Close => return Outcome::Over(LinkLost::Closed),
                    // It reads this when it has answered.
                    _ => if !self.ask_to_end(connection).await {
                        return Outcome::Broken(JobError::Lost);
                    },
                },
                message = timeout_at(deadline, connection.next()) => match message {
                    Err(_) => return Outcome::Broken(JobError::TimedOut),
                    Ok(Err(ReadError::Closed)) => return Outcome::Broken(JobError::Lost),
                    Ok(Err(ReadError::Broken(lost))) => return Outcome::Over(lost),
                    Ok(Ok(text)) => match wire::answer(&text) {
                        Err(lost) => return Outcome::Over(lost),
                        Ok(answer) if answer.is_for(&job.request_id) => return Outcome::Answered(answer),
                        Ok(_) => self.tell_stray(),
                    },
                },
            }
        }
    }

    /// Sends `shutdown`; whether the connection is still of use.
    async fn ask_to_end(&mut self, connection: &mut Connection) -> bool {
        let asked = timeout(RECONNECT_WITHIN, connection.write(&wire::shutdown())).await;
        let was_lost = matches!(asked, Ok(Err(_)));
        // A plugin that does not read it is ended by a signal, when its grace is over.
        self.asked_to_end = if was_lost { self.asked_to_end + 1 } else { ASKS_TO_END };
        !was_lost
    }

    fn tell_stray(&mut self) {
        if !std::mem::replace(&mut self.has_told_stray, true) {
            let fields: Map<String, Value> = Map::new();
            self.host.warn("a message that nobody waits for was dropped", &fields);
        }
    }
}

/// Resolves when supervision wants more of the link than it got. Cancel safe.
async fn later_wish(wish: &mut watch::Receiver<Wish>, asked_to_end: u32) -> Wish {
    let done = if asked_to_end >= ASKS_TO_END { Wish::Shutdown } else { Wish::Serve };
    match wish.wait_for(|wish| *wish > done).await {
        Ok(wish) => *wish,
        // Nobody holds the link any more.
        Err(_) => Wish::Close,
    }
}
