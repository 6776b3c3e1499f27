//! A web app with WebSockets, other upgrades and server-sent events, that runs as a plugin, or alone. The end-to-end tests install it, and compare
//! what clients see of it through a host and directly.
//!
//! | request | answer |
//! |---|---|
//! | `GET /ws`, a WebSocket | echoes; `close` is answered with a close frame of code 4321, `drop` by dropping the connection |
//! | `GET /raw`, an upgrade to `raw` | echoes bytes; after the client's end `bye`, then the end. Begins with the bytes `hello ` |
//! | `GET /abort`, an upgrade to `raw` | `half`, then a panic |
//! | `GET /events` | server-sent events; one for each `POST /events`, sent before the next one is taken |
//! | `GET /plain` | `plain` |
//!
//! `sockets alone` listens on a port of its own and prints its address.

use std::{convert::Infallible, error::Error, io::ErrorKind};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{
        Request, State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade},
    },
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::stream;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::broadcast,
};
use toru_plugin_api::{PluginMetadata, serve_service};

/// The largest message that is echoed, with some room: the suite sends 16 MiB.
const MAX_MESSAGE: usize = 17 << 20;
/// Events that wait for a slow client.
const EVENTS: usize = 16;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let app = Router::new()
        .route("/ws", get(websocket))
        .route("/raw", get(async |request: Request| switch(request, echo)))
        .route("/abort", get(async |request: Request| switch(request, abort)))
        .route("/events", get(events).post(event))
        .route("/plain", get(async || "plain"))
        .with_state(broadcast::Sender::new(EVENTS));
    if std::env::args().nth(1).is_some_and(|argument| argument == "alone") {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        axum::serve(listener, app).await?;
        return Ok(());
    }
    let metadata = PluginMetadata::new("sockets", "Sockets", "0.1.0", "/sockets")?;
    Ok(serve_service(metadata, app).await?)
}

async fn websocket(upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .protocols(["second", "first"])
        .on_upgrade(converse)
}

/// Echoes until one side closes. Pings are answered by the socket itself.
async fn converse(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let answer = match message {
            Message::Text(text) if text == "drop" => return,
            Message::Text(text) if text == "close" => {
                Message::Close(Some(CloseFrame { code: 4321, reason: "as asked".into() }))
            }
            Message::Text(_) | Message::Binary(_) => message,
            _ => continue,
        };
        if socket.send(answer).await.is_err() {
            return;
        }
    }
}

type Duplex = TokioIo<hyper::upgrade::Upgraded>;

/// Goes on with `protocol` after a 101.
fn switch<F>(mut request: Request, protocol: impl FnOnce(Duplex) -> F + Send + 'static) -> Response
where
    F: Future<Output = std::io::Result<()>> + Send,
{
    let demanded = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "raw")]
        .map(|(name, value)| (name, HeaderValue::from_static(value)));
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return (StatusCode::UPGRADE_REQUIRED, demanded, "ask for an upgrade to `raw`").into_response();
    };
    tokio::spawn(async move {
        match upgrade.await {
            // The client has gone: there is nobody to tell.
            Ok(upgraded) => drop(protocol(TokioIo::new(upgraded)).await),
            Err(error) => eprintln!("no upgrade came of it: {error}"),
        }
    });
    (StatusCode::SWITCHING_PROTOCOLS, demanded).into_response()
}

async fn echo(mut io: Duplex) -> std::io::Result<()> {
    io.write_all(b"hello ").await?;
    let mut buffer = vec![0; 16 << 10];
    loop {
        match io.read(&mut buffer).await {
            Ok(0) => break,
            Ok(read) => io.write_all(&buffer[..read]).await?,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                eprintln!("the client was cut off");
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
    io.write_all(b"bye").await?;
    io.shutdown().await
}

async fn abort(mut io: Duplex) -> std::io::Result<()> {
    io.write_all(b"half").await?;
    // The client asks for the rest once it has this much.
    io.read_u8().await?;
    panic!("as asked");
}

type Events = broadcast::Sender<Bytes>;

async fn events(State(sender): State<Events>) -> impl IntoResponse {
    let events = stream::unfold(sender.subscribe(), async |mut events| {
        let event = events.recv().await.ok()?;
        Some((Ok::<_, Infallible>(event), events))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events))
}

async fn event(State(sender): State<Events>, event: String) -> String {
    let event = format!("data: {event}\n\n");
    sender.send(event.into()).map_or(0, |listeners| listeners).to_string()
}
