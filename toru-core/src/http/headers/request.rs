//! The fields of a request: the client's own, less what is not the plugin's to see, and the context that only the host sets.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::{cookies, is_hop_by_hop, named_by_connection};
use crate::http::{
    caller::{Caller, HTTP, Identity},
    trace::{RequestIds, is_traceparent},
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_TORU_REQUEST_ID: HeaderName = HeaderName::from_static("x-toru-request-id");
const X_TORU_ROLES: HeaderName = HeaderName::from_static("x-toru-roles");
const X_TORU_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-toru-timeout-ms");
const X_TORU_USER: HeaderName = HeaderName::from_static("x-toru-user");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What the host tells a plugin of a request.
#[derive(Debug)]
pub(in crate::http) struct Context<'a> {
    pub(in crate::http) uri: &'a Uri,
    pub(in crate::http) caller: Option<&'a Caller>,
    pub(in crate::http) identity: Option<&'a Identity>,
    /// The path under which the plugin is mounted.
    pub(in crate::http) prefix: HeaderValue,
    /// How long the answer's head is waited for, if a timer runs.
    pub(in crate::http) timeout_ms: Option<&'a HeaderValue>,
    pub(in crate::http) ids: &'a RequestIds,
    pub(in crate::http) host_cookies: &'a [Box<str>],
}

/// Why a request's fields cannot be passed on.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) enum Unacceptable {
    /// More than one Host field (RFC 9112, 3.2), or one that differs from an absolute target in a way that cannot be written.
    Host,
}

/// Turns a client's fields into those that the plugin gets (protocol section 4, context).
pub(in crate::http) fn prepare(headers: &mut HeaderMap, context: &Context<'_>) -> Result<(), Unacceptable> {
    remove_foreign(headers);
    cookies::remove_from_request(headers, context.host_cookies);
    if context.identity.is_some_and(|identity| identity.by_authorization) {
        headers.remove(header::AUTHORIZATION);
    }
    set_host(headers, context.uri)?;
    let outer = context.caller.and_then(|caller| caller.prefix.as_ref());
    headers.insert(X_FORWARDED_PREFIX, prefix_below(outer, &context.prefix));
    headers.insert(X_FORWARDED_PROTO, context.caller.map_or(HTTP, |caller| caller.scheme.clone()));
    if let Some(caller) = context.caller {
        headers.insert(X_FORWARDED_FOR, caller.address.clone());
    }
    if let Some(identity) = context.identity {
        headers.insert(X_TORU_USER, identity.user.clone());
        headers.insert(X_TORU_ROLES, identity.roles.clone());
    }
    if let Some(timeout_ms) = context.timeout_ms {
        headers.insert(X_TORU_TIMEOUT_MS, timeout_ms.clone());
    }
    set_trace(headers, context.ids);
    Ok(())
}

/// Removes what belongs to the sender's connection, and what only the host may say.
pub(in crate::http) fn remove_foreign(headers: &mut HeaderMap) {
    let mut foreign = named_by_connection(headers);
    foreign.extend(headers.keys().filter(|name| is_foreign(name.as_str())).cloned());
    for name in foreign {
        headers.remove(name);
    }
}

fn is_foreign(name: &str) -> bool {
    match name.as_bytes().first() {
        // The host answers `expect` itself.
        Some(b'c' | b'h' | b'k' | b'p' | b't' | b'u' | b'e') => is_hop_by_hop(name) || name == "expect",
        Some(b'f') => name == "forwarded",
        Some(b'x') => {
            begins_folded(name, "x-toru-") || begins_folded(name, "x-forwarded-") || name == "x-forwarded"
        }
        _ => false,
    }
}

/// Whether a name begins so, for a reader that takes `_` for `-`, as CGI and WSGI do.
fn begins_folded(name: &str, prefix: &str) -> bool {
    let folded = name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
    name.len() >= prefix.len() && folded.zip(prefix.bytes()).all(|(own, wanted)| own == wanted)
}

