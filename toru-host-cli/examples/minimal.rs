//! A whole plugin in Rust: it counts its visitors in the host's store.

use toru_plugin_api::{HttpRequest, HttpResponse, PluginContext, PluginError, PluginMetadata, PluginResult};
use toru_plugin_api::{ServeError, ToruPlugin, async_trait, serve};

struct Visitors;

#[async_trait]
impl ToruPlugin for Visitors {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::new("minimal", "Minimal", "0.1.0", "/minimal").expect("these keep the rules")
    }

    async fn handle_http(&self, context: &PluginContext, _: HttpRequest) -> PluginResult<HttpResponse> {
        let before = context.kv().get_text("visitors").await?.unwrap_or_else(|| "0".to_owned());
        let visitors = before.parse::<u64>().map_err(PluginError::internal)? + 1;
        context.kv().set_text("visitors", visitors.to_string()).await?;
        Ok(HttpResponse::text(visitors.to_string()))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    serve(Visitors).await
}
