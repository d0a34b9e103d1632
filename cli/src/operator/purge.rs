//! `surehook dead-letters purge`.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use surehook::ledger::DeadLetter;
use surehook_dlq_processor::{Command, Reply, Selection};

use super::{
    Asker, OperatorArguments,
    letters::{enclose, plural, table_of},
    print_json,
    selection::SelectionArguments,
    show::shown,
    unexpected,
};
use crate::{Failure, follow_up::runnable, input::confirm, text::harmless};

/// Letters that are removed with one command.
const PAGE: usize = 100;

/// Which, and whether to ask.
#[derive(Debug, Args)]
pub(crate) struct PurgeArguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Do not ask; needed where standard input is no terminal
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    operator: OperatorArguments,
}

pub(crate) async fn run(arguments: PurgeArguments) -> Result<ExitCode, Failure> {
    let dry_run = arguments.selection.dry_run;
    let mut selection = arguments.selection.selection()?;
    let asker = Asker::new(&arguments.operator).await?;
    let number = announce(&asker, &mut selection).await?;
    if number == 0 || dry_run {
        if arguments.operator.json {
            print_json(&json!({ "dryRun": dry_run, "wouldPurge": number }))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    confirm(&format!("Remove {number} dead {} for good?", plural(number, "letter")), arguments.yes)?;
    purge(&asker, selection, arguments.operator.json).await
}

/// Says what will be removed, and how many.
async fn announce(asker: &Asker, selection: &mut Selection) -> Result<u64, Failure> {
    if !selection.ids.is_empty() {
        for id in &mut selection.ids {
            *id = whole_id(asker, id).await;
        }
        selection.ids.dedup();
        eprintln!("{}", selection.ids.iter().map(|id| harmless(id)).collect::<Vec<_>>().join("\n"));
        return Ok(selection.ids.len() as u64);
    }
    let causes = enclose(asker, &mut selection.filter).await?;
    match causes.letters {
        0 => eprintln!("There are no dead letters of that kind."),
        letters => eprintln!("{}\n\n{letters} dead {}", table_of(&causes), plural(letters, "letter")),
    }
    Ok(causes.letters)
}

/// Returns the whole id of a dead letter, so that the question names each dead letter that it removes. `purge` rejects an id that is not
/// found, with the reason.
async fn whole_id(asker: &Asker, id: &str) -> String {
    if DeadLetter::parse_id(id).is_some() {
        return id.to_owned();
    }
    shown(asker, id, false).await.map_or_else(|_unknown| id.to_owned(), |letter| letter.head.id)
}

async fn purge(asker: &Asker, mut selection: Selection, json: bool) -> Result<ExitCode, Failure> {
    let (mut purged, mut refused, mut after) = (0, Vec::new(), None);
    let mut ids = std::mem::take(&mut selection.ids).into_iter().peekable();
    loop {
        selection.ids = ids.by_ref().take(PAGE).collect();
        let command = Command::Purge { selection: selection.clone(), dry_run: false, limit: PAGE, after };
        let Reply::Purged(done) = asker.ask(command).await? else { return Err(unexpected()) };
        purged += done.ids.len();
        for (id, reason) in &done.refused {
            eprintln!("not purged: {}: {}", harmless(id), runnable(&harmless(reason)));
        }
        for error in &done.unreadable {
            eprintln!("passed over: {}", harmless(error));
        }
        refused.extend(done.refused);
        if let Some(why) = done.stopped {
            return Err(format!("{purged} purged, then: {why}").into());
        }
        after = done.next;
        if after.is_none() && ids.peek().is_none() {
            break;
        }
    }
    match json {
        true => print_json(&json!({ "purged": purged, "refused": refused }))?,
        false => println!("{purged} purged, {} not", refused.len()),
    }
    Ok(if refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
