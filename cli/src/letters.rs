//! `surehook dead-letters`, `stranded` and `sweep`: the processor's commands, over table and QStash directly.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use surehook::{outside, web::Moment};
use surehook_dlq_processor::{
    Command, Filter, Reply, Selection,
    command::{Done, Head, Page, Shown, Stats, StrandedEvent},
    connect,
};
use tokio::time::Instant;

use crate::{
    Failure,
    text::{date, harmless, harmless_lines, short},
};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum LettersCommand {
    /// List them, the newest first
    List {
        #[command(flatten)]
        filter: FilterArguments,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: usize,
        /// Go on behind the page that named this
        #[arg(long)]
        after: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one, with its body and why it died
    Show {
        /// Its id
        id: String,
        /// Show secret headers as well
        #[arg(long)]
        reveal: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send some again, with the bytes and headers that they had
    Replay(SelectionArguments),
    /// Remove some for good
    Purge(SelectionArguments),
    /// Count them by reason, source and cause
    Stats,
}

/// Which letters.
#[derive(Debug, Args)]
pub(crate) struct FilterArguments {
    /// Of this source
    #[arg(long)]
    source: Option<String>,
    /// Of this event type
    #[arg(long)]
    event_type: Option<String>,
    /// Buried for this reason: permanent, rounds-used-up, too-old, redacted, refused-by-qstash
    #[arg(long)]
    reason: Option<String>,
    /// Of this cause
    #[arg(long)]
    fingerprint: Option<String>,
    /// With this in their URL
    #[arg(long)]
    endpoint: Option<String>,
    /// Buried within this span until now, such as 2h or 3d
    #[arg(long, value_parser = humantime::parse_duration)]
    since: Option<std::time::Duration>,
}

/// Which letters, by name, by filter, or all.
#[derive(Debug, Args)]
pub(crate) struct SelectionArguments {
    /// These ids
    ids: Vec<String>,
    #[command(flatten)]
    filter: FilterArguments,
    /// Every one
    #[arg(long)]
    all: bool,
    /// Only say which
    #[arg(long)]
    dry_run: bool,
}

impl FilterArguments {
    fn filter(self) -> Filter {
        let since = self.since.map(|span| outside::now() - surehook::retry::millis(span));
        Filter {
            source: self.source,
            event_type: self.event_type,
            reason: self.reason,
            fingerprint: self.fingerprint,
            endpoint: self.endpoint,
            since,
            until: None,
        }
    }
}

impl SelectionArguments {
    fn selection(self) -> (Selection, bool) {
        (Selection { ids: self.ids, filter: self.filter.filter(), all: self.all }, self.dry_run)
    }
}

pub(crate) async fn run(command: LettersCommand) -> Result<ExitCode, Failure> {
    let (command, json) = match command {
        LettersCommand::List { filter, limit, after, json } => {
            (Command::List { filter: filter.filter(), limit, after }, json)
        }
        LettersCommand::Show { id, reveal, json } => (Command::Show { id, reveal }, json),
        LettersCommand::Replay(arguments) => {
            let (selection, dry_run) = arguments.selection();
            (Command::Replay { selection, dry_run }, false)
        }
        LettersCommand::Purge(arguments) => {
            let (selection, dry_run) = arguments.selection();
            (Command::Purge { selection, dry_run }, false)
        }
        LettersCommand::Stats => (Command::Stats, false),
    };
    let reply = call(command).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&reply)?);
        return Ok(ExitCode::SUCCESS);
    }
    Ok(print(&reply))
}

pub(crate) async fn stranded(deep: bool) -> Result<ExitCode, Failure> {
    Ok(print(&call(Command::Stranded { limit: 1_000, deep }).await?))
}

pub(crate) async fn sweep() -> Result<ExitCode, Failure> {
    Ok(print(&call(Command::Sweep).await?))
}

async fn call(command: Command) -> Result<Reply, Failure> {
    let processor = connect(&outside::variable).await?;
    let moment = Moment { now: outside::now(), started: Instant::now(), deadline: None };
    Ok(processor.call(command, moment, outside::draw()).await?)
}

fn print(reply: &Reply) -> ExitCode {
    match reply {
        Reply::Listed(page) => list(page),
        Reply::Shown(shown) => show(shown),
        Reply::Replayed(done) => return report("replayed", done),
        Reply::Purged(done) => return report("purged", done),
        Reply::Counted(stats) => count(stats),
        Reply::Stranded(events) => waiting(events),
        Reply::Swept(report) => println!("{report:#?}"),
    }
    ExitCode::SUCCESS
}

fn list(page: &Page) {
    if page.letters.is_empty() {
        println!("There are no dead letters of that kind.");
        return;
    }
    for letter in &page.letters {
        println!("{}", line(letter));
    }
    if let Some(next) = &page.next {
        println!("More: --after {next}");
    }
}

fn line(letter: &Head) -> String {
    let kind = letter.event_type.as_deref().unwrap_or("-");
    let replaying = if letter.replaying { "  (being replayed)" } else { "" };
    format!(
        "{}  {}  {:<16} {:<14} {:>9} B  {}{replaying}\n    {}",
        date(letter.at),
        letter.fingerprint,
        short(kind, 16),
        letter.reason,
        letter.size,
        short(&letter.error, 60),
        letter.id
    )
}

fn show(shown: &Shown) {
    println!("{}", line(&shown.head));
    println!("    {} {}", shown.method, harmless(&shown.head.url));
    println!("    event {}, message {}, {} rounds", shown.event, harmless(&shown.message_id), shown.rounds);
    println!(
        "    accepted by: {}",
        if shown.delivered.is_empty() { "nobody".to_owned() } else { shown.delivered.join(", ") }
    );
    for (at, fence, class) in &shown.history {
        println!("    {}  attempt with fence {fence}: {}", date(*at), harmless(class));
    }
    for (name, values) in &shown.headers {
        println!("    {}: {}", harmless(name), harmless(&values.join(", ")));
    }
    println!();
    match (&shown.body, &shown.body_base64) {
        (Some(body), _) => println!("{}", harmless_lines(body)),
        (None, Some(body)) => println!("(not text, in base64) {body}"),
        (None, None) => {}
    }
}

fn report(verb: &str, done: &Done) -> ExitCode {
    for id in &done.ids {
        println!("{} {id}", if done.dry_run { "would be" } else { verb });
    }
    for (id, reason) in &done.refused {
        eprintln!("not {verb}: {id}: {}", harmless(reason));
    }
    println!("{} {verb}, {} not{}", done.ids.len(), done.refused.len(), if done.dry_run { " (dry run)" } else { "" });
    if done.refused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn count(stats: &Stats) {
    println!("{} dead letters", stats.letters);
    for (title, counts) in
        [("reason", &stats.by_reason), ("source", &stats.by_source), ("cause", &stats.by_fingerprint)]
    {
        for (name, number) in counts {
            println!(
                "  {title:<8} {:<24} {number:>8}",
                if name.is_empty() { "(not ours)".to_owned() } else { harmless(name) }
            );
        }
    }
}

fn waiting(events: &[StrandedEvent]) {
    if events.is_empty() {
        println!("No event waits longer than its retries can take.");
    }
    for event in events {
        let error = event.error.as_deref().unwrap_or("-");
        println!("{}  {}  {} attempts  {}", date(event.since), event.event, event.attempts, short(error, 60));
    }
}
