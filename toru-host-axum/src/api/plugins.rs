//! What plugins there are, and which are wanted.

use axum::{Json, extract::State};
use serde::Serialize;
use toru_core::supervisor::{CommandError, PluginStatus};

use super::{Plugin, unknown};
use crate::{
    app::Shared,
    problem::{Kind, Problem},
};

/// `{"success": true}`
#[derive(Serialize)]
pub(crate) struct Success {
    success: bool,
}

pub(crate) async fn list(State(app): Shared) -> Json<Vec<PluginStatus>> {
    Json(app.supervisor.list())
}

pub(crate) async fn status(Plugin(status): Plugin) -> Json<PluginStatus> {
    Json(status)
}

pub(crate) async fn enable(State(app): Shared, Plugin(plugin): Plugin) -> Result<Json<Success>, Problem> {
    done(app.supervisor.enable(&plugin.id).await)
}

pub(crate) async fn disable(State(app): Shared, Plugin(plugin): Plugin) -> Result<Json<Success>, Problem> {
    done(app.supervisor.disable(&plugin.id).await)
}

fn done(command: Result<(), CommandError>) -> Result<Json<Success>, Problem> {
    match command {
        Ok(()) => Ok(Json(Success { success: true })),
        Err(CommandError::Unknown(id)) => Err(unknown(&id)),
        Err(CommandError::ShuttingDown) => {
            Err(Problem::new(Kind::ShuttingDown, "The host is stopping its plugins; nothing was changed."))
        }
        Err(error) => {
            tracing::error!(%error, "a plugin's wanted state was not stored");
            Err(Problem::new(
                Kind::Internal,
                "The wish could not be stored, so nothing was changed; the host's log says why.",
            ))
        }
    }
}
