//! The shipped host and the shipped example plugins.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use serde_json::Value;

use super::{System, target, this_program};
use crate::{Outcome, place, process::Guard};

/// The admin token, which counts among the headers of each request.
const TOKEN: &str = "benchmark-token-of-more-than-32-characters";

/// An example plugin, as it is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Plugin {
    Rust,
    Python,
}

/// How the heads of requests cross the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heads {
    /// As the two ends agree on by themselves: in binary, where the SDK has it.
    AsShipped,
    /// The manifest offers no feature but `streams`.
    Json,
}

impl Plugin {
    /// Its id, which is its route, too.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Rust => "hello-rust",
            Self::Python => "hello-python",
        }
    }

    /// Copies the example into this folder, which is made, under its own id or another one.
    pub(crate) fn install(self, folder: &Path, id: &str, heads: Heads) -> Outcome<()> {
        fs::create_dir_all(folder)?;
        let (source, files): (_, &[&str]) = match self {
            Self::Rust => ("hello-plugin-rust", &["bundle.js"]),
            Self::Python => ("hello-plugin-python", &["bundle.js", "main.py", "toru"]),
        };
        let source = example(source);
        for file in files {
            copy(&source.join(file), &folder.join(file))?;
        }
        if self == Self::Rust {
            fs::copy(built("hello-plugin-rust")?, folder.join("hello-plugin-rust"))?;
        }
        let manifest = fs::read_to_string(source.join("plugin.toml"))?.replace(self.id(), id);
        let features = if heads == Heads::Json { "features = [\"streams\"]\n" } else { "" };
        fs::write(folder.join("plugin.toml"), format!("{features}{manifest}"))?;
        Ok(())
    }
}

/// Copies the example with WebSockets into this folder, which is made.
pub(crate) fn install_todo(folder: &Path) -> Outcome<()> {
    fs::create_dir_all(folder)?;
    fs::copy(built("todo-axum")?, folder.join("todo-axum"))?;
    fs::copy(example("todo-axum").join("plugin.toml"), folder.join("plugin.toml"))?;
    Ok(())
}

/// The source of an example.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// A plugins folder and a data folder, for a host that is to be started.
pub(crate) struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    /// Without plugins.
    pub(crate) fn empty() -> Outcome<Self> {
        Self::inside(tempfile::tempdir()?)
    }

    /// Without plugins, and with its store on a disk.
    pub(crate) fn empty_on_disk() -> Outcome<Self> {
        Self::inside(place::on_disk()?)
    }

    fn inside(folder: tempfile::TempDir) -> Outcome<Self> {
        let host = Self { folder };
        fs::create_dir(host.plugins())?;
        Ok(host)
    }

    /// With one of the examples.
    pub(crate) fn with(plugin: Plugin, heads: Heads) -> Outcome<Self> {
        let host = Self::empty()?;
        plugin.install(&host.plugins().join(plugin.id()), plugin.id(), heads)?;
        Ok(host)
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.folder.path().join("plugins")
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The shipped `toru serve` with its default configuration; asked for this plugin's routes.
    pub(crate) fn serve(self, plugin: &str) -> Outcome<System> {
        self.serve_with(&[], plugin)
    }

    /// The same with further options.
    pub(super) fn serve_with(self, options: &[&str], plugin: &str) -> Outcome<System> {
        let mut command = Command::new(built("toru")?);
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(options).env("TORU_ADMIN_TOKEN", TOKEN);
        let header = Some(format!("Authorization: Bearer {TOKEN}"));
        self.start(&mut command, format!("/api/plugins/route/{plugin}"), header)
    }

    /// An axum server that embeds toru-core.
    pub(crate) fn embed(self, plugin: &str) -> Outcome<System> {
        self.start(&mut this_program("embedded")?, format!("/plugins/{plugin}"), None)
    }

    fn start(self, command: &mut Command, prefix: String, header: Option<String>) -> Outcome<System> {
        let command = command.arg("--plugins").arg(self.plugins()).arg("--data").arg(self.data());
        let (guard, line) = Guard::spawn_until_it_speaks(command.stderr(Stdio::null()))?;
        let target = crate::load::Target { prefix, header, ..target(&line)? };
        Ok(System { target, processes: vec![guard], _folder: Some(self.folder) })
    }
}

/// Copies a file, or the files of a folder.
fn copy(from: &Path, to: &Path) -> Outcome<()> {
    if from.is_file() {
        fs::copy(from, to)?;
        return Ok(());
    }
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// What cargo has built, by name.
static BUILT: OnceLock<BTreeMap<String, PathBuf>> = OnceLock::new();

/// Builds what is measured, as it is shipped.
pub(crate) fn build() -> Outcome<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--message-format=json-render-diagnostics"])
        .args(["-p", "toru-host-cli", "-p", "hello-plugin-rust", "-p", "todo-axum"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err("the build of what is to be measured failed".into());
    }
    let lines = str::from_utf8(&output.stdout)?.lines();
    BUILT.get_or_init(|| lines.filter_map(program).collect());
    Ok(())
}

/// The name and the path of a program, from a message of cargo.
fn program(message: &str) -> Option<(String, PathBuf)> {
    let message: Value = serde_json::from_str(message).ok()?;
    let path = message["executable"].as_str()?;
    Some((message["target"]["name"].as_str()?.to_owned(), path.into()))
}

/// A program as cargo has just built it, wherever that is: what lies beside this one may be old.
fn built(name: &str) -> Outcome<&'static Path> {
    let path = BUILT.get().and_then(|built| built.get(name));
    Ok(path.ok_or_else(|| format!("{name} was not built"))?)
}
