//! The REST API, one file per conversation.

pub(crate) mod bundle;
pub(crate) mod events;
pub(crate) mod frontend;
pub(crate) mod kv;
pub(crate) mod logs;
pub(crate) mod plugins;
mod query;

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;
use toru_core::supervisor::PluginStatus;

use crate::{
    app::App,
    problem::{Kind, Problem},
};

pub(crate) use query::Checked;

/// The plugin that a path names by its `{id}`: 404 if there is none.
pub(crate) struct Plugin(pub(crate) PluginStatus);

impl FromRequestParts<Arc<App>> for Plugin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| Problem::new(Kind::BadRequest, "The plugin's id in the path is not UTF-8."))?;
        let id = params.iter().find_map(|(name, value)| (name == "id").then_some(value));
        let id = id.expect("each route with a plugin has an `{id}`");
        app.supervisor.status(id).map(Self).ok_or_else(|| unknown(id))
    }
}

fn unknown(id: &str) -> Problem {
    Problem::new(Kind::UnknownPlugin, format!("There is no plugin {id:?}; `GET /api/plugins` lists them."))
}
