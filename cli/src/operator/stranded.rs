//! `surehook stranded`: events that QStash does not bring again, undelivered or unconfirmed.

use std::process::ExitCode;

use clap::Args;
use surehook::identity::EventKey;
use surehook_dlq_processor::{Command, Reply, reply::StrandedEvent};

use super::{Asker, OperatorArguments, letters::plural, print_json, table::table, unexpected};
use crate::{
    Failure,
    follow_up::runnable,
    input::confirm,
    text::{date, harmless, short},
};

/// Which, and what to do.
#[derive(Debug, Args)]
pub(crate) struct StrandedArguments {
    /// Read the whole table first; sweeps do that too, a part at a time, in about a day
    #[arg(long, conflicts_with = "dismiss")]
    deep: bool,
    /// End these events, because you have seen to them elsewhere: they are listed no more, and what may still come of them is
    /// not delivered. The beginning of a key is enough
    #[arg(long, value_name = "EVENT", num_args = 1..)]
    dismiss: Vec<String>,
    /// End them also where QStash's log does not say whether they are still delivered
    #[arg(long, requires = "dismiss")]
    force: bool,
    /// Do not ask before dismissing; needed where standard input is no terminal
    #[arg(long, short, requires = "dismiss")]
    yes: bool,
    /// How many are listed, up to 1000
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    #[command(flatten)]
    operator: OperatorArguments,
}

pub(crate) async fn run(arguments: StrandedArguments) -> Result<ExitCode, Failure> {
    let asker = Asker::new(&arguments.operator).await?;
    if !arguments.dismiss.is_empty() {
        return dismiss(&asker, arguments).await;
    }
    let command = Command::Stranded { limit: usize::from(arguments.limit), deep: arguments.deep };
    let Reply::Stranded(events) = asker.ask(command).await? else { return Err(unexpected()) };
    match arguments.operator.json {
        true => print_json(&events)?,
        false => print(&events),
    }
    Ok(ExitCode::SUCCESS)
}

async fn dismiss(asker: &Asker, arguments: StrandedArguments) -> Result<ExitCode, Failure> {
    let mut events = Vec::new();
    for event in arguments.dismiss {
        events.push(whole_key(asker, event).await);
    }
    let number = events.len() as u64;
    let listed: Vec<String> = events.iter().map(|event| harmless(event)).collect();
    let which = plural(number, "this event").replace("this events", "these events");
    confirm(&format!("{}\nEnd {which} for good?", listed.join("\n")), arguments.yes)?;
    let Reply::Dismissed(done) = asker.ask(Command::Dismiss { events, force: arguments.force }).await? else {
        return Err(unexpected());
    };
    for (event, reason) in &done.refused {
        eprintln!("not dismissed: {}: {}", harmless(event), runnable(&harmless(reason)));
    }
    match arguments.operator.json {
        true => print_json(&done)?,
        false => println!("{} dismissed, {} not", done.ids.len(), done.refused.len()),
    }
    Ok(if done.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the whole key of an event, so that the question names what is ended. An id that is not known is refused later.
async fn whole_key(asker: &Asker, event: String) -> String {
    if EventKey::parse(&event).is_some() {
        return event;
    }
    match asker.ask(Command::Why { subject: event.clone(), deep: false }).await {
        Ok(Reply::Story(story)) => story.event,
        _ => event,
    }
}

fn print(events: &[StrandedEvent]) {
    if events.is_empty() {
        println!("No event waits longer than its retries can take, and none is unconfirmed.");
        return;
    }
    let rows = events.iter().map(|event| {
        let error = event.error.as_deref().unwrap_or("-");
        vec![
            date(event.since),
            event.state.as_str().to_owned(),
            event.attempts.to_string(),
            short(&event.source, 20),
            short(error, 60),
            event.event.clone(),
        ]
    });
    println!("{}", table(&["SINCE", "STATE", "ATTEMPTS", "SOURCE", "LAST ERROR", "EVENT"], rows));
    let ask = "QStash does not deliver these again. `surehook why EVENT` shows what happened to one.";
    println!("\n{}", runnable(ask));
    println!("  stranded     not delivered: send it again from its sender (the same bytes are the same event)");
    println!("  unconfirmed  handled, but the table did not record it: ask the destination for its `webhook-id`");
    println!("{}", runnable("End those that you have handled elsewhere: `surehook stranded --dismiss EVENT`."));
}
