//! `surehook dead-letters export`: letters whole, as NDJSON.

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;
use surehook_dlq_processor::{
    Command, Cursor, Filter, Reply,
    reply::{Page, Shown},
};

use super::{
    Asker, OperatorArguments,
    letters::plural,
    selection::FilterArguments,
    show::{complete, shown},
    unexpected,
};
use crate::{
    Failure,
    private_file::open_private,
    text::{harmless, harmless_json, with_causes},
};

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
            let created = open_private(file).map_err(|error| format!("{}: {error}", file.display()))?;
            Box::new(BufWriter::new(created))
        }
        None => Box::new(std::io::stdout().lock()),
    };
    let (filter, mut after) = (arguments.filter.filter(), None);
    let (mut written, mut passed_over) = (0_u64, 0_u64);
    loop {
        let page = page(&asker, &filter, after).await?;
        for head in page.letters {
            // One letter is in memory at a time, whatever their number. It may be gone by now.
            match whole(&asker, &head.id, arguments.reveal).await {
                Ok(letter) => {
                    writeln!(output, "{}", harmless_json(&serde_json::to_string(&letter)?))?;
                    written += 1;
                }
                Err(error) => {
                    eprintln!("passed over: {}: {}", head.id, harmless(&with_causes(error.as_ref())));
                    passed_over += 1;
                }
            }
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    output.flush()?;
    eprintln!("{written} dead {} written", plural(written, "letter"));
    Ok(if passed_over == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn whole(asker: &Asker, id: &str, reveal: bool) -> Result<Shown, Failure> {
    let mut letter = shown(asker, id, reveal).await?;
    complete(asker, &mut letter).await?;
    Ok(letter)
}

async fn page(asker: &Asker, filter: &Filter, after: Option<Cursor>) -> Result<Page, Failure> {
    match asker.ask(Command::List { filter: filter.clone(), limit: PAGE, after }).await? {
        Reply::Listed(page) => Ok(page),
        _ => Err(unexpected()),
    }
}
