//! The benchmark suite: every figure that counts is a ratio between systems that are measured in turn in one run.
//!
//! | part | what |
//! |---|---|
//! | `hop` | small requests through the host into a plugin, against nginx and others before the same application |
//! | `bodies` | echoes, downloads, uploads and streams of events through the same systems, and what they cost in memory |
//! | `kv` | the store as a plugin sees it |
//! | `life` | starts, crashes, and what a hundred plugins and a thousand WebSockets cost |
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
use options::{Common, Options};
use report::{Report, RowsFile};

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
    Kv(Common),
    /// Starts, crashes, and what a hundred plugins cost
    Life(Common),
    /// All of these, one after the other
    All(Options),
    /// A large body through the echo of both example plugins, and what it costs in memory
    Stream(stream::Options),
    /// A server that is measured (started by the benchmark itself)
    #[command(hide = true, subcommand)]
    Server(serve::Server),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Hop(options) => run(&options.common, |report| hop::run(&options, report)),
        Command::Bodies(options) => run(&options.common, |report| bodies::run(&options, report)),
        Command::Kv(common) => run(&common, |report| kv::run(&common, report)),
        Command::Life(common) => run(&common, |report| life::run(&common, report)),
        Command::All(options) => run(&options.common, |report| {
            hop::run(&options, report)?;
            bodies::run(&options, report)?;
            kv::run(&options.common, report)?;
            life::run(&options.common, report)
        }),
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

/// Runs some parts; their rows are written even when one of them fails.
fn run(options: &Common, parts: impl FnOnce(&mut Report) -> Outcome<()>) -> Outcome<()> {
    if cfg!(debug_assertions) {
        return Err("a debug build measures nothing: use `cargo run --release -p toru-bench`".into());
    }
    // Before the run, which is long, and lost if there is no such folder.
    let json = options.json.as_deref().map(RowsFile::create).transpose()?;
    process::end_with_signals()?;
    let mut report = Report::default();
    system::build()?;
    print!("{}", machine::describe(options.quick));
    let outcome = parts(&mut report);
    let written = json.map_or(Ok(()), |file| file.write(&report));
    // One does not hide the other.
    let problems: Vec<String> = [outcome, report.verdict(), written]
        .into_iter()
        .filter_map(Result::err)
        .map(|e| e.to_string())
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ").into()) }
}

/// What goes wrong here is told to who ran the benchmark, and nothing else is done with it.
type Outcome<T> = Result<T, Box<dyn std::error::Error>>;
