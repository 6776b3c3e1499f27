//! HTTP clients on real sockets.

use std::{future::Future, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};

pub(crate) const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// Nothing here takes as long, on a busy machine and in a debug build; a hang ends with its name.
pub(crate) const HANG: Duration = Duration::from_secs(120);

/// Fails a test that hangs.
#[track_caller]
pub(crate) fn within<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = std::panic::Location::caller();
    async move { tokio::time::timeout(HANG, work).await.unwrap_or_else(|_| panic!("{caller} hangs")) }
}

/// A keep-alive connection of one client. Dropped, the client has gone.
pub(crate) struct Connection {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        Self { address, sender, driver: tokio::spawn(connection) }
    }

    /// A request with the admin token.
    pub(crate) fn request(&self, method: Method, path: &str) -> Request<Full<Bytes>> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
        request.body(Full::default()).unwrap()
    }

    /// Sends a request; the answer's body is read as far as it is taken.
    pub(crate) async fn try_begin(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }

    /// Sends a request and collects the answer.
    pub(crate) async fn try_send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        let (head, body) = self.try_begin(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    pub(crate) async fn try_get(&mut self, path: &str) -> hyper::Result<Answer> {
        self.try_send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn try_post(&mut self, path: &str, body: impl Into<Bytes>) -> hyper::Result<Answer> {
        self.try_send(self.request(Method::POST, path).map(|_| Full::new(body.into()))).await
    }

    /// Writes a value into a plugin's namespace.
    pub(crate) async fn try_kv_set(&mut self, id: &str, key: &str, value: &str) -> hyper::Result<Answer> {
        let call = json!({"action": "set", "key": key, "value": value});
        self.try_post(&format!("/api/plugins/{id}/kv"), call.to_string()).await
    }

    /// Reads a value of a plugin's namespace.
    pub(crate) async fn kv_get(&mut self, id: &str, key: &str) -> Option<String> {
        let call = json!({"action": "get", "key": key});
        let answer = self.try_post(&format!("/api/plugins/{id}/kv"), call.to_string()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["value"].as_str().map(str::to_owned)
    }
}

/// A client that opens a connection for each request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) SocketAddr);

impl Client {
    pub(crate) async fn get(self, path: &str) -> Answer {
        within(async { Connection::open(self.0).await.try_get(path).await }).await.unwrap()
    }

    pub(crate) async fn post(self, path: &str, body: impl Into<Bytes>) -> Answer {
        within(async { Connection::open(self.0).await.try_post(path, body).await }).await.unwrap()
    }

    /// What a plugin answers with status 200, as text.
    #[track_caller]
    pub(crate) fn ask(self, route: &str) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let answer = self.get(&format!("/api/plugins/route{route}")).await;
            assert_eq!(answer.status, 200, "{caller}: {route}: {answer:?}");
            answer.text().to_owned()
        }
    }

    /// What the API says of a plugin.
    pub(crate) async fn plugin(self, id: &str) -> Value {
        self.get(&format!("/api/plugins/{id}")).await.json()
    }

    /// The plugin's process, which must be there.
    pub(crate) async fn pid(self, id: &str) -> i32 {
        let entry = self.plugin(id).await;
        entry["pid"].as_i64().unwrap_or_else(|| panic!("no process: {entry}")).try_into().unwrap()
    }

    /// The plugin's events, oldest first.
    pub(crate) async fn events(self, id: &str) -> Vec<Value> {
        let newest_first = self.get(&format!("/api/plugins/{id}/events")).await.json();
        let mut events = newest_first.as_array().unwrap().clone();
        events.reverse();
        events
    }
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header's first value; empty without one.
    pub(crate) fn field(&self, name: &str) -> String {
        self.headers.get(name).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
