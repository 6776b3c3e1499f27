//! The fields of an answer: the plugin's own, less what is the host's to say.

use http::{HeaderMap, HeaderValue, header};

use super::{cookies, is_hop_by_hop, named_by_connection};
use crate::link::BadAnswer;

/// Removes what does not pass from a plugin to a client, and tells what was found, each kind once.
pub(in crate::http) fn clean(
    headers: &mut HeaderMap,
    host_cookies: &[Box<str>],
    mut found: impl FnMut(BadAnswer, &'static str),
) {
    if remove_hop_by_hop(headers) {
        found(BadAnswer::HopByHop, "header fields that belong to one connection were removed");
    }
    if headers.contains_key(header::SET_COOKIE) && cookies::remove_from_answer(headers, host_cookies) {
        found(BadAnswer::HostCookie, "a cookie of the host's name was removed");
    }
}

/// Takes out what names the protocol of an upgrade, which passes where one was offered or is demanded. What else `connection` says stays.
pub(in crate::http) fn take_upgrade(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let mut says = headers.get_all(header::CONNECTION).iter();
    if says.next().is_some_and(|only| only.as_bytes().eq_ignore_ascii_case(b"upgrade"))
        && says.next().is_none()
    {
        headers.remove(header::CONNECTION);
    }
    let mut named = headers.get_all(header::UPGRADE).iter();
    let (only, more) = (named.next().cloned(), named.next().is_some());
    headers.remove(header::UPGRADE);
    only.filter(|_| !more)
}

/// Removes what belongs to one connection; whether there was any of it.
pub(in crate::http) fn remove_hop_by_hop(headers: &mut HeaderMap) -> bool {
    let mut dropped = named_by_connection(headers);
    dropped.extend(headers.keys().filter(|name| is_hop_by_hop(name.as_str())).cloned());
    for name in &dropped {
        headers.remove(name);
    }
    !dropped.is_empty()
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn cleaned(fields: &[(&str, &str)]) -> (HeaderMap, Vec<BadAnswer>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        let mut findings = Vec::new();
        clean(&mut headers, &["toru_session".into()], |found, _| findings.push(found));
        (headers, findings)
    }

    #[test]
    fn hop_by_hop_fields_of_an_answer_are_stripped_and_told_once() {
        let (headers, findings) = cleaned(&[
            ("connection", "close, x-mine"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("content-type", "text/plain"),
        ]);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers["content-type"], "text/plain");
        assert_eq!(findings, [BadAnswer::HopByHop]);
    }

    #[test]
    fn a_clean_answer_passes_whole_with_its_duplicates() {
        let (headers, findings) = cleaned(&[("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-a", "1")]);
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
        assert!(findings.is_empty());
    }

    #[test]
    fn a_cookie_of_the_host_is_stripped_and_told() {
        let (headers, findings) = cleaned(&[("set-cookie", "a=1"), ("set-cookie", "toru_session=evil")]);
        assert_eq!(headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1"]);
        assert_eq!(findings, [BadAnswer::HostCookie]);
    }
}
