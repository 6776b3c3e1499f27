//! A plugin in memory, against a host side: no process, no socket, the same engine and the same protocol.
//!
//! ```
//! # use toru_plugin_api::{HttpRequest, HttpResponse, PluginContext, PluginMetadata, PluginResult, ToruPlugin, async_trait};
//! # struct Hello;
//! # #[async_trait]
//! # impl ToruPlugin for Hello {
//! #     fn metadata(&self) -> PluginMetadata {
//! #         PluginMetadata::new("hello", "Hello", "1.0.0", "/hello").expect("valid")
//! #     }
//! #     async fn handle_http(&self, _: &PluginContext, _: HttpRequest) -> PluginResult<HttpResponse> {
//! #         Ok(HttpResponse::text("Hello!"))
//! #     }
//! # }
//! use toru_plugin_api::testing::TestHost;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let host = TestHost::start(Hello).await.expect("it starts");
//! let answer = host.get("/").await.expect("it answers");
//! assert_eq!(answer.into_body().text().await.expect("it is text"), "Hello!");
//! host.shutdown().await.expect("it ends in order");
//! # }
//! ```

mod builder;
mod service;
mod store;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderValue, Request, Response, header};
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

pub use builder::TestHostBuilder;
use service::HostService;
pub use store::MemoryKv;

use super::{Body, KvOp, ServeError, ToruPlugin, engine::End};
use crate::{
    driver::{Handle, Incoming, IncomingEvent, RequestBody, RequestError, Tunnel},
    message::{
        event::EventMessage,
        http::RequestHead,
        kv::{KvAnswer, KvError},
        lifecycle::Pong,
        log::LogMessage,
    },
};

/// How long a plugin may take to finish: the default of a host.
const GRACE: Duration = Duration::from_secs(5);

/// A host side in memory, and the plugin that runs against it. Dropped, it closes the link.
#[derive(Debug)]
pub struct TestHost {
    handle: Handle,
    records: Arc<Mutex<Records>>,
    kv: MemoryKv,
    pong: watch::Receiver<Pong>,
    plugin: JoinHandle<Result<End, ServeError>>,
}

/// What the plugin told.
#[derive(Debug, Default)]
struct Records {
    logs: Vec<LogMessage>,
    events: Vec<EventMessage>,
}

impl TestHost {
    /// Starts a plugin and awaits that it is ready.
    ///
    /// # Errors
    /// It refused to run, or broke the protocol.
    pub async fn start<P: ToruPlugin>(plugin: P) -> Result<Self, ServeError> {
        Self::builder().start(plugin).await
    }

    /// For a plugin that needs settings, a store with something in it, and so on.
    #[must_use]
    pub fn builder() -> TestHostBuilder {
        TestHostBuilder::default()
    }

    /// Sends a request, as the host does after it has removed the plugin's route from the path.
    ///
    /// # Errors
    /// See [`RequestError`].
    ///
    /// # Panics
    /// The URI has no path.
    pub async fn request<B: Into<Body>>(&self, request: Request<B>) -> Result<Response<Body>, RequestError> {
        let (head, body) = split(request);
        let answer = self.handle.request(head, body.into().into_request_body()).await?;
        Ok(Body::response(answer))
    }

    /// Sends a request that offers an upgrade, to the protocol that its header `upgrade` names. The host's end of the tunnel comes with a 101;
    /// any other answer refuses the upgrade.
    ///
    /// # Errors
    /// See [`RequestError`].
    ///
    /// # Panics
    /// The URI has no path.
    pub async fn upgrade(
        &self,
        mut request: Request<()>,
    ) -> Result<(Response<Body>, Option<Tunnel>), RequestError> {
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        let (head, ()) = split(request);
        let mut answer = self.handle.request(head, RequestBody::<Body>::Upgrade).await?;
        let tunnel = answer.tunnel.take();
        Ok((Body::response(answer), tunnel))
    }

