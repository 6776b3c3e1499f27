//! A plugin made with the Rust SDK, for the integration tests: it serves every link that it inherits.
//!
//! It answers `/echo` with the request's body as it comes, and all else with what it was asked, as `misbehave ok` does.

use toru_core::api::{
    HttpRequest, HttpResponse, PluginContext, PluginMetadata, PluginResult, ServeError, ToruPlugin,
    async_trait, http::StatusCode, serve,
};

struct Sdk;

#[async_trait]
impl ToruPlugin for Sdk {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::new("sdk", "SDK", "1.0.0", "/sdk").expect("these keep the rules")
    }

    async fn handle_http(&self, _: &PluginContext, request: HttpRequest) -> PluginResult<HttpResponse> {
        if request.path() == "/echo" {
            return Ok(HttpResponse::new(StatusCode::OK, request.into_body()));
        }
        Ok(HttpResponse::text(format!("{} {}", request.method(), request.path())))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    serve(Sdk).await
}
