//! Upgrades as plugin authors take them: by the SDK's own way, and by a web framework's.

#![allow(clippy::unwrap_used, reason = "all of this is a test")]

use std::{io::ErrorKind, time::Duration};

use axum::{
    Router,
    extract::ws::{CloseFrame, Message as Ws, WebSocketUpgrade},
    routing::get,
};
use futures_util::{SinkExt, StreamExt};
use http::{Request, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};
use toru_plugin_api::{
    HttpRequest, HttpResponse, PluginContext, PluginMetadata, PluginResult, ToruPlugin, Upgraded,
    async_trait,
    driver::{RequestError, Tunnel},
    frame::ResetCode,
    testing::TestHost,
};

/// A hang is a failure; nothing here takes long.
const GUARD: Duration = Duration::from_secs(60);

fn metadata() -> PluginMetadata {
    PluginMetadata::new("up", "Up", "1.0.0", "/up").unwrap()
}

/// Gives each connection that it gets to the test.
struct Native {
    upgraded: mpsc::UnboundedSender<std::io::Result<Upgraded>>,
}

#[async_trait]
impl ToruPlugin for Native {
    fn metadata(&self) -> PluginMetadata {
        metadata()
    }

    async fn handle_http(&self, _: &PluginContext, mut request: HttpRequest) -> PluginResult<HttpResponse> {
        let Some(upgrade) = request.upgrade() else { return Ok(HttpResponse::text("no offer")) };
        assert!(request.upgrade().is_none(), "it is had once");
        let upgraded = self.upgraded.clone();
        tokio::spawn(async move { upgraded.send(upgrade.await) });
        match request.path() {
            "/refuse" => Ok(HttpResponse::text("refused").with_status(StatusCode::FORBIDDEN)),
            "/hang" => std::future::pending().await,
            _ => Ok(HttpResponse::switching_protocols("raw")),
        }
    }
}

async fn native() -> (TestHost, mpsc::UnboundedReceiver<std::io::Result<Upgraded>>) {
    let (upgraded, receiver) = mpsc::unbounded_channel();
    (TestHost::start(Native { upgraded }).await.unwrap(), receiver)
}

fn offer(path: &str) -> Request<()> {
    Request::get(path).header("upgrade", "raw").body(()).unwrap()
}

/// Both ends of an upgraded connection: the client's and the plugin's.
async fn connected(
    host: &TestHost,
    plugin: &mut mpsc::UnboundedReceiver<std::io::Result<Upgraded>>,
) -> (Tunnel, Upgraded) {
    let (answer, tunnel) = host.upgrade(offer("/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    assert_eq!(answer.headers()["upgrade"], "raw");
    assert_eq!(answer.headers()["connection"], "upgrade");
    (tunnel.unwrap(), plugin.recv().await.unwrap().unwrap())
}

#[tokio::test]
async fn a_handler_takes_an_upgrade_and_goes_on_in_its_own_task() {
    let (host, mut plugin) = native().await;
    let (mut client, mut server) = connected(&host, &mut plugin).await;
    client.write_all(b"ping").await.unwrap();
    let mut four = [0; 4];
    server.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
    server.write_all(b"pong").await.unwrap();
    server.shutdown().await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"pong");
    client.write_all(b"more").await.unwrap();
    client.shutdown().await.unwrap();
    let mut rest = Vec::new();
    server.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"more");
    timeout(GUARD, host.link().idle()).await.unwrap();
}

#[tokio::test]
async fn a_dropped_connection_delivers_what_was_written() {
    let (host, mut plugin) = native().await;
    let (mut client, mut server) = connected(&host, &mut plugin).await;
    server.write_all(&[9; 100 << 10]).await.unwrap();
    drop(server);
    let mut whole = Vec::new();
    timeout(GUARD, client.read_to_end(&mut whole)).await.unwrap().unwrap();
    assert_eq!(whole, [9; 100 << 10]);
    drop(client);
    timeout(GUARD, host.link().idle()).await.unwrap();
}

