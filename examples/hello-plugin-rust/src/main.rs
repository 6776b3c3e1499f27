//! The process: one thread, one plugin.

use hello_plugin_rust::Hello;
use toru_plugin_api::{ServeError, serve};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    serve(Hello::default()).await
}
