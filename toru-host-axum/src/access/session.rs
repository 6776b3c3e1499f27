//! Browser sessions: random names in memory, bounded in number and in age.

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use subtle::ConstantTimeEq;
use tokio::time::Instant;

use super::token::random_secret;

/// The browsers of some dozen operators; past it the session that was idle longest ends.
const MAX_SESSIONS: usize = 256;
/// A working day: a browser that was closed in the evening has to enter again.
const IDLE_LIMIT: Duration = Duration::from_secs(12 * 60 * 60);

/// The name of a session: 256 random bits.
#[derive(Clone, Copy)]
pub(crate) struct SessionId([u8; 32]);

impl SessionId {
    fn random() -> io::Result<Self> {
        random_secret().map(Self)
    }

    /// Reads the value of a cookie.
    fn parse(text: &[u8]) -> Option<Self> {
        // Decoding into a fixed array fails on what is too long without allocating for it.
        let mut bytes = [0; 32];
        let len = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        (len == bytes.len()).then_some(Self(bytes))
    }

    /// The value of its cookie.
    pub(crate) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }
}

// The map's hash is keyed at random, so a lookup says nothing of the bytes, and the comparison takes the same time for all.
impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}
impl Eq for SessionId {}
impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// All open sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    last_used: Mutex<HashMap<SessionId, Instant>>,
}

impl Sessions {
    /// Opens a session; the one that was idle longest ends when there are too many.
    pub(crate) fn open(&self) -> io::Result<SessionId> {
        let id = SessionId::random()?;
        let mut sessions = self.lock();
        if sessions.len() >= MAX_SESSIONS {
            let idlest = sessions.iter().min_by_key(|(_, used)| **used).map(|(id, _)| *id);
            idlest.map(|id| sessions.remove(&id));
        }
        sessions.insert(id, Instant::now());
        Ok(id)
    }

    /// Whether the value of a cookie names an open session, which thereby stays open.
    pub(crate) fn use_cookie(&self, value: &[u8]) -> bool {
        let Some(id) = SessionId::parse(value) else { return false };
        let now = Instant::now();
        let mut sessions = self.lock();
        let Some(last_used) = sessions.get_mut(&id) else { return false };
        if now.duration_since(*last_used) > IDLE_LIMIT {
            sessions.remove(&id);
            return false;
        }
        *last_used = now;
        true
    }

    /// Ends the session that the value of a cookie names.
    pub(crate) fn close_cookie(&self, value: &[u8]) {
        if let Some(id) = SessionId::parse(value) {
            self.lock().remove(&id);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SessionId, Instant>> {
        // Each change is one call on the map, so a panic elsewhere leaves it whole.
        self.last_used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_idle_session_ends_and_a_used_one_stays() {
        let sessions = Sessions::default();
        let (used, idle) = (sessions.open().unwrap().to_text(), sessions.open().unwrap().to_text());
        tokio::time::advance(IDLE_LIMIT - Duration::from_secs(1)).await;
        assert!(sessions.use_cookie(used.as_bytes()));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(sessions.use_cookie(used.as_bytes()));
        assert!(!sessions.use_cookie(idle.as_bytes()));
    }

    #[tokio::test(start_paused = true)]
    async fn past_the_bound_the_idlest_session_ends() {
        let sessions = Sessions::default();
        let first = sessions.open().unwrap().to_text();
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = sessions.open().unwrap().to_text();
        for _ in 2..=MAX_SESSIONS {
            sessions.open().unwrap();
        }
        assert!(!sessions.use_cookie(first.as_bytes()));
        assert!(sessions.use_cookie(second.as_bytes()));
        assert_eq!(sessions.lock().len(), MAX_SESSIONS);
    }

    #[tokio::test]
    async fn only_the_name_of_an_open_session_enters() {
        let sessions = Sessions::default();
        let name = sessions.open().unwrap().to_text();
        let other = SessionId::random().unwrap().to_text();
        for wrong in ["", "x", other.as_str(), &name[1..], &format!("{name}A"), &"A".repeat(10_000)] {
            assert!(!sessions.use_cookie(wrong.as_bytes()), "{wrong}");
        }
        sessions.close_cookie(name.as_bytes());
        assert!(!sessions.use_cookie(name.as_bytes()));
    }
}
