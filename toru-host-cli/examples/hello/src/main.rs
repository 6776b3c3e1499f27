//! The plugin of the README, as it stands there.

use toru_plugin_api::{HttpRequest, HttpResponse, PluginContext, PluginMetadata, PluginResult};
use toru_plugin_api::{ServeError, ToruPlugin, async_trait, serve};

struct Hello;

#[async_trait]
impl ToruPlugin for Hello {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::from_manifest(include_str!("../plugin.toml")).expect("plugin.toml is valid")
    }
    async fn handle_http(&self, _: &PluginContext, _: HttpRequest) -> PluginResult<HttpResponse> {
        Ok(HttpResponse::text("Hello!"))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    serve(Hello).await
}
