//! What a file is, by its name, and so how it may be sent and what it may do.

use http::{HeaderMap, HeaderValue, header};

/// How a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) content_type: &'static str,
    /// Whether a compressed form can be worth having.
    pub(super) is_compressible: bool,
}

const fn text(content_type: &'static str) -> Content {
    Content { content_type, is_compressible: true }
}

const fn packed(content_type: &'static str) -> Content {
    Content { content_type, is_compressible: false }
}

/// By the end of the name; what is not known is a download that no browser guesses at (`nosniff`).
pub(super) fn of(name: &str) -> Content {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match &*extension {
        "html" | "htm" => text("text/html; charset=utf-8"),
        // RFC 9239.
        "js" | "mjs" => text("text/javascript; charset=utf-8"),
        "css" => text("text/css; charset=utf-8"),
        "json" | "map" => text("application/json"),
        "webmanifest" => text("application/manifest+json"),
        "svg" => text("image/svg+xml"),
        "xml" => text("application/xml"),
        "txt" => text("text/plain; charset=utf-8"),
        "wasm" => text("application/wasm"),
        "ttf" => text("font/ttf"),
        "otf" => text("font/otf"),
        "woff" => packed("font/woff"),
        "woff2" => packed("font/woff2"),
        "png" => packed("image/png"),
        "jpg" | "jpeg" => packed("image/jpeg"),
        "gif" => packed("image/gif"),
        "webp" => packed("image/webp"),
        "avif" => packed("image/avif"),
        "ico" => text("image/x-icon"),
        "mp3" => packed("audio/mpeg"),
        "ogg" => packed("audio/ogg"),
        "mp4" => packed("video/mp4"),
        "webm" => packed("video/webm"),
        "pdf" => packed("application/pdf"),
        _ => packed("application/octet-stream"),
    }
}

/// A page and its scripts: all that they load comes from the host, and nothing that was written into the page runs.
const PAGE: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data: blob:; font-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; \
     object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'self'";

/// Anything else: opened as a page of its own, such as an SVG, it has no origin and runs nothing.
const INERT: &str = "default-src 'none'; style-src 'unsafe-inline'; sandbox; frame-ancestors 'self'";

/// A PDF's viewer is no part of the host's origin, and does not start in a sandbox.
const PDF: &str = "default-src 'none'; object-src 'self'; frame-ancestors 'self'";

impl Content {
    /// What it may do in a browser.
    pub(super) fn policy(self) -> HeaderValue {
        HeaderValue::from_static(match self.content_type {
            "text/html; charset=utf-8" | "text/javascript; charset=utf-8" | "application/wasm" => PAGE,
            "application/pdf" => PDF,
            _ => INERT,
        })
    }
}

/// A form in which a file may lie beside itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Coding {
    /// Its name in `Content-Encoding`.
    pub(super) name: &'static str,
    pub(super) suffix: &'static str,
}

/// The better one first.
const CODINGS: [Coding; 2] = [Coding { name: "br", suffix: ".br" }, Coding { name: "gzip", suffix: ".gz" }];

/// The codings that a client names and does not refuse by `q=0` (RFC 9110, section 12.5.3).
pub(super) fn accepted(headers: &HeaderMap) -> Vec<Coding> {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = values.flat_map(|value| value.split(',')).filter_map(wanted).collect();
    let is_named = |coding: &Coding| named.iter().any(|name| name.eq_ignore_ascii_case(coding.name));
    CODINGS.into_iter().filter(is_named).collect()
}

fn wanted(item: &str) -> Option<&str> {
    let (name, weight) = item.split_once(';').unwrap_or((item, ""));
    let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
    weight.is_ok_and(|weight| weight > 0.0).then(|| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_that_of_the_last_extension() {
        assert_eq!(of("assets/app.3f2a.JS").content_type, "text/javascript; charset=utf-8");
        assert_eq!(of("index.html").content_type, "text/html; charset=utf-8");
        for unknown in ["LICENSE", "app.js.br", "a.", "x.exe"] {
            assert_eq!(of(unknown).content_type, "application/octet-stream", "{unknown}");
        }
    }

    #[test]
    fn only_pages_and_scripts_may_run_anything() {
        for (name, runs) in [
            ("a.html", true),
            ("a.js", true),
            ("a.wasm", true),
            ("a.svg", false),
            ("a.xml", false),
            ("a", false),
        ] {
            let policy = of(name).policy();
            assert_eq!(!policy.to_str().unwrap().contains("sandbox"), runs, "{name}");
            assert!(!policy.to_str().unwrap().contains("'unsafe-eval'"));
        }
    }

    #[test]
    fn codings_are_those_that_are_named_and_not_refused() {
        let names = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            accepted(&headers).into_iter().map(|coding| coding.name).collect::<Vec<_>>()
        };
        assert_eq!(names("gzip, deflate, br"), ["br", "gzip"]);
        assert_eq!(names("br;q=0, GZIP;q=0.5"), ["gzip"]);
        assert_eq!(names("br;q=0.000, gzip;q=x, *"), [""; 0]);
        assert_eq!(names(""), [""; 0]);
        assert_eq!(accepted(&HeaderMap::new()), []);
    }
}
