//! `surehook sources`: the recipes of known senders, tests of captured webhooks, and requests that were rejected.

mod capture;
mod list;
mod recheck;
mod try_out;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

use crate::Failure;

/// What to know about senders.
#[derive(Debug, Subcommand)]
pub(crate) enum SourcesCommand {
    /// List the recipes: how each sender's events are told apart, and how it proves who it is
    List {
        /// Only this one, in full
        recipe: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Say whether a captured webhook would be believed, and what is read of it; ends with 3 where it would be refused
    Test(TestArguments),
    /// Verify the rejected requests of a source again, after its secret was mended, and publish those that pass; ends with 3 where some do
    /// not pass
    #[command(
        after_help = "The producer keeps rejected requests that look like the sender's own for three days: up to 1,000 of a source, with \
                      bodies of up to 100 KB. They are verified as of their time of arrival.\n\nExamples:\n  surehook sources recheck github --dry-run\n  \
                      surehook sources recheck github\n\nEnvironment: the variables of the producer, SOURCE_SECRETS with its \"seal\" among them, and AWS credentials."
    )]
    Recheck(RecheckArguments),
}

/// Which requests to verify again.
#[derive(Debug, Args)]
pub(crate) struct RecheckArguments {
    /// The source, as the routes document names it
    source: String,
    /// Only say which requests pass, and publish nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which capture, and by what it is judged.
#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// The captured request: as JSON ({"headers": …, "body": …}, what Lambda logs), or as HTTP ("POST / HTTP/1.1", headers, an empty
    /// line, the body); - reads it from standard input
    capture: PathBuf,
    /// Judge it as an event of this source of the routes document; its secret is read from `SOURCE_SECRETS`
    #[arg(long)]
    source: Option<String>,
    /// The routes document; that which is applied unless given
    #[arg(long, value_name = "FILE", requires = "source")]
    routes: Option<PathBuf>,
    /// Judge it by a recipe alone; its secret is read from `SOURCE_SECRETS`, under the recipe's name
    #[arg(long, conflicts_with = "source", required_unless_present = "source")]
    recipe: Option<String>,
    /// When it arrived, such as 2026-12-24T18:00:00Z; now unless given, or as the capture says ("at", in seconds)
    #[arg(long, value_name = "TIME", value_parser = crate::publish::time)]
    at: Option<surehook::Millis>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: SourcesCommand) -> Result<ExitCode, Failure> {
    match command {
        SourcesCommand::List { recipe, json } => list::run(recipe.as_deref(), json),
        SourcesCommand::Test(arguments) => try_out::run(&arguments).await,
        SourcesCommand::Recheck(arguments) => recheck::run(&arguments).await,
    }
}
