//! Who looks at the page, and under which address.

use std::{convert::Infallible, str};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode, utf8_percent_encode};
use toru_plugin_api::Caller;

/// The cookie with the name that a visitor gave.
const NAME: &str = "name";
/// The most characters of a name.
const MAX_NAME: usize = 40;
/// How long a browser keeps it: a year, in seconds.
const KEPT: u32 = 365 * 24 * 60 * 60;

/// Who looks at the page, and under which address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Visitor {
    /// As they named themselves, or as the host knows them; empty: someone.
    pub(crate) name: String,
    /// What the app's own paths begin with: empty when it runs alone.
    pub(crate) base_path: String,
    /// The address of the page.
    pub(crate) url: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Only the host puts it there: without one, headers are whatever the client wrote.
        let caller: Option<&Caller> = parts.extensions.get();
        let headers = &parts.headers;
        let base_path = caller.map(Caller::base_path).unwrap_or_default().to_owned();
        let scheme = match caller.and(text(headers, "x-forwarded-proto")) {
            Some("https") => "https",
            _ => "http",
        };
        let host = text(headers, header::HOST.as_str()).unwrap_or("localhost");
        let url = format!("{scheme}://{host}{base_path}/");
        let known = || caller.and_then(Caller::user).unwrap_or_default().to_owned();
        let name = named(headers).unwrap_or_else(known);
        Ok(Self { name, base_path, url })
    }
}

/// The value of `Set-Cookie` that keeps a name, or forgets it where that is empty.
pub(crate) fn cookie(name: &str) -> String {
    let name: String = name.trim().chars().take(MAX_NAME).collect();
    let kept = if name.is_empty() { 0 } else { KEPT };
    let value = utf8_percent_encode(&name, NON_ALPHANUMERIC);
    format!("{NAME}={value}; Path=/; Max-Age={kept}; SameSite=Lax; HttpOnly")
}

fn named(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let (_, value) = cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == NAME)?;
    let name = percent_decode(value.as_bytes()).decode_utf8().ok()?;
    Some(name.chars().take(MAX_NAME).collect())
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| str::from_utf8(value.as_bytes()).ok())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn visitor(request: axum::http::request::Builder) -> Visitor {
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let Ok(visitor) = Visitor::from_request_parts(&mut parts, &()).await;
        visitor
    }

    #[tokio::test]
    async fn alone_an_app_believes_no_header_of_a_host() {
        let request = Request::get("/")
            .header("host", "localhost:8080")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-prefix", "/elsewhere")
            .header("x-toru-user", "root");
        let seen = visitor(request).await;
        let url = "http://localhost:8080/".to_owned();
        assert_eq!(seen, Visitor { name: String::new(), base_path: String::new(), url });
    }

    #[tokio::test]
    async fn a_host_says_who_asks_and_under_which_address() {
        let mut request =
            Request::get("/").header("host", "toru.example").header("x-forwarded-proto", "https");
        let headers = [("x-forwarded-prefix", "/mount/todo"), ("x-toru-user", "admin")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        request = request.extension(Caller::from_headers(&headers.into_iter().collect()));
        let seen = visitor(request).await;
        let url = "https://toru.example/mount/todo/".to_owned();
        assert_eq!(seen, Visitor { name: "admin".into(), base_path: "/mount/todo".into(), url });
    }

    #[tokio::test]
    async fn a_name_comes_back_from_its_cookie() {
        let set = cookie(" Jürgen; Path=/x ");
        assert!(set.ends_with("; Path=/; Max-Age=31536000; SameSite=Lax; HttpOnly"), "{set}");
        let pair = set.split(';').next().unwrap().to_owned();
        let seen = visitor(Request::get("/").header("cookie", format!("a=1; {pair}"))).await;
        assert_eq!(seen.name, "Jürgen; Path=/x");
        assert!(cookie("  ").starts_with("name=; Path=/; Max-Age=0;"));
    }
}
