//! Bodies of requests to the host itself: of a bounded size, and here within a bounded time.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::problem::{Kind, Problem};

/// Reads a body whole. `too_large` says what has more than `most` bytes.
pub(crate) async fn collect(
    body: Body,
    most: usize,
    within: Duration,
    too_large: impl FnOnce() -> String,
) -> Result<Bytes, Problem> {
    let collected = timeout(within, Limited::new(body, most).collect()).await.map_err(|_| {
        Problem::new(Kind::RequestTimeout, "The rest of the body did not come; send it without pauses.")
    })?;
    match collected {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Problem::new(Kind::TooLarge, too_large())),
        Err(_) => Err(Problem::new(Kind::BadRequest, "The body could not be read to its end.")),
    }
}
