//! The example app of the repository, built for the tests of this package.

use std::error::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    todo_axum::run().await
}
