//! Finding the host's credentials in a request, and taking them out of it.

use http::{HeaderMap, HeaderValue, header};

use super::AdminToken;

/// The cookie that names a browser's session.
pub(crate) const SESSION_COOKIE: &str = "toru_session";

/// The tokens of all `Authorization: Bearer` fields (RFC 6750, section 2.1).
pub(crate) fn bearer_tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::AUTHORIZATION).iter().filter_map(bearer_token)
}

fn bearer_token(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
}

/// The values of all cookies that are named as the host's.
pub(crate) fn session_cookies(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(header::COOKIE).iter().flat_map(cookies).filter_map(session_cookie)
}

fn cookies(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii)
}

fn session_cookie(pair: &[u8]) -> Option<&[u8]> {
    let rest = pair.strip_prefix(SESSION_COOKIE.as_bytes())?;
    // A pair without `=` is dropped too: some servers read it as a name.
    match rest.split_first() {
        None => Some(rest),
        Some((b'=', value)) => Some(value),
        Some((b' ' | b'\t', _)) => rest.trim_ascii_start().strip_prefix(b"="),
        Some(_) => None,
    }
}

/// Takes the host's credentials out; other cookies and credentials stay as they are, in order.
pub(crate) fn strip(headers: &mut HeaderMap, token: &AdminToken) {
    let is_token =
        |value: &HeaderValue| bearer_token(value).is_some_and(|candidate| token.matches(candidate));
    // Most requests have one of the two: a map is taken apart only where there is something to take out.
    if headers.get_all(header::AUTHORIZATION).iter().any(is_token) {
        retain_values(headers, header::AUTHORIZATION, |value| (!is_token(&value)).then_some(value));
    }
    if session_cookies(headers).next().is_some() {
        retain_values(headers, header::COOKIE, without_session);
    }
}

fn without_session(value: HeaderValue) -> Option<HeaderValue> {
    if !cookies(&value).any(|pair| session_cookie(pair).is_some()) {
        return Some(value);
    }
    let kept: Vec<&[u8]> =
        cookies(&value).filter(|pair| !pair.is_empty() && session_cookie(pair).is_none()).collect();
    if kept.is_empty() {
        return None;
    }
    Some(HeaderValue::from_bytes(&kept.join(&b"; "[..])).expect("parts of a header's value are one"))
}

fn retain_values(
    headers: &mut HeaderMap,
    name: http::HeaderName,
    keep: impl Fn(HeaderValue) -> Option<HeaderValue>,
) {
    let http::header::Entry::Occupied(entry) = headers.entry(&name) else { return };
    let (_, values) = entry.remove_entry_mult();
    let kept: Vec<HeaderValue> = values.filter_map(keep).collect();
    for value in kept {
        headers.append(&name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn stripped(name: &'static str, values: &[&'static str]) -> Vec<String> {
        let pairs: Vec<_> = values.iter().map(|value| (name, *value)).collect();
        let mut headers = headers(&pairs);
        strip(&mut headers, &AdminToken::new("the-token").unwrap());
        headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_token_is_taken_out_and_other_credentials_stay() {
        assert!(stripped("authorization", &["Bearer the-token"]).is_empty());
        assert!(stripped("authorization", &["bearer   the-token "]).is_empty());
        assert_eq!(stripped("authorization", &["Basic dTpw"]), ["Basic dTpw"]);
        assert_eq!(stripped("authorization", &["Bearer other"]), ["Bearer other"]);
        assert_eq!(
            stripped("authorization", &["Bearer a", "Bearer the-token", "Bearer b"]),
            ["Bearer a", "Bearer b"]
        );
    }

    #[test]
    fn the_session_cookie_is_taken_out_and_others_stay() {
        assert!(stripped("cookie", &["toru_session=x"]).is_empty());
        assert!(stripped("cookie", &["toru_session"]).is_empty());
        assert!(stripped("cookie", &["toru_session = x; ;"]).is_empty());
        assert_eq!(stripped("cookie", &["a=1; toru_session=x; b=2"]), ["a=1; b=2"]);
        assert_eq!(stripped("cookie", &["toru_session=x;toru_session=y;a=1"]), ["a=1"]);
        assert_eq!(stripped("cookie", &["a=1", "toru_session=x", "b=2"]), ["a=1", "b=2"]);
        assert_eq!(
            stripped("cookie", &["xtoru_session=1;  toru_session2=2"]),
            ["xtoru_session=1;  toru_session2=2"]
        );
    }

    #[test]
    fn tokens_and_cookies_are_found_in_any_field() {
        let headers = headers(&[
            ("authorization", "Basic x"),
            ("authorization", "BEARER one"),
            ("cookie", "a=1"),
            ("cookie", "b=2; toru_session=s1"),
        ]);
        assert_eq!(bearer_tokens(&headers).collect::<Vec<_>>(), [b"one"]);
        assert_eq!(session_cookies(&headers).collect::<Vec<_>>(), [b"s1"]);
    }
}
