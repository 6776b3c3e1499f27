//! One folder with a `plugin.toml`.

use std::{
    ffi::OsString,
    io,
    path::{Component, Path, PathBuf},
};

use toru_plugin_api::{Manifest, PluginMetadata, metadata::Dev};

use super::{
    Definition, Problem,
    frontend::FrontendFiles,
    safety::{read_small_file, refuse_writable, resolve_inside},
};
use crate::process::Program;

/// The file that makes a folder a plugin.
pub(super) const MANIFEST: &str = "plugin.toml";
/// Reads a folder of the plugins folder, which is resolved already. Everything that is executed or served is
/// held against the rules on links and permissions.
pub(super) fn read_installed(plugins_dir: &Path, id: &str, folder: &Path) -> Result<Definition, Problem> {
    let folder = &resolve_inside(plugins_dir, folder)?;
    refuse_writable(plugins_dir, folder)?;
    let manifest_path = resolve_inside(folder, &folder.join(MANIFEST))?;
    refuse_writable(folder, &manifest_path)?;
    let manifest = read_manifest(&manifest_path)?;
    if manifest.metadata.id() != id {
        return Err(Problem::id_mismatch(id, &manifest.metadata, &manifest_path));
    }
    for argument in manifest.exec.iter().skip(1).filter(|argument| names_file(folder, argument)) {
        refuse_writable(folder, &resolve_inside(folder, &folder.join(argument))?)?;
    }
    let mut definition = define(folder, manifest.metadata, &manifest.exec)?;
    definition.frontend = definition.frontend.installed();
    for file in definition.frontend.paths().chain([definition.program.path.clone()]) {
        // A bare name is looked up in PATH at the start, and a missing program is told there.
        if file.starts_with(folder) && file.exists() {
            refuse_writable(folder, &file)?;
        }
    }
    Ok(definition)
}

/// Reads one source folder with its `[dev]` table, for `toru dev`, `call` and `check`. Whoever develops a plugin owns its
/// folder, so that permissions are not looked at, and its name need not be the id.
///
/// # Errors
/// The folder holds no valid plugin.
pub fn read_source_dir(dir: &Path) -> Result<(Definition, Option<Dev>), Problem> {
    let folder = dir.canonicalize().map_err(|error| Problem::unreadable(dir, &error))?;
    let manifest_path = folder.join(MANIFEST);
    if matches!(manifest_path.symlink_metadata(), Err(error) if is_absent(&error)) {
        return Err(manifest_missing(&folder));
    }
    let Manifest { metadata, exec, dev } = read_manifest(&manifest_path)?;
    let mut definition = define(&folder, metadata, &exec)?;
    if let Some(exec) = dev.as_ref().and_then(|dev| dev.exec.as_ref()) {
        definition.program = Program { path: development_program(&folder, &exec[0]), args: arguments(exec) };
    }
    Ok((definition, dev))
}

pub(super) fn manifest_missing(folder: &Path) -> Problem {
    let message = format!("{} has no {MANIFEST}: write one, or remove the folder", folder.display());
    Problem::new("manifest_missing", message)
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read_manifest(path: &Path) -> Result<Manifest, Problem> {
    let text = read_small_file(path).map_err(|error| Problem::unreadable(path, &error))?;
    Manifest::parse(&text)
        .map_err(|error| Problem::new("manifest_invalid", format!("{}: {error}", path.display())))
}

fn define(folder: &Path, metadata: PluginMetadata, exec: &[String]) -> Result<Definition, Problem> {
    let path = match exec[0].strip_prefix("./") {
        Some(inside) => resolve_program(folder, &folder.join(inside))?,
        None => PathBuf::from(&exec[0]),
    };
    let frontend = FrontendFiles::find(folder, &metadata)?;
    Ok(Definition {
        metadata,
        program: Program { path, args: arguments(exec) },
        cwd: folder.to_owned(),
        frontend,
    })
}

/// A program that is not there yet keeps its path, so that it can be started once it is built.
fn resolve_program(folder: &Path, path: &Path) -> Result<PathBuf, Problem> {
    match path.symlink_metadata() {
        Err(error) if is_absent(&error) => Ok(path.to_owned()),
        _ => resolve_inside(folder, path),
    }
}

fn arguments(exec: &[String]) -> Vec<OsString> {
    exec.iter().skip(1).map(OsString::from).collect()
}

/// The program of `[dev]` may lie anywhere; where it is not built yet, its path stays as it is written.
fn development_program(folder: &Path, program: &str) -> PathBuf {
    if !program.contains('/') {
        return PathBuf::from(program);
    }
    let path = folder.join(program);
    path.canonicalize().unwrap_or(path)
}

/// Whether an argument is the name of something in the folder, such as the script of an interpreter.
fn names_file(folder: &Path, argument: &str) -> bool {
    let path = Path::new(argument);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    inside && !argument.is_empty() && folder.join(path).symlink_metadata().is_ok_and(|found| !found.is_dir())
}
