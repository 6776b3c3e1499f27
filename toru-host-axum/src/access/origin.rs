//! Keeping other sites from acting with a browser's session (CSRF).

use http::{HeaderMap, Method, header};

use super::Credential;
use crate::problem::{Kind, Problem};

/// Checks the origin of a request that may change something: an unsafe method or an upgrade. A foreign `Origin` is
/// always refused; with a session, which browsers attach by themselves, its absence is refused too.
pub(crate) fn check_origin(
    method: &Method,
    headers: &HeaderMap,
    authority: &str,
    credential: Credential,
) -> Result<(), Problem> {
    // RFC 9110, section 9.2.1, names the safe methods; a handshake of WebSockets is a GET that is not bound by CORS.
    if method.is_safe() && !headers.contains_key(header::UPGRADE) {
        return Ok(());
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    match (origins.next(), origins.next(), credential) {
        (None, _, Credential::Token) => Ok(()),
        (None, _, Credential::Session) => Err(refused(
            "A change by a browser's session needs an `Origin` header. Programs send the admin token instead.",
        )),
        (Some(origin), None, _) if is_same(origin.as_bytes(), authority) => Ok(()),
        (Some(_), _, _) => Err(refused("The request comes from a page of another site.")),
    }
}

/// Whether an origin is `http://` or, behind a proxy that ends TLS, `https://` and the request's own authority.
fn is_same(origin: &[u8], authority: &str) -> bool {
    let host = origin.strip_prefix(b"http://").or_else(|| origin.strip_prefix(b"https://"));
    host.is_some_and(|host| host.eq_ignore_ascii_case(authority.as_bytes()))
}

fn refused(detail: &'static str) -> Problem {
    Problem::new(Kind::ForeignOrigin, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(method: Method, headers: &[(&'static str, &'static str)], credential: Credential) -> bool {
        let headers =
            headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        check_origin(&method, &headers, "localhost:3000", credential).is_ok()
    }

    #[test]
    fn a_session_changes_things_from_its_own_origin_only() {
        use Credential::Session;
        assert!(allowed(Method::GET, &[], Session));
        assert!(allowed(Method::GET, &[("origin", "http://evil.example")], Session));
        assert!(allowed(Method::POST, &[("origin", "http://localhost:3000")], Session));
        assert!(allowed(Method::POST, &[("origin", "https://LOCALHOST:3000")], Session));
        for origin in
            ["http://localhost:3001", "http://localhost", "null", "", "localhost:3000", "http://evil.example"]
        {
            assert!(!allowed(Method::POST, &[("origin", origin)], Session), "{origin}");
            assert!(!allowed(Method::DELETE, &[("origin", origin)], Session), "{origin}");
        }
        assert!(!allowed(Method::POST, &[], Session));
        let twice = [("origin", "http://localhost:3000"), ("origin", "http://evil.example")];
        assert!(!allowed(Method::POST, &twice, Session));
    }

    #[test]
    fn an_upgrade_counts_as_a_change() {
        assert!(!allowed(Method::GET, &[("upgrade", "websocket")], Credential::Session));
        assert!(!allowed(
            Method::GET,
            &[("upgrade", "websocket"), ("origin", "http://evil.example")],
            Credential::Session
        ));
        assert!(allowed(Method::GET, &[("upgrade", "websocket")], Credential::Token));
    }

    #[test]
    fn a_program_needs_no_origin_but_a_foreign_one_is_refused() {
        assert!(allowed(Method::POST, &[], Credential::Token));
        assert!(!allowed(Method::POST, &[("origin", "http://evil.example")], Credential::Token));
    }
}
