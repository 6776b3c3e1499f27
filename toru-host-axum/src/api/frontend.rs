//! The files of a plugin's frontend, where that is a folder.

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use toru_core::frontend::FrontendError;

use super::Plugin;
use crate::{
    app::Shared,
    problem::{Kind, Problem},
};

/// The bundle of such a frontend, which is served at the bundle's own address too.
const BUNDLE: &str = "bundle.js";

pub(crate) async fn file(
    State(app): Shared,
    Plugin(plugin): Plugin,
    request: Request,
) -> Result<Response, Problem> {
    let Some(frontend) = app.supervisor.frontend(&plugin.id) else {
        return Err(no_frontend(plugin.enabled));
    };
    let (parts, _) = request.into_parts();
    match below(parts.uri.path()) {
        Some(path) => Ok(frontend.answer(&parts, path).await.map_err(problem)?.map(Body::new)),
        None => Ok(to_folder(parts.uri.query())),
    }
}

/// `bundle.js` of the folder; `None` if there is none, or no folder.
pub(super) async fn bundle(
    State(app): Shared,
    id: &str,
    request: Request,
) -> Option<Result<Response, Problem>> {
    let frontend = app.supervisor.frontend(id)?;
    let (parts, _) = request.into_parts();
    match frontend.answer(&parts, BUNDLE).await {
        Ok(answer) => Some(Ok(answer.map(Body::new))),
        Err(FrontendError::NotFound) => None,
        Err(error) => Some(Err(problem(error))),
    }
}

/// What stands after `/api/plugins/{id}/frontend/`, as it was received: nothing is decoded before it is judged. `None` without the
/// last slash.
fn below(path: &str) -> Option<&str> {
    path.splitn(6, '/').nth(5)
}

/// A page's relative names are resolved against the folder, so that its address has to end with a slash.
fn to_folder(query: Option<&str>) -> Response {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let location = HeaderValue::try_from(format!("./frontend/{query}"))
        .unwrap_or(HeaderValue::from_static("./frontend/"));
    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response()
}

fn no_frontend(is_enabled: bool) -> Problem {
    Problem::new(
        Kind::NoFrontend,
        if is_enabled {
            "The plugin brings no folder of frontend files: its manifest names none (`frontend = \"dist/\"`)."
        } else {
            "The plugin is disabled; enable it to see its frontend."
        },
    )
}

fn problem(error: FrontendError) -> Problem {
    match error {
        FrontendError::BadPath => Problem::new(Kind::BadRequest, sentence(error)),
        FrontendError::NotFound => Problem::new(Kind::NotFound, sentence(error)),
        FrontendError::MethodNotAllowed => Problem::new(Kind::MethodNotAllowed, sentence(error)),
        _ => Problem::new(Kind::Internal, sentence(error)),
    }
}

fn sentence(error: FrontendError) -> String {
    let text = error.to_string();
    let (first, rest) = text.split_at(1);
    format!("{}{rest}.", first.to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_below_the_frontend_is_as_it_was_received() {
        for (path, rest) in [
            ("/api/plugins/hello/frontend/", Some("")),
            ("/api/plugins/hello/frontend/a%2fb/c", Some("a%2fb/c")),
            ("/api/plugins/h%65llo/frontend//x", Some("/x")),
            ("/api/plugins/hello/frontend", None),
        ] {
            assert_eq!(below(path), rest);
        }
    }
}
