//! A plugin that keeps subscribers in its store, and welcomes each by a letter that its host sends.
//!
//! | path | answer |
//! |---|---|
//! | `GET /subscribers` | all addresses, as JSON |
//! | `POST /subscribers` with `{"address": "…"}` | 201 once the letter is sent; 200 for who is a subscriber already; 503 while a letter is on its way |

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use toru_plugin_api::{
    HttpRequest, HttpResponse, PluginContext, PluginError, PluginMetadata, PluginResult, ServeError,
    ToruPlugin, async_trait,
    http::{Method, Request, StatusCode, header},
    serve,
};

/// Before each subscriber's address in the store.
const PREFIX: &str = "subscriber/";
/// Before each address to which a letter is on its way.
const WELCOMING: &str = "welcoming/";
/// The longest that a letter is on its way: longer than a host gives a plugin for an answer. A client that leaves takes the handler
/// with it, wherever that waits; then only time gives the address free.
const WELCOMING_MAX: Duration = Duration::from_secs(60);

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
    let Subscriber { address } = subscriber;
    let (kept, welcoming) = (format!("{PREFIX}{address}"), format!("{WELCOMING}{address}"));
    if !context.kv().insert_with_ttl(&welcoming, "", WELCOMING_MAX).await? {
        return Err(PluginError::Unavailable(format!("a letter to {address} is on its way")));
    }
    if context.kv().get(&kept).await?.is_some() {
        context.kv().delete(&welcoming).await?;
        return Ok(HttpResponse::text("You are a subscriber already.\n"));
    }
    let welcomed = welcome(context, &address).await;
    let end = context.kv().batch().delete(welcoming);
    // Who got no letter may try again at once.
    let end = if welcomed.is_ok() { end.set(kept, "welcome") } else { end };
    end.commit().await?;
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use axum::{Router, routing};
    use tokio::{sync::Notify, time::advance};
    use toru_plugin_api::testing::TestHost;

    use super::*;

    /// A host that answers no letter but those after the first.
    fn slow_once(arrived: Arc<Notify>) -> Router {
        let letters = Arc::new(AtomicUsize::new(0));
        let send = async move || {
            if letters.fetch_add(1, Ordering::Relaxed) == 0 {
                arrived.notify_one();
                std::future::pending::<()>().await;
            }
            StatusCode::CREATED
        };
        Router::new().route("/mail", routing::post(send))
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_while_the_letter_is_on_its_way_can_subscribe_later() {
        let arrived = Arc::new(Notify::new());
        let host =
            TestHost::builder().host_service(slow_once(arrived.clone())).start(Newsletter).await.unwrap();
        let ask = || Request::post("/subscribers").body(r#"{"address": "ann@example.org"}"#).unwrap();
        tokio::select! {
            _ = host.request(ask()) => panic!("the letter was sent"),
            () = arrived.notified() => {}
        }
        assert_eq!(host.request(ask()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        let list = host.get("/subscribers").await.unwrap();
        assert_eq!(list.into_body().text().await.unwrap(), "[]", "nobody has a letter");
        advance(WELCOMING_MAX).await;
        assert_eq!(host.request(ask()).await.unwrap().status(), StatusCode::CREATED);
        assert_eq!(host.request(ask()).await.unwrap().status(), StatusCode::OK);
    }
}
