//! An example plugin of Toru.
//!
//! | path | answer |
//! |---|---|
//! | `GET /` | a greeting, from the setting `greeting` |
//! | `GET /json` | 100 bytes of JSON |
//! | `POST /echo` | the request's body, as it arrives |
//! | `POST /count` | how many bytes the request's body has |
//! | `GET /download?bytes=1048576` | so many dots |
//! | `GET /counter`, `POST /counter` | a number in the plugin's store; POST adds one first |
//! | `GET /wait?ms=100` | a text after so many milliseconds |
//! | `GET /events?n=10`, `GET /events?n=10&ms=100` | so many server-sent events, one after so many milliseconds each |

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::Mutex;
use toru_plugin_api::{
    Body, HttpRequest, HttpResponse, PluginContext, PluginError, PluginMetadata, PluginResult, ToruPlugin,
    async_trait,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
};

/// What `/json` answers: the 100 bytes that the benchmarks count on.
pub const JSON: &str = concat!(
    r#"{"plugin":"hello-rust","message":"Hello from a plugin of Toru, written in Rust.","#,
    r#""bytes":100,"ok":1}"#
);
const _: () = assert!(JSON.len() == 100, "the benchmarks compare answers of 100 bytes");

/// The key of the counter in the plugin's store.
const COUNTER: &str = "counter";
/// The longest wait: no request should hang for ever by mistake.
const MAX_WAIT: u64 = 60_000;
/// The most events of one answer: those of the benchmark.
const MAX_EVENTS: u64 = 10_000;
/// The longest download: that of the benchmark. It is kept whole, so that no answer has to make it.
const MAX_DOWNLOAD: u64 = 1 << 20;

static DOTS: LazyLock<Bytes> = LazyLock::new(|| vec![b'.'; MAX_DOWNLOAD as usize].into());

/// The plugin.
#[derive(Debug, Default)]
pub struct Hello {
    /// Held while the counter is read and written, so that no increment is lost.
    counting: Mutex<()>,
}

#[async_trait]
impl ToruPlugin for Hello {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::from_manifest(include_str!("../plugin.toml")).expect("plugin.toml keeps the rules")
    }

    async fn handle_http(&self, context: &PluginContext, request: HttpRequest) -> PluginResult<HttpResponse> {
        match (request.method(), request.path()) {
            (&Method::GET, "/") => greet(context),
            (&Method::GET, "/json") => Ok(json()),
            (&Method::POST | &Method::PUT, "/echo") => Ok(echo(request)),
            (&Method::POST, "/count") => count_bytes(request).await,
            (&Method::GET, "/download") => download(&request),
            (&Method::GET, "/counter") => Ok(HttpResponse::text(read_counter(context).await?.to_string())),
            (&Method::POST, "/counter") => self.count(context).await,
            (&Method::GET, "/wait") => wait(&request).await,
            (&Method::GET, "/events") => events(&request),
            (_, "/" | "/json" | "/echo" | "/count" | "/download" | "/counter" | "/wait" | "/events") => {
                Err(PluginError::MethodNotAllowed(format!("{} is not for this path", request.method())))
            }
            (_, path) => Err(PluginError::NotFound(format!("there is nothing at {path}"))),
        }
    }
}

impl Hello {
    async fn count(&self, context: &PluginContext) -> PluginResult<HttpResponse> {
        let _counting = self.counting.lock().await;
        let count = read_counter(context).await? + 1;
        context.kv().set_text(COUNTER, count.to_string()).await?;
        Ok(HttpResponse::text(count.to_string()))
    }
}

async fn read_counter(context: &PluginContext) -> PluginResult<u64> {
    match context.kv().get_text(COUNTER).await? {
        Some(text) => {
            text.parse().map_err(|_| PluginError::internal(format!("the counter holds `{text}`, no number")))
        }
        None => Ok(0),
    }
}

fn greet(context: &PluginContext) -> PluginResult<HttpResponse> {
    let greeting = context.raw_config().get("greeting").and_then(|greeting| greeting.as_str());
    let greeting = greeting.ok_or_else(|| PluginError::Config {
        key: "greeting".to_owned(),
        message: "must be a text".to_owned(),
    })?;
    Ok(HttpResponse::text(greeting))
}

fn json() -> HttpResponse {
    HttpResponse::new(StatusCode::OK, JSON)
        .with_header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
}

fn echo(mut request: HttpRequest) -> HttpResponse {
    let content_type = request
        .headers_mut()
        .remove(header::CONTENT_TYPE)
        .unwrap_or(HeaderValue::from_static("application/octet-stream"));
    HttpResponse::new(StatusCode::OK, request.into_body()).with_header(header::CONTENT_TYPE, content_type)
}

async fn count_bytes(request: HttpRequest) -> PluginResult<HttpResponse> {
    let mut body = request.into_body();
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| PluginError::BadRequest(format!("the body was cut: {error}")))?;
        count += frame.data_ref().map_or(0, Bytes::len);
    }
    Ok(HttpResponse::text(count.to_string()))
}

fn download(request: &HttpRequest) -> PluginResult<HttpResponse> {
    let bytes = query_number(request.query(), "bytes", MAX_DOWNLOAD)?;
    Ok(HttpResponse::new(StatusCode::OK, DOTS.slice(..bytes as usize))
        .with_header(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")))
}

async fn wait(request: &HttpRequest) -> PluginResult<HttpResponse> {
    let ms = query_number(request.query(), "ms", MAX_WAIT)?;
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(HttpResponse::text(format!("waited {ms} ms")))
}

fn events(request: &HttpRequest) -> PluginResult<HttpResponse> {
    let count = query_number(request.query(), "n", MAX_EVENTS)?;
    let pace = match query_value(request.query(), "ms") {
        Some(_) => Duration::from_millis(query_number(request.query(), "ms", MAX_WAIT)?),
        None => Duration::ZERO,
    };
    let (sender, body) = Body::channel();
    tokio::spawn(async move {
        for n in 0..count {
            if !pace.is_zero() {
                tokio::time::sleep(pace).await;
            }
            if sender.send(format!("data: {n}\n\n")).await.is_err() {
                return;
            }
        }
    });
    Ok(HttpResponse::new(StatusCode::OK, body)
        .with_header(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"))
        // A proxy before the host, nginx for one, would else collect events until its buffer is full.
        .with_header(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")))
}

/// The number of `name=number` in a query, at most `max`.
fn query_number(query: Option<&str>, name: &str, max: u64) -> PluginResult<u64> {
    query_value(query, name)
        .and_then(|value| value.parse().ok())
        .filter(|number| *number <= max)
        .ok_or_else(|| PluginError::BadRequest(format!("the query must say {name}=N, N at most {max}")))
}

fn query_value<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let mut pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find_map(|(key, value)| (key == name).then_some(value))
}