#[tokio::test]
async fn a_panic_cuts_the_connection() {
    let (host, mut plugin) = native().await;
    let (mut client, mut server) = connected(&host, &mut plugin).await;
    let task = tokio::spawn(async move {
        server.write_all(b"half").await.unwrap();
        panic!("on purpose");
    });
    assert!(task.await.unwrap_err().is_panic());
    let error = timeout(GUARD, client.read_to_end(&mut Vec::new())).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_that_is_cut_off_is_an_error_and_not_an_end() {
    let (host, mut plugin) = native().await;
    let (client, mut server) = connected(&host, &mut plugin).await;
    drop(client);
    assert_eq!(server.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(server.write(b"x").await.unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_refused_upgrade_is_told_to_who_awaits_it() {
    let (host, mut plugin) = native().await;
    let (answer, tunnel) = host.upgrade(offer("/refuse")).await.unwrap();
    assert_eq!((answer.status(), tunnel.is_none()), (StatusCode::FORBIDDEN, true));
    assert_eq!(answer.into_body().text().await.unwrap(), "refused");
    assert_eq!(plugin.recv().await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionAborted);
    timeout(GUARD, host.link().idle()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_before_the_answer_is_told_to_who_awaits_the_upgrade() {
    let (host, mut plugin) = native().await;
    // The paused clock moves when all have done what they can.
    let waits = timeout(Duration::from_millis(1), host.upgrade(offer("/hang")));
    assert!(waits.await.is_err());
    assert_eq!(plugin.recv().await.unwrap().unwrap_err().kind(), ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_request_without_an_offer_has_no_upgrade() {
    let (host, _plugin) = native().await;
    let answer = host.request(offer("/")).await.unwrap();
    assert_eq!(answer.into_body().text().await.unwrap(), "no offer");
}

#[tokio::test]
async fn a_101_that_was_not_offered_is_no_answer() {
    let service = tower_service_fn(StatusCode::SWITCHING_PROTOCOLS);
    let host = TestHost::builder().start_service(&metadata(), service).await.unwrap();
    let error = host.get("/").await.unwrap_err();
    assert!(matches!(error, RequestError::Reset(ResetCode::INTERNAL)), "{error:?}");
}

fn tower_service_fn(status: StatusCode) -> Router {
    Router::new().route("/", get(move || async move { status }))
}

/// Echoes, and closes as it is told.
fn web_app() -> Router {
    Router::new().route(
        "/ws",
        get(|upgrade: WebSocketUpgrade| async {
            upgrade.max_message_size(32 << 20).max_frame_size(32 << 20).on_upgrade(async |mut socket| {
                while let Some(Ok(message)) = socket.recv().await {
                    let answer = match message {
                        Ws::Text(text) if text == "close" => {
                            Ws::Close(Some(CloseFrame { code: 4321, reason: "as asked".into() }))
                        }
                        Ws::Text(_) | Ws::Binary(_) => message,
                        _ => continue,
                    };
                    if socket.send(answer).await.is_err() {
                        return;
                    }
                }
            })
        }),
    )
}

#[tokio::test]
async fn the_websocket_extractor_of_axum_works_as_it_is() {
    let host = TestHost::builder().start_service(&metadata(), web_app()).await.unwrap();
    let handshake = Request::get("/ws")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(())
        .unwrap();
    let (answer, tunnel) = host.upgrade(handshake).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
    // The example of RFC 6455, section 1.3.
    assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let mut client = WebSocketStream::from_raw_socket(tunnel.unwrap(), Role::Client, None).await;
    for message in [Message::text("hello"), Message::binary(vec![5; 1 << 20])] {
        client.send(message.clone()).await.unwrap();
        assert_eq!(client.next().await.unwrap().unwrap(), message);
    }
    client.send(Message::text("close")).await.unwrap();
    let Message::Close(Some(close)) = client.next().await.unwrap().unwrap() else { panic!("no close") };
    assert_eq!((u16::from(close.code), close.reason.as_str()), (4321, "as asked"));
    drop(client);
    timeout(GUARD, host.link().idle()).await.unwrap();
}

#[tokio::test]
async fn requests_without_an_offer_reach_the_same_app() {
    let host = TestHost::builder().start_service(&metadata(), web_app()).await.unwrap();
    assert_eq!(
        host.get("/ws").await.unwrap().status(),
        StatusCode::BAD_REQUEST,
        "a plain GET is no handshake"
    );
    assert_eq!(host.get("/none").await.unwrap().status(), StatusCode::NOT_FOUND);
}
