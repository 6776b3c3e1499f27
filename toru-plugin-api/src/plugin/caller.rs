//! Who asks, and what the host says of their request.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_TORU_REQUEST_ID: HeaderName = HeaderName::from_static("x-toru-request-id");
const X_TORU_ROLES: HeaderName = HeaderName::from_static("x-toru-roles");
const X_TORU_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-toru-timeout-ms");
const X_TORU_USER: HeaderName = HeaderName::from_static("x-toru-user");

/// Who asks, and what the host says of their request: the context headers of the protocol (section 4), which no client can forge.
///
/// A service that is served by [`serve_service`](super::serve_service) finds it in the extensions of each request; a handler of a
/// [`ToruPlugin`](super::ToruPlugin) gets it from [`HttpRequest::caller`](super::HttpRequest::caller). It holds references to the values and
/// parses what is asked for.
///
/// An axum handler that runs alone as well takes it as `Option<Extension<Caller>>`.
#[derive(Debug, Clone)]
pub struct Caller {
    user: Option<HeaderValue>,
    roles: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    timeout: Option<HeaderValue>,
    prefix: Option<HeaderValue>,
    since: Instant,
}

impl Caller {
    /// What these headers of a request say; its deadline counts from now.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let get = |name: HeaderName| headers.get(name).cloned();
        Self {
            user: get(X_TORU_USER),
            roles: get(X_TORU_ROLES),
            request_id: get(X_TORU_REQUEST_ID),
            timeout: get(X_TORU_TIMEOUT_MS),
            prefix: get(X_FORWARDED_PREFIX),
            since: tokio::time::Instant::now().into_std(),
        }
    }

    /// The user that the host authenticated; `None`: an anonymous request.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        text(self.user.as_ref())
    }

    /// What the user may do, in the host's own words.
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        let roles = text(self.roles.as_ref()).unwrap_or_default();
        roles.split(',').map(str::trim).filter(|role| !role.is_empty())
    }

    /// Whether the user has this role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles().any(|own| own == role)
    }

    /// The id of this request, for logs: no other request of this host has it.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        text(self.request_id.as_ref())
    }

    /// How long the host waits for the head of the answer once the request is whole; then its client gets 504.
    #[must_use]
    pub fn timeout(&self) -> Option<Duration> {
        text(self.timeout.as_ref())?.parse().ok().map(Duration::from_millis)
    }

    /// Until when the host waits for the head of the answer, at least: while the request's own body is on its way, the host's time
    /// has not begun.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.since.checked_add(self.timeout()?)
    }

    /// The path under which the client sees this plugin, such as `/api/plugins/route/todo`: what absolute paths in pages begin with. It has no
    /// slash at its end, and is empty where nothing was removed from the path.
    #[must_use]
    pub fn base_path(&self) -> &str {
        base_path(self.prefix.as_ref())
    }
}

/// What the host has removed from the path, as it says, without a slash at its end.
pub(super) fn base_path(prefix: Option<&HeaderValue>) -> &str {
    text(prefix).unwrap_or_default().trim_end_matches('/')
}

/// A value as text: of UTF-8, unlike what `HeaderValue::to_str` takes, because users have names.
fn text(value: Option<&HeaderValue>) -> Option<&str> {
    std::str::from_utf8(value?.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(fields: &[(&'static str, &str)]) -> Caller {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        Caller::from_headers(&fields.collect())
    }

    #[test]
    fn a_caller_is_what_the_context_headers_say() {
        let caller = caller(&[
            ("x-toru-user", "Jürgen"),
            ("x-toru-roles", "admin, user,"),
            ("x-toru-request-id", "abc"),
            ("x-toru-timeout-ms", "30000"),
            ("x-forwarded-prefix", "/api/plugins/route/todo"),
        ]);
        assert_eq!(caller.user(), Some("Jürgen"));
        assert_eq!(caller.roles().collect::<Vec<_>>(), ["admin", "user"]);
        assert!(caller.has_role("user") && !caller.has_role("use") && !caller.has_role(""));
        assert_eq!(caller.request_id(), Some("abc"));
        assert_eq!(caller.timeout(), Some(Duration::from_secs(30)));
        assert_eq!(caller.deadline(), Some(caller.since + Duration::from_secs(30)));
        assert_eq!(caller.base_path(), "/api/plugins/route/todo");
    }

    #[test]
    fn what_the_host_does_not_say_is_absent() {
        let caller = caller(&[("x-toru-timeout-ms", "soon")]);
        assert_eq!((caller.user(), caller.request_id()), (None, None));
        assert_eq!(caller.roles().count(), 0);
        assert_eq!((caller.timeout(), caller.deadline()), (None, None));
        assert_eq!(caller.base_path(), "");
    }
}