    /// Sends a GET.
    ///
    /// # Errors
    /// See [`RequestError`].
    ///
    /// # Panics
    /// `path` is no path in origin form.
    pub async fn get(&self, path: &str) -> Result<Response<Body>, RequestError> {
        self.request(Request::get(path).body(()).expect("a path in origin form, such as `/a?b=c`")).await
    }

    /// Asks a KV operation of the plugin (`handle_kv`).
    ///
    /// # Errors
    /// The plugin's error, `timeout`, or `unavailable` when the link is lost.
    pub async fn plugin_kv(&self, op: KvOp) -> Result<KvAnswer, KvError> {
        self.handle.call_kv(op.into()).await
    }

    /// The plugin's store.
    #[must_use]
    pub fn kv(&self) -> &MemoryKv {
        &self.kv
    }

    /// The log records that have come so far.
    #[must_use]
    pub fn logs(&self) -> Vec<LogMessage> {
        lock(&self.records).logs.clone()
    }

    /// The events that have come so far.
    #[must_use]
    pub fn events(&self) -> Vec<EventMessage> {
        lock(&self.records).events.clone()
    }

    /// How the plugin last said it is, in the answer to a ping.
    #[must_use]
    pub fn pong(&self) -> Pong {
        self.pong.borrow().clone()
    }

    /// The host's end of the link, for what has no method here.
    #[must_use]
    pub fn link(&self) -> &Handle {
        &self.handle
    }

    /// Asks the plugin to finish, and awaits its end.
    ///
    /// # Errors
    /// The plugin ended otherwise.
    pub async fn shutdown(self) -> Result<(), ServeError> {
        self.handle.shutdown(GRACE);
        self.await_end().await
    }

    /// Cuts the link as a dying host does, and awaits the plugin's end. A real plugin then kills its process group.
    ///
    /// # Errors
    /// [`ServeError::LinkLost`], unless the plugin ended otherwise.
    pub async fn cut(self) -> Result<(), ServeError> {
        self.handle.close();
        self.await_end().await
    }

    async fn await_end(mut self) -> Result<(), ServeError> {
        match ended(&mut self.plugin).await? {
            End::Shutdown => Ok(()),
            End::LinkLost => Err(ServeError::LinkLost),
        }
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        self.handle.close();
    }
}

fn split<B>(request: Request<B>) -> (RequestHead, B) {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().cloned().expect("the URI of a request has a path");
    (RequestHead { method: parts.method, path, headers: parts.headers }, body)
}

/// How the plugin ended; a panic of its engine goes on here.
async fn ended(
    plugin: impl Future<Output = Result<Result<End, ServeError>, tokio::task::JoinError>>,
) -> Result<End, ServeError> {
    match plugin.await {
        Ok(end) => end,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// What the host side does with what the plugin starts.
struct HostSide {
    records: Arc<Mutex<Records>>,
    kv: MemoryKv,
    service: Option<HostService>,
    pong: watch::Sender<Pong>,
    /// Dropped unsent when the plugin does not become ready.
    ready: Option<oneshot::Sender<()>>,
}

impl HostSide {
    async fn serve(mut self, mut incoming: Incoming) {
        while let Some(event) = incoming.next().await {
            match event {
                IncomingEvent::Ready(_) => {
                    if let Some(ready) = self.ready.take() {
                        // Nobody waits when the test has given up: then nobody needs to know.
                        let _ = ready.send(());
                    }
                }
                IncomingEvent::Failed(_) => self.ready = None,
                IncomingEvent::Request(request) => {
                    if let Some(service) = &self.service {
                        service.serve(request);
                    }
                }
                IncomingEvent::Kv(call) => call.responder.answer(Ok(self.kv.call(call.call))),
                IncomingEvent::Log(log) => lock(&self.records).logs.push(log),
                IncomingEvent::Event(event) => lock(&self.records).events.push(event),
                IncomingEvent::Pong(pong) => {
                    self.pong.send_replace(pong);
                }
                _ => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
