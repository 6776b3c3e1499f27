//! The host's own routes, all in one table.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderName, HeaderValue, header};
use toru_core::PluginSupervisor;

use crate::{
    access::Access,
    api, page,
    problem::{Kind, Problem},
};

/// Under it lie the plugins' own routes, which never reach the table.
pub(crate) const PLUGIN_MOUNT: &str = "/api/plugins/route";

/// What may be read without credentials; everything else needs them.
const PUBLIC: [&str; 4] = ["/healthz", "/readyz", "/login", "/style.css"];

/// What the handlers share.
pub(crate) struct App {
    pub(crate) supervisor: Arc<PluginSupervisor>,
    pub(crate) access: Access,
    pub(crate) body_timeout: Duration,
    accepts: AtomicBool,
}

impl App {
    pub(crate) fn new(supervisor: Arc<PluginSupervisor>, access: Access, body_timeout: Duration) -> Self {
        Self { supervisor, access, body_timeout, accepts: AtomicBool::new(false) }
    }

    /// Says whether the host accepts connections; `/readyz` tells.
    pub(crate) fn set_accepts(&self, accepts: bool) {
        self.accepts.store(accepts, Ordering::Relaxed);
    }
}

pub(crate) type Shared = State<Arc<App>>;

/// The table. A method that is not here is answered 405 with `Allow`; HEAD goes with GET.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/", get(page::plugins))
        .route("/login", get(page::login_by_link).post(page::login_by_form))
        .route("/logout", post(page::logout))
        .route("/style.css", get(page::style))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/plugins", get(api::plugins::list))
        .route("/api/plugins/{id}", get(api::plugins::status))
        .route("/api/plugins/{id}/enable", post(api::plugins::enable))
        .route("/api/plugins/{id}/disable", post(api::plugins::disable))
        .route("/api/plugins/{id}/logs", get(api::logs::page))
        .route("/api/plugins/{id}/events", get(api::events::recent))
        .route("/api/plugins/{id}/bundle.js", get(api::bundle::file))
        .route("/api/plugins/{id}/frontend", get(api::frontend::file))
        .route("/api/plugins/{id}/frontend/", get(api::frontend::file))
        .route("/api/plugins/{id}/frontend/{*path}", get(api::frontend::file))
        .route("/api/plugins/{id}/kv", post(api::kv::call))
        .fallback(nothing_here)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(app)
}

/// Whether a path is the mount of the plugins' routes or lies under it.
pub(crate) fn is_plugin_route(path: &str) -> bool {
    path.strip_prefix(PLUGIN_MOUNT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a path of the table may be read without credentials.
pub(crate) fn is_public(path: &str) -> bool {
    PUBLIC.contains(&path)
}

/// The headers of all of the host's own answers: nothing is loaded from elsewhere, framed, guessed, kept or told on.
const OWN_HEADERS: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    // Not `no-referrer`: with it browsers send `Origin: null` with the host's own forms (Fetch, section 3.2).
    (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Adds the headers of the host's own answers. A frontend's file has a policy of its own.
pub(crate) fn secure(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in OWN_HEADERS {
        headers.entry(name).or_insert(value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(app): Shared) -> Result<&'static str, Problem> {
    if app.accepts.load(Ordering::Relaxed) {
        Ok("ready\n")
    } else {
        Err(Problem::new(Kind::ShuttingDown, "The host is finishing its last requests."))
    }
}

async fn nothing_here() -> Response {
    Problem::new(Kind::NotFound, "The host has no such page or endpoint.").into_response()
}

async fn method_not_allowed() -> Response {
    Problem::new(Kind::MethodNotAllowed, "The `Allow` header names the methods that are.").into_response()
}
