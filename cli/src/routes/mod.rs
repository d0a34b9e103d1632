//! `surehook routes`: sources and destinations.

mod apply;
mod show;
mod try_out;
mod unmatched;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use surehook::{
    config::{Reader, Variables},
    outside,
    routes::{Routes, diff},
    store::{Store, routes::Applied},
};

pub(crate) use apply::apply;

use crate::{
    Failure,
    text::{harmless, harmless_json},
};

/// What to do with the routes.
#[derive(Debug, Subcommand)]
pub(crate) enum RoutesCommand {
    /// Replace the routes by those of a TOML document; what they were is kept
    Apply {
        /// The document
        file: PathBuf,
    },
    /// Say what applying a document would change
    Diff {
        /// The document
        file: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the document that stands, or an older one
    Show(ShowArguments),
    /// Say which destinations would get an event, and why; ends with 3 where nobody would
    Test(TestArguments),
    /// List the event types of the last 7 days that no route took
    ///
    /// Each running consumer writes a type at most once a minute, and 200 types at most. Types that a route takes by now say so.
    #[command(
        after_help = "Examples:\n  surehook routes unmatched\n  surehook routes unmatched --json\n\nEnvironment: TABLE_NAME, and AWS credentials."
    )]
    Unmatched {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Put an older version in the place of what stands
    Rollback {
        /// Which; the one before what stands unless given
        #[arg(value_name = "VERSION")]
        number: Option<u64>,
    },
    /// Print the secret that a receiver verifies its deliveries with (Standard Webhooks)
    Secret {
        /// The route to it
        route: String,
    },
}

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// An older version
    #[arg(value_name = "VERSION", conflicts_with = "versions")]
    number: Option<u64>,
    /// List the last 20 versions instead
    #[arg(long)]
    versions: bool,
    /// Print JSON, as it is compiled
    #[arg(long)]
    json: bool,
}

/// Which event, and by which routes.
#[derive(Debug, Args)]
pub(crate) struct TestArguments {
    /// A file with the event's body; - reads it from standard input
    event: PathBuf,
    /// The source that it comes from, which is the path below the consumer's URL; may be left out where all routes have the same
    #[arg(long)]
    source: Option<String>,
    /// A header of the event, where its source has its type or id in one; may be repeated
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = crate::publish::header)]
    headers: Vec<(String, String)>,
    /// Try a document that is not applied yet; nothing else is needed for it
    #[arg(long, value_name = "FILE")]
    routes: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(command: RoutesCommand) -> Result<ExitCode, Failure> {
    match command {
        RoutesCommand::Apply { file } => apply::run(&file).await?,
        RoutesCommand::Diff { file, json } => diff(&file, json).await?,
        RoutesCommand::Show(arguments) => show::run(&arguments).await?,
        RoutesCommand::Test(arguments) => return try_out::run(&arguments).await,
        RoutesCommand::Unmatched { json } => unmatched::run(json).await?,
        RoutesCommand::Rollback { number } => apply::roll_back(number).await?,
        RoutesCommand::Secret { route } => show::secret(&route).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn diff(file: &Path, json: bool) -> Result<(), Failure> {
    let current = store()?.await.routes(true).await?;
    let changes = diff::changes(&current, &compile(file, &read(file)?, &current)?);
    if json {
        println!("{}", harmless_json(&serde_json::to_string_pretty(&changes)?));
        return Ok(());
    }
    print_changes(&changes);
    if changes.is_empty() {
        println!("Nothing would change: version {} says the same.", current.version);
    }
    Ok(())
}

fn print_changes(changes: &[diff::Change]) {
    for change in changes {
        println!("{}", harmless(&change.to_string()));
    }
}

pub(crate) fn read(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()).into())
}

pub(crate) fn compile(file: &Path, document: &str, previous: &Routes) -> Result<Routes, Failure> {
    Routes::compile(document, previous).map_err(|error| format!("{}:\n{error}", file.display()).into())
}

async fn version(store: &Store, version: u64) -> Result<Applied, Failure> {
    let applied = store.applied_routes(version).await?;
    applied.ok_or_else(|| {
        format!("version {version} was never applied; `surehook routes show --versions` lists those that were").into()
    })
}

/// The table, from the environment.
pub(crate) fn store() -> Result<impl Future<Output = Store>, Failure> {
    let variables = Variables::plain(outside::variable);
    let mut reader = Reader::new(&variables);
    let table = reader.table();
    reader.finish()?;
    Ok(Store::connect(table))
}
