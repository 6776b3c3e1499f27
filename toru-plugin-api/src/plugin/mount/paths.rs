//! Which paths of an answer are the app's own, and how they look from outside. Pure functions of bytes; `None` means: it stays as it is.

/// Where an app is, as its client sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mount<'a> {
    /// Begins with a slash and ends with none.
    pub(super) prefix: &'a [u8],
    /// The host that the client asked for, with its port if it named one.
    pub(super) authority: Option<&'a [u8]>,
    /// Whether the request was for `/` of the app.
    pub(super) is_for_root: bool,
}

impl Mount<'_> {
    /// A URI reference (RFC 3986, 4.1): a path from the root, or a URL of this host, goes under the prefix; a relative one is under it
    /// already, and what belongs to others stays.
    pub(super) fn reference(&self, value: &[u8]) -> Option<Vec<u8>> {
        let reference = value.trim_ascii();
        match reference {
            [b'/', b'/', ..] => self.beyond_authority(reference, 2, ""),
            [b'/', ..] => self.path(reference),
            _ => {
                let (scheme, port) = [("http://", ":80"), ("https://", ":443")]
                    .into_iter()
                    .find(|(scheme, _)| begins_with(reference, scheme))?;
                self.beyond_authority(reference, scheme.len(), port)
            }
        }
    }

    /// A reference whose authority begins at `begin`, if that is this host's.
    fn beyond_authority(&self, reference: &[u8], begin: usize, default_port: &str) -> Option<Vec<u8>> {
        let is_end = |byte: &u8| matches!(byte, b'/' | b'?' | b'#' | b'\\');
        let rest = &reference[begin..];
        let (authority, path) = rest.split_at(rest.iter().position(is_end).unwrap_or(rest.len()));
        let plain = |authority| without_suffix(authority, default_port.as_bytes());
        if !plain(authority).eq_ignore_ascii_case(plain(self.authority?)) {
            return None;
        }
        let mut path = path.to_vec();
        if !path.starts_with(b"/") {
            path.insert(0, b'/');
        }
        Some([&reference[..begin], authority, &self.path(&path)?].concat())
    }

    fn path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let is_under = path.strip_prefix(self.prefix).is_some_and(|rest| match rest.first() {
            None => true,
            Some(next) => matches!(next, b'/' | b'?' | b'#'),
        });
        (!is_under).then(|| [self.prefix, path].concat())
    }

    /// A value of `Refresh`: seconds, and where to go after them (HTML, "shared declarative refresh steps").
    pub(super) fn refresh(&self, value: &[u8]) -> Option<Vec<u8>> {
        let mut begin = 1 + value.iter().position(|byte| matches!(byte, b';' | b','))?;
        let skip_spaces = |from: usize| from + (value[from..].len() - value[from..].trim_ascii_start().len());
        begin = skip_spaces(begin);
        if begins_with(&value[begin..], "url") {
            let equals = skip_spaces(begin + "url".len());
            if value.get(equals) == Some(&b'=') {
                begin = skip_spaces(equals + 1);
            }
        }
        let quote = value.get(begin).copied().filter(|byte| matches!(byte, b'"' | b'\''));
        begin += usize::from(quote.is_some());
        let end = match quote {
            Some(quote) => {
                value[begin..].iter().position(|byte| *byte == quote).map_or(value.len(), |len| begin + len)
            }
            None => value.len(),
        };
        let reference = self.reference(&value[begin..end])?;
        Some([&value[..begin], &reference, &value[end..]].concat())
    }

    /// A cookie (RFC 6265, 4.1 and 5.2.4): its `Path` goes under the prefix.
    ///
    /// One without `Path` gets that of its page's folder from the browser, which is under the prefix already; but a page that was asked for
    /// by the prefix itself, without a slash, lies in the folder above. One whose name begins with `__Host-` is taken by browsers with
    /// `Path=/` only.
    pub(super) fn cookie(&self, value: &[u8]) -> Option<Vec<u8>> {
        if begins_with(value.trim_ascii_start(), "__host-") {
            return None;
        }
        let mut parts: Vec<Vec<u8>> = value.split(|byte| *byte == b';').map(<[u8]>::to_vec).collect();
        let (mut has_path, mut is_changed) = (false, false);
        for part in &mut parts[1..] {
            let Some(path) = path_attribute(part) else { continue };
            has_path = true;
            let is_under =
                path.strip_prefix(self.prefix).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')));
            if !is_under {
                // Without its slash the root is the prefix itself, which a browser may ask for without one too.
                let below = if path == b"/" { b"" } else { path };
                *part = [b" Path=", self.prefix, below].concat();
                is_changed = true;
            }
        }
        if !has_path && self.is_for_root {
            parts.push([&b" Path="[..], self.prefix].concat());
            is_changed = true;
        }
        is_changed.then(|| parts.join(&b';'))
    }
}

/// The path that an attribute of a cookie names. Browsers ignore one that does not begin with a slash.
fn path_attribute(attribute: &[u8]) -> Option<&[u8]> {
    let equals = attribute.iter().position(|byte| *byte == b'=')?;
    let (name, path) = (attribute[..equals].trim_ascii(), attribute[equals + 1..].trim_ascii());
    (name.eq_ignore_ascii_case(b"path") && path.starts_with(b"/")).then_some(path)
}

fn begins_with(bytes: &[u8], lower_case: &str) -> bool {
    bytes.get(..lower_case.len()).is_some_and(|head| head.eq_ignore_ascii_case(lower_case.as_bytes()))
}

