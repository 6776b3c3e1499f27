//! Programs that a part needs, and what becomes of its rows without one.

use std::process::{Command, Stdio};

use crate::Outcome;

/// Why something is not measured.
pub(crate) enum NotStarted {
    /// What it needs is not there: which, and how to get it.
    Missing(String),
    /// It is there and does not work.
    Failed(Box<dyn std::error::Error>),
}

impl<E: Into<Box<dyn std::error::Error>>> From<E> for NotStarted {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Refuses to go on without a program, which is in this package of Debian.
pub(crate) fn require(program: &str, package: &str) -> Result<(), NotStarted> {
    // What it thinks of the argument does not matter, only that it is there; a shim of a version manager says no.
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        // A shell's, and so a shim's, word for a program that is not there.
        Ok(status) if status.code() != Some(127) => Ok(()),
        _ => Err(NotStarted::Missing(format!("{program} is not installed: apt-get install {package}"))),
    }
}

/// What was started; or why it is skipped, which is told on stderr.
///
/// # Errors
/// It does not work, or it is missing and `--require` was given.
pub(crate) fn or_skipped<T>(
    what: &str,
    tried: Result<T, NotStarted>,
    require: bool,
) -> Outcome<Result<T, String>> {
    match tried {
        Ok(started) => Ok(Ok(started)),
        Err(NotStarted::Missing(why)) if !require => {
            eprintln!("toru-bench: SKIPPED {what}: {why}");
            Ok(Err(why))
        }
        Err(NotStarted::Missing(why)) => Err(format!("{what}: {why}").into()),
        Err(NotStarted::Failed(error)) => Err(format!("{what}: {error}").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_skipped_or_with_require_an_error() {
        let missing = || require("toru-no-such-program", "toru-no-such-package");
        let skipped = or_skipped("a row", missing(), false).unwrap();
        let why = "toru-no-such-program is not installed: apt-get install toru-no-such-package";
        assert_eq!(skipped, Err(why.to_owned()));
        assert_eq!(or_skipped("a row", missing(), true).unwrap_err().to_string(), format!("a row: {why}"));
    }

    #[test]
    fn what_does_not_work_is_an_error_without_require_too() {
        let failed: Result<(), _> = Err(NotStarted::from("it ended"));
        assert_eq!(or_skipped("a row", failed, false).unwrap_err().to_string(), "a row: it ended");
    }
}
