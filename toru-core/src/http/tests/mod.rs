//! The service in front of a plugin's end of a link.

mod answers;
mod availability;
mod bodies;
mod collected;
mod link;
mod requests;
mod upgrades;
mod upgrades_hyper;
mod v1;
mod v1_rules;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty, Full};
use tokio::sync::mpsc;
use toru_plugin_api::{driver::IncomingRequest, message::http::ResponseHead, proto::Settings};

use super::{AnswerBody, PluginService};
use crate::{
    lanes::{LaneId, Lease},
    link::{
        Link, LinkNews,
        testing::{FakeV2, PLUGIN, RawV2, TestHost},
    },
    routes::{Availability, Endpoint, EndpointSettings, ReadyLinks, Routes},
};

/// The route of the plugin in these tests.
const ROUTE: &str = "/r";

/// A service with one route.
#[derive(Debug)]
struct Rig {
    host: TestHost,
    endpoint: std::sync::Arc<Endpoint>,
    service: PluginService,
}

impl Rig {
    fn new() -> Self {
        Self::over(TestHost::new(), |_| {})
    }

    fn over(host: TestHost, adjust: impl FnOnce(&mut EndpointSettings)) -> Self {
        let mut settings = EndpointSettings {
            id: PLUGIN.into(),
            route: ROUTE.into(),
            raw_paths: false,
            is_timed: true,
            max_in_flight: host.config.max_in_flight,
            queue_len: host.config.queue_len,
            queue_wait: host.config.queue_wait,
        };
        adjust(&mut settings);
        let endpoint = Endpoint::new(settings);
        let routes = std::sync::Arc::new(Routes::default());
        routes.insert(endpoint.clone()).unwrap();
        let service = PluginService::new(routes, Lease::own(), &host.config).host_cookies(["toru_session"]);
        Self { host, endpoint, service }
    }

    fn ready(&self, link: &Link) {
        self.ready_with(link, Vec::new());
    }

    fn ready_with(&self, first: &Link, by_lane: Vec<(LaneId, Link)>) {
        self.endpoint.set(Availability::Ready(ReadyLinks { first: first.clone(), by_lane }));
    }

    /// What the service answers to this request, body and all.
    async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Empty::new()).unwrap()).await
    }

    async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Request::post(path).body(Full::new(body.into())).unwrap()).await
    }

    async fn send<B>(&self, request: Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<toru_plugin_api::driver::BoxError>,
    {
        whole(self.service.forward(request).await).await
    }
}

/// A version 2 plugin with this handler, ready.
async fn rig<H, F>(handler: H) -> Rig
where
    H: Fn(IncomingRequest) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let rig = Rig::new();
    rig.start(Settings::default(), handler).await;
    rig
}

impl Rig {
    /// Starts a version 2 plugin that accepts what `settings` say, and makes it ready.
    async fn start<H, F>(&self, settings: Settings, handler: H) -> (FakeV2, Link)
    where
        H: Fn(IncomingRequest) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let (plugin, io) = FakeV2::new(settings, handler);
        let (link, mut news) = Link::over(io, self.host.setup(2));
        assert!(matches!(next_news(&mut news).await, LinkNews::Ready { protocol: 2 }));
        self.ready(&link);
        (plugin, link)
    }

    /// Starts a version 2 plugin that writes its frames by hand, and makes it ready.
    async fn start_raw(&self) -> (RawV2, Link, mpsc::Receiver<LinkNews>) {
        let (mut plugin, io) = RawV2::new();
        let (link, mut news) = Link::over(io, self.host.setup(2));
        plugin.start().await;
        assert!(matches!(next_news(&mut news).await, LinkNews::Ready { protocol: 2 }));
        self.ready(&link);
        (plugin, link, news)
    }
}

/// The head of an answer.
fn head(status: u16, fields: &[(&'static str, &'static str)]) -> ResponseHead {
    let mut headers = http::HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    ResponseHead { status: status.try_into().unwrap(), headers }
}

/// Answers with 200 and this text.
async fn say(request: IncomingRequest, text: impl Into<Bytes>) {
    request.responder.respond(head(200, &[]), Full::new(text.into())).await;
}

/// An answer, collected.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    /// The last part of the type of a problem.
    fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status);
        problem["type"].as_str().unwrap().strip_prefix("urn:toru:error:").unwrap().to_owned()
    }
}

async fn whole(response: Response<AnswerBody>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body }
}

async fn next_news(news: &mut mpsc::Receiver<LinkNews>) -> LinkNews {
    news.recv().await.expect("the channel ends after Lost")
}
