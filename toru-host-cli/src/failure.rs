//! How a command ends when it does not end well: one sentence and an exit code.

use std::{fmt::Write, process::ExitCode};

use toru_core::supervisor::{PluginStatus, Reason};

use crate::speak::tell;

/// The command line is wrong; what clap uses too.
const USAGE: u8 = 2;
/// As shells say it of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Why the command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit_code: u8,
    message: String,
}

impl Failure {
    pub(crate) fn new(message: impl ToString) -> Self {
        Self { exit_code: 1, message: message.to_string() }
    }

    pub(crate) fn usage(message: impl ToString) -> Self {
        Self { exit_code: USAGE, message: message.to_string() }
    }

    pub(crate) fn interrupted() -> Self {
        Self { exit_code: INTERRUPTED, message: "ended by a signal before everything was stopped".into() }
    }

    /// Takes the exit code of another program; 1 where there is none or it says success.
    pub(crate) fn with_exit_code(mut self, code: Option<i32>) -> Self {
        self.exit_code = code.and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1);
        self
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// Says it on stderr.
    pub(crate) fn report(self) -> ExitCode {
        tell(format_args!("toru: {}", self.message));
        ExitCode::from(self.exit_code)
    }
}

/// Why a plugin does not run, with the end of its stderr.
pub(crate) fn why_not_running(status: &PluginStatus) -> String {
    match &status.reason {
        Some(reason) => format!("{}: {}", status.id, reason_text(reason)),
        None => format!("{}: it is not running, and no reason is known", status.id),
    }
}

fn reason_text(reason: &Reason) -> String {
    let mut text = format!("{} ({})", reason.message, reason.code);
    if let Some(tail) = reason.stderr_tail.as_deref().filter(|tail| !tail.trim().is_empty()) {
        text.push_str("\nits stderr ends with:");
        for line in tail.trim_end().lines() {
            write!(text, "\n    {line}").expect("a String takes all text");
        }
    }
    text
}
