//! A plugin's log, page by page.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use toru_core::{
    api::message::log::Level,
    log::{LogQuery, LogRecord},
};

use super::{Checked, Plugin, query::between_one_and};
use crate::{
    app::Shared,
    problem::{Kind, Problem},
};

const DEFAULT_PAGE_SIZE: u32 = 100;
/// At 8 KiB a line, 8 MiB in memory at most.
const MAX_PAGE_SIZE: u32 = 1_000;
/// More lines than the rotated files hold, and no product of two numbers overflows.
const MAX_PAGE: u32 = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    #[serde(default = "first_page")]
    page: u32,
    #[serde(default = "default_page_size")]
    page_size: u32,
    #[serde(default = "lowest_level")]
    level: Level,
}

fn first_page() -> u32 {
    1
}

fn default_page_size() -> u32 {
    DEFAULT_PAGE_SIZE
}

fn lowest_level() -> Level {
    Level::Trace
}

#[derive(Serialize)]
pub(crate) struct Page {
    logs: Vec<LogRecord>,
    page: usize,
    page_size: usize,
}

pub(crate) async fn page(
    State(app): Shared,
    Plugin(plugin): Plugin,
    Checked(parameters): Checked<Parameters>,
) -> Result<Json<Page>, Problem> {
    let page = between_one_and("page", parameters.page, MAX_PAGE)?;
    let page_size = between_one_and("page_size", parameters.page_size, MAX_PAGE_SIZE)?;
    let query = LogQuery { page, page_size, level: parameters.level };
    let logs = app.supervisor.logs(&plugin.id, query).await.map_err(|error| {
        tracing::error!(%error, plugin = plugin.id, "a log cannot be read");
        Problem::new(Kind::Internal, "The plugin's log cannot be read; the host's log says why.")
    })?;
    Ok(Json(Page { logs, page, page_size }))
}
