//! The plugins folder to candidates: cheap and safe, nothing is executed but `--metadata` of a binary.
//!
//! Whoever can write the plugins folder decides what the host executes. So what is executed and served must lie inside
//! its folder with all links resolved, and nothing on the way to it may be writable by others.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use toru_plugin_api::PluginMetadata;

use crate::process::Program;

mod folder;
mod frontend;
mod probe;
mod safety;
mod scan;
mod settings;
#[cfg(test)]
mod tests;

pub use folder::read_source_dir;
pub use frontend::FrontendFiles;
pub use probe::Prober;
pub use scan::scan;
pub use settings::config_for;
#[cfg(feature = "fuzzing")]
pub(crate) use settings::merge_settings;

/// Something in the plugins folder that is a plugin, or means to be.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The folder's name or the binary's stem. Where `found` is a [`Problem`], it need not hold the rules of an id.
    pub id: String,
    /// What was found.
    pub found: Found,
}

/// What a candidate is.
#[derive(Debug, Clone)]
pub enum Found {
    /// Known whole.
    Plugin(Arc<Definition>),
    /// A binary: its metadata has to be asked, by [`Prober::probe`].
    Binary(PathBuf),
    /// Broken.
    Problem(Problem),
}

/// All that is needed to run a plugin.
#[derive(Debug, Clone)]
pub struct Definition {
    /// What it says of itself.
    pub metadata: PluginMetadata,
    /// What to execute. A program that is missing is found out at the start, which names it, and is tried again.
    pub program: Program,
    /// Where to execute it.
    pub cwd: PathBuf,
    /// What it brings for browsers.
    pub frontend: FrontendFiles,
}

/// Why a candidate cannot run; shown as the `reason` of a failed plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// A stable code:
    ///
    /// | code | what is wrong |
    /// |---|---|
    /// | `unreadable` | a file or folder cannot be read, or is of the wrong kind |
    /// | `id_invalid` | the name of the folder or binary is no id |
    /// | `id_mismatch` | it is another id than the metadata's |
    /// | `two_forms` | the id has a manifest and a binary |
    /// | `manifest_missing` | the folder has no `plugin.toml` |
    /// | `manifest_invalid` | `plugin.toml` breaks a rule |
    /// | `symlink_escapes` | a link leaves the folder |
    /// | `writable_by_others` | anybody could replace what is executed |
    /// | `metadata_timeout` | `--metadata` did not end in time |
    /// | `metadata_failed` | it ended by a signal or with a code other than 0 |
    /// | `metadata_too_large` | it printed too much |
    /// | `metadata_invalid` | it printed no valid metadata |
    /// | `config_invalid` | the operator's settings cannot be read |
    /// | `exec_…`, `spawn_failed` | the codes of [`SpawnError`](crate::process::SpawnError) |
    pub code: &'static str,
    /// One sentence: what was wrong, where, what to do.
    pub message: String,
    /// The tail of what it wrote to stderr, if it was run.
    pub stderr_tail: Option<String>,
}

impl Problem {
    fn new(code: &'static str, message: String) -> Self {
        Self { code, message, stderr_tail: None }
    }

    fn unreadable(path: &Path, error: &io::Error) -> Self {
        Self::new("unreadable", format!("{} cannot be read: {error}", path.display()))
    }

    fn id_mismatch(id: &str, metadata: &PluginMetadata, place: &Path) -> Self {
        let named = metadata.id();
        let place = place.display();
        Self::new(
            "id_mismatch",
            format!("{place} says `id` is {named:?}, but is itself named {id:?}: make the two equal"),
        )
    }
}
