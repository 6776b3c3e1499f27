//! Plugins in memory, against the test host.
//!
//! | file | what it holds |
//! |---|---|
//! | `main.rs` | a plugin with a path for each thing that a handler may do |
//! | `requests.rs` | what a request meets: bodies, failures, a client that leaves |
//! | `life.rs` | how a plugin begins and ends |
//! | `beside.rs` | what host and plugin say to each other beside requests |
//! | `service.rs` | tower services as plugins |

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

mod beside;
mod life;
mod requests;
mod service;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use serde_json::Map;
use tokio::sync::{Notify, mpsc};
use toru_plugin_api::{
    Body, HttpRequest, HttpResponse, Level, PluginContext, PluginError, PluginMetadata, PluginResult,
    ToruPlugin,
    driver::{self, Handle, RequestBody, RequestError},
    message::{
        http::RequestHead,
        kv::{KvError, KvErrorCode},
    },
    testing::TestHost,
};

/// A plugin with a path for each thing that a handler may do.
#[derive(Debug, Default)]
struct Many {
    /// Told when a handler of `/hang` begins and when it is dropped.
    hanging: Option<mpsc::UnboundedSender<&'static str>>,
    go: Arc<Notify>,
}

struct TellDrop(mpsc::UnboundedSender<&'static str>);

impl Drop for TellDrop {
    fn drop(&mut self) {
        let _ = self.0.send("dropped");
    }
}

#[derive(Debug, serde::Deserialize)]
struct Config {
    limit: u32,
}

fn metadata() -> PluginMetadata {
    PluginMetadata::new("many", "Many", "1.0.0", "/many").unwrap()
}

#[async_trait::async_trait]
impl ToruPlugin for Many {
    fn metadata(&self) -> PluginMetadata {
        metadata()
    }

    async fn init(&self, context: &PluginContext) -> PluginResult<()> {
        if context.raw_config().contains_key("limit") {
            context.config::<Config>()?;
        }
        if context.raw_config().contains_key("licence") {
            return Err(PluginError::Refused {
                code: "licence".into(),
                message: "the licence has expired".into(),
            });
        }
        let starts = context.kv().get_text("starts").await?.map_or(0, |text| text.parse().unwrap());
        context.kv().set_text("starts", (starts + 1).to_string()).await?;
        Ok(())
    }

    async fn handle_http(&self, context: &PluginContext, request: HttpRequest) -> PluginResult<HttpResponse> {
        match request.path() {
            "/who" => Ok(HttpResponse::text(format!("{} on {}", context.plugin_id(), context.instance_id()))),
            "/limit" => Ok(HttpResponse::text(context.config::<Config>()?.limit.to_string())),
            "/text" => Ok(HttpResponse::text(request.text().await?)),
            "/json" => HttpResponse::json(&request.json::<serde_json::Value>().await?),
            "/small" => Ok(HttpResponse::bytes(request.bytes(10).await?)),
            "/secret" => Err(PluginError::internal("the password is 1234")),
            "/bad" => Err(PluginError::BadRequest("say please".into())),
            "/store" => Err(KvError::new(KvErrorCode::Timeout, "the disk sleeps").into()),
            "/panic" => panic!("a bug"),
            "/sleep" => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(HttpResponse::text("slept"))
            }
            "/hang" => {
                let hanging = self.hanging.clone().expect("the test listens");
                hanging.send("begun").unwrap();
                let _tell = TellDrop(hanging);
                self.go.notified().await;
                Ok(HttpResponse::text("went on"))
            }
            "/tell" => {
                context.log(Level::Warn, "something");
                context.event("seen", Map::from_iter([("n".to_owned(), 1.into())]));
                context.set_degraded("the sensor is away");
                Ok(HttpResponse::text("told"))
            }
            "/fail-late" => {
                let (sender, body) = Body::channel();
                tokio::spawn(async move {
                    sender.send("begin").await?;
                    sender.fail("the disk failed").await
                });
                Ok(HttpResponse::new(StatusCode::OK, body))
            }
            path => Err(PluginError::NotFound(format!("nothing at {path}"))),
        }
    }
}

async fn start() -> TestHost {
    TestHost::start(Many::default()).await.unwrap()
}

async fn hanging() -> (TestHost, mpsc::UnboundedReceiver<&'static str>, Arc<Notify>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let go = Arc::new(Notify::new());
    let plugin = Many { hanging: Some(sender), go: go.clone() };
    (TestHost::start(plugin).await.unwrap(), receiver, go)
}

/// Asks for `/hang` without the test host, which may be ended meanwhile.
async fn hang(link: &Handle) -> Result<driver::Response, RequestError> {
    let head = RequestHead { method: Method::GET, path: "/hang".parse().unwrap(), headers: HeaderMap::new() };
    link.request(head, RequestBody::<Body>::Empty).await
}

async fn text(response: Response<Body>) -> String {
    response.into_body().text().await.unwrap()
}

async fn post(host: &TestHost, path: &str, body: impl Into<Body>) -> Response<Body> {
    host.request(Request::post(path).body(body).unwrap()).await.unwrap()
}
