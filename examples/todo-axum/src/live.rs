//! The WebSocket: the list as JSON, now and after each change.

use axum::{
    extract::{
        WebSocketUpgrade,
        ws::{Message, WebSocket},
    },
    response::Response,
};

use crate::store::{Store, StoreError, to_json};

/// The most bytes of what a page may send: it sends nothing, a browser its pongs.
const MAX_MESSAGE: usize = 4 << 10;

pub(crate) async fn socket(store: Store, upgrade: WebSocketUpgrade) -> Response {
    upgrade
        .max_message_size(MAX_MESSAGE)
        .max_frame_size(MAX_MESSAGE)
        .on_upgrade(move |socket| show(store, socket))
}

/// Shows the list until the page is gone. A slow page misses lists that have been changed meanwhile, but never the last one.
async fn show(store: Store, mut socket: WebSocket) {
    // Before the list is read, so that no change falls between.
    let mut changes = store.changes();
    let Ok(list) = first(&store).await else { return };
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

async fn first(store: &Store) -> Result<String, StoreError> {
    store.read().await.map(|todos| to_json(&todos))
}