fn without_suffix<'a>(bytes: &'a [u8], suffix: &[u8]) -> &'a [u8] {
    bytes.strip_suffix(suffix).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNT: Mount<'static> =
        Mount { prefix: b"/mount/todo", authority: Some(b"example.org:8080"), is_for_root: false };

    /// What becomes of a value; and then nothing more, however often it is done.
    #[track_caller]
    fn check(rewrite: impl Fn(&[u8]) -> Option<Vec<u8>>, value: &str, expected: &str) {
        let once = rewrite(value.as_bytes()).unwrap_or_else(|| value.into());
        assert_eq!(String::from_utf8_lossy(&once), expected, "{value:?}");
        assert_eq!(rewrite(&once), None, "{value:?} is changed twice");
    }

    #[test]
    fn references_of_the_app_go_under_the_prefix_and_all_others_stay() {
        for (reference, expected) in [
            ("/", "/mount/todo/"),
            ("/x?a=/b#c", "/mount/todo/x?a=/b#c"),
            (" /x ", "/mount/todo/x"),
            ("/mount/todo", "/mount/todo"),
            ("/mount/todo/x", "/mount/todo/x"),
            ("/mount/todo?x", "/mount/todo?x"),
            ("/mount/todos", "/mount/todo/mount/todos"),
            ("/mount", "/mount/todo/mount"),
            ("http://example.org:8080/x", "http://example.org:8080/mount/todo/x"),
            ("HTTPS://Example.ORG:8080/x", "HTTPS://Example.ORG:8080/mount/todo/x"),
            ("http://example.org:8080", "http://example.org:8080/mount/todo/"),
            ("http://example.org:8080?x", "http://example.org:8080/mount/todo/?x"),
            ("http://example.org:8080/mount/todo/x", "http://example.org:8080/mount/todo/x"),
            ("//example.org:8080/x", "//example.org:8080/mount/todo/x"),
            ("//other/x", "//other/x"),
            ("http://other:8080/x", "http://other:8080/x"),
            ("http://example.org/x", "http://example.org/x"),
            ("http://user@example.org:8080/x", "http://user@example.org:8080/x"),
            ("http://example.org:8080.other/x", "http://example.org:8080.other/x"),
            ("/\\other/x", "/mount/todo/\\other/x"),
            ("x", "x"),
            ("../x", "../x"),
            ("?x", "?x"),
            ("#x", "#x"),
            ("", ""),
            ("mailto:/x", "mailto:/x"),
            ("http:/x", "http:/x"),
        ] {
            check(|value| MOUNT.reference(value), reference, expected);
        }
    }

    #[test]
    fn the_default_port_may_be_named_or_left_out() {
        let mount = |authority| Mount { authority: Some(authority), ..MOUNT };
        let named = |authority, reference| mount(authority).reference(reference).is_some();
        assert!(named(b"example.org", b"http://example.org:80/x"));
        assert!(named(b"example.org:443", b"https://example.org/x"));
        assert!(!named(b"example.org", b"https://example.org:80/x"));
        assert_eq!(Mount { authority: None, ..MOUNT }.reference(b"http://example.org/x"), None);
    }

    #[test]
    fn a_refresh_goes_where_a_location_goes() {
        for (value, expected) in [
            ("5; url=/x", "5; url=/mount/todo/x"),
            ("5;URL = '/x' y", "5;URL = '/mount/todo/x' y"),
            ("0, \"/x\"", "0, \"/mount/todo/x\""),
            ("0;/x", "0;/mount/todo/x"),
            ("5; url=x", "5; url=x"),
            ("5; url=http://other/x", "5; url=http://other/x"),
            ("5", "5"),
            ("5;", "5;"),
            ("5; url", "5; url"),
        ] {
            check(|value| MOUNT.refresh(value), value, expected);
        }
    }

    #[test]
    fn cookie_paths_go_under_the_prefix() {
        for (cookie, expected) in [
            ("a=1; Path=/", "a=1; Path=/mount/todo"),
            ("a=1; path=/x; HttpOnly", "a=1; Path=/mount/todo/x; HttpOnly"),
            ("a=1;PATH = /x/ ;Secure", "a=1; Path=/mount/todo/x/;Secure"),
            ("a=1; Path=/mount/todo", "a=1; Path=/mount/todo"),
            ("a=1; Path=/mount/todo/x", "a=1; Path=/mount/todo/x"),
            ("a=1; Path=/mount/todos", "a=1; Path=/mount/todo/mount/todos"),
            ("a=1; Path=/x; Path=/", "a=1; Path=/mount/todo/x; Path=/mount/todo"),
            ("a=1", "a=1"),
            ("a=1; Path=", "a=1; Path="),
            ("a=1; Path=x", "a=1; Path=x"),
            ("path=/x; HttpOnly", "path=/x; HttpOnly"),
            ("__Secure-a=1; Path=/; Secure", "__Secure-a=1; Path=/mount/todo; Secure"),
            ("__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure"),
            ("__hOST-a=1; Path=/; Secure", "__hOST-a=1; Path=/; Secure"),
        ] {
            check(|value| MOUNT.cookie(value), cookie, expected);
        }
    }

    #[test]
    fn a_cookie_without_path_stays_inside_the_app_where_the_prefix_itself_was_asked_for() {
        let mount = Mount { is_for_root: true, ..MOUNT };
        for (cookie, expected) in [
            ("a=1", "a=1; Path=/mount/todo"),
            ("a=1; Path=x; Secure", "a=1; Path=x; Secure; Path=/mount/todo"),
            ("a=1; Path=/x", "a=1; Path=/mount/todo/x"),
            ("__Host-a=1; Secure", "__Host-a=1; Secure"),
        ] {
            check(|value| mount.cookie(value), cookie, expected);
        }
    }
}
