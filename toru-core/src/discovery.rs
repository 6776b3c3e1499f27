//! The plugins folder to candidates: cheap and safe, nothing is executed but `--metadata` of a binary.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use toru_plugin_api::PluginMetadata;

use crate::{
    config::Config,
    process::{Program, Spawner},
};

/// Something in the plugins folder that is a plugin, or means to be.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The folder's name or the binary's stem.
    pub id: String,
    /// What was found.
    pub found: Found,
}

/// What a candidate is.
#[derive(Debug, Clone)]
pub enum Found {
    /// Known whole.
    Plugin(Arc<Definition>),
    /// A binary: its metadata has to be asked, by [`probe`].
    Binary(PathBuf),
    /// Broken.
    Problem(Problem),
}

/// All that is needed to run a plugin.
#[derive(Debug, Clone)]
pub struct Definition {
    /// What it says of itself.
    pub metadata: PluginMetadata,
    /// What to execute.
    pub program: Program,
    /// Where to execute it.
    pub cwd: PathBuf,
    /// Its frontend bundle, if the file is there.
    pub bundle: Option<PathBuf>,
}

/// Why a candidate cannot run; shown as the `reason` of a failed plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    /// A stable code: `manifest_invalid`, `metadata_invalid`, `metadata_timeout`, `symlink_escapes`, `two_forms`, `id_mismatch`, …
    pub code: &'static str,
    /// One sentence: what was wrong, where, what to do.
    pub message: String,
    /// The tail of what it wrote to stderr, if it was run.
    pub stderr_tail: Option<String>,
}

/// Lists the plugins folder; makes it when it is missing. Blocking, but only file metadata and manifests are read.
///
/// # Errors
/// The folder cannot be made or read.
#[allow(clippy::todo)]
pub fn scan(plugins_dir: &Path) -> std::io::Result<Vec<Candidate>> {
    let _ = plugins_dir;
    todo!("discovery")
}

/// Reads one source folder with its `[dev]` table, for `toru dev`, `call` and `check`.
///
/// # Errors
/// The folder holds no valid plugin.
#[allow(clippy::todo)]
pub fn read_source_dir(dir: &Path) -> Result<(Definition, Option<toru_plugin_api::metadata::Dev>), Problem> {
    let _ = dir;
    todo!("discovery")
}

/// Asks binaries for their metadata; answers are kept by file identity (device, inode, size, mtime, ctime).
#[derive(Debug, Default)]
pub struct Prober {}

#[allow(clippy::todo, clippy::unused_async)]
impl Prober {
    /// Runs `<path> --metadata` with a time limit and bounded output. The group is killed when this ends or is dropped.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn probe(
        &self,
        spawner: &Spawner,
        config: &Config,
        id: &str,
        path: &Path,
    ) -> Result<Arc<Definition>, Problem> {
        let _ = (spawner, config, id, path, Duration::ZERO);
        todo!("discovery")
    }
}
