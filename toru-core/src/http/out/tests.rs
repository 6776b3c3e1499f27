//! A plugin that asks, over a link in memory, and services to be asked.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, uri::PathAndQuery};
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::{Notify, mpsc};
use toru_plugin_api::{
    driver::{self, RequestError},
    message::{
        http::RequestHead,
        lifecycle::{Features, feature},
    },
    proto::{OpenError, Settings},
};

use super::*;
use crate::{
    link::{
        Link, LinkNews,
        testing::{FakeV2, TestHost},
    },
    routes::{Endpoint, EndpointSettings},
};

/// A service that is a function.
#[derive(Clone)]
struct Asked<F>(F);

impl<F, A> tower_service::Service<Request<RequestBody>> for Asked<F>
where
    F: FnMut(Request<RequestBody>) -> A,
    A: Future<Output = Result<Response<Full<Bytes>>, BoxError>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = A;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<RequestBody>) -> A {
        (self.0)(request)
    }
}

/// A plugin on a link whose embedder offers a service.
struct Scene {
    plugin: FakeV2,
    link: Link,
    _news: mpsc::Receiver<LinkNews>,
    _host: TestHost,
}

impl Scene {
    async fn new<F, A>(service: F) -> Self
    where
        F: FnMut(Request<RequestBody>) -> A + Clone + Send + 'static,
        A: Future<Output = Result<Response<Full<Bytes>>, BoxError>> + Send + 'static,
    {
        let routes = Arc::new(Routes::default());
        let neighbour = EndpointSettings {
            id: "neighbour".into(),
            route: "/neighbour".into(),
            raw_paths: false,
            is_timed: true,
            max_in_flight: 1,
            queue_len: 1,
            queue_wait: Duration::from_secs(1),
        };
        routes.insert(Endpoint::new(neighbour)).unwrap();
        Self::with(Some(Arc::new(HostService::new(Asked(service), routes)))).await
    }

    async fn with(service: Option<Arc<dyn link::HostService>>) -> Self {
        let mut settings = Settings::default();
        settings.features = Features::new(feature::ALL);
        let (plugin, io) = FakeV2::new(settings.clone(), |request| async move { drop(request) });
        let host = TestHost::new();
        let mut setup = host.setup(2);
        if service.is_some() {
            setup.settings.features = settings.features;
        }
        setup.service = service;
        let (link, mut news) = Link::over(io, setup);
        assert!(matches!(news.recv().await, Some(LinkNews::Ready { .. })));
        Self { plugin, link, _news: news, _host: host }
    }

    async fn ask(
        &self,
        path: &'static str,
        fields: &[(&str, &str)],
    ) -> Result<driver::Response, RequestError> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let head = RequestHead { method: Method::GET, path: PathAndQuery::from_static(path), headers };
        self.plugin.handle.request(head, driver::RequestBody::<Empty<Bytes>>::Empty).await
    }

    async fn get(&self, path: &'static str) -> StatusCode {
        self.ask(path, &[("host", "host")]).await.unwrap().head.status
    }
}

fn ok(text: impl Into<Bytes>) -> Result<Response<Full<Bytes>>, BoxError> {
    Ok(Response::new(Full::new(text.into())))
}

#[tokio::test(start_paused = true)]
async fn a_plugin_asks_and_the_service_knows_which_it_is() {
    let scene = Scene::new(|request: Request<RequestBody>| async move {
        let plugin = request.extensions().get::<PluginId>().unwrap().clone();
        ok(format!("{plugin} asks for {}", request.uri()))
    })
    .await;
    let answer = scene.ask("/a%20b?c=d", &[("host", "host")]).await.unwrap();
    assert_eq!(answer.head.status, StatusCode::OK);
    assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "p asks for /a%20b?c=d");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_forges_no_context_and_sends_nothing_of_its_connection() {
    let scene = Scene::new(|request: Request<RequestBody>| async move {
        let mut names: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let mut response = Response::new(Full::new(Bytes::from(names.join(" "))));
        response.headers_mut().insert("connection", HeaderValue::from_static("x-mine"));
        response.headers_mut().insert("x-mine", HeaderValue::from_static("1"));
        response.headers_mut().insert("x-theirs", HeaderValue::from_static("1"));
        Ok(response)
    })
    .await;
    let fields = [
        ("host", "host"),
        ("x-toru-user", "root"),
        ("x_toru_roles", "admin"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
        ("connection", "x-private"),
        ("x-private", "1"),
        ("upgrade", "websocket"),
        ("transfer-encoding", "chunked"),
        ("accept", "*/*"),
    ];
    let answer = scene.ask("/", &fields).await.unwrap();
    let names: Vec<&str> = answer.head.headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-theirs"]);
    assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "accept host");
}

