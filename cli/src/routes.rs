//! `surehook routes`.

use std::{path::PathBuf, process::ExitCode};

use clap::Subcommand;
use surehook::{config::Reader, outside, routes::Routes, store::Store};

use crate::Failure;

/// What to do with the routes.
#[derive(Debug, Subcommand)]
pub(crate) enum RoutesCommand {
    /// Replace the routes by those of a TOML document
    Apply {
        /// The document
        file: PathBuf,
    },
    /// Print the document that stands
    Show,
}

pub(crate) async fn run(command: RoutesCommand) -> Result<ExitCode, Failure> {
    let store = store().await?;
    match command {
        RoutesCommand::Apply { file } => {
            let document = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            let routes = apply(&store, &document).await.map_err(|error| format!("{}: {error}", file.display()))?;
            println!(
                "version {} stands: {} sources, {} routes",
                routes.version,
                routes.sources.len(),
                routes.routes.len()
            );
            println!("Running consumers use it within two minutes.");
        }
        RoutesCommand::Show => show(&store.routes(true).await?),
    }
    Ok(ExitCode::SUCCESS)
}

/// Compiles a document against what stands, and puts it in its place.
pub(crate) async fn apply(store: &Store, document: &str) -> Result<Routes, Failure> {
    let previous = store.routes(true).await?;
    let routes = Routes::compile(document, &previous)?;
    store.put_routes(&routes).await.map_err(|error| {
        format!("the routes were changed by somebody else meanwhile, run the command again ({error})")
    })?;
    Ok(routes)
}

fn show(routes: &Routes) {
    if routes.version == 0 {
        println!("No routes were applied yet. See `surehook routes apply --help`.");
        return;
    }
    println!("# version {}", routes.version);
    for route in &routes.routes {
        println!("# destination {} is {}", route.id, route.name);
    }
    println!("{}", routes.document.trim_end());
}

async fn store() -> Result<Store, Failure> {
    let mut reader = Reader::new(&outside::variable);
    let table = reader.table();
    reader.finish()?;
    Ok(Store::connect(table).await)
}
