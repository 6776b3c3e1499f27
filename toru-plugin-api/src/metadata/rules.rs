//! The rule of each value, apart from where it was written: text in, one sentence out.

use std::path::{Component, Path};

use crate::message::lifecycle::feature;

/// The longest id: it names folders, sockets, log files and routes of the API, all of which have bounds of their own.
pub const ID_MAX: usize = 64;
/// The most characters of a name and of an author, given by the original protocol.
pub const NAME_MAX: usize = 100;
/// The most characters of a version: semantic versions with build metadata fit.
pub const VERSION_MAX: usize = 100;
/// The most characters of an icon: an emoji or a short word, with room for a small inline drawing.
pub const ICON_MAX: usize = 4_096;
/// The longest route in bytes; a request's whole URI has 8 KiB.
pub const ROUTE_MAX: usize = 256;
/// How deep `[config]` may nest: `init` carries it inside two objects, and JSON may nest 64 deep on the wire.
pub const CONFIG_DEPTH_MAX: usize = 32;
/// The largest `plugin.toml` or metadata text, in bytes.
pub const MANIFEST_MAX: usize = 64 << 10;
/// The icon of a plugin that names none.
pub const DEFAULT_ICON: &str = "🧩";

/// The id that would hide `/api/plugins/route/…`.
const RESERVED_ID: &str = "route";

pub(super) fn id(text: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if text.is_empty() {
        return Err("is empty: write a short name of ASCII letters, digits and hyphens".to_owned());
    }
    if let Some(bad) = text.chars().find(|&c| !allowed(c)) {
        let better: String = text.chars().take(ID_MAX).map(|c| if allowed(c) { c } else { '-' }).collect();
        return Err(format!(
            "may hold ASCII letters, digits and hyphens only, and {text:?} holds {bad:?}: write for example {better:?}"
        ));
    }
    if text.len() > ID_MAX {
        return Err(format!("has {} characters: write at most {ID_MAX}", text.len()));
    }
    if text == RESERVED_ID {
        return Err(format!(
            "{RESERVED_ID:?} is reserved, because the routes of all plugins lie under it: write another id"
        ));
    }
    Ok(())
}

pub(super) fn name(text: &str) -> Result<(), String> {
    line(text, NAME_MAX)?;
    filled(text)
}

pub(super) fn author(text: &str) -> Result<(), String> {
    line(text, NAME_MAX)
}

pub(super) fn version(text: &str) -> Result<(), String> {
    line(text, VERSION_MAX)?;
    filled(text)
}

pub(super) fn icon(text: &str) -> Result<(), String> {
    line(text, ICON_MAX)?;
    filled(text)
}

fn filled(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is empty: write at least one character".to_owned());
    }
    Ok(())
}

/// One line of bounded length: these texts stand in logs, tables and pages.
fn line(text: &str, max: usize) -> Result<(), String> {
    let length = text.chars().count();
    if length > max {
        return Err(format!("has {length} characters: write at most {max}"));
    }
    if let Some(control) = text.chars().find(|c| c.is_control()) {
        return Err(format!("holds the control character {control:?}: remove it"));
    }
    Ok(())
}

pub(super) fn route(text: &str) -> Result<(), String> {
    // RFC 3986 section 3.3, `pchar` without percent-encoding: a route is compared with the path as it was received.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/".contains(c);
    let Some(rest) = text.strip_prefix('/') else {
        return Err(format!("must begin with `/`, and {text:?} does not: write {:?}", format!("/{text}")));
    };
    if rest.is_empty() {
        return Err("has no segment: write at least one after the `/`, for example \"/hello\"".to_owned());
    }
    // With `seeded_bug` two dots pass: the fuzzer's prey.
    if text.contains("..") && !cfg!(seeded_bug) {
        return Err(format!("may not hold `..`, and {text:?} does: write the path without it"));
    }
    if let Some(bad) = text.chars().find(|&c| !allowed(c)) {
        return Err(format!(
            "may not hold {bad:?}, as {text:?} does: write ASCII letters, digits and `-._~` between the slashes, without query, fragment or percent-encoding"
        ));
    }
    if let Some(whole) = text.strip_suffix('/') {
        let whole = whole.trim_end_matches('/');
        return Err(format!(
            "may not end with `/`: write {:?}",
            if whole.is_empty() { "/hello" } else { whole }
        ));
    }
    if rest.split('/').any(|segment| segment.is_empty() || segment == ".") {
        return Err(format!(
            "has an empty segment or `.`, in {text:?}: write whole segments between single slashes"
        ));
    }
    if text.len() > ROUTE_MAX {
        return Err(format!("has {} bytes: write at most {ROUTE_MAX}", text.len()));
    }
    Ok(())
}

/// A feature that this crate does not speak would never be in force: a typo must not pass for a setting.
pub(super) fn feature(text: &str) -> Result<(), String> {
    if feature::ALL.contains(&text) {
        return Ok(());
    }
    Err(format!("holds {text:?}, which is no feature: the known ones are {}", feature::ALL.join(", ")))
}

pub(super) fn frontend(text: &str) -> Result<(), String> {
    let inside = Path::new(text)
        .components()
        .all(|component| matches!(component, Component::Normal(_) | Component::CurDir));
    let named = Path::new(text).file_name().is_some() && !text.ends_with("//") && !text.ends_with("/./");
    if !inside || !named || text.contains('\0') {
        return Err(format!(
            "must name a file inside the plugin's folder, or a folder there with a `/` at its end, and {text:?} does neither: write for example \"bundle.js\" or \"dist/\""
        ));
    }
    Ok(())
}

pub(super) fn env_name(name: &str) -> Result<(), String> {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if !begins || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(
            "is no name for a variable: write ASCII letters, digits and `_`, not beginning with a digit"
                .to_owned(),
        );
    }
    if name.starts_with("TORU_") {
        return Err("is set by the host, as every TORU_ variable: write another name".to_owned());
    }
    Ok(())
}

pub(super) fn no_nul(text: &str) -> Result<(), String> {
    if text.contains('\0') {
        return Err("holds a NUL character, which no argument or variable can: remove it".to_owned());
    }
    Ok(())
}

/// A bare name, looked up in PATH, or `./…` inside the folder; nothing else.
pub(super) fn program(text: &str) -> Result<(), String> {
    let refused = || {
        Err(format!(
            "must begin with a program name that is looked up in PATH, or with `./` and a file inside this folder, and {text:?} is neither: write for example \"python3\" or \"./main\""
        ))
    };
    let Some(inside) = text.strip_prefix("./") else {
        let bare = !text.is_empty() && !text.contains('/') && text != "." && text != "..";
        return if bare { Ok(()) } else { refused() };
    };
    let normal = Path::new(inside).components().all(|component| matches!(component, Component::Normal(_)));
    if inside.is_empty() || inside.ends_with('/') || !normal {
        return refused();
    }
    Ok(())
}

/// The known key that an unknown one was probably meant to be.
pub(super) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = unknown.to_ascii_lowercase().replace('-', "_");
    known
        .iter()
        .map(|&key| (edit_distance(&lower, key), key))
        .min()
        .filter(|&(distance, key)| distance <= 2 && distance < key.len())
        .map(|(_, key)| key)
}

/// Levenshtein's distance; a row at a time.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &b) in to.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