#[tokio::test(start_paused = true)]
async fn other_plugins_are_403_what_is_unknown_404_and_no_target_400() {
    let scene = Scene::new(|_| async { ok("") }).await;
    for (fields, status) in [
        (&[("host", "host")][..], 200),
        (&[("host", "HOST")], 200),
        (&[("host", "neighbour")], 403),
        (&[("host", "stranger")], 404),
        (&[("host", "host"), ("host", "neighbour")], 400),
        (&[], 400),
    ] {
        assert_eq!(scene.ask("/", fields).await.unwrap().head.status.as_u16(), status, "{fields:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_or_panics_is_a_502_and_the_next_request_is_answered() {
    let scene = Scene::new(|request: Request<RequestBody>| async move {
        match request.uri().path() {
            "/fails" => Err("no paper".into()),
            "/panics" => panic!("on purpose"),
            "/continues" => {
                Ok(Response::builder().status(StatusCode::CONTINUE).body(Full::default()).unwrap())
            }
            _ => ok(""),
        }
    })
    .await;
    for path in ["/fails", "/panics", "/continues"] {
        assert_eq!(scene.get(path).await, StatusCode::BAD_GATEWAY, "{path}");
        assert_eq!(scene.get("/").await, StatusCode::OK);
    }
}

/// Counts what is in work.
struct Working(Arc<AtomicUsize>, Arc<Notify>);

impl Working {
    fn begin(working: &Arc<AtomicUsize>, changed: &Arc<Notify>) -> Self {
        working.fetch_add(1, Ordering::SeqCst);
        changed.notify_one();
        Self(working.clone(), changed.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
        self.1.notify_one();
    }
}

/// A scene whose service counts what it works on and never ends, and a way to await a count.
async fn endless() -> (Arc<Scene>, Arc<AtomicUsize>, Arc<Notify>) {
    let (working, changed) = (Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
    let service = {
        let (working, changed) = (working.clone(), changed.clone());
        move |_| {
            let working = Working::begin(&working, &changed);
            async move {
                let _working = working;
                std::future::pending().await
            }
        }
    };
    (Arc::new(Scene::new(service).await), working, changed)
}

async fn comes_to(working: &AtomicUsize, changed: &Notify, count: usize) {
    while working.load(Ordering::SeqCst) != count {
        changed.notified().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_gives_up_has_the_work_dropped() {
    let (scene, working, changed) = endless().await;
    tokio::select! {
        _ = scene.get("/") => panic!("it never ends"),
        () = comes_to(&working, &changed, 1) => {}
    }
    comes_to(&working, &changed, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_dies_has_the_work_dropped() {
    let (scene, working, changed) = endless().await;
    let asks = tokio::spawn({
        let scene = scene.clone();
        async move { scene.ask("/", &[("host", "host")]).await.map(drop) }
    });
    comes_to(&working, &changed, 1).await;
    scene.plugin.handle.close();
    comes_to(&working, &changed, 0).await;
    assert!(matches!(asks.await.unwrap(), Err(RequestError::LinkLost)));
}

#[tokio::test(start_paused = true)]
async fn no_more_than_128_requests_of_a_link_are_in_work() {
    let (scene, working, changed) = endless().await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..MAX_IN_WORK + 50 {
        let scene = scene.clone();
        asking.spawn(async move { scene.ask("/", &[("host", "host")]).await.map(drop) });
    }
    comes_to(&working, &changed, MAX_IN_WORK).await;
    // All are with the host, and no further one is begun.
    while scene.link.open_streams() < MAX_IN_WORK + 50 {
        tokio::task::yield_now().await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(working.load(Ordering::SeqCst), MAX_IN_WORK);
    asking.abort_all();
    while asking.join_next().await.is_some() {}
    comes_to(&working, &changed, 0).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_service_the_host_offers_nothing() {
    let scene = Scene::with(None).await;
    let refused = scene.ask("/", &[("host", "host")]).await;
    assert!(matches!(refused, Err(RequestError::Open(OpenError::NotOffered))), "{refused:?}");
}
