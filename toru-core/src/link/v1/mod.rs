//! A version 1 link: one connection at a time, one request at a time, in order.
//!
//! [`Link`] queues jobs for one task, the [`Session`](session::Session), which owns the connection: it writes a message, awaits its
//! answer, and connects again when the plugin has closed.

mod connect;
mod session;
mod wire;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http_body::Body;
use tokio::{
    runtime,
    sync::{mpsc, oneshot, watch},
};
use toru_plugin_api::{
    driver::{RequestBody, RequestError},
    frame::limits::V1_MAX_MESSAGE,
    message::{
        http::RequestHead,
        kv::{KvAnswer, KvCall, KvError, KvErrorCode},
    },
};

use self::{session::Session, wire::Answer};
use super::{LinkAnswer, LinkBody, LinkNews, LinkSetup, PathSocket, Permit, SendError, host_side::HostSide};

/// No body is larger than the message that it must fit into.
pub(super) const MAX_BODY: usize = V1_MAX_MESSAGE as usize;
/// Jobs that wait for the session: HTTP requests come one by one (their permit sees to it), so these are KV calls of the operator.
const JOBS_WAITING: usize = 64;

#[derive(Debug, Clone)]
pub(super) struct Link {
    jobs: mpsc::Sender<Job>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    host: Arc<HostSide>,
    wish: watch::Sender<Wish>,
    /// Each job has a clone.
    #[cfg(test)]
    open: Arc<()>,
    response_timeout: Duration,
    kv_timeout: Duration,
}

/// What supervision wants of the link; it only ever goes on to a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    Serve,
    Shutdown,
    Close,
}

/// One message and who waits for its answer.
#[derive(Debug)]
struct Job {
    request_id: String,
    /// The frame, whole.
    frame: Bytes,
    /// How long the plugin may take, from the first byte written.
    timeout: Duration,
    asker: oneshot::Sender<Result<Answer, JobError>>,
    /// Given back when the plugin is done with the request, whether or not anybody waits for it still.
    _permit: Option<Permit>,
    #[cfg(test)]
    _open: Arc<()>,
}

/// Why a job got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobError {
    /// Nothing was written.
    NotTaken,
    /// The plugin took too long.
    TimedOut,
    /// The connection was lost; some of it, or all, was written.
    Lost,
}

impl Link {
    pub(super) fn open(
        socket: PathSocket,
        setup: LinkSetup,
        news: mpsc::Sender<LinkNews>,
        runtime: &runtime::Handle,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(JOBS_WAITING);
        let (wish, wished) = watch::channel(Wish::Serve);
        let shared = Arc::new(Shared {
            host: HostSide::new(&setup),
            wish,
            #[cfg(test)]
            open: Arc::default(),
            response_timeout: setup.settings.response_timeout,
            kv_timeout: setup.settings.kv_timeout,
        });
        runtime.spawn(Session::new(socket, setup.init, shared.host.clone(), queue, wished).run(news));
        Self { jobs, shared }
    }

    pub(super) fn host_side(&self) -> &Arc<HostSide> {
        &self.shared.host
    }

    pub(super) fn shutdown(&self) {
        self.wish(Wish::Shutdown);
    }

    pub(super) fn close(&self) {
        self.wish(Wish::Close);
    }

    fn wish(&self, next: Wish) {
        self.shared.wish.send_if_modified(|wish| {
            let is_later = next > *wish;
            *wish = next.max(*wish);
            is_later
        });
    }

    #[cfg(test)]
    pub(super) fn open_streams(&self) -> usize {
        Arc::strong_count(&self.shared.open) - 1
    }

    pub(super) async fn request<B>(
        &self,
        head: &RequestHead,
        body: RequestBody<B>,
        permit: Permit,
    ) -> Result<LinkAnswer, SendError>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let body = match &body {
            RequestBody::Empty | RequestBody::Upgrade => None,
            RequestBody::Full(bytes) => Some(std::str::from_utf8(bytes).map_err(|_| SendError::BodyNotText)?),
            // Who sends it has not looked at `collects`: it is whole still, and too large is not what it is.
            RequestBody::Stream(_) => return Err(SendError::Full),
        };
        let request_id = new_id();
        let frame = wire::request(&request_id, head, body).ok_or(SendError::BodyTooLarge)?;
        match self.ask(request_id, frame, self.shared.response_timeout, Some(permit)).await {
            Ok(answer) => {
                let (head, body) = answer.into_http().map_err(SendError::BadAnswer)?;
                Ok(LinkAnswer { head, body: LinkBody::Full(body), tunnel: None })
            }
            Err(JobError::NotTaken) => Err(SendError::NotTaken),
            Err(JobError::TimedOut) => Err(SendError::Request(RequestError::TimedOut)),
            Err(JobError::Lost) => Err(SendError::Request(RequestError::LinkLost)),
        }
    }

    pub(super) async fn kv(&self, call: KvCall) -> Result<KvAnswer, KvError> {
        let request_id = new_id();
        let frame = wire::kv(&request_id, &call)?;
        let timeout = self.shared.kv_timeout;
        // The call waits for the requests before it too, and no longer than it may take itself.
        let answer = tokio::time::timeout(timeout, self.ask(request_id, frame, timeout, None));
        match answer.await.unwrap_or(Err(JobError::TimedOut)) {
            Ok(answer) => answer.into_kv(&call),
            Err(JobError::NotTaken) => Err(KvError::new(KvErrorCode::Unavailable, "the plugin is not there")),
            Err(JobError::TimedOut) => Err(KvError::new(
                KvErrorCode::Timeout,
                "the plugin did not answer in time; a write may or may not have happened",
            )),
            Err(JobError::Lost) => Err(KvError::new(
                KvErrorCode::Unavailable,
                "the plugin ended before it answered; a write may or may not have happened",
            )),
        }
    }

    async fn ask(
        &self,
        request_id: String,
        frame: Bytes,
        timeout: Duration,
        permit: Option<Permit>,
    ) -> Result<Answer, JobError> {
        let (asker, answer) = oneshot::channel();
        let job = Job {
            request_id,
            frame,
            timeout,
            asker,
            _permit: permit,
            #[cfg(test)]
            _open: self.shared.open.clone(),
        };
        self.jobs.send(job).await.map_err(|_| JobError::NotTaken)?;
        // A session that ends answers what it holds; a runtime that ends does not.
        answer.await.unwrap_or(Err(JobError::Lost))
    }
}

impl Job {
    /// Whether nobody waits for its answer any more.
    fn is_abandoned(&self) -> bool {
        self.asker.is_closed()
    }

    fn end(self, answer: Result<Answer, JobError>) {
        // Who has gone away has no use for it.
        let _ = self.asker.send(answer);
    }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
