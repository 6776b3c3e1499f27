//! Who may enter: the admin token for programs, a session for browsers, and the checks that keep other sites out.

mod authority;
mod credentials;
mod origin;
mod pace;
mod session;
mod token;

use std::sync::atomic::{AtomicBool, Ordering};

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

pub(crate) use authority::AllowedHosts;
pub(crate) use credentials::{SESSION_COOKIE, session_cookies, strip};
pub(crate) use origin::check_origin;
pub use token::{AdminToken, TokenError};

use self::{pace::Pace, session::Sessions};
use crate::problem::{Kind, Problem};

/// How a client has shown that it may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Credential {
    /// By the admin token.
    Token,
    /// By a session's cookie, which a browser sends whatever page made it do so.
    Session,
}

/// All that decides who may enter.
pub(crate) struct Access {
    token: AdminToken,
    sessions: Sessions,
    pace: Pace,
}

impl Access {
    pub(crate) fn new(token: AdminToken) -> Self {
        Self { token, sessions: Sessions::default(), pace: Pace::default() }
    }

    pub(crate) fn token(&self) -> &AdminToken {
        &self.token
    }

    /// Looks for a credential of this host. `proven` belongs to the connection: the last token shown on it was right.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        proven: &AtomicBool,
    ) -> Result<Credential, Problem> {
        let has_session = session_cookies(headers).any(|value| self.sessions.use_cookie(value));
        let holds_token =
            || credentials::bearer_tokens(headers).any(|candidate| self.token.matches(candidate));
        if (has_session || proven.load(Ordering::Relaxed)) && holds_token() {
            return Ok(Credential::Token);
        }
        if has_session {
            return Ok(Credential::Session);
        }
        let candidate = credentials::bearer_tokens(headers).next().ok_or_else(credentials_required)?;
        proven.store(false, Ordering::Relaxed);
        self.try_token(candidate).await?;
        proven.store(true, Ordering::Relaxed);
        Ok(Credential::Token)
    }

    /// Looks at a token, at the pace that attempts are allowed.
    pub(crate) async fn try_token(&self, candidate: &[u8]) -> Result<(), Problem> {
        let wait = self.pace.take_turn(Instant::now()).map_err(|_| too_many_attempts())?;
        // Even the shortest sleep gives way to others. A thousand clients that come at once with the right token would
        // all hold a turn, and most would find none left.
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        if !self.token.matches(candidate) {
            return Err(wrong_token());
        }
        self.pace.give_back();
        Ok(())
    }

    /// Opens a session for who has shown the right token: its cookie.
    pub(crate) fn open_session(&self) -> Result<HeaderValue, Problem> {
        let id = self.sessions.open().map_err(|error| {
            tracing::error!(%error, "the system gave no random bytes for a session");
            Problem::new(Kind::Internal, "No session could be opened; the host's log says why.")
        })?;
        let cookie = format!("{SESSION_COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", id.to_text());
        Ok(cookie.parse().expect("base64 and attributes are a header's value"))
    }

    /// Ends the sessions that these headers name: a cookie that makes the browser forget them.
    pub(crate) fn close_sessions(&self, headers: &HeaderMap) -> HeaderValue {
        session_cookies(headers).for_each(|value| self.sessions.close_cookie(value));
        HeaderValue::from_static("toru_session=; HttpOnly; SameSite=Strict; Path=/; Max-Age=0")
    }
}

fn credentials_required() -> Problem {
    Problem::new(
        Kind::CredentialsRequired,
        "Send the admin token as `Authorization: Bearer TOKEN`, or enter by the login link that the host printed.",
    )
}

fn wrong_token() -> Problem {
    Problem::new(
        Kind::WrongToken,
        "This is not the admin token of this host. It is in TORU_ADMIN_TOKEN where the host was started, or in the file `admin-token` of its data folder.",
    )
}

fn too_many_attempts() -> Problem {
    Problem::new(
        Kind::TooManyAttempts,
        "Too many tokens were tried on this host. Wait a few seconds and try again.",
    )
}
