//! The process: one thread, one app.

use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    todo_axum::run().await
}
