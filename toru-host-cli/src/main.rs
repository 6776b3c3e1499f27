//! The `toru` command: serves plugins, and helps who writes one.

#![forbid(unsafe_code)]

mod args;
mod attach;
mod build;
mod call;
mod check;
mod descriptors;
mod dev;
mod failure;
mod host;
mod serve;
mod signals;
mod solo;
mod speak;

use std::{io, process::ExitCode, time::Duration};

use clap::Parser;
use mimalloc::MiMalloc;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::{
    args::{Args, Command},
    failure::Failure,
};

/// What a second signal leaves to threads that still read or write a file; the process ends with or without them.
const LAST_WAIT: Duration = Duration::from_millis(200);

/// A request allocates some dozen small pieces, and frees them on the same thread: see docs/BENCHMARKS.md for what this is worth.
/// It takes no huge pages (`no_thp`), each of which counts whole for every idle plugin that has a few bytes in it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Result<(), Failure> {
    speak_on_stderr(command.default_filter())?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        match command {
            Command::Serve(serve) => serve::run(serve).await,
            Command::Dev(dev) => dev::run(dev).await,
            Command::Call(call) => call::run(call).await,
            Command::Check(check) => check::run(check).await,
        }
    });
    runtime.shutdown_timeout(LAST_WAIT);
    done
}

/// One thread for what is no request: supervision, signals, a command's own work. Servers have threads of their own.
fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("the runtime could not be made: {error}")))
}

fn speak_on_stderr(default: &str) -> Result<(), Failure> {
    let filter = match std::env::var("TORU_LOG") {
        Ok(text) => EnvFilter::try_new(&text)
            .map_err(|error| Failure::usage(format!("TORU_LOG={text:?} is no filter: {error}")))?,
        Err(_) => EnvFilter::new(default),
    };
    let colours = io::IsTerminal::is_terminal(&io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(colours)
        // They would be told on stderr, with a panic where nobody reads it any more.
        .log_internal_errors(false)
        .init();
    Ok(())
}
