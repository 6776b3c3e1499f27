//! A plugin that tells what it sees of a load: how many requests run at once, and whose client left. The end-to-end tests
//! install it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /wait` | a text after 100 ms |
//! | `GET /hold` | a text once `release` was set |
//! | `GET /seen` | `{"running", "most", "left"}` of the requests above |
//! | `GET /seen?running=N`, `?left=N` | the same once there are so many |
//! | `POST /echo` | the body, collected |
//! | `GET /bytes?N` | so many bytes, as they are taken |
//! | `GET /twice` | the values of `x-twice` as they came, and two cookies |
//!
//! The host reaches it past its requests, by `handle_kv`: a get of `N` waits until so many run, a set of `release` lets those
//! of `/hold` go.

use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use toru_plugin_api::{
    Body, HttpRequest, HttpResponse, KvOp, PluginContext, PluginError, PluginMetadata, PluginResult,
    ServeError, ToruPlugin, async_trait,
    http::{HeaderValue, StatusCode, header},
    message::kv::KvAnswer,
    serve,
};

const WAIT: Duration = Duration::from_millis(100);
const MOST_ECHOED: usize = 1 << 20;
static CHUNK: Bytes = Bytes::from_static(&[b'.'; 64 << 10]);

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    running: usize,
    most: usize,
    left: usize,
}

#[derive(Default)]
struct Gauge {
    seen: watch::Sender<Seen>,
    released: watch::Sender<bool>,
}

/// A request that runs. Dropped before it is done, its client has left.
struct Run<'a> {
    gauge: &'a Gauge,
    done: bool,
}

impl<'a> Run<'a> {
    fn begin(gauge: &'a Gauge) -> Self {
        gauge.seen.send_modify(|seen| {
            seen.running += 1;
            seen.most = seen.most.max(seen.running);
        });
        Self { gauge, done: false }
    }

    fn finish(mut self) -> HttpResponse {
        self.done = true;
        HttpResponse::text("done")
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        self.gauge.seen.send_modify(|seen| {
            seen.running -= 1;
            seen.left += usize::from(!self.done);
        });
    }
}

impl Gauge {
    async fn wait(&self) -> HttpResponse {
        let run = Run::begin(self);
        tokio::time::sleep(WAIT).await;
        run.finish()
    }

    async fn hold(&self) -> HttpResponse {
        let run = Run::begin(self);
        await_that(&self.released, |released| *released).await;
        run.finish()
    }

    async fn seen(&self, query: Option<&str>) -> PluginResult<HttpResponse> {
        let (what, number) = query.and_then(|query| query.split_once('=')).unwrap_or(("running", "0"));
        let number = parse(number)?;
        let seen = match what {
            "running" => await_that(&self.seen, |seen| seen.running >= number).await,
            "left" => await_that(&self.seen, |seen| seen.left >= number).await,
            _ => return Err(PluginError::BadRequest(format!("{what} is not counted"))),
        };
        let Seen { running, most, left } = seen;
        Ok(HttpResponse::text(format!(r#"{{"running":{running},"most":{most},"left":{left}}}"#)))
    }
}

/// The value once it fulfils the condition.
async fn await_that<T: Clone>(value: &watch::Sender<T>, condition: impl FnMut(&T) -> bool) -> T {
    let mut receiver = value.subscribe();
    let value = receiver.wait_for(condition).await.expect("the sender is the gauge's, which lives");
    value.clone()
}

fn parse(number: &str) -> PluginResult<usize> {
    number.parse().map_err(|_| PluginError::BadRequest(format!("{number:?} is no number")))
}

/// A streamed body of so many bytes.
fn bytes(mut left: usize) -> PluginResult<HttpResponse> {
    let (sender, body) = Body::channel();
    tokio::spawn(async move {
        while left > 0 {
            let piece = CHUNK.slice(..left.min(CHUNK.len()));
            left -= piece.len();
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    Ok(HttpResponse::new(StatusCode::OK, body))
}

fn twice(request: &HttpRequest) -> HttpResponse {
    let values = request.headers().get_all("x-twice").iter();
    let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
    let mut response = HttpResponse::text(values.join("|"));
    for cookie in ["a=1", "b=2"] {
        response.headers_mut().append(header::SET_COOKIE, HeaderValue::from_static(cookie));
    }
    response
}

#[async_trait]
impl ToruPlugin for Gauge {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::new("gauge", "Gauge", "0.1.0", "/gauge").expect("these keep the rules")
    }

    async fn handle_http(&self, _: &PluginContext, request: HttpRequest) -> PluginResult<HttpResponse> {
        match request.path() {
            "/wait" => Ok(self.wait().await),
            "/hold" => Ok(self.hold().await),
            "/seen" => self.seen(request.query()).await,
            "/twice" => Ok(twice(&request)),
            "/echo" => Ok(HttpResponse::bytes(request.bytes(MOST_ECHOED).await?)),
            "/bytes" => bytes(parse(request.query().unwrap_or_default())?),
            path => Err(PluginError::NotFound(format!("there is nothing at {path}"))),
        }
    }

    async fn handle_kv(&self, _: &PluginContext, op: KvOp) -> PluginResult<KvAnswer> {
        match op {
            KvOp::Get { key } => {
                let number = parse(&key)?;
                let seen = await_that(&self.seen, |seen| seen.running >= number).await;
                Ok(KvAnswer::Value(Some(seen.running.to_string().into())))
            }
            KvOp::Set { key, .. } if key == "release" => {
                self.released.send_replace(true);
                Ok(KvAnswer::Ok)
            }
            _ => Err(PluginError::BadRequest("get a number, or set `release`".to_owned())),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    serve(Gauge::default()).await
}