fn set_host(headers: &mut HeaderMap, uri: &Uri) -> Result<(), Unacceptable> {
    let mut values = headers.get_all(header::HOST).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(Unacceptable::Host);
    }
    // An absolute target names the host, whatever the field says (RFC 9112, 3.2.2).
    let host = match uri.authority() {
        Some(authority) => {
            let text = authority.as_str();
            let host = text.rsplit_once('@').map_or(text, |(_, host)| host);
            HeaderValue::from_str(host).map_err(|_| Unacceptable::Host)?
        }
        None => match first {
            Some(host) => host.clone(),
            None => return Ok(()),
        },
    };
    if uri.authority().is_some() {
        headers.insert(header::HOST, host.clone());
    }
    headers.insert(X_FORWARDED_HOST, host);
    Ok(())
}

/// Continues the client's trace, or begins one.
fn set_trace(headers: &mut HeaderMap, ids: &RequestIds) {
    let new = ids.trace();
    let mut values = headers.get_all(TRACEPARENT).iter();
    let continued = matches!((values.next(), values.next()), (Some(only), None) if is_traceparent(only));
    if !continued {
        headers.insert(TRACEPARENT, new.traceparent);
        headers.remove(TRACESTATE);
    }
    headers.insert(X_TORU_REQUEST_ID, new.request_id);
}

