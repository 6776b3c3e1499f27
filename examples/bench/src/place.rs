//! Folders of the benchmark.

use std::{fs, path::PathBuf};

use rustix::fs::statfs;
use tempfile::TempDir;

use crate::Outcome;

/// Filesystems in memory (statfs(2)): to sync a file there is nothing.
const IN_MEMORY: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];

/// A folder of this name below `target/`, which is made.
pub(crate) fn below_target(name: &str) -> Outcome<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or("this program lies in no target folder")?;
    let folder = target.join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A folder on the disk that `target/` is on, for what is measured with its syncs.
///
/// # Errors
/// That is no disk: the system's folder for temporary files often is none, which is why it is not taken.
pub(crate) fn on_disk() -> Outcome<TempDir> {
    let folder = below_target("bench")?;
    let kind = u64::try_from(statfs(&folder)?.f_type)?;
    if let Some((_, name)) = IN_MEMORY.iter().find(|(number, _)| *number == kind) {
        let folder = folder.display();
        return Err(format!(
            "{folder} is on {name}, where a sync is nothing: set CARGO_TARGET_DIR to a disk"
        )
        .into());
    }
    Ok(tempfile::tempdir_in(folder)?)
}
