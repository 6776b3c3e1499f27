//! A web app that was written to stand alone, served below a mount.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, Response};
use toru_plugin_api::{
    Body, Caller, HttpRequest, HttpResponse, PluginContext, PluginMetadata, PluginResult, ToruPlugin,
    async_trait, testing::TestHost,
};
use tower_service::Service;

const MOUNT: &str = "/api/plugins/route/app";

/// Answers each request by a function of it.
#[derive(Clone)]
struct App(fn(Request<Body>) -> Response<Body>);

impl Service<Request<Body>> for App {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        ready(Ok((self.0)(request)))
    }
}

async fn ask(
    app: fn(Request<Body>) -> Response<Body>,
    headers: &[(&'static str, &'static str)],
) -> Response<Body> {
    let metadata = PluginMetadata::new("app", "App", "1.0.0", "/app").unwrap();
    let host = TestHost::builder().start_service(&metadata, App(app)).await.unwrap();
    let mut request = Request::get("/enter").body(Body::empty()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    host.request(request).await.unwrap()
}

/// Sends its client elsewhere, with cookies.
fn redirect(_: Request<Body>) -> Response<Body> {
    Response::builder()
        .status(303)
        .header("location", "/done")
        .header("content-location", "http://example.org/enter")
        .header("refresh", "3; url=/later")
        .header("set-cookie", "a=1; Path=/")
        .header("set-cookie", "b=2")
        .header("set-cookie", "__Host-c=3; Path=/; Secure")
        .header("link", "</style.css>; rel=preload")
        .body(Body::empty())
        .unwrap()
}

fn fields(response: &Response<Body>) -> Vec<(&str, &str)> {
    let headers = response.headers().iter();
    headers.map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect()
}

#[tokio::test]
async fn what_a_service_says_of_its_own_paths_is_put_under_the_mount() {
    let response = ask(redirect, &[("host", "example.org"), ("x-forwarded-prefix", MOUNT)]).await;
    assert_eq!(response.status(), 303);
    assert_eq!(
        fields(&response),
        [
            ("location", "/api/plugins/route/app/done"),
            ("content-location", "http://example.org/api/plugins/route/app/enter"),
            ("refresh", "3; url=/api/plugins/route/app/later"),
            ("set-cookie", "a=1; Path=/api/plugins/route/app"),
            ("set-cookie", "b=2"),
            ("set-cookie", "__Host-c=3; Path=/; Secure"),
            ("link", "</style.css>; rel=preload"),
        ]
    );
}

#[tokio::test]
async fn without_a_mount_an_answer_stays_as_it_is() {
    let response = ask(redirect, &[("host", "example.org")]).await;
    assert_eq!(fields(&response), fields(&redirect(Request::default())));
}

#[tokio::test]
async fn a_service_finds_its_caller_and_its_context_in_the_extensions() {
    fn tell(request: Request<Body>) -> Response<Body> {
        let caller: &Caller = request.extensions().get().unwrap();
        let context: &PluginContext = request.extensions().get().unwrap();
        let left = caller.deadline().unwrap().saturating_duration_since(Instant::now());
        assert!(left <= Duration::from_secs(30) && left > Duration::from_secs(1), "{left:?}");
        let roles: Vec<&str> = caller.roles().collect();
        let told = (context.plugin_id(), caller.user(), roles, caller.request_id(), caller.base_path());
        Response::new(format!("{told:?}").into())
    }
    let headers = [
        ("x-toru-user", "ann"),
        ("x-toru-roles", "admin,user"),
        ("x-toru-request-id", "r1"),
        ("x-toru-timeout-ms", "30000"),
        ("x-forwarded-prefix", MOUNT),
    ];
    let told = ask(tell, &headers).await.into_body().text().await.unwrap();
    assert_eq!(told, format!(r#"("app", Some("ann"), ["admin", "user"], Some("r1"), "{MOUNT}")"#));
}

/// A plugin of Toru's own kind: it knows where it is.
struct Own;

#[async_trait]
impl ToruPlugin for Own {
    fn metadata(&self) -> PluginMetadata {
        PluginMetadata::new("app", "App", "1.0.0", "/app").unwrap()
    }

    async fn handle_http(&self, _: &PluginContext, request: HttpRequest) -> PluginResult<HttpResponse> {
        let there = format!("{}/done", request.caller().base_path());
        let mut response = HttpResponse::from(redirect(Request::default()));
        response.headers_mut().insert("x-there", there.parse().unwrap());
        Ok(response)
    }
}

#[tokio::test]
async fn a_plugin_of_the_trait_writes_its_own_paths() {
    let host = TestHost::start(Own).await.unwrap();
    let request = Request::get("/").header("x-forwarded-prefix", MOUNT).body(Body::empty()).unwrap();
    let response = host.request(request).await.unwrap();
    assert_eq!(response.headers()["x-there"], "/api/plugins/route/app/done");
    assert_eq!(response.headers()["location"], "/done");
}
