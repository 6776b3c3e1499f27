//! Who could have put a file where it is, and where a link leads.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use toru_plugin_api::metadata::MANIFEST_MAX;

use super::Problem;

/// The permission bit of writing by anybody (inode(7)).
const OTHERS_WRITE: u32 = 0o002;

/// Resolves all links of a path, which must stay inside the folder; the folder is resolved already.
pub(super) fn resolve_inside(folder: &Path, path: &Path) -> Result<PathBuf, Problem> {
    let target = path.canonicalize().map_err(|error| Problem::unreadable(path, &error))?;
    if target.starts_with(folder) {
        return Ok(target);
    }
    let message = format!(
        "{} leads out of its folder, to {}: put the file itself there",
        path.display(),
        target.display()
    );
    Err(Problem::new("symlink_escapes", message))
}

/// Neither the file nor any folder from it up to `top` may be writable by others. Both are resolved already.
pub(super) fn refuse_writable(top: &Path, file: &Path) -> Result<(), Problem> {
    for path in file.ancestors().take_while(|path| path.starts_with(top)) {
        let metadata = path.metadata().map_err(|error| Problem::unreadable(path, &error))?;
        refuse_writable_metadata(path, &metadata)?;
    }
    Ok(())
}

fn refuse_writable_metadata(path: &Path, metadata: &Metadata) -> Result<(), Problem> {
    if metadata.permissions().mode() & OTHERS_WRITE == 0 {
        return Ok(());
    }
    let path = path.display();
    let message =
        format!("{path} is writable by others, who could replace what is run: run chmod o-w {path}");
    Err(Problem::new("writable_by_others", message))
}

/// The text of a small regular file. Never blocks on a pipe or device of that name.
pub(super) fn read_small_file(path: &Path) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    read_bounded(file)
}

fn read_bounded(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MANIFEST_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > MANIFEST_MAX {
        return Err(io::Error::other(format!("it has more than {MANIFEST_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        io::Error::other(format!("byte {} is not UTF-8", error.utf8_error().valid_up_to() + 1))
    })
}
