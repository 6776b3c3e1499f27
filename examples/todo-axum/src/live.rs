//! The WebSocket: the list as JSON, now and after each change.

use std::time::Duration;

use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{CloseFrame, Message, WebSocket, close_code},
    },
    response::Response,
};
use tokio::time::timeout;

use crate::store::{Store, StoreError, to_json};

/// The most bytes of what a page may send: it sends nothing, a browser its pongs.
const MAX_MESSAGE: usize = 4 << 10;
/// How long a page has to answer the closing handshake: enough for any network, and well within a host's patience.
const LAST_WORD: Duration = Duration::from_secs(1);

pub(crate) async fn socket(store: Store, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| show(store, socket))
}

/// Shows the list until the page or the app is to go.
async fn show(store: Store, mut socket: WebSocket) {
    tokio::select! {
        () = show_changes(&store, &mut socket) => {}
        () = store.closing() => close(socket).await,
    }
}

/// A slow page misses lists that have been changed meanwhile, but never the last one.
async fn show_changes(store: &Store, socket: &mut WebSocket) {
    // Before the list is read, so that no change falls between.
    let mut changes = store.changes();
    let Ok(list) = first(store).await else { return };
    let mut sent = socket.send(Message::text(list)).await;
    while sent.is_ok() {
        tokio::select! {
            changed = changes.changed() => match changed {
                Ok(()) => {
                    let list = changes.borrow_and_update().clone();
                    sent = socket.send(Message::text(&*list)).await;
                }
                Err(_) => return,
            },
            received = socket.recv() => match received {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
        }
    }
}

/// Ends in order, so that the page connects again: to the plugin that comes next.
async fn close(mut socket: WebSocket) {
    let away = CloseFrame { code: close_code::AWAY, reason: "the app is restarting".into() };
    let handshake = async {
        let mut open = socket.send(Message::Close(Some(away))).await.is_ok();
        while open {
            open = matches!(socket.recv().await, Some(Ok(_)));
        }
    };
    // A page that does not answer is left: what was said to it still arrives.
    let _ = timeout(LAST_WORD, handshake).await;
}

async fn first(store: &Store) -> Result<String, StoreError> {
    store.read().await.map(|todos| to_json(&todos))
}
