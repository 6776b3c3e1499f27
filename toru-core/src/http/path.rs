//! What may stand in the path of a request: one pass over its bytes, nothing decoded, nothing changed.

/// What a path is fit for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathKind {
    /// For every plugin.
    Plain,
    /// It has `%2f` or an empty segment: only for a plugin with `raw_paths`.
    Raw,
    /// For none: a plugin might read it as another path than the one that was authorised.
    Forbidden,
}

/// Looks for what a plugin's own decoding could turn into another path: `..` as a segment in any spelling, `\`, NUL,
/// an encoded `/`, an empty segment; and for bytes that are not ASCII (protocol section 4).
pub(super) fn classify(path: &str) -> PathKind {
    let bytes = path.as_bytes();
    let mut kind = PathKind::Plain;
    let mut segment = Segment::Empty;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let (byte, encoded) = match byte {
            b'%' => decoded(&bytes[at + 1..]).map_or((b'%', false), |byte| (byte, true)),
            byte => (byte, false),
        };
        match byte {
            0 | b'\\' => return PathKind::Forbidden,
            byte if !encoded && !byte.is_ascii() => return PathKind::Forbidden,
            b'/' => {
                if segment == Segment::TwoDots {
                    return PathKind::Forbidden;
                }
                // The slash that a path begins with closes no segment.
                if encoded || (segment == Segment::Empty && at > 0) {
                    kind = PathKind::Raw;
                }
                segment = Segment::Empty;
            }
            b'.' => segment = segment.dot(),
            _ => segment = Segment::Name,
        }
        at += if encoded { 3 } else { 1 };
    }
    if segment == Segment::TwoDots { PathKind::Forbidden } else { kind }
}

/// What was seen of a segment so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Segment {
    Empty,
    OneDot,
    TwoDots,
    Name,
}

impl Segment {
    fn dot(self) -> Self {
        match self {
            Self::Empty => Self::OneDot,
            Self::OneDot => Self::TwoDots,
            Self::TwoDots | Self::Name => Self::Name,
        }
    }
}

/// The byte that the two hex digits after a `%` stand for.
fn decoded(digits: &[u8]) -> Option<u8> {
    let [high, low, ..] = digits else { return None };
    let value = char::from(*high).to_digit(16)? << 4 | char::from(*low).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{PathKind::*, *};

    #[test]
    fn dot_dot_segments_are_forbidden_in_every_spelling() {
        for path in [
            "/..",
            "/../",
            "/a/..",
            "/a/../b",
            "/%2e%2e",
            "/%2E%2e/x",
            "/.%2e",
            "/%2e./x",
            "/a/%2e%2E",
            "/..%2fx",
            "/a%2f..",
            "/x%2F%2e%2e%2Fy",
        ] {
            assert_eq!(classify(path), Forbidden, "{path}");
        }
    }

    #[test]
    fn backslash_and_nul_and_non_ascii_are_forbidden() {
        for path in ["/a%5cb", "/a%5Cb", "/a\\b", "/%00", "/a%00.txt", "/\u{e9}"] {
            assert_eq!(classify(path), Forbidden, "{path}");
        }
    }

    #[test]
    fn encoded_slashes_and_empty_segments_are_raw() {
        for path in ["//", "/a//b", "/a//", "/a%2fb", "/a%2Fb", "/%2f", "//a"] {
            assert_eq!(classify(path), Raw, "{path}");
        }
    }

    #[test]
    fn dots_within_names_are_plain() {
        for path in [
            "/", "/a", "/a/", "/a.b", "/a..b", "/...", "/.a", "/..a", "/a..", "/.", "/a/./b", "/%41", "/%zz",
            "/%", "/%2",
        ] {
            assert_eq!(classify(path), Plain, "{path}");
        }
    }

    #[test]
    fn twice_encoded_is_what_it_says_and_not_what_it_hides() {
        assert_eq!(classify("/%252e%252e/x"), Plain);
        assert_eq!(classify("/%252fx"), Plain);
    }

    proptest! {
        #[test]
        fn what_is_plain_decodes_to_a_path_without_dot_dot(path in "(/|\\.|%2e|%2E|%2f|%5c|%00|a|%25){0,12}") {
            let path = format!("/{path}");
            let text: String = percent_encoding::percent_decode_str(&path).decode_utf8_lossy().into_owned();
            let climbs = text.split(['/', '\\']).any(|segment| segment == "..");
            let hides = text.contains('\0') || text.contains('\\');
            let raw = path.to_ascii_lowercase().contains("%2f") || path.contains("//");
            let kind = if climbs || hides { Forbidden } else if raw { Raw } else { Plain };
            prop_assert_eq!(classify(&path), kind, "{}", path);
        }
    }
}
