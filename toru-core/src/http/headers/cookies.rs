//! The host's own cookies: a plugin neither sees nor sets them. And several `cookie` fields become one.

use http::{HeaderMap, HeaderValue, header};

/// Removes the host's cookies from a request, and joins what is left with `; ` (protocol section 4; RFC 9113, 8.2.3).
pub(super) fn remove_from_request(headers: &mut HeaderMap, host_cookies: &[Box<str>]) {
    let mut fields = headers.get_all(header::COOKIE).iter();
    let Some(first) = fields.next() else { return };
    let is_one = fields.next().is_none();
    let is_clean = |field: &HeaderValue| !pairs(field).any(|pair| is_host_cookie(pair, host_cookies));
    if is_one && is_clean(first) {
        return;
    }
    let mut kept = Vec::new();
    for pair in headers.get_all(header::COOKIE).iter().flat_map(pairs) {
        if pair.is_empty() || is_host_cookie(pair, host_cookies) {
            continue;
        }
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(pair);
    }
    if kept.is_empty() {
        headers.remove(header::COOKIE);
    } else {
        let joined = HeaderValue::from_bytes(&kept).expect("it consists of parts of header values");
        headers.insert(header::COOKIE, joined);
    }
}

/// Removes the answer's fields that would set a cookie of the host; whether there were any.
pub(super) fn remove_from_answer(headers: &mut HeaderMap, host_cookies: &[Box<str>]) -> bool {
    let sets_host_cookie =
        |field: &HeaderValue| pairs(field).next().is_some_and(|pair| is_host_cookie(pair, host_cookies));
    if !headers.get_all(header::SET_COOKIE).iter().any(sets_host_cookie) {
        return false;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter(|field| !sets_host_cookie(field))
        .cloned()
        .collect();
    headers.remove(header::SET_COOKIE);
    for field in kept {
        headers.append(header::SET_COOKIE, field);
    }
    true
}

fn pairs(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    field.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

/// Whether a browser would send this pair back, or a server read it, as a cookie of the host. A cookie without a name is
/// sent as its value alone (RFC 6265bis, 5.7), so `=toru_session=x` comes back as `toru_session=x`.
fn is_host_cookie(pair: &[u8], host_cookies: &[Box<str>]) -> bool {
    let named = match pair {
        [b'=', value @ ..] => value,
        pair => pair,
    };
    let name = named.split(|byte| *byte == b'=').next().unwrap_or(named).trim_ascii();
    host_cookies.iter().any(|own| own.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: header::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn sent(values: &[&str]) -> Option<String> {
        let mut headers = fields(header::COOKIE, values);
        remove_from_request(&mut headers, &["toru_session".into()]);
        assert!(headers.get_all(header::COOKIE).iter().count() <= 1);
        headers.get(header::COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    fn set(values: &[&str]) -> Vec<String> {
        let mut headers = fields(header::SET_COOKIE, values);
        remove_from_answer(&mut headers, &["toru_session".into()]);
        headers.get_all(header::SET_COOKIE).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_hosts_cookie_is_not_sent_on() {
        assert_eq!(sent(&["toru_session=1"]), None);
        assert_eq!(sent(&["a=1;toru_session=1;  b=2"]).unwrap(), "a=1; b=2");
        assert_eq!(sent(&["toru_session =1; b=2"]).unwrap(), "b=2");
        assert_eq!(sent(&["=toru_session=1; b=2"]).unwrap(), "b=2");
        assert_eq!(sent(&["toru_session; b=2"]).unwrap(), "b=2");
        assert_eq!(sent(&["a=toru_session=1"]).unwrap(), "a=toru_session=1");
        assert_eq!(sent(&["toru_session2=1"]).unwrap(), "toru_session2=1");
    }

    #[test]
    fn several_cookie_fields_become_one() {
        assert_eq!(sent(&["a=1", "b=2; toru_session=1", "c=3"]).unwrap(), "a=1; b=2; c=3");
    }

    #[test]
    fn a_field_without_a_cookie_of_the_host_stays_as_it_is() {
        assert_eq!(sent(&["a=1;b=2;;"]).unwrap(), "a=1;b=2;;");
    }

    #[test]
    fn a_plugin_cannot_set_the_hosts_cookie() {
        let own = "sid=1; Path=/; HttpOnly";
        for forged in [
            "toru_session=evil; Path=/",
            " toru_session =evil",
            "=toru_session=evil",
            "toru_session",
            "= toru_session =x",
        ] {
            assert_eq!(set(&[own, forged, "b=2"]), [own, "b=2"], "{forged}");
        }
        assert_eq!(set(&["a=1; toru_session=x"]), ["a=1; toru_session=x"], "an attribute is no cookie");
    }
}
