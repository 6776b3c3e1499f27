//! What a plugin brings for browsers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use toru_plugin_api::PluginMetadata;

use super::{Problem, folder::is_absent, safety::resolve_inside};
use crate::frontend::FrontendFolder;

/// Where a bundle lies that the metadata does not name.
const BUNDLES: [&str; 2] = ["bundle.js", "frontend/bundle.js"];

/// The files that a plugin brings for browsers.
#[derive(Debug, Clone, Default)]
pub struct FrontendFiles {
    /// The bundle, with all links resolved, if the file is there; where there is a `folder`, it lies in that.
    pub bundle: Option<PathBuf>,
    /// The folder that the metadata names, there or not.
    pub folder: Option<Arc<FrontendFolder>>,
    /// What the metadata names and is not there: one sentence.
    pub missing: Option<String>,
}

impl FrontendFiles {
    /// The files of a plugin that lie in this folder, which is resolved. None is no error: a plugin may have none, and one that is named
    /// but not built yet is told in the log.
    pub(super) fn find(folder: &Path, metadata: &PluginMetadata) -> Result<Self, Problem> {
        let Some(named) = metadata.frontend() else {
            let bundle = find_file(folder, &BUNDLES)?;
            return Ok(Self { bundle, ..Self::default() });
        };
        let files = match named.strip_suffix('/') {
            Some(name) => Self::in_folder(folder, named, name)?,
            None => Self::in_file(folder, named)?,
        };
        if let Some(missing) = &files.missing {
            tracing::warn!(plugin = metadata.id(), "{missing}; the plugin runs without");
        }
        Ok(files)
    }

    fn in_file(folder: &Path, named: &str) -> Result<Self, Problem> {
        let bundle = find_file(folder, &[named])?;
        let missing = match &bundle {
            Some(_) => None,
            None if folder.join(named).is_dir() => Some(format!(
                "the frontend {named:?} in {} is a folder: write \"{named}/\" to have it served",
                folder.display()
            )),
            None => Some(not_there(folder, named)),
        };
        Ok(Self { bundle, folder: None, missing })
    }

    fn in_folder(folder: &Path, named: &str, name: &str) -> Result<Self, Problem> {
        let path = folder.join(name);
        let missing = match path.symlink_metadata() {
            Err(error) if is_absent(&error) => Some(not_there(folder, named)),
            Err(error) => return Err(Problem::unreadable(&path, &error)),
            Ok(_) if resolve_inside(folder, &path)?.is_dir() => None,
            Ok(_) => Some(format!(
                "the frontend {named:?} in {} is a file: write {name:?} to have it served",
                folder.display()
            )),
        };
        let served = FrontendFolder { plugin: folder.to_owned(), name: name.into(), refuses_writable: false };
        Ok(Self { bundle: None, folder: Some(Arc::new(served)), missing })
    }

    /// The same for a plugin of the plugins folder, where nobody but the operator may write.
    pub(super) fn installed(self) -> Self {
        let strict = |folder: Arc<FrontendFolder>| {
            Arc::new(FrontendFolder { refuses_writable: true, ..FrontendFolder::clone(&folder) })
        };
        Self { folder: self.folder.map(strict), ..self }
    }

    /// What is served and there, with all links resolved.
    pub(super) fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let folder = self.folder.as_ref().and_then(|folder| folder.path().canonicalize().ok());
        self.bundle.clone().into_iter().chain(folder)
    }
}

fn not_there(folder: &Path, named: &str) -> String {
    format!(
        "the frontend {named:?} is not in {}: build it, or correct `frontend` in its manifest",
        folder.display()
    )
}

/// The first of these files that is there.
fn find_file(folder: &Path, names: &[&str]) -> Result<Option<PathBuf>, Problem> {
    for name in names {
        let path = folder.join(name);
        match path.symlink_metadata() {
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(Problem::unreadable(&path, &error)),
            Ok(_) => {
                let file = resolve_inside(folder, &path)?;
                if file.is_file() {
                    return Ok(Some(file));
                }
            }
        }
    }
    Ok(None)
}
