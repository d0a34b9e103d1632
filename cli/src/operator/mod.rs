//! The operator's commands: what became of events, and what to do about those that did not get through.
//!
//! Each is one or more [`Command`]s to the DLQ processor. They are carried out here, over table and QStash directly, or by the
//! deployed function (`--function NAME`), whose permissions they then need instead of one's own.

mod ask;
mod export;
mod guard;
pub(crate) mod letters;
mod purge;
mod replay;
mod selection;
mod show;
pub(crate) mod stranded;
pub(crate) mod table;
pub(crate) mod why;

use std::{process::ExitCode, time::Duration};

use clap::Args;
use serde::Serialize;
use surehook_dlq_processor::{Command, Reply, reply::Sweep};

use crate::{
    Failure,
    follow_up::runnable,
    text::{harmless, span},
};
pub(crate) use ask::Asker;
pub(crate) use replay::{INTERRUPTED, stop_signal};

/// How to reach the processor, and how to answer.
#[derive(Debug, Clone, Args)]
pub(crate) struct OperatorArguments {
    /// Print JSON, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Have this Lambda function (the DLQ processor) do it, with your AWS credentials, instead of reaching table and QStash from
    /// here
    #[arg(long, value_name = "NAME")]
    pub(crate) function: Option<String>,
}

/// Sweeps now.
pub(crate) async fn sweep(arguments: OperatorArguments) -> Result<ExitCode, Failure> {
    let asker = Asker::new(&arguments).await?;
    let Reply::Swept(report) = asker.ask(Command::Sweep).await? else { return Err(unexpected()) };
    if arguments.json {
        print_json(&report)?;
    } else {
        print_sweep(&report);
    }
    let worked = report.failed == 0 && !report.is_another_at_work;
    Ok(if worked { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print_sweep(report: &Sweep) {
    if report.is_another_at_work {
        println!("Another run of the sweep is at work, for up to 14 minutes; this one only measured what waits.");
    }
    println!("Looked at {} entries of QStash's dead-letter queue.", report.entries);
    for (count, what) in [
        (report.requeued, "are delivered again, later"),
        (report.buried, "became dead letters: `surehook dead-letters`"),
        (
            report.unmatched,
            "are kept as dead letters for a while, because no route takes them: `surehook routes unmatched`",
        ),
        (report.settled, "needed nothing: their events are done, or dead already"),
        (report.replays_finished, "replays that were cut short are finished"),
        (report.published, "outbox rows were published"),
        (
            report.outbox_buried,
            "outbox rows became dead letters, because QStash rejects them or their topic had no endpoints for too long",
        ),
        (report.busy, "are being worked on"),
        (report.not_ours, "belong to somebody else of the account"),
        (report.outbox_left, "outbox rows wait"),
        (
            report.held_topics,
            "topics have no endpoints at QStash, and hold events: `surehook topics sync` adds endpoints",
        ),
        (report.rejecting_sources, "sources have their requests rejected: `surehook sources recheck`"),
        (report.silent_sources.unwrap_or_default(), "sources are silent for longer than their `silence`"),
        (report.stranded, "events wait although nobody brings them again: `surehook stranded`"),
        (report.failed, "could not be settled now; the next sweep tries again"),
    ] {
        if count > 0 {
            println!("{count:>8} {}", runnable(what));
        }
    }
    if report.oldest_waiting > 0 {
        let waited = span(Duration::from_secs(report.oldest_waiting));
        println!("The event that waits longest was first seen {waited} ago.");
    }
    if report.cut_short {
        println!("Time ran out; the next sweep goes on from here.");
    }
    if !report.left.is_empty() {
        println!("Left alone:");
    }
    for left in &report.left {
        println!("  {}", runnable(&harmless(left)));
    }
}

/// Prints JSON that no terminal obeys: beyond what JSON escapes by itself, control characters of all kinds are escaped too. They
/// can stand in strings only, where the escape means the same.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    println!("{}", crate::text::harmless_json(&serde_json::to_string_pretty(value)?));
    Ok(())
}

fn unexpected() -> Failure {
    "the function answers something else than it was asked: it is another version than this command line, deploy it again".into()
}
