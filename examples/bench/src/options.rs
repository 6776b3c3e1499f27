//! What all parts of the suite are told.

use std::path::PathBuf;

use clap::{Args, ValueEnum, value_parser};

use crate::system::Name;

/// Connections of a quick run: enough that requests overlap.
const QUICK_CONNECTIONS: u32 = 64;

/// The longest measurement: the plugin of `kv` answers when it has ended, within the time that a plugin has for an answer.
const SECONDS_MAX: i64 = 20;

/// What every part takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Common {
    /// Rounds; each measures every system once, in turn. The median is shown [default: 3]
    #[arg(long, value_parser = value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds of load per measurement; over one connection 1, of which only the median counts [default: 3]
    #[arg(long, value_parser = value_parser!(u32).range(1..=SECONDS_MAX))]
    seconds: Option<u32>,
    /// One short round without a warm-up: shows that everything runs, and measures nothing
    #[arg(long)]
    pub(crate) quick: bool,
    /// A missing tool is an error, not a row SKIPPED
    #[arg(long)]
    pub(crate) require: bool,
    /// Writes the rows to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// What the parts take that compare systems under the load of clients.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Connections at once, in `hop` and `bodies` [default: those of each part]
    #[arg(long, value_delimiter = ',', value_parser = value_parser!(u32).range(1..=1_000))]
    connections: Vec<u32>,
    /// The systems of `hop` and `bodies` [default: all]
    #[arg(long, value_delimiter = ',')]
    systems: Vec<Name>,
}

impl Common {
    pub(crate) fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    pub(crate) fn seconds(&self) -> u32 {
        self.seconds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// What the tables of a part with rounds of load are.
    pub(crate) fn describe_rounds(&self, warm_up: &str) -> String {
        let (rounds, seconds) = (self.rounds(), self.seconds());
        let warm_up = if self.quick { "" } else { warm_up };
        format!("{rounds} rounds of {seconds} s each{warm_up}, systems in turn; medians")
    }
}

impl Options {
    /// The connections that were asked for, or else those of a part.
    pub(crate) fn connections(&self, of_part: &[u32]) -> Vec<u32> {
        match (self.connections.is_empty(), self.common.quick) {
            (false, _) => self.connections.clone(),
            (true, true) => vec![QUICK_CONNECTIONS],
            (true, false) => of_part.to_vec(),
        }
    }

    pub(crate) fn systems(&self) -> Vec<Name> {
        if self.systems.is_empty() { Name::value_variants().to_vec() } else { self.systems.clone() }
    }
}
