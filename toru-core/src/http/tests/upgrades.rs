//! Upgrades: what is offered, what is refused, and how the connections that are joined end. In simulated time.

use std::{io::ErrorKind, time::Duration};

use http::{StatusCode, Version, header};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    task::JoinHandle,
};
use toru_plugin_api::{
    driver::Tunnel,
    message::lifecycle::{Features, feature},
};

use super::*;
use crate::http::{PluginTunnel, TunnelError, UpgradeSupport};

/// What the pipe between client and host holds.
pub(super) const PIPE: usize = 4 << 10;

/// A handshake with a host that can go on after it.
fn handshake() -> Request<Empty<Bytes>> {
    Request::get("/r/ws")
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "echo/1")
        .header("keep-alive", "5")
        .extension(UpgradeSupport)
        .body(Empty::new())
        .unwrap()
}

/// A plugin that takes every upgrade and gives its end to the test.
pub(super) async fn taking() -> (Rig, FakeV2, mpsc::UnboundedReceiver<Tunnel>) {
    taking_with(&[("connection", "upgrade"), ("upgrade", "Echo/1"), ("sec-x", "1"), ("keep-alive", "9")])
        .await
}

async fn taking_with(
    fields: &'static [(&'static str, &'static str)],
) -> (Rig, FakeV2, mpsc::UnboundedReceiver<Tunnel>) {
    let rig = Rig::new();
    let (given, tunnels) = mpsc::unbounded_channel();
    let plugin = rig
        .start(Settings::default(), move |request| {
            let given = given.clone();
            async move {
                let tunnel = request.responder.upgrade(head(101, fields).headers).await;
                // A test that expects none has dropped the receiver.
                let _ = tunnel.map(|tunnel| given.send(tunnel));
            }
        })
        .await
        .0;
    (rig, plugin, tunnels)
}

/// A client whose connection is joined to the plugin's.
struct Joined {
    client: DuplexStream,
    plugin: Tunnel,
    host: JoinHandle<Result<(), TunnelError>>,
    rig: Rig,
    fake: FakeV2,
}

async fn joined() -> Joined {
    joined_after(Bytes::new()).await
}

async fn joined_after(early: Bytes) -> Joined {
    let (rig, fake, mut tunnels) = taking().await;
    let mut response = rig.service.forward(handshake()).await;
    assert_eq!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    let tunnel = PluginTunnel::take(&mut response).unwrap();
    assert!(PluginTunnel::take(&mut response).is_none(), "it is had once");
    let (client, mut io) = duplex(PIPE);
    let host = tokio::spawn(async move { tunnel.join(&mut io, early).await });
    Joined { client, plugin: tunnels.recv().await.unwrap(), host, rig, fake }
}

pub(super) async fn rest(mut io: impl tokio::io::AsyncRead + Unpin) -> Vec<u8> {
    let mut rest = Vec::new();
    io.read_to_end(&mut rest).await.unwrap();
    rest
}

#[tokio::test(start_paused = true)]
async fn an_offer_reaches_the_plugin_and_its_101_the_client() {
    let rig = Rig::new();
    let (given, mut heads) = mpsc::unbounded_channel();
    rig.start(Settings::default(), move |request| {
        given.send((request.head.clone(), request.responder.offers_upgrade())).unwrap();
        async move { drop(request.responder.upgrade(head(101, &[("upgrade", "echo/1")]).headers).await) }
    })
    .await;
    let response = rig.service.forward(handshake()).await;
    let (seen, is_offered) = heads.recv().await.unwrap();
    assert!(is_offered);
    assert_eq!(["connection", "upgrade"].map(|name| &seen.headers[name]), ["upgrade", "echo/1"]);
    assert!(!seen.headers.contains_key("keep-alive"), "no other field of the connection passes");
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "echo/1");
    assert_eq!(response.headers()["connection"], "upgrade", "it is said for a plugin that forgot it");
    assert!(!response.headers().contains_key("content-length"));
}

#[tokio::test(start_paused = true)]
async fn of_a_101_only_what_names_the_upgrade_passes_of_the_connection() {
    let (rig, _plugin, _tunnels) = taking().await;
    let response = rig.service.forward(handshake()).await;
    let names: Vec<_> = response.headers().keys().map(header::HeaderName::as_str).collect();
    assert_eq!(names, ["sec-x", "connection", "upgrade"]);
    assert_eq!(rig.host.events().await.len(), 1, "keep-alive was removed, and that is told");
}

