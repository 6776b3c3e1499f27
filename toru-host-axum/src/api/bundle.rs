//! A plugin's frontend bundle.

use std::{io, path::Path};

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use tokio::io::AsyncReadExt;

use super::{Plugin, frontend};
use crate::{
    app::Shared,
    problem::{Kind, Problem},
};

/// A bundle is held in memory while it is sent; a script of this size is already slow to load.
const MAX_BYTES: u64 = 16 << 20;

pub(crate) async fn file(
    State(app): Shared,
    Plugin(plugin): Plugin,
    request: Request,
) -> Result<Response, Problem> {
    if let Some(answer) = frontend::bundle(State(app.clone()), &plugin.id, request).await {
        return answer;
    }
    let path = app.supervisor.bundle(&plugin.id).ok_or_else(no_bundle)?;
    let script = read(&path).await.map_err(|error| unreadable(&error, &path))?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8")),
        // The bundle changes with the plugin, whose files may be replaced at any time.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((headers, script).into_response())
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut script = Vec::new();
    let mut file = tokio::fs::File::open(path).await?.take(MAX_BYTES + 1);
    file.read_to_end(&mut script).await?;
    if script.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("it is larger than {MAX_BYTES} bytes"),
        ));
    }
    Ok(script)
}

fn no_bundle() -> Problem {
    Problem::new(
        Kind::NoBundle,
        "The plugin brings no frontend: its folder holds no `bundle.js` and its manifest names no other.",
    )
}

fn unreadable(error: &io::Error, path: &Path) -> Problem {
    if error.kind() == io::ErrorKind::NotFound {
        return no_bundle();
    }
    tracing::error!(%error, path = %path.display(), "a frontend bundle cannot be read");
    Problem::new(Kind::Internal, "The plugin's frontend bundle cannot be read; the host's log says why.")
}
