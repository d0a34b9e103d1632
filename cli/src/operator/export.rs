//! `surehook dead-letters export`: letters whole, as NDJSON.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use surehook_dlq_processor::{Command, Cursor, Filter, Reply, reply::Page};

use super::{
    Asker, OperatorArguments,
    letters::plural,
    selection::FilterArguments,
    show::{complete, shown},
    unexpected,
};
use crate::{Failure, text::harmless_json};

/// Heads that are asked for at a time.
const PAGE: usize = 100;

/// Which, and where to.
#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    filter: FilterArguments,
    /// Write to this file instead of printing
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write secret headers as well
    #[arg(long)]
    reveal: bool,
    #[command(flatten)]
    operator: OperatorArguments,
}

pub(crate) async fn run(arguments: ExportArguments) -> Result<ExitCode, Failure> {
    let asker = Asker::new(&arguments.operator).await?;
    let mut output: Box<dyn Write> = match &arguments.output {
        Some(file) => {
            let created = File::create(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Box::new(BufWriter::new(created))
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let (filter, mut after, mut written) = (arguments.filter.filter(), None, 0_u64);
    loop {
        let page = page(&asker, &filter, after).await?;
        for head in page.letters {
            // One letter is in memory at a time, whatever their number.
            let mut letter = shown(&asker, &head.id, arguments.reveal).await?;
            complete(&asker, &mut letter).await?;
            writeln!(output, "{}", harmless_json(&serde_json::to_string(&letter)?))?;
            written += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    output.flush()?;
    eprintln!("{written} dead {} written", plural(written, "letter"));
    Ok(ExitCode::SUCCESS)
}

async fn page(asker: &Asker, filter: &Filter, after: Option<Cursor>) -> Result<Page, Failure> {
    match asker.ask(Command::List { filter: filter.clone(), limit: PAGE, after }).await? {
        Reply::Listed(page) => Ok(page),
        _ => Err(unexpected()),
    }
}
