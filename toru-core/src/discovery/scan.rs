//! The list of everything in the plugins folder that is a plugin, or means to be.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use toru_plugin_api::metadata::check_id;

use super::{
    Candidate, Found, Problem,
    folder::{MANIFEST, is_absent, manifest_missing, read_installed},
    safety::{refuse_writable, resolve_inside},
};

/// The end of a binary's name; what stands before it is the id.
const BINARY_SUFFIX: &str = ".binary";

/// What stands in the plugins folder under one id.
#[derive(Default)]
struct Forms {
    folder: Option<PathBuf>,
    binary: Option<PathBuf>,
}

/// Lists the plugins folder, by id; makes it when it is missing. Names that begin with a dot and plain files other than
/// `<id>.binary` are passed over. Blocking, but only file metadata and manifests are read.
///
/// # Errors
/// The folder cannot be made or read.
pub fn scan(plugins_dir: &Path) -> io::Result<Vec<Candidate>> {
    fs::create_dir_all(plugins_dir)?;
    let plugins_dir = plugins_dir.canonicalize()?;
    let mut found: BTreeMap<String, Forms> = BTreeMap::new();
    for entry in fs::read_dir(&plugins_dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if let Some(id) = name.strip_suffix(BINARY_SUFFIX) {
            found.entry(id.to_owned()).or_default().binary = Some(entry.path());
        } else if may_be_folder(&entry)? {
            found.entry(name).or_default().folder = Some(entry.path());
        }
    }
    let candidate = |(id, forms): (String, Forms)| {
        let found = judge(&plugins_dir, &id, forms).unwrap_or_else(Found::Problem);
        Candidate { id, found }
    };
    Ok(found.into_iter().map(candidate).collect())
}

/// A folder, a link to one, or a link that leads nowhere: somebody meant something by it.
fn may_be_folder(entry: &fs::DirEntry) -> io::Result<bool> {
    let kind = entry.file_type()?;
    Ok(kind.is_dir() || kind.is_symlink() && entry.path().metadata().map_or(true, |target| target.is_dir()))
}

fn judge(plugins_dir: &Path, id: &str, forms: Forms) -> Result<Found, Problem> {
    check_id(id).map_err(|error| {
        Problem::new("id_invalid", format!("{id:?} in {} is no id: its {error}", plugins_dir.display()))
    })?;
    match (forms.folder, forms.binary) {
        (Some(folder), Some(binary)) if has_manifest(&folder) => Err(two_forms(id, &folder, &binary)),
        // Without a manifest, the folder beside a binary is where its bundle lies.
        (_, Some(binary)) => check_binary(plugins_dir, binary),
        (Some(folder), None) => {
            // The link is judged first: what lies behind one that leaves the folder is nobody's business.
            resolve_inside(plugins_dir, &folder)?;
            if !has_manifest(&folder) {
                return Err(manifest_missing(&folder));
            }
            Ok(Found::Plugin(Arc::new(read_installed(plugins_dir, id, &folder)?)))
        }
        (None, None) => unreachable!("an id is listed for a folder or a binary"),
    }
}

/// A manifest that cannot be looked at counts, so that its error is shown.
fn has_manifest(folder: &Path) -> bool {
    !matches!(folder.join(MANIFEST).symlink_metadata(), Err(error) if is_absent(&error))
}

fn two_forms(id: &str, folder: &Path, binary: &Path) -> Problem {
    let (manifest, binary) = (folder.join(MANIFEST), binary.display());
    let manifest = manifest.display();
    Problem::new(
        "two_forms",
        format!("{id:?} is both {manifest} and {binary}, and neither is run: remove one"),
    )
}

/// The binary is executed by its own path, not by that of a link's target.
fn check_binary(plugins_dir: &Path, binary: PathBuf) -> Result<Found, Problem> {
    let target = resolve_inside(plugins_dir, &binary)?;
    if !target.is_file() {
        let message = format!("{} is no regular file: put the program itself there", binary.display());
        return Err(Problem::new("unreadable", message));
    }
    refuse_writable(plugins_dir, &target)?;
    Ok(Found::Binary(binary))
}
