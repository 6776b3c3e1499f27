//! What the command says, to who may have closed the other end: that ends nothing here.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// A line on stdout.
pub(crate) fn say(line: impl Display) {
    if let Err(error) = writeln!(io::stdout(), "{line}") {
        tracing::warn!(%error, "stdout cannot be written");
    }
}

/// A line on stderr.
pub(crate) fn tell(line: impl Display) {
    // There is no other place left to say that nobody listens.
    let _ = writeln!(io::stderr(), "{line}");
}
