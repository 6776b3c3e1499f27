//! Keys, page by page.

use std::vec;

use super::PluginKvStore;
use crate::message::kv::{KvError, MAX_LIST};

/// A part of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KvPage {
    /// The keys, in the order of their bytes.
    pub keys: Vec<String>,
    /// Where to go on, as `after` of the next call; `None`: these are all.
    pub next: Option<String>,
}

/// Keys in the order of their bytes, fetched a page at a time; made by [`PluginKvStore::keys`].
///
/// It is no snapshot: of keys that come and go meanwhile it gives those that are there when their page is fetched. No key
/// comes twice, and one that stays is not missed.
#[derive(Debug)]
pub struct KvKeys {
    store: PluginKvStore,
    prefix: String,
    page: vec::IntoIter<String>,
    rest: Rest,
}

/// What is behind the page.
#[derive(Debug)]
enum Rest {
    /// The keys after this one; all where it is none.
    After(Option<String>),
    Nothing,
}

impl KvKeys {
    pub(super) fn new(store: PluginKvStore, prefix: String) -> Self {
        Self { store, prefix, page: Vec::new().into_iter(), rest: Rest::After(None) }
    }

    /// The next key; `None`: there are no more. Cancel safe: no key is lost. After an error it may be called again, and goes
    /// on where it was.
    ///
    /// # Errors
    /// The host's error, or `unavailable` when the link has ended.
    pub async fn next(&mut self) -> Result<Option<String>, KvError> {
        loop {
            if let Some(key) = self.page.next() {
                return Ok(Some(key));
            }
            let Rest::After(after) = &self.rest else { return Ok(None) };
            let page = self.store.list(&self.prefix, after.as_deref(), MAX_LIST).await?;
            self.page = page.keys.into_iter();
            self.rest = page.next.map_or(Rest::Nothing, |after| Rest::After(Some(after)));
        }
    }

    /// All that are left, in one list.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn collect(mut self) -> Result<Vec<String>, KvError> {
        let mut keys = Vec::new();
        while let Some(key) = self.next().await? {
            keys.push(key);
        }
        Ok(keys)
    }
}
