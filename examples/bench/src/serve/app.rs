//! The application that the rivals serve: what it answers is what the example plugins answer.

use std::{convert::Infallible, path::Path, sync::LazyLock, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Query,
    http::{HeaderName, StatusCode, header::CONTENT_TYPE},
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::net::UnixListener;

use super::listen;
use crate::Outcome;

const HUNDRED_BYTES: &str =
    r#"{"plugin":"axum-direct","padding":"..............................................................."}"#;
const _: () = assert!(HUNDRED_BYTES.len() == 100);

/// The longest download, kept whole as in the plugins.
static DOTS: LazyLock<Bytes> = LazyLock::new(|| vec![b'.'; 1 << 20].into());

pub(super) async fn serve_tcp() -> Outcome<()> {
    Ok(axum::serve(listen().await?, router()).await?)
}

pub(super) async fn serve_unix(path: &Path) -> Outcome<()> {
    let listener = UnixListener::bind(path)?;
    println!("listening on {}", path.display());
    Ok(axum::serve(listener, router()).await?)
}

fn router() -> Router {
    Router::new()
        .route("/json", get(|| async { ([(CONTENT_TYPE, "application/json")], HUNDRED_BYTES) }))
        .route("/echo", post(|body: Body| async { ([(CONTENT_TYPE, "application/octet-stream")], body) }))
        .route("/count", post(count))
        .route("/download", get(download))
        .route("/events", get(events))
}

async fn count(mut body: Body) -> Result<String, StatusCode> {
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        count += frame.data_ref().map_or(0, Bytes::len);
    }
    Ok(count.to_string())
}

#[derive(serde::Deserialize)]
struct Length {
    bytes: usize,
}

async fn download(Query(length): Query<Length>) -> Result<impl IntoResponse, StatusCode> {
    if length.bytes > DOTS.len() {
        return Err(StatusCode::BAD_REQUEST);
    }
    Ok(([(CONTENT_TYPE, "application/octet-stream")], DOTS.slice(..length.bytes)))
}

#[derive(serde::Deserialize)]
struct Events {
    n: u64,
    #[serde(default)]
    ms: u64,
}

/// The events go through a channel of one place, as in the example plugin.
async fn events(Query(Events { n, ms }): Query<Events>) -> impl IntoResponse {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        for n in 0..n {
            if ms > 0 {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            if sender.send(Bytes::from(format!("data: {n}\n\n"))).await.is_err() {
                return;
            }
        }
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
    (headers, Body::new(Pieces(receiver)))
}

/// A body that is written piece by piece.
struct Pieces(tokio::sync::mpsc::Receiver<Bytes>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