/// The mount of a plugin, below the path under which the embedder itself is seen.
fn prefix_below(outer: Option<&HeaderValue>, mount: &HeaderValue) -> HeaderValue {
    let Some(outer) = outer else { return mount.clone() };
    HeaderValue::from_bytes(&[outer.as_bytes(), mount.as_bytes()].concat()).expect("both are header values")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepared_with(
        fields: &[(&str, &str)],
        uri: &str,
        identity: Option<&Identity>,
    ) -> Result<HeaderMap, Unacceptable> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let caller = Caller::https("192.0.2.7".parse().unwrap());
        let context = Context {
            uri: &uri.parse().unwrap(),
            caller: Some(&caller),
            identity,
            prefix: HeaderValue::from_static("/mount/r"),
            timeout_ms: Some(&HeaderValue::from_static("30000")),
            ids: &RequestIds::new(),
            host_cookies: &["toru_session".into()],
        };
        prepare(&mut headers, &context).map(|()| headers)
    }

    fn prepared(fields: &[(&str, &str)]) -> HeaderMap {
        prepared_with(fields, "/x", None).unwrap()
    }

    #[test]
    fn hop_by_hop_fields_do_not_pass() {
        let headers = prepared(&[
            ("connection", "keep-alive, X-Private , close,,not a token"),
            ("connection", "x-second"),
            ("x-private", "1"),
            ("x-second", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("trailer", "x"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ]);
        for name in [
            "connection",
            "x-private",
            "x-second",
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "expect",
        ] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert_eq!(headers["accept"], "*/*");
    }

    #[test]
    fn forged_context_is_dropped_in_every_spelling() {
        let headers = prepared(&[
            ("X-Toru-User", "root"),
            ("x_toru_user", "root"),
            ("X-Toru_Roles", "admin"),
            ("x-toru-anything", "1"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x_forwarded_for", "127.0.0.1"),
            ("X-Forwarded-Port", "1"),
            ("x-forwarded", "1"),
            ("forwarded", "for=127.0.0.1"),
            ("x-torus", "stays"),
        ]);
        for name in [
            "x-toru-user",
            "x_toru_user",
            "x-toru_roles",
            "x-toru-anything",
            "x_forwarded_for",
            "x-forwarded-port",
            "x-forwarded",
            "forwarded",
        ] {
            assert!(!headers.contains_key(name), "{name}");
        }
        assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
        assert_eq!(headers["x-torus"], "stays");
    }

    #[test]
    fn a_connection_field_cannot_remove_what_the_host_sets() {
        let headers = prepared(&[
            ("connection", "x-forwarded-for, x-toru-request-id, traceparent, Host"),
            ("host", "h"),
        ]);
        for name in ["x-forwarded-for", "x-toru-request-id", "traceparent"] {
            assert!(headers.contains_key(name), "{name}");
        }
        assert_eq!(
            (&headers["host"], &headers["x-forwarded-host"]),
            (&"h".parse().unwrap(), &"h".parse().unwrap())
        );
    }

    #[test]
    fn the_host_tells_who_asks_and_from_where() {
        let identity = Identity::new("ann", ["admin", "user"]).unwrap();
        let headers = prepared_with(&[("host", "example.org:8080")], "/x", Some(&identity)).unwrap();
        for (name, value) in [
            ("host", "example.org:8080"),
            ("x-forwarded-host", "example.org:8080"),
            ("x-forwarded-for", "192.0.2.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-prefix", "/mount/r"),
            ("x-toru-user", "ann"),
            ("x-toru-roles", "admin,user"),
            ("x-toru-timeout-ms", "30000"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
        assert_eq!(headers["x-toru-request-id"].len(), 32);
        assert!(is_traceparent(&headers["traceparent"]));
    }

    #[test]
    fn credentials_that_the_host_consumed_end_at_the_host() {
        let consumed = Identity::new("ann", []).unwrap().by_authorization();
        let fields = [("authorization", "Bearer secret"), ("cookie", "a=1; toru_session=secret; b=2")];
        let headers = prepared_with(&fields, "/x", Some(&consumed)).unwrap();
        assert!(!headers.contains_key("authorization"));
        assert_eq!(headers["cookie"], "a=1; b=2");
        let by_cookie = Identity::new("ann", []).unwrap();
        let headers = prepared_with(&fields, "/x", Some(&by_cookie)).unwrap();
        assert_eq!(headers["authorization"], "Bearer secret");
    }

    #[test]
    fn an_absolute_target_names_the_host() {
        let headers = prepared_with(&[("host", "other")], "http://user@example.org:81/x", None).unwrap();
        assert_eq!(headers["host"], "example.org:81");
        assert_eq!(headers["x-forwarded-host"], "example.org:81");
    }

    #[test]
    fn a_mount_lies_below_the_path_that_a_proxy_has_removed() {
        let mount = HeaderValue::from_static("/mount/r");
        assert_eq!(prefix_below(None, &mount), "/mount/r");
        let caller = Caller::https("192.0.2.7".parse().unwrap()).below("/tools/").unwrap();
        assert_eq!(prefix_below(caller.prefix.as_ref(), &mount), "/tools/mount/r");
    }

    #[test]
    fn two_hosts_are_refused() {
        assert_eq!(
            prepared_with(&[("host", "a"), ("host", "b")], "/x", None).unwrap_err(),
            Unacceptable::Host
        );
    }

    #[test]
    fn a_trace_is_continued_or_made() {
        let client = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let headers = prepared(&[("traceparent", client), ("tracestate", "a=1")]);
        assert_eq!(headers["traceparent"], client);
        assert_eq!(headers["tracestate"], "a=1");
        let headers = prepared(&[("traceparent", "nonsense"), ("tracestate", "a=1")]);
        assert!(is_traceparent(&headers["traceparent"]));
        assert!(!headers.contains_key("tracestate"));
        let headers = prepared(&[("traceparent", client), ("traceparent", client)]);
        assert_eq!(headers.get_all("traceparent").iter().count(), 1);
        assert_ne!(headers["traceparent"], client);
    }

    #[test]
    fn duplicate_fields_stay_in_order() {
        let headers = prepared(&[("x-a", "1"), ("x-a", "2"), ("accept", "a"), ("accept", "b")]);
        let all =
            |name| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
        assert_eq!(all("x-a"), ["1", "2"]);
        assert_eq!(all("accept"), ["a", "b"]);
    }
}
