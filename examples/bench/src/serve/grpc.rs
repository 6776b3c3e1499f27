//! A plugin that speaks gRPC over a Unix socket, and its host: an HTTP server that makes one unary call of each request.
//!
//! What `protoc` would generate is written out, so that nobody needs it to build this:
//!
//! ```proto
//! message Header { string name = 1; bytes value = 2; }
//! message Request { string method = 1; string path = 2; repeated Header headers = 3; bytes body = 4; }
//! message Response { uint32 status = 1; repeated Header headers = 2; bytes body = 3; }
//! service Plugin { rpc Handle(Request) returns (Response); }
//! ```

use std::{
    convert::Infallible,
    path::Path,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, body::Incoming, http::uri::PathAndQuery, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    body::Body,
    client::Grpc,
    server::{NamedService, UnaryService},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::listen;
use crate::Outcome;

/// The name of the only method.
const HANDLE: &str = "/toru.bench.Plugin/Handle";
/// The largest message: above every body of the benchmark that one message carries.
const MESSAGE_MAX: usize = 4 << 20;

const HUNDRED_BYTES: &str =
    r#"{"plugin":"tonic-unix","padding":"................................................................"}"#;
const _: () = assert!(HUNDRED_BYTES.len() == 100);

static DOTS: LazyLock<Bytes> = LazyLock::new(|| vec![b'.'; 1 << 20].into());

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "1")]
    method: String,
    #[prost(string, tag = "2")]
    path: String,
    #[prost(message, repeated, tag = "3")]
    headers: Vec<Header>,
    #[prost(bytes = "bytes", tag = "4")]
    body: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Response {
    #[prost(uint32, tag = "1")]
    status: u32,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<Header>,
    #[prost(bytes = "bytes", tag = "3")]
    body: Bytes,
}

pub(super) async fn serve_plugin(path: &Path) -> Outcome<()> {
    let listener = UnixListener::bind(path)?;
    println!("listening on {}", path.display());
    let server = tonic::transport::Server::builder().add_service(Plugin);
    Ok(server.serve_with_incoming(UnixListenerStream::new(listener)).await?)
}

/// The service: it answers what the example plugins answer.
#[derive(Clone)]
struct Plugin;

impl NamedService for Plugin {
    const NAME: &'static str = "toru.bench.Plugin";
}

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tower_service::Service<hyper::Request<Body>> for Plugin {
    type Response = hyper::Response<Body>;
    type Error = Infallible;
    type Future = Boxed<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: hyper::Request<Body>) -> Self::Future {
        Box::pin(async {
            if request.uri().path() != HANDLE {
                return Ok(tonic::Status::unimplemented("there is one method").into_http());
            }
            let mut grpc = tonic::server::Grpc::new(ProstCodec::default())
                .apply_max_message_size_config(Some(MESSAGE_MAX), Some(MESSAGE_MAX));
            Ok(grpc.unary(Plugin, request).await)
        })
    }
}

impl UnaryService<Request> for Plugin {
    type Response = Response;
    type Future = Boxed<Result<tonic::Response<Response>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Request>) -> Self::Future {
        Box::pin(async { Ok(tonic::Response::new(answer(request.into_inner()))) })
    }
}

fn answer(request: Request) -> Response {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let found = |kind: &'static str, body| {
        let header = Header { name: "content-type".into(), value: Bytes::from_static(kind.as_bytes()) };
        Response { status: 200, headers: vec![header], body }
    };
    match path {
        "/json" => found("application/json", Bytes::from_static(HUNDRED_BYTES.as_bytes())),
        "/echo" => found("application/octet-stream", request.body),
        "/download" => match query.strip_prefix("bytes=").and_then(|bytes| bytes.parse::<usize>().ok()) {
            Some(bytes) if bytes <= DOTS.len() => found("application/octet-stream", DOTS.slice(..bytes)),
            _ => Response { status: 400, ..Response::default() },
        },
        _ => Response { status: 404, ..Response::default() },
    }
}

pub(super) async fn serve_host(plugin: &Path) -> Outcome<()> {
    let channel = Endpoint::from_shared(format!("unix:{}", plugin.display()))?.connect().await?;
    let listener = listen().await?;
    loop {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        let channel = channel.clone();
        let service = service_fn(move |request| {
            let channel = channel.clone();
            async move {
                Ok::<_, Infallible>(forward(channel, request).await.unwrap_or_else(|error| {
                    let mut answer = hyper::Response::new(Full::from(error.to_string()));
                    *answer.status_mut() = hyper::StatusCode::BAD_GATEWAY;
                    answer
                }))
            }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(client), service);
        // An error is the client's: wrk leaves in the middle of requests when its time is up.
        tokio::spawn(connection);
    }
}

/// One request as one call.
async fn forward(
    channel: Channel,
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let message = Request {
        method: head.method.as_str().to_owned(),
        path: head.uri.path_and_query().map_or_else(String::new, ToString::to_string),
        headers: headers(&head.headers),
        body: body.collect().await?.to_bytes(),
    };
    let mut grpc =
        Grpc::new(channel).max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX);
    grpc.ready().await?;
    let codec = ProstCodec::<Request, Response>::default();
    let answer = grpc.unary(tonic::Request::new(message), PathAndQuery::from_static(HANDLE), codec).await?;
    let answer = answer.into_inner();
    let mut response = hyper::Response::builder().status(u16::try_from(answer.status)?);
    for Header { name, value } in answer.headers {
        response = response.header(name, hyper::header::HeaderValue::from_maybe_shared(value)?);
    }
    Ok(response.body(Full::from(answer.body))?)
}

fn headers(map: &HeaderMap) -> Vec<Header> {
    map.iter()
        .map(|(name, value)| Header {
            name: name.as_str().to_owned(),
            value: Bytes::copy_from_slice(value.as_bytes()),
        })
        .collect()
}
