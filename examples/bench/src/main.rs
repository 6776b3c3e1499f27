//! The benchmark suite: every figure is a ratio between systems that are measured in turn in one run.
//!
//! `cargo run --release -p toru-bench -- hop` needs wrk and nginx (Debian's packages of these names); a system whose
//! tool is missing is a row SKIPPED. `-- stream` needs nothing but python3.

mod app;
mod cpu;
mod hop;
mod kv;
mod load;
mod memory;
mod size;
mod stream;
mod system;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Measures Toru against what people would use instead.
#[derive(Parser)]
#[command(name = "toru-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// HTTP through the host into a plugin, against nginx as the proxy of the same application.
    Hop(hop::Options),
    /// KV calls of a plugin, against Redis.
    Kv(kv::Options),
    /// The plugin of `kv` (started by its host).
    #[command(hide = true)]
    KvPlugin,
    /// A large body through the echo of both example plugins, and what it costs in memory.
    Stream(stream::Options),
    /// The application that the rivals serve (started by the benchmark itself).
    #[command(hide = true)]
    App {
        /// Listens on this address of the loopback.
        #[arg(long, conflicts_with = "unix")]
        tcp: Option<std::net::SocketAddr>,
        /// Listens on this Unix socket.
        #[arg(long)]
        unix: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Hop(options) => hop::run(&options),
        Command::Kv(options) => kv::run(&options),
        Command::KvPlugin => kv::serve_plugin(),
        Command::Stream(options) => stream::run(&options),
        Command::App { tcp: Some(address), .. } => app::serve_tcp(address),
        Command::App { unix: Some(path), .. } => app::serve_unix(&path),
        Command::App { .. } => Err("say --tcp ADDRESS or --unix PATH".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("toru-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What goes wrong here is told to who ran the benchmark, and nothing else is done with it.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
