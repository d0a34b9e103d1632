//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::warm::Effort;

/// Compares Surehook's consumer with the same work in Node and Python. Start it with `benches/run`, which builds and installs first.
#[derive(Debug, Parser)]
#[command(name = "benches/run")]
pub(crate) struct CommandLine {
    /// Anything but a measurement.
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    /// How to measure.
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What this program does where it does not measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Role {
    /// Is the embedded DynamoDB.
    #[command(hide = true)]
    Dynamodb,
    /// Counts the consumer's instructions and compares them with those that are kept; `benches/instructions` builds first
    Instructions {
        /// Keeps them
        #[arg(long)]
        write: bool,
        /// Where they are kept
        #[arg(long, value_name = "FILE", default_value = "benches/instructions.json")]
        kept: PathBuf,
    },
}

/// How to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A fast trial, for whoever changes the benchmark; it does not write the document unless `--out` is given
    #[arg(long)]
    pub(crate) quick: bool,
    /// Fresh processes of each contestant [default: 10; 1 with --quick]
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Cold starts of each contestant [default: 25; 3 with --quick]
    #[arg(long, value_name = "N")]
    cold: Option<usize>,
    /// Another consumer than the one that `benches/run` builds
    #[arg(long, value_name = "PATH", default_value = "target/release/consumer")]
    pub(crate) consumer: PathBuf,
    /// Another DynamoDB than the embedded one, such as Amazon's DynamoDB Local; as in <http://127.0.0.1:8000>
    #[arg(long, value_name = "URL")]
    pub(crate) dynamodb: Option<String>,
    /// The document whose figures are replaced [default: docs/benchmarks.md]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where the dependencies of Node and Python are installed
    #[arg(long, value_name = "FOLDER", default_value = "target/benches", hide = true)]
    pub(crate) installed: PathBuf,
}

impl Options {
    /// How much to measure.
    pub(crate) fn effort(&self) -> Effort {
        let usual = if self.quick {
            Effort { rounds: 1, warming: 20, batches: 2, events: 10 }
        } else {
            Effort { rounds: 10, warming: 200, batches: 4, events: 25 }
        };
        Effort { rounds: self.rounds.unwrap_or(usual.rounds), ..usual }
    }

    /// Cold starts of each contestant.
    pub(crate) fn cold_starts(&self) -> usize {
        self.cold.unwrap_or(if self.quick { 3 } else { 25 })
    }

    /// The document to write, if any.
    pub(crate) fn document(&self) -> Option<PathBuf> {
        let usual = (!self.quick).then(|| PathBuf::from("docs/benchmarks.md"));
        self.out.clone().or(usual)
    }
}
