//! The systems: how each is started, where it answers, how it ends.

mod nginx;
#[cfg(feature = "rivals")]
mod rivals;
#[cfg(not(feature = "rivals"))]
#[path = "left_out.rs"]
mod rivals;
mod toru;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use clap::ValueEnum;

pub(crate) use nginx::configuration as nginx_configuration;
pub(crate) use toru::{Heads, Host, Plugin, build, install_todo};

use crate::{
    Outcome, cpu,
    load::Target,
    process::Guard,
    tool::{self, NotStarted},
    workload::Workload,
};

/// All ratios are to this one.
pub(crate) const BASE: Name = Name::NginxUnix;

/// The name of a system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    AxumDirect,
    #[value(name = "axum-direct-2")]
    AxumDirect2,
    NginxUnix,
    #[value(name = "nginx-unix-2")]
    NginxUnix2,
    HyperUnix,
    TonicUnix,
    GoPlugin,
    NginxUvicorn,
    ToruJson,
    ToruHeads,
    #[value(name = "toru-heads-1")]
    ToruHeads1,
    ToruEmbedded,
    ToruPython,
}

impl Name {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AxumDirect => "axum-direct",
            Self::AxumDirect2 => "axum-direct-2",
            Self::NginxUnix => "nginx-unix",
            Self::NginxUnix2 => "nginx-unix-2",
            Self::HyperUnix => "hyper-unix",
            Self::TonicUnix => "tonic-unix",
            Self::GoPlugin => "go-plugin",
            Self::NginxUvicorn => "nginx-uvicorn",
            Self::ToruJson => "toru-json",
            Self::ToruHeads => "toru-heads",
            Self::ToruHeads1 => "toru-heads-1",
            Self::ToruEmbedded => "toru-embedded",
            Self::ToruPython => "toru-python",
        }
    }

    /// Why it cannot be asked for this, if so.
    pub(crate) fn cannot_carry(self, workload: &Workload) -> Option<&'static str> {
        match self {
            Self::TonicUnix | Self::GoPlugin if workload.streams() => {
                Some("its calls have one message each way, which carries no stream")
            }
            _ => None,
        }
    }

    fn start(self) -> Result<System, NotStarted> {
        Ok(match self {
            Self::AxumDirect => axum_direct(1)?,
            Self::AxumDirect2 => axum_direct(2)?,
            Self::NginxUnix => nginx::before_axum(1)?,
            Self::NginxUnix2 => nginx::before_axum(2)?,
            Self::HyperUnix => hyper_unix()?,
            Self::TonicUnix => rivals::tonic()?,
            Self::GoPlugin => rivals::go_plugin()?,
            Self::NginxUvicorn => rivals::uvicorn()?,
            Self::ToruJson => Host::with(Plugin::Rust, Heads::Json)?.serve(Plugin::Rust.id())?,
            Self::ToruHeads => Host::with(Plugin::Rust, Heads::AsShipped)?.serve(Plugin::Rust.id())?,
            Self::ToruHeads1 => {
                Host::with(Plugin::Rust, Heads::AsShipped)?.serve_with(&["--threads=1"], Plugin::Rust.id())?
            }
            Self::ToruEmbedded => Host::with(Plugin::Rust, Heads::AsShipped)?.embed(Plugin::Rust.id())?,
            Self::ToruPython => {
                require_python()?;
                Host::with(Plugin::Python, Heads::AsShipped)?.serve(Plugin::Python.id())?
            }
        })
    }
}

/// A system that runs. It ends when this is dropped.
pub(crate) struct System {
    pub(crate) target: Target,
    /// What clients connect to, first.
    processes: Vec<Guard>,
    _folder: Option<tempfile::TempDir>,
}

impl System {
    /// Another part of it.
    pub(crate) fn target_at(&self, prefix: &str) -> Target {
        Target { prefix: prefix.to_owned(), ..self.target.clone() }
    }

    /// The processes whose CPU counts, each with its descendants.
    pub(crate) fn roots(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(Guard::pid)
    }

    /// The processes that clients connect to, and those behind them.
    pub(crate) fn front_and_back(&self) -> (Vec<u32>, Vec<u32>) {
        let mut roots = self.roots();
        let mut front = roots.next().map(cpu::tree).unwrap_or_default();
        let back: Vec<u32> = roots.flat_map(cpu::tree).collect();
        // A host of plugins has started them itself; nginx has started its worker.
        let back = if back.is_empty() { front.split_off(1) } else { back };
        (front, back)
    }
}

/// What the Python example needs.
pub(crate) fn require_python() -> Result<(), NotStarted> {
    tool::require("python3", "python3")
}

/// A system that was to be measured: running, or the reason why it is not.
pub(crate) type Entrant = (Name, Result<System, String>);

/// Starts these systems. One whose tool is missing is skipped, or with `require` an error.
pub(crate) fn start(names: &[Name], require: bool) -> Outcome<Vec<Entrant>> {
    let mut entrants = Vec::new();
    for &name in names {
        let system = tool::or_skipped(name.as_str(), name.start(), require)?;
        entrants.push((name, system));
    }
    Ok(entrants)
}

fn axum_direct(threads: u32) -> Outcome<System> {
    let mut command = this_program("app")?;
    let (app, line) = Guard::spawn_until_it_speaks(command.arg(format!("--threads={threads}")))?;
    Ok(System { target: target(&line)?, processes: vec![app], _folder: None })
}

fn hyper_unix() -> Outcome<System> {
    let folder = tempfile::tempdir()?;
    let (app, socket) = application(folder.path())?;
    let (proxy, line) = Guard::spawn_until_it_speaks(this_program("proxy")?.arg("--to").arg(socket))?;
    Ok(System { target: target(&line)?, processes: vec![proxy, app], _folder: Some(folder) })
}

/// The application on a Unix socket in this folder.
fn application(folder: &Path) -> Outcome<(Guard, PathBuf)> {
    let socket = folder.join("app.sock");
    let (app, _) = Guard::spawn_until_it_speaks(this_program("app")?.arg("--unix").arg(&socket))?;
    Ok((app, socket))
}

/// One of the servers in `serve`.
fn this_program(server: &str) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["server", server]);
    Ok(command)
}

/// Where a system answers, from the line that it has printed.
fn target(line: &str) -> Outcome<Target> {
    let authority = line.strip_prefix("listening on http://").ok_or_else(|| format!("unexpected: {line}"))?;
    Ok(Target { authority: authority.to_owned(), prefix: String::new(), header: None })
}
