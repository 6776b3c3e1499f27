//! Who may enter: the admin token for programs, a session for browsers, and the checks that keep other sites out.

mod authority;
mod credentials;
mod origin;
mod pace;
mod proxy;
mod session;
mod token;

use http::{HeaderMap, HeaderValue};
use tokio::time::Instant;

pub(crate) use authority::AllowedHosts;
pub use authority::{HostName, HostNameError};
pub(crate) use credentials::{SESSION_COOKIE, session_cookies, strip};
pub(crate) use origin::check_origin;
pub(crate) use proxy::{Forwarded, TrustedProxies};
pub use proxy::{NetworkError, ProxyNetwork};
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

    /// Looks for a credential of this host.
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Credential, Problem> {
        let mut tokens = credentials::bearer_tokens(headers).peekable();
        let has_token = tokens.peek().is_some();
        if tokens.any(|candidate| self.token.matches(candidate)) {
            return Ok(Credential::Token);
        }
        if session_cookies(headers).any(|value| self.sessions.use_cookie(value)) {
            return Ok(Credential::Session);
        }
        if has_token {
            return Err(self.refuse_token().await);
        }
        Err(credentials_required())
    }

    /// Looks at a token; a wrong one is answered at the pace that attempts are allowed.
    pub(crate) async fn try_token(&self, candidate: &[u8]) -> Result<(), Problem> {
        if self.token.matches(candidate) { Ok(()) } else { Err(self.refuse_token().await) }
    }

    async fn refuse_token(&self) -> Problem {
        tokio::time::sleep(self.pace.take_turn(Instant::now())).await;
        wrong_token()
    }

    /// Opens a session for who has shown the right token: its cookie, which a browser sends below this prefix only, and if it came by TLS
    /// never without.
    pub(crate) fn open_session(&self, prefix: &str, is_https: bool) -> Result<HeaderValue, Problem> {
        let id = self.sessions.open().map_err(|error| {
            tracing::error!(%error, "the system gave no random bytes for a session");
            Problem::new(Kind::Internal, "No session could be opened; the host's log says why.")
        })?;
        let secure = if is_https { "; Secure" } else { "" };
        Ok(cookie(&id.to_text(), prefix, secure))
    }

    /// Ends the sessions that these headers name: a cookie that makes the browser forget them.
    pub(crate) fn close_sessions(&self, prefix: &str, headers: &HeaderMap) -> HeaderValue {
        session_cookies(headers).for_each(|value| self.sessions.close_cookie(value));
        cookie("", prefix, "; Max-Age=0")
    }
}

fn cookie(value: &str, prefix: &str, more: &str) -> HeaderValue {
    // RFC 6265, section 5.1.4: with a slash at its end the path would not match a request for the prefix itself.
    let path = if prefix.is_empty() { "/" } else { prefix };
    let cookie = format!("{SESSION_COOKIE}={value}; HttpOnly; SameSite=Strict; Path={path}{more}");
    cookie.parse().expect("base64, a prefix that came in a header, and attributes are a header's value")
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
