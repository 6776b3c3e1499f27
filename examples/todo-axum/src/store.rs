//! Where the list is kept: in the plugin's store where there is a host, else in memory.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use tokio::sync::watch;
use toru_plugin_api::{Level, PluginContext};

use crate::todos::{Todos, Unchanged};

/// The key of the list in the plugin's store.
const KEY: &str = "todos";

/// What all requests share.
#[derive(Debug, Clone)]
pub(crate) struct Shared(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// The list of an app that runs alone.
    memory: Mutex<Option<String>>,
    /// Held while the list is read, changed and written, so that no change is lost.
    changing: tokio::sync::Mutex<()>,
    /// The list as it became by the last change, for the open pages; empty before the first.
    changed: watch::Sender<Arc<str>>,
}

impl Default for Shared {
    fn default() -> Self {
        let inner = Inner {
            memory: Mutex::default(),
            changing: tokio::sync::Mutex::default(),
            changed: watch::Sender::new("".into()),
        };
        Self(Arc::new(inner))
    }
}

/// The list, as one request finds it.
#[derive(Debug)]
pub(crate) struct Store {
    shared: Shared,
    /// A host puts it into each request.
    host: Option<PluginContext>,
}

impl FromRequestParts<Shared> for Store {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Infallible> {
        Ok(Self { shared: shared.clone(), host: parts.extensions.get().cloned() })
    }
}

/// Why there is no list, or no change of it.
#[derive(Debug)]
pub(crate) enum StoreError {
    Unchanged(Unchanged),
    /// The host's store failed; its log says how.
    Unavailable,
}

impl Store {
    pub(crate) async fn read(&self) -> Result<Todos, StoreError> {
        let text = match &self.host {
            None => self.memory().clone(),
            Some(host) => host.kv().get_text(KEY).await.map_err(|error| self.failed(error))?,
        };
        match text {
            None => Ok(Todos::default()),
            Some(text) => serde_json::from_str(&text).map_err(|error| self.failed(error)),
        }
    }

    /// Changes the list, and shows it to all open pages.
    pub(crate) async fn change(
        &self,
        change: impl FnOnce(&mut Todos) -> Result<(), Unchanged>,
    ) -> Result<(), StoreError> {
        let _changing = self.shared.0.changing.lock().await;
        let mut todos = self.read().await?;
        change(&mut todos).map_err(StoreError::Unchanged)?;
        let text = to_json(&todos);
        match &self.host {
            None => *self.memory() = Some(text.clone()),
            Some(host) => host.kv().set_text(KEY, text.clone()).await.map_err(|error| self.failed(error))?,
        }
        self.shared.0.changed.send_replace(text.into());
        Ok(())
    }

    /// Ready when the host ends this plugin; alone never: then the end of the process is that of its connections.
    pub(crate) async fn closing(&self) {
        match &self.host {
            Some(host) => host.shutting_down().await,
            None => pending().await,
        }
    }

    /// Tells of each change from now on.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<str>> {
        self.shared.0.changed.subscribe()
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.shared.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: impl std::fmt::Display) -> StoreError {
        let message = format!("the list cannot be kept: {error}");
        match &self.host {
            Some(host) => _ = host.log(Level::Error, message),
            None => eprintln!("{message}"),
        }
        StoreError::Unavailable
    }
}

pub(crate) fn to_json(todos: &Todos) -> String {
    serde_json::to_string(todos).expect("numbers, texts and booleans have a JSON form")
}

impl IntoResponse for StoreError {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Unchanged(Unchanged::NoText) => (StatusCode::BAD_REQUEST, "a todo has some text"),
            Self::Unchanged(Unchanged::TooLong) => {
                (StatusCode::BAD_REQUEST, "a todo has at most 200 characters")
            }
            Self::Unchanged(Unchanged::ListFull) => {
                (StatusCode::CONFLICT, "the list is full: do something first")
            }
            Self::Unchanged(Unchanged::NotThere) => (StatusCode::NOT_FOUND, "there is no such todo any more"),
            Self::Unavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "the list is not available now; try again")
            }
        };
        (status, text).into_response()
    }
}
