//! A plugin that keeps subscribers in its store, and welcomes each by a letter that its host sends.
//!
//! | path | answer |
//! |---|---|
//! | `GET /subscribers` | all addresses, as JSON |
//! | `POST /subscribers` with `{"address": "…"}` | 201 once the letter is sent; 200 for who is a subscriber already |

use serde::Deserialize;
use serde_json::json;
use toru_plugin_api::{
    HttpRequest, HttpResponse, PluginContext, PluginError, PluginMetadata, PluginResult, ServeError,
    ToruPlugin, async_trait,
    http::{Method, Request, StatusCode, header},
    serve,
};

/// Before each address in the store.
const PREFIX: &str = "subscriber/";

struct Newsletter;

#[derive(Deserialize)]
struct Subscriber {
    address: String,
}

#[async_trait]
impl ToruPlugin for Newsletter {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::from_manifest(include_str!("../../newsletter/plugin.toml"))
            .expect("plugin.toml keeps the rules")
    }

    async fn handle_http(&self, context: &PluginContext, request: HttpRequest) -> PluginResult<HttpResponse> {
        match (request.method(), request.path()) {
            (&Method::GET, "/subscribers") => list(context).await,
            (&Method::POST, "/subscribers") => subscribe(context, request.json().await?).await,
            (_, path) => Err(PluginError::NotFound(format!("there is nothing at {path}"))),
        }
    }
}

async fn list(context: &PluginContext) -> PluginResult<HttpResponse> {
    let keys = context.kv().keys(PREFIX).collect().await?;
    let addresses: Vec<&str> = keys.iter().map(|key| &key[PREFIX.len()..]).collect();
    HttpResponse::json(&addresses)
}

async fn subscribe(context: &PluginContext, subscriber: Subscriber) -> PluginResult<HttpResponse> {
    let key = format!("{PREFIX}{}", subscriber.address);
    if !context.kv().insert(&key, "welcome").await? {
        return Ok(HttpResponse::text("You are a subscriber already.\n"));
    }
    let welcomed = welcome(context, &subscriber.address).await;
    if welcomed.is_err() {
        // Who got no letter may try again.
        context.kv().delete(&key).await?;
    }
    welcomed.map(|()| HttpResponse::text("Welcome!\n").with_status(StatusCode::CREATED))
}

async fn welcome(context: &PluginContext, address: &str) -> PluginResult<()> {
    let letter = json!({"to": address, "subject": "Welcome", "body": "You will hear from us.\n"});
    let request =
        Request::post("/mail").header(header::CONTENT_TYPE, "application/json").body(letter.to_string())?;
    let answer = context.host().request(request).await?;
    let status = answer.status();
    if status == StatusCode::CREATED {
        return Ok(());
    }
    let why = answer.into_body().text().await?;
    if status.is_client_error() {
        return Err(PluginError::BadRequest(format!("The host sends no such letter: {why}")));
    }
    Err(PluginError::internal(format!("the host answered {status}: {why}")))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), ServeError> {
    serve(Newsletter).await
}