#[tokio::test(start_paused = true)]
async fn what_is_no_offer_arrives_as_a_plain_request() {
    let rig = Rig::new();
    rig.start(Settings::default(), |request| {
        let is_plain = !request.responder.offers_upgrade() && !request.head.headers.contains_key("upgrade");
        say(request, if is_plain { "plain" } else { "offer" })
    })
    .await;
    assert_eq!(rig.send(handshake()).await.body, "offer");
    let mut old = handshake();
    *old.version_mut() = Version::HTTP_10;
    assert_eq!(rig.send(old).await.body, "plain", "HTTP/1.0");
    let mut unconnected = handshake();
    unconnected.headers_mut().insert("connection", "keep-alive".parse().unwrap());
    assert_eq!(rig.send(unconnected).await.body, "plain", "not named by `connection`");
    let mut nameless = handshake();
    nameless.headers_mut().insert("upgrade", ", ".parse().unwrap());
    assert_eq!(rig.send(nameless).await.body, "plain", "names nothing");
    let mut unsupported = handshake();
    unsupported.extensions_mut().remove::<UpgradeSupport>();
    assert_eq!(rig.send(unsupported).await.body, "plain", "nobody could go on");
    let with_body = handshake().map(|_| Full::new(Bytes::from_static(b"x")));
    assert_eq!(rig.send(with_body).await.body, "plain", "a body");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_without_streams_gets_the_request_without_the_offer() {
    let rig = Rig::new();
    let mut settings = Settings::default();
    settings.features = Features::new([feature::HEADS]);
    rig.start(settings, |request| {
        assert!(!request.responder.offers_upgrade());
        let fields = ["connection", "upgrade"].map(|name| request.head.headers.contains_key(name));
        say(request, format!("{fields:?}"))
    })
    .await;
    assert_eq!(rig.send(handshake()).await.body, "[false, false]");
}

#[tokio::test]
async fn an_upgrade_with_a_body_goes_without_the_offer() {
    let rig = rig(|request| {
        assert!(!request.responder.offers_upgrade());
        let fields = ["connection", "upgrade"].map(|name| request.head.headers.contains_key(name));
        let length = request.head.headers["content-length"].to_str().unwrap();
        let told = format!("{fields:?} {length}");
        say(request, told)
    })
    .await;
    let request = handshake().map(|_| Full::<Bytes>::from("hello"));
    assert_eq!(rig.send(request).await.body, "[false, false] 5");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_answer_like_any_other_and_426_says_what_it_demands() {
    let rig = rig(|request| async move {
        let demands = [("connection", "upgrade"), ("upgrade", "other/2"), ("te", "x")];
        let status = if request.head.path == "/ws" { 426 } else { 200 };
        request.responder.respond(head(status, &demands), Full::new(Bytes::from_static(b"no"))).await;
    })
    .await;
    let refused = rig.send(handshake()).await;
    assert_eq!((refused.status, &refused.body[..]), (426, &b"no"[..]));
    assert_eq!(["connection", "upgrade"].map(|name| &refused.headers[name]), ["upgrade", "other/2"]);
    assert!(!refused.headers.contains_key("te"));
    let mut elsewhere = handshake();
    *elsewhere.uri_mut() = "/r/else".parse().unwrap();
    let refused = rig.send(elsewhere).await;
    assert_eq!(refused.status, 200);
    assert!(!refused.headers.contains_key("upgrade") && !refused.headers.contains_key("connection"));
}

#[tokio::test(start_paused = true)]
async fn a_101_to_something_else_is_502_and_cuts_the_plugins_end() {
    for fields in [&[][..], &[("upgrade", "other")], &[("upgrade", "echo/1, other")], &[("upgrade", "")]] {
        let (rig, _plugin, mut tunnels) = taking_with(fields).await;
        let answer = rig.send(handshake()).await;
        assert_eq!((answer.status, answer.problem()), (502, "bad-answer".to_owned()), "{fields:?}");
        let mut plugin = tunnels.recv().await.unwrap();
        assert_eq!(plugin.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(rig.host.events().await[0].0, "bad_answer");
    }
}

#[tokio::test(start_paused = true)]
async fn a_101_that_was_not_offered_is_502_and_resets_the_stream() {
    let rig = Rig::new();
    let (mut plugin, _link, _news) = rig.start_raw().await;
    let asking = rig.get("/r");
    let plugin = async {
        let request = plugin.read().await;
        plugin
            .respond(&request, &json!({"action": "response", "status": 101, "headers": [["upgrade", "x"]]}))
            .await;
        plugin.read_frame().await
    };
    let (answer, frame) = tokio::join!(asking, plugin);
    assert_eq!((answer.status, answer.problem()), (502, "bad-answer".to_owned()));
    assert_eq!(frame, [0x03, 3, 0, 0, 0, 1], "RESET 3 of stream 1");
}

#[tokio::test(start_paused = true)]
async fn an_offer_without_an_answer_is_504_after_the_response_time() {
    let rig = rig(|request| async move {
        request.responder.cancelled().await;
    })
    .await;
    let began = tokio::time::Instant::now();
    let answer = rig.send(handshake()).await;
    assert_eq!((answer.status, answer.problem()), (504, "answer-timeout".to_owned()));
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_goes_before_the_answer_cancels_the_offer() {
    let (told, mut cancelled) = mpsc::unbounded_channel();
    let rig = rig(move |request| {
        let told = told.clone();
        async move {
            request.responder.cancelled().await;
            told.send(()).unwrap();
        }
    })
    .await;
    tokio::time::timeout(Duration::from_secs(1), rig.service.forward(handshake())).await.unwrap_err();
    cancelled.recv().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_101_that_nobody_carries_on_cuts_the_plugins_end() {
    let (rig, _plugin, mut tunnels) = taking().await;
    drop(rig.service.forward(handshake()).await);
    assert_eq!(tunnels.recv().await.unwrap().read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn what_came_behind_the_handshake_comes_first() {
    let Joined { mut client, mut plugin, .. } = joined_after(Bytes::from_static(b"early ")).await;
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut plugin).await, b"early late");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_more_still_gets_what_the_plugin_sends() {
    let Joined { mut client, mut plugin, host, rig: _rig, fake } = joined().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut plugin).await, b"question");
    plugin.write_all(&[7; 3 * PIPE]).await.unwrap();
    plugin.shutdown().await.unwrap();
    assert_eq!(rest(&mut client).await, [7; 3 * PIPE]);
    host.await.unwrap().unwrap();
    fake.handle.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_sends_no_more_still_gets_what_the_client_sends() {
    let Joined { mut client, mut plugin, host, rig: _rig, fake } = joined().await;
    plugin.write_all(b"greeting").await.unwrap();
    plugin.shutdown().await.unwrap();
    let mut greeting = [0; 8];
    client.read_exact(&mut greeting).await.unwrap();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    client.write_all(&[7; 3 * PIPE]).await.unwrap();
    client.shutdown().await.unwrap();
    assert_eq!(rest(&mut plugin).await, [7; 3 * PIPE]);
    host.await.unwrap().unwrap();
    fake.handle.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_closes_ends_the_clients_connection_whether_or_not_it_goes_on() {
    let Joined { mut client, mut plugin, host, rig: _rig, fake } = joined().await;
    plugin.write_all(b"bye").await.unwrap();
    plugin.close();
    assert_eq!(rest(&mut client).await, b"bye");
    host.await.unwrap().unwrap();
    fake.handle.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_cuts_is_told_apart_from_one_that_ends() {
    let Joined { client, plugin, host, .. } = joined().await;
    drop(plugin);
    assert!(matches!(host.await.unwrap(), Err(TunnelError::Plugin)));
    assert!(rest(client).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_dies_cuts_its_clients_even_those_that_do_not_read() {
    for bytes in [0, 10 * PIPE] {
        let Joined { client: _client, plugin, host, fake, rig: _rig } = joined().await;
        let writer = tokio::spawn(async move {
            let mut plugin = plugin;
            plugin.write_all(&vec![7; bytes]).await.unwrap();
            plugin
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        fake.handle.close();
        assert!(matches!(host.await.unwrap(), Err(TunnelError::Plugin)), "{bytes} bytes not read");
        drop(writer);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_gone_is_an_end_and_then_a_cut() {
    let Joined { client, mut plugin, host, rig: _rig, fake } = joined().await;
    drop(client);
    assert_eq!(plugin.read(&mut [0]).await.unwrap(), 0);
    while plugin.write(b"x").await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(host.await.unwrap(), Err(TunnelError::Client(_))));
    drop(plugin);
    fake.handle.idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_cuts_the_client_cuts_the_plugins_end() {
    let Joined { client: _client, mut plugin, host, .. } = joined().await;
    host.abort();
    assert_eq!(plugin.read_u8().await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// How much passes before a writer waits.
async fn written_before_it_waits(mut io: impl tokio::io::AsyncWrite + Unpin) -> usize {
    let mut written = 0;
    while let Ok(sent) = tokio::time::timeout(Duration::from_secs(1), io.write(&[7; 1 << 10])).await {
        written += sent.unwrap();
    }
    written
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_makes_the_other_wait() {
    const KIB: usize = 1 << 10;
    let Joined { client, plugin: _plugin, .. } = joined().await;
    // The window, the pipe to the host, and what one read and one chunk hold.
    assert!((64 * KIB..=64 * KIB + PIPE + 8 * KIB).contains(&written_before_it_waits(client).await));
    let Joined { client: _client, plugin, .. } = joined().await;
    assert!((64 * KIB..=64 * KIB + PIPE + 64 * KIB).contains(&written_before_it_waits(plugin).await));
}

#[tokio::test(start_paused = true)]
async fn no_timer_ends_an_idle_connection() {
    let Joined { mut client, mut plugin, .. } = joined().await;
    tokio::time::sleep(Duration::from_secs(24 * 60 * 60)).await;
    client.write_all(b"still").await.unwrap();
    plugin.read_exact(&mut [0; 5]).await.unwrap();
}
