//! How a plugin begins and ends.

use std::time::Duration;

use http_body_util::BodyExt;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout},
};
use toru_plugin_api::{
    HttpRequest, HttpResponse, PluginContext, PluginError, PluginMetadata, PluginResult, ServeError,
    ToruPlugin,
    driver::RequestError,
    testing::{MemoryKv, TestHost},
};

use super::{Many, hang, hanging, metadata, text};

#[tokio::test]
async fn shutdown_finishes_what_is_in_flight() {
    let (host, mut told, go) = hanging().await;
    let link = host.link().clone();
    let client = tokio::spawn(async move {
        let response = hang(&link).await.unwrap();
        response.body.collect().await.unwrap().to_bytes()
    });
    assert_eq!(told.recv().await, Some("begun"));
    let shutdown = tokio::spawn(host.shutdown());
    tokio::task::yield_now().await;
    go.notify_one();
    assert_eq!(client.await.unwrap(), "went on");
    shutdown.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn shutdown_cuts_what_outlasts_its_grace() {
    let (host, mut told, _go) = hanging().await;
    let link = host.link().clone();
    let client = tokio::spawn(async move { hang(&link).await.map(drop) });
    assert_eq!(told.recv().await, Some("begun"));
    let begin = Instant::now();
    host.shutdown().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    assert!(matches!(client.await.unwrap(), Err(RequestError::LinkLost)));
    assert_eq!(told.recv().await, Some("dropped"));
}

#[tokio::test]
async fn lost_link_ends_the_plugin_and_its_handlers() {
    let (host, mut told, _go) = hanging().await;
    let link = host.link().clone();
    let client = tokio::spawn(async move { hang(&link).await.map(drop) });
    assert_eq!(told.recv().await, Some("begun"));
    assert!(matches!(host.cut().await, Err(ServeError::LinkLost)));
    assert_eq!(told.recv().await, Some("dropped"));
    assert!(client.await.unwrap().is_err());
}

#[tokio::test]
async fn host_that_dies_while_the_plugin_finishes_is_a_lost_link() {
    let (host, mut told, _go) = hanging().await;
    let link = host.link().clone();
    let client = tokio::spawn({
        let link = link.clone();
        async move { hang(&link).await.map(drop) }
    });
    assert_eq!(told.recv().await, Some("begun"));
    link.shutdown(Duration::from_secs(60));
    assert!(matches!(host.cut().await, Err(ServeError::LinkLost)));
    assert_eq!(told.recv().await, Some("dropped"));
    assert!(client.await.unwrap().is_err());
}

/// Gives its context to the test, and begins as this does.
struct Lender {
    borrower: mpsc::UnboundedSender<PluginContext>,
    init: fn() -> PluginResult<()>,
}

#[async_trait::async_trait]
impl ToruPlugin for Lender {
    fn metadata(&self) -> PluginMetadata {
        metadata()
    }

    async fn init(&self, context: &PluginContext) -> PluginResult<()> {
        self.borrower.send(context.clone()).unwrap();
        (self.init)()
    }

    async fn handle_http(&self, _: &PluginContext, _: HttpRequest) -> PluginResult<HttpResponse> {
        Ok(HttpResponse::text(""))
    }
}

async fn lender() -> (TestHost, PluginContext) {
    let (borrower, mut receiver) = mpsc::unbounded_channel();
    let host = TestHost::start(Lender { borrower, init: || Ok(()) }).await.unwrap();
    (host, receiver.recv().await.unwrap())
}

#[tokio::test(start_paused = true)]
async fn all_who_wait_for_the_end_are_told_and_those_who_ask_later_too() {
    let (host, context) = lender().await;
    let early = timeout(Duration::from_secs(3_600), context.shutting_down()).await;
    assert!(early.is_err(), "nobody has asked the plugin to end");
    let mut waiters = JoinSet::new();
    for _ in 0..3 {
        waiters.spawn(context.shutting_down());
    }
    host.shutdown().await.unwrap();
    waiters.join_all().await;
    context.shutting_down().await;
}

#[tokio::test]
async fn a_host_that_goes_is_told_to_who_waits_for_the_end() {
    let (host, context) = lender().await;
    let waiter = tokio::spawn(context.shutting_down());
    assert!(matches!(host.cut().await, Err(ServeError::LinkLost)));
    waiter.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_plugin_whose_init_fails_has_its_end_told() {
    let (borrower, mut receiver) = mpsc::unbounded_channel();
    let init = || Err(PluginError::internal("no disk"));
    let starting = tokio::spawn(TestHost::start(Lender { borrower, init }));
    let context = receiver.recv().await.unwrap();
    timeout(Duration::from_secs(3_600), context.shutting_down()).await.expect("it is not told");
    assert!(starting.await.unwrap().is_err(), "it is ready");
}

#[tokio::test]
async fn init_may_use_the_store() {
    let kv = MemoryKv::default();
    for starts in ["1", "2"] {
        let host = TestHost::builder().kv(kv.clone()).start(Many::default()).await.unwrap();
        assert_eq!(host.kv().get("starts").unwrap(), starts);
        host.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn wrong_setting_is_a_refusal_that_names_its_key() {
    let refused = TestHost::builder().config("limit", "many").start(Many::default()).await.unwrap_err();
    let ServeError::Refused(failed) = refused else { panic!("{refused}") };
    assert_eq!(failed.code, "config");
    assert_eq!(failed.message, "setting `limit`: invalid type: string \"many\", expected u32");
    let host = TestHost::builder().config("limit", 7).start(Many::default()).await.unwrap();
    assert_eq!(text(host.get("/limit").await.unwrap()).await, "7");
}

#[tokio::test]
async fn refusal_carries_the_plugins_own_code() {
    let refused = TestHost::builder().config("licence", "old").start(Many::default()).await.unwrap_err();
    let ServeError::Refused(failed) = refused else { panic!("{refused}") };
    assert_eq!((failed.code.as_str(), failed.message.as_str()), ("licence", "the licence has expired"));
}
