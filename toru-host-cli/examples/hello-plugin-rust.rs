//! The example plugin of the repository, built for the tests of this package.

use toru_plugin_api::{ServeError, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    serve(hello_plugin_rust::Hello::default()).await
}
