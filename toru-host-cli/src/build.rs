//! Source folders: reading the manifest, and the build of its `[dev]` table.

use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::Stdio,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use toru_core::{
    api::PluginMetadata,
    discovery::{FrontendFiles, read_source_dir},
};

use crate::failure::Failure;

/// A plugin's source folder whose manifest is valid.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) dir: PathBuf,
    pub(crate) metadata: PluginMetadata,
    build: Option<String>,
}

impl Source {
    /// Reads the manifest.
    pub(crate) fn read(dir: &Path) -> Result<Self, Failure> {
        if !dir.is_dir() {
            let what = if dir.exists() { "this is not a folder" } else { "there is no such folder" };
            return Err(no_plugin(dir, what));
        }
        let (definition, dev) = read_source_dir(dir).map_err(|problem| match problem.code {
            "manifest_missing" => no_plugin(dir, "there is no plugin.toml in it"),
            _ => Failure::new(problem),
        })?;
        let build = dev.and_then(|dev| dev.build);
        Ok(Self { dir: dir.to_owned(), metadata: definition.metadata, build })
    }

    pub(crate) fn has_build(&self) -> bool {
        self.build.is_some()
    }

    /// The frontend that the manifest names, as it is after the build: where it is.
    pub(crate) fn frontend(&self) -> Result<String, Failure> {
        let (definition, _) = read_source_dir(&self.dir).map_err(Failure::new)?;
        let FrontendFiles { bundle, folder, missing, .. } = definition.frontend;
        match (missing, folder.map(|folder| folder.path()).or(bundle)) {
            (None, Some(path)) => Ok(format!("{} is there", path.display())),
            (Some(missing), _) => Err(Failure::new(missing)),
            (None, None) => Err(Failure::new("its manifest names none any more")),
        }
    }

    /// Runs the build, if there is one; what it prints goes to stderr. Dropping the future kills it.
    pub(crate) async fn build(&self) -> Result<(), Failure> {
        let Some(script) = &self.build else { return Ok(()) };
        let failed =
            |why: String| Failure::new(format!("{}: the build `{script}` {why}", self.dir.display()));
        let mut building =
            Building::start(script, &self.dir).map_err(|error| failed(format!("did not start: {error}")))?;
        let status =
            building.0.wait().await.map_err(|error| failed(format!("cannot be awaited: {error}")))?;
        if status.success() {
            return Ok(());
        }
        Err(failed(format!("failed: {status}")).with_exit_code(status.code()))
    }
}

fn no_plugin(dir: &Path, what: &str) -> Failure {
    Failure::new(format!(
        "{}: {what}; name a plugin's source folder, the one with its plugin.toml",
        dir.display()
    ))
}

/// A build that runs, in a group of its own so that compilers end with their shell.
struct Building(Child);

impl Building {
    fn start(script: &str, dir: &Path) -> io::Result<Self> {
        let output = || Ok::<_, io::Error>(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
        Command::new("sh")
            .args(["-c", script])
            .current_dir(dir)
            .env_remove(crate::host::TOKEN_VARIABLE)
            .stdin(Stdio::null())
            .stdout(output()?)
            .stderr(output()?)
            .process_group(0)
            .spawn()
            .map(Self)
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // The id is gone once the shell was reaped; until then no other group can have its number.
        let group = self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        if let Some(group) = group {
            // It may have ended by itself just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
