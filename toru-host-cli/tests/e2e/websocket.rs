//! WebSockets through the host, seen as they are seen directly.

use futures_util::{SinkExt, StreamExt};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        handshake::client::Response,
        protocol::{
            CloseFrame, WebSocketConfig,
            frame::{
                Frame,
                coding::{Data, OpCode},
            },
        },
    },
};

use crate::{
    client::{Connection, TOKEN, within},
    load::raise_descriptor_limit,
    upgrade::{App, Both},
};

pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Messages of 16 MiB have to pass; so much and some room.
const MAX_MESSAGE: usize = 17 << 20;
/// What is asked of the system: so many open at once.
const SOCKETS: usize = 1_000;

pub(crate) async fn open(app: &App) -> Socket {
    open_for(app, &[]).await.0
}

/// As `open`, with what the header `sec-websocket-protocol` names.
async fn open_for(app: &App, protocols: &[&str]) -> (Socket, Response) {
    let App { address, prefix } = app;
    let mut request = format!("ws://{address}{prefix}/ws").into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    if !protocols.is_empty() {
        headers.insert("sec-websocket-protocol", protocols.join(", ").parse().unwrap());
    }
    let stream = within(TcpStream::connect(address)).await.unwrap();
    let config =
        WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    within(client_async_with_config(request, stream, Some(config))).await.unwrap()
}

async fn send(socket: &mut Socket, message: Message) {
    within(socket.send(message)).await.unwrap();
}

fn frame(bytes: &'static [u8], code: OpCode, is_final: bool) -> Message {
    Message::Frame(Frame::message(bytes, code, is_final))
}

/// What a client sees from now on, up to the connection's end.
async fn rest(mut socket: Socket) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(message) = within(socket.next()).await {
        seen.push(format!("{message:?}"));
    }
    seen
}

/// What a client sees in each case of the suite.
async fn suite(app: &App) -> Vec<Vec<String>> {
    let mut all = Vec::new();

    let (mut socket, response) = open_for(app, &["first", "third"]).await;
    all.push(vec![format!("{:?}", response.headers().get("sec-websocket-protocol"))]);
    for message in
        [Message::text("text ☃"), Message::binary(vec![0, 255]), Message::text(""), Message::binary("")]
    {
        send(&mut socket, message).await;
    }
    send(&mut socket, Message::Ping("payload".into())).await;
    send(&mut socket, Message::Ping("".into())).await;
    send(&mut socket, Message::Pong("nobody asked".into())).await;
    // A message in three frames, with a ping between them.
    send(&mut socket, frame(b"frag", OpCode::Data(Data::Text), false)).await;
    send(&mut socket, frame(b"men", OpCode::Data(Data::Continue), false)).await;
    send(&mut socket, Message::Ping("between".into())).await;
    send(&mut socket, frame(b"ts", OpCode::Data(Data::Continue), true)).await;
    let code = 3999.into();
    send(&mut socket, Message::Close(Some(CloseFrame { code, reason: "enough".into() }))).await;
    all.push(rest(socket).await);

    // The app closes by a code of its own.
    let mut socket = open(app).await;
    send(&mut socket, Message::text("close")).await;
    all.push(rest(socket).await);

    // A close without a code.
    let mut socket = open(app).await;
    send(&mut socket, Message::Close(None)).await;
    all.push(rest(socket).await);

    // The app goes without a word.
    let mut socket = open(app).await;
    send(&mut socket, Message::text("last words")).await;
    send(&mut socket, Message::text("drop")).await;
    all.push(rest(socket).await);

    // What is no UTF-8, and what continues nothing: the app ends the connection.
    for wrong in
        [frame(b"\xff\xfe", OpCode::Data(Data::Text), true), frame(b"x", OpCode::Data(Data::Continue), true)]
    {
        let mut socket = open(app).await;
        send(&mut socket, wrong).await;
        all.push(rest(socket).await);
    }
    all
}

#[tokio::test]
async fn a_client_sees_the_same_through_the_host_as_directly() {
    let both = Both::start().await;
    let [hop, direct] = both.ways();
    let (hop, direct) = (suite(&hop).await, suite(&direct).await);
    assert_eq!(hop, direct);
    assert_eq!(hop[0], ["Some(\"first\")"]);
    assert_eq!(
        hop[1].len(),
        4 + 3 + 1 + 1,
        "echoes, pongs, the message in fragments, the close: {:?}",
        hop[1]
    );
    assert!(hop[2][0].contains("4321") && hop[2][0].contains("as asked"), "{:?}", hop[2]);
    assert_eq!(both.host.stop().await.code(), Some(0));
}

#[tokio::test]
async fn messages_of_16_mib_pass_each_way() {
    let both = Both::start().await;
    let bytes: Vec<u8> = (0..16_u32 << 20).map(|n| (n % 251) as u8).collect();
    let text: String = "0123456789abcdef".repeat(1 << 20);
    for app in both.ways() {
        let mut socket = open(&app).await;
        for message in [Message::binary(bytes.clone()), Message::text(text.clone())] {
            send(&mut socket, message.clone()).await;
            let echoed = within(socket.next()).await.unwrap().unwrap();
            assert!(echoed == message, "{app:?}: {} bytes came back otherwise", echoed.len());
        }
    }
    assert_eq!(both.host.stop().await.code(), Some(0));
}

/// Sends a text and awaits it back.
pub(crate) async fn echoes(socket: &mut Socket, text: String) {
    send(socket, Message::text(text.clone())).await;
    assert_eq!(within(socket.next()).await.unwrap().unwrap(), Message::text(text));
}

#[tokio::test]
async fn a_thousand_websockets_are_open_at_once_while_plain_requests_go_on() {
    raise_descriptor_limit();
    let both = Both::start().await;
    let app = both.behind_the_host();
    let mut plain = Connection::open(app.address).await;
    let path = format!("{}/plain", app.prefix);
    let mut sockets = Vec::new();
    for n in 0..SOCKETS {
        let mut socket = open(&app).await;
        echoes(&mut socket, format!("first {n}")).await;
        sockets.push(socket);
        if n % 10 == 0 {
            assert_eq!(within(plain.try_get(&path)).await.unwrap().text(), "plain");
        }
    }
    let mut talking = JoinSet::new();
    for (n, mut socket) in sockets.into_iter().enumerate() {
        talking.spawn(async move {
            for round in 0..5 {
                echoes(&mut socket, format!("{n} {round}")).await;
            }
            socket
        });
    }
    for _ in 0..100 {
        assert_eq!(within(plain.try_get(&path)).await.unwrap().text(), "plain");
    }
    let sockets = within(talking.join_all()).await;
    assert_eq!(sockets.len(), SOCKETS);
    assert_eq!(within(plain.try_get(&path)).await.unwrap().text(), "plain", "all of them are still open");
    drop(sockets);
    assert_eq!(both.host.stop().await.code(), Some(0));
}
