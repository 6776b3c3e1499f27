//! What of the host's environment a plugin may see, and where it finds programs.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Where a program is looked up when the environment has no PATH (the default of execvp(3), without the current folder).
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

const ALLOWED: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];
const ALLOWED_PREFIXES: [&str; 2] = ["LC_", "SSL_CERT_"];
/// In the wild these are written in lower and in upper case.
const PROXIES: [&str; 4] = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];

fn is_allowed(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        ALLOWED.contains(&name)
            || ALLOWED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            || PROXIES.iter().any(|proxy| name == *proxy || name == proxy.to_ascii_uppercase())
    })
}

/// The allow-list of protocol section 2 taken from this process's environment.
#[must_use]
pub fn clean_environment() -> Vec<(OsString, OsString)> {
    env::vars_os().filter(|(name, _)| is_allowed(name)).collect()
}

/// The PATH of an environment.
pub(super) fn search_path(environment: &[(OsString, OsString)]) -> &OsStr {
    let path = environment.iter().rev().find(|(name, _)| name == "PATH");
    path.map_or(OsStr::new(DEFAULT_PATH), |(_, value)| value)
}

/// The first executable file of this name in absolute folders; a relative one would depend on who asks.
pub(super) fn look_up(name: &Path, search_path: &OsStr) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(search_path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(is_program)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_allow_list_passes() {
        for name in [
            "PATH",
            "HOME",
            "LANG",
            "LC_ALL",
            "LC_CTYPE",
            "TZ",
            "TMPDIR",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "http_proxy",
            "HTTPS_PROXY",
            "NO_PROXY",
        ] {
            assert!(is_allowed(OsStr::new(name)), "{name}");
        }
        for name in ["USER", "TORU_ADMIN_TOKEN", "LD_PRELOAD", "AWS_SECRET_ACCESS_KEY", "PATHS", "Http_Proxy"]
        {
            assert!(!is_allowed(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn relative_folders_of_path_are_passed_over() {
        assert_eq!(look_up(Path::new("sh"), OsStr::new("bin:.::/bin")), Some(PathBuf::from("/bin/sh")));
        assert_eq!(look_up(Path::new("sh"), OsStr::new("bin:.:")), None);
    }

    #[test]
    fn the_last_path_of_an_environment_counts() {
        let pair = |value: &str| (OsString::from("PATH"), OsString::from(value));
        assert_eq!(search_path(&[pair("/a"), pair("/b")]), "/b");
        assert_eq!(search_path(&[]), DEFAULT_PATH);
    }
}
