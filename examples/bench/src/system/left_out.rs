//! The rivals that take long to build or to install, where this program was built without them.

use super::System;
use crate::tool::NotStarted;

pub(super) fn tonic() -> Result<System, NotStarted> {
    left_out()
}

pub(super) fn go_plugin() -> Result<System, NotStarted> {
    left_out()
}

pub(super) fn uvicorn() -> Result<System, NotStarted> {
    left_out()
}

fn left_out() -> Result<System, NotStarted> {
    Err(NotStarted::Missing(
        "run the benchmark as `cargo run --release -p toru-bench --features rivals`".into(),
    ))
}
