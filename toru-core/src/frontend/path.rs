//! From the path of a request to the name of a file.

use percent_encoding::percent_decode_str;

use super::FrontendError;

/// What a request asks for, relative to the frontend's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Without `.`, `..`, empty or hidden segments; empty for the folder itself.
    pub(super) name: String,
    /// The path ends with `/`.
    pub(super) is_folder: bool,
}

/// Reads a path as it was received, without its first `/`: each segment is decoded once.
///
/// # Errors
/// `BadPath` for what could be read as another path, in any spelling; `NotFound` for what is hidden.
pub(super) fn parse(path: &str) -> Result<Wanted, FrontendError> {
    let (folders, is_folder) = match path.strip_suffix('/') {
        Some(folders) => (folders, true),
        None => (path, path.is_empty()),
    };
    if folders.is_empty() {
        // "/" alone would be an empty segment.
        let wanted = Wanted { name: String::new(), is_folder };
        return if path.is_empty() { Ok(wanted) } else { Err(FrontendError::BadPath) };
    }
    let segments = folders.split('/').map(segment).collect::<Result<Vec<_>, _>>()?;
    // Only after all were read, so that nothing forbidden is answered as if it were merely absent.
    if segments.iter().any(|segment| segment.starts_with('.')) {
        return Err(FrontendError::NotFound);
    }
    Ok(Wanted { name: segments.join("/"), is_folder })
}

fn segment(encoded: &str) -> Result<String, FrontendError> {
    let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| FrontendError::BadPath)?;
    let is_forbidden = matches!(&*decoded, "" | "." | "..") || decoded.contains(['/', '\\', '\0']);
    if is_forbidden { Err(FrontendError::BadPath) } else { Ok(decoded.into_owned()) }
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    fn name(path: &str) -> String {
        parse(path).unwrap().name
    }

    #[test]
    fn each_segment_is_decoded_once() {
        assert_eq!(name("assets/a%20b.js"), "assets/a b.js");
        assert_eq!(name("%C3%A9.css"), "é.css");
        assert_eq!(name("%2541"), "%41");
        assert_eq!(name("100%"), "100%");
    }

    #[test]
    fn a_folder_ends_with_a_slash() {
        assert_eq!(parse(""), Ok(Wanted { name: String::new(), is_folder: true }));
        assert_eq!(parse("docs/"), Ok(Wanted { name: "docs".into(), is_folder: true }));
        assert_eq!(parse("docs"), Ok(Wanted { name: "docs".into(), is_folder: false }));
    }

    #[test]
    fn what_could_be_another_path_is_refused_in_every_spelling() {
        for path in [
            "..",
            "../x",
            "a/../b",
            "%2e%2e/x",
            "%2E%2e",
            ".%2e/x",
            "a/..",
            "a/%2e%2e/",
            ".",
            "./a",
            "a/./b",
            "/",
            "//",
            "/etc/passwd",
            "a//b",
            "a//",
            "%2fetc",
            "a%2fb",
            "a%5cb",
            "..%5cx",
            "a\\b",
            "a%00.js",
            "%ff",
            "..%2f..",
        ] {
            assert_eq!(parse(path), Err(FrontendError::BadPath), "{path}");
        }
    }

    #[test]
    fn what_is_hidden_is_not_there() {
        for path in [".env", ".git/config", "a/.b/c", "%2egit", "..a", "..."] {
            assert_eq!(parse(path), Err(FrontendError::NotFound), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_stays_inside(path in "(/|\\.|%2e|%2F|%5c|%00|a|b|%25|%c3%a9){0,12}") {
            if let Ok(wanted) = parse(&path) {
                let inside = |part| matches!(part, Component::Normal(_));
                prop_assert!(Path::new(&wanted.name).components().all(inside), "{wanted:?}");
                prop_assert!(!wanted.name.split('/').any(|segment| segment.starts_with('.')));
            }
        }
    }
}
