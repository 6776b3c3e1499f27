//! A todo list for several people at once: an ordinary axum app, which knows of Toru in two places only.
//!
//! | place | alone | as a plugin |
//! |---|---|---|
//! | `store` | the list is in memory | the list is in the plugin's key-value store |
//! | `visitor` | links begin with `/`, everyone is who they say | links begin with the base path, the host says who asks |
//!
//! | path | answer |
//! |---|---|
//! | `GET /` | the page |
//! | `POST /todos`, `/todos/{id}/toggle`, `/todos/{id}/delete` | changes the list, then goes to the page |
//! | `POST /name` | keeps the visitor's name in a cookie, then goes to the page |
//! | `GET /live` | a WebSocket: the list as JSON, now and after each change |

mod live;
mod page;
mod store;
mod todos;
mod visitor;

use std::{env, error::Error};

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use tokio::net::TcpListener;
use toru_plugin_api::{PluginMetadata, serve_service};

use store::Shared;

/// Serves the app: with `--listen ADDR` on an address of its own, else as a plugin.
///
/// # Errors
/// The address cannot be had, or the plugin's end was an error.
pub async fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [option, address] = &arguments[..]
        && option == "--listen"
    {
        let listener = TcpListener::bind(address).await?;
        println!("listening on http://{}", listener.local_addr()?);
        return Ok(axum::serve(listener, app()).await?);
    }
    if arguments.is_empty() && env::var_os("TORU_PLUGIN_FD").is_none() {
        eprintln!("alone it runs as: todo-axum --listen 127.0.0.1:8080");
    }
    let metadata = PluginMetadata::from_manifest(include_str!("../plugin.toml"))?;
    Ok(serve_service(metadata, app()).await?)
}

/// The app: what `axum::serve` serves, and `serve_service` too.
pub fn app() -> Router {
    Router::new()
        .route("/", get(page::list))
        .route("/app.js", get(page::script))
        .route("/style.css", get(page::style))
        .route("/todos", post(page::add))
        .route("/todos/{id}/toggle", post(page::toggle))
        .route("/todos/{id}/delete", post(page::delete))
        .route("/name", post(page::name))
        .route("/live", get(live::socket))
        .layer(from_fn(same_origin))
        .with_state(Shared::default())
}

/// Refuses what a page of another site makes a browser do: neither forms nor WebSockets are bound to their own site.
async fn same_origin(request: Request, next: Next) -> Response {
    let changes = !request.method().is_safe() || request.headers().contains_key(header::UPGRADE);
    if changes && is_foreign(request.headers()) {
        return (StatusCode::FORBIDDEN, "this request comes from a page of another site").into_response();
    }
    next.run(request).await
}

/// Whether the page that asks (RFC 6454) is of another host than the one that is asked. A program sends no `Origin`.
fn is_foreign(headers: &HeaderMap) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let host = headers.get(header::HOST).map_or(&b""[..], |host| host.as_bytes());
    let site = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    !site.is_some_and(|(_, site)| site.as_bytes().eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_another_site_is_foreign_and_a_program_is_not() {
        let is_foreign = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "todo.example:8080".parse().unwrap());
            origin.map(|origin| headers.insert(header::ORIGIN, origin.parse().unwrap()));
            is_foreign(&headers)
        };
        assert!(!is_foreign(None));
        assert!(!is_foreign(Some("http://todo.example:8080")));
        assert!(!is_foreign(Some("https://Todo.example:8080")));
        for origin in ["http://todo.example", "http://evil.example", "null", "", "todo.example:8080"] {
            assert!(is_foreign(Some(origin)), "{origin}");
        }
    }
}
