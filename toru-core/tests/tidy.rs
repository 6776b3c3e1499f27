//! Rules that no compiler holds: where `unsafe` may stand, what the pure modules may name, who may use whom.

#![expect(clippy::unwrap_used, reason = "what cannot be read here fails the test")]

#[path = "tidy/syntax.rs"]
mod syntax;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The only files with `unsafe` (each block there has its SAFETY comment: clippy holds that).
const UNSAFE: [&str; 2] = ["toru-core/src/process/sys.rs", "toru-plugin-api/src/sys.rs"];

/// Modules that take time as an argument and do no I/O.
const PURE: [&str; 5] = [
    "toru-plugin-api/src/frame",
    "toru-plugin-api/src/message",
    "toru-plugin-api/src/proto",
    "toru-core/src/supervisor/state",
    "toru-core/src/supervisor/restart",
];

/// What a pure module never names.
const IMPURE: [&str; 6] = ["tokio", "std::net", "std::process", "Instant::now", "SystemTime", "std::fs"];

/// Who may not use whom: the module, and what it may not name.
const ARROWS: [(&str, &[&str]); 9] = [
    (
        "toru-core/src/process",
        &["crate::link", "crate::supervisor", "crate::http", "crate::routes", "crate::store"],
    ),
    ("toru-core/src/link", &["crate::process", "crate::supervisor", "crate::http", "crate::routes"]),
    ("toru-core/src/http", &["crate::supervisor", "crate::process", "crate::discovery"]),
    ("toru-core/src/routes", &["crate::supervisor", "crate::process", "crate::http", "crate::discovery"]),
    (
        "toru-core/src/store",
        &["crate::link", "crate::supervisor", "crate::http", "crate::routes", "crate::process"],
    ),
    (
        "toru-core/src/frontend",
        &["crate::supervisor", "crate::discovery", "crate::http", "crate::link", "crate::process"],
    ),
    ("toru-plugin-api/src/frame", &["crate::proto", "crate::driver", "crate::plugin"]),
    ("toru-plugin-api/src/proto", &["crate::driver", "crate::plugin"]),
    ("toru-plugin-api/src/driver", &["crate::plugin"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_owned()
}

/// All files below the four crates, the examples and the fuzz workspace, as (path from the root, text).
fn sources() -> Vec<(String, String)> {
    let root = root();
    let mut folders: Vec<PathBuf> =
        ["toru-plugin-api", "toru-core", "toru-host-axum", "toru-host-cli", "examples", "fuzz"]
            .map(|folder| root.join(folder))
            .into();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") && !path.ends_with("corpus") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().display().to_string();
                sources.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(sources.len() > 50, "the sources were not found: {}", sources.len());
    sources
}

/// The lines of code: without comments, and without the tests at a file's end.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| line.trim() != "#[cfg(test)]")
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or(line)))
}

fn is_test(name: &str) -> bool {
    name.contains("/tests/") || name.ends_with("/tests.rs")
}

/// Whether `name` is the module `module`: its file or a file in its folder.
fn is_in(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[test]
fn unsafe_stands_in_two_files_only() {
    for (name, text) in sources() {
        if UNSAFE.contains(&name.as_str()) || name == "toru-core/tests/tidy.rs" {
            continue;
        }
        for (line, code) in code(&text) {
            // With the hyphen, so that a browser's `unsafe-inline` is another word.
            let words: Vec<&str> =
                code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '-').collect();
            assert!(!words.contains(&"unsafe"), "{name}:{line}: unsafe belongs into {UNSAFE:?}");
        }
    }
}

#[test]
fn pure_modules_name_no_clock_and_no_io() {
    for (name, text) in sources() {
        if !PURE.iter().any(|module| is_in(&name, module)) || is_test(&name) {
            continue;
        }
        for (line, code) in code(&text) {
            for word in IMPURE {
                assert!(!code.contains(word), "{name}:{line}: a pure module names {word}");
            }
        }
    }
}

#[test]
fn modules_use_only_what_lies_below_them() {
    for (name, text) in sources() {
        for (_, forbidden) in ARROWS.iter().filter(|(module, _)| is_in(&name, module) && !is_test(&name)) {
            for (line, code) in code(&text) {
                for other in *forbidden {
                    assert!(!code.contains(other), "{name}:{line}: this module may not use {other}");
                }
            }
        }
    }
}

#[test]
fn no_file_names_a_path_of_one_machine() {
    for (name, text) in sources() {
        for (number, line) in text.lines().enumerate() {
            for path in ["/work/", "/root/", "/home/"] {
                let excused = name == "toru-core/tests/tidy.rs";
                assert!(excused || !line.contains(path), "{name}:{}: names {path}", number + 1);
            }
        }
    }
}

#[test]
fn declared_rust_versions_are_those_of_the_contract() {
    for (package, version) in [
        ("toru-plugin-api", "1.85"),
        ("toru-core", "1.85"),
        ("toru-host-axum", "1.88"),
        ("toru-host-cli", "1.88"),
    ] {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        assert_eq!(manifest["package"]["rust-version"].as_str(), Some(version), "{package}");
    }
}

#[test]
fn no_let_chains_below_their_rust_version() {
    // Neither clippy nor a newer compiler sees that these are too new for the version that a package declares.
    for (name, text) in sources() {
        if !name.starts_with("toru-plugin-api/") && !name.starts_with("toru-core/") {
            continue;
        }
        let lines = syntax::newer_conditions(&text);
        assert!(
            lines.is_empty(),
            "{name}: Rust 1.85 has no let chains and no `if let` guards: lines {lines:?}"
        );
    }
}

#[test]
fn every_test_that_a_page_names_exists() {
    let all: String = sources().into_iter().map(|(_, text)| text).collect();
    // Names of tests are sentences; what else stands in backticks has fewer words.
    let is_test = |word: &&str| {
        word.split('_').count() > 3 && word.chars().all(|c| c == '_' || c.is_ascii_alphanumeric())
    };
    for (page, at_least) in [("docs/RELIABILITY.md", 100), ("docs/HTTP.md", 50)] {
        let text = fs::read_to_string(root().join(page)).unwrap();
        let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(is_test).collect();
        assert!(named.len() > at_least, "{page}: the names were not found: {}", named.len());
        for name in named {
            assert!(all.contains(&format!("fn {name}(")), "{page} names a test that does not exist: {name}");
        }
    }
}
