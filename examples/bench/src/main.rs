//! The benchmark suite: every figure that counts is a ratio between systems that are measured in turn in one run.
//!
//! | part | what |
//! |---|---|
//! | `hop` | small requests through the host into a plugin, against nginx and others before the same application |
//! | `bodies` | echoes, downloads, uploads and streams of events through the same systems, and what they cost in memory |
//! | `kv` | the store as a plugin sees it |
//! | `life` | starts, crashes, and what a hundred plugins cost |
//! | `stream` | one large body through the echo of the example plugins |
//!
//! A system whose tool is missing is a row SKIPPED, and an error with `--require`. docs/BENCHMARKS.md says what each system
//! and each figure is.

mod aims;
mod bodies;
mod compare;
mod cpu;
mod figures;
mod hop;
mod kv;
mod life;
mod load;
mod machine;
mod memory;
mod options;
mod place;
mod process;
mod report;
mod serve;
mod size;
mod stream;
mod system;
mod tool;
mod workload;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use options::Options;
use report::Report;

/// Measures Toru against what people would use instead.
#[derive(Parser)]
#[command(name = "toru-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Small requests through the host into a plugin, against nginx and others before the same application
    Hop(Options),
    /// Echoes, downloads, uploads and streams of events through the same systems
    Bodies(Options),
    /// The store as a plugin sees it, against Redis and the disk
    Kv(Options),
    /// Starts, crashes, and what a hundred plugins cost
    Life(Options),
    /// All of these, one after the other
    All(Options),
    /// A large body through the echo of both example plugins, and what it costs in memory
    Stream(stream::Options),
    /// A server that is measured (started by the benchmark itself)
    #[command(hide = true, subcommand)]
    Server(serve::Server),
}

/// A part of the suite.
type Part = fn(&Options, &mut Report) -> Outcome<()>;

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Hop(options) => run(&[hop::run], &options),
        Command::Bodies(options) => run(&[bodies::run], &options),
        Command::Kv(options) => run(&[kv::run], &options),
        Command::Life(options) => run(&[life::run], &options),
        Command::All(options) => run(&[hop::run, bodies::run, kv::run, life::run], &options),
        Command::Stream(options) => stream::run(&options),
        Command::Server(server) => serve::run(server),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("toru-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs these parts; their rows are written even when one of them fails.
fn run(parts: &[Part], options: &Options) -> Outcome<()> {
    if cfg!(debug_assertions) {
        return Err("a debug build measures nothing: use `cargo run --release -p toru-bench`".into());
    }
    process::end_with_signals()?;
    let mut report = Report::default();
    system::build()?;
    print!("{}", machine::describe(options));
    let outcome = parts.iter().try_for_each(|part| part(options, &mut report));
    if let Some(path) = &options.json {
        report.write(path)?;
    }
    outcome.and_then(|()| report.verdict())
}

/// What goes wrong here is told to who ran the benchmark, and nothing else is done with it.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
