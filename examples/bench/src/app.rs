//! The application that the rivals serve: the same 100 bytes of JSON that the example plugin answers.

use std::{net::SocketAddr, path::Path};

use axum::{Router, http::header::CONTENT_TYPE, routing::get};

use crate::Outcome;

const HUNDRED_BYTES: &str =
    r#"{"plugin":"axum-direct","padding":"..............................................................."}"#;
const _: () = assert!(HUNDRED_BYTES.len() == 100);

fn router() -> Router {
    Router::new().route("/json", get(|| async { ([(CONTENT_TYPE, "application/json")], HUNDRED_BYTES) }))
}

pub(crate) fn serve_tcp(address: SocketAddr) -> Outcome<()> {
    on_one_thread(async move {
        let listener = tokio::net::TcpListener::bind(address).await?;
        println!("listening on http://{}", listener.local_addr()?);
        Ok(axum::serve(listener, router()).await?)
    })
}

pub(crate) fn serve_unix(path: &Path) -> Outcome<()> {
    on_one_thread(async move {
        let listener = tokio::net::UnixListener::bind(path)?;
        println!("listening on {}", path.display());
        Ok(axum::serve(listener, router()).await?)
    })
}

/// One serving thread, as every system of a comparison has.
fn on_one_thread(serve: impl Future<Output = Outcome<()>>) -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(serve)
}
