//! `surehook dead-letters`: what was given up, by cause and one by one.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use surehook::outside;
use surehook_dlq_processor::{
    Command, Cursor, Filter, Reply,
    reply::{Causes, Head, Page},
};

use super::{
    Asker, OperatorArguments, export, print_json, purge, replay,
    selection::FilterArguments,
    show,
    table::{table, width},
    unexpected,
};
use crate::{
    Failure,
    environment::typed,
    follow_up::runnable,
    text::{age, date, harmless, quoted, short},
};

/// Without a command: dead letters grouped by cause.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LettersArguments {
    #[command(subcommand)]
    command: Option<LettersCommand>,
    #[command(flatten)]
    filter: FilterArguments,
    #[command(flatten)]
    operator: OperatorArguments,
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum LettersCommand {
    /// List them one by one, the newest first
    List {
        #[command(flatten)]
        filter: FilterArguments,
        /// How many, up to 1000
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        limit: u16,
        /// Go on behind the page that named this
        #[arg(long)]
        after: Option<String>,
        #[command(flatten)]
        operator: OperatorArguments,
    },
    /// Show one: why it died, every attempt, request and answer
    Show(show::ShowArguments),
    /// Send some again, with the bytes and headers that they had
    ///
    /// Letters go to QStash the oldest first, and QStash delivers them to where they failed, ten at a time, or at --rate.
    /// Destinations that had accepted an event do not get it again. What fails again goes its way through retries and becomes a new
    /// dead letter. Ctrl-C stops after the letters that are under way, and prints how to go on; sending the same letter twice
    /// delivers it once.
    #[command(after_help = "Examples:\n  surehook dead-letters replay --fingerprint 0a1b2c3d4e5f --dry-run\n  \
        surehook dead-letters replay --fingerprint 0a1b2c3d4e5f --canary 5 --rate 20/s\n  \
        surehook dead-letters replay --since 3h --until 1h")]
    Replay(replay::ReplayArguments),
    /// Remove some for good; late deliveries of their events are still recognised
    Purge(purge::PurgeArguments),
    /// Write them whole, one JSON object per line, the newest first
    Export(export::ExportArguments),
}

pub(crate) async fn run(arguments: LettersArguments) -> Result<ExitCode, Failure> {
    match arguments.command {
        None => causes(arguments.filter.filter(), &arguments.operator).await,
        Some(LettersCommand::List { filter, limit, after, operator }) => {
            let after = after.map(Cursor::try_from).transpose()?;
            list(filter.filter(), usize::from(limit), after, &operator).await
        }
        Some(LettersCommand::Show(arguments)) => show::run(arguments).await,
        Some(LettersCommand::Replay(arguments)) => replay::run(arguments).await,
        Some(LettersCommand::Purge(arguments)) => purge::run(arguments).await,
        Some(LettersCommand::Export(arguments)) => export::run(arguments).await,
    }
}

async fn causes(filter: Filter, operator: &OperatorArguments) -> Result<ExitCode, Failure> {
    let causes = count(&Asker::new(operator).await?, &filter).await?;
    if operator.json {
        print_json(&causes)?;
    } else {
        print_causes(&causes, &filter);
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts all letters that a filter takes, however many answers that needs.
pub(crate) async fn count(asker: &Asker, filter: &Filter) -> Result<Causes, Failure> {
    let mut all = Causes::default();
    loop {
        let command = Command::Causes { filter: filter.clone(), after: all.next.take() };
        let Reply::Caused(more) = asker.ask(command).await? else { return Err(unexpected()) };
        all.add(more);
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

/// Counts what a selection means, and fixes its end behind the newest of it: what fails again while the selection is worked on is a
/// new letter, and not meant. The letters' own times serve, because this machine's clock may differ from that of the functions.
pub(crate) async fn enclose(asker: &Asker, filter: &mut Filter) -> Result<Causes, Failure> {
    let causes = count(asker, filter).await?;
    filter.until = causes.causes.values().map(|cause| cause.example.at + 1).max().or(filter.until);
    Ok(causes)
}

fn print_causes(causes: &Causes, filter: &Filter) {
    print_unreadable(&causes.unreadable);
    if causes.letters == 0 {
        return print_nothing(filter);
    }
    println!("{}", table_of(causes));
    let (letters, kinds) = (causes.letters, causes.causes.len());
    println!("\n{letters} dead {} of {kinds} {}.", plural(letters, "letter"), plural(kinds as u64, "cause"));
    for (command, what) in [
        ("surehook dead-letters show CAUSE", "the newest of a cause"),
        ("surehook dead-letters list --fingerprint CAUSE", "all of them"),
        ("surehook dead-letters replay --fingerprint CAUSE --canary 5", "once it is mended"),
    ] {
        println!("  {:<62} {what}", runnable(command));
    }
}

fn print_nothing(filter: &Filter) {
    println!("There are no dead letters{}.", if filter.is_empty() { "" } else { " of that kind" });
}

/// The causes, the most frequent first.
pub(crate) fn table_of(causes: &Causes) -> String {
    const WHAT: usize = 32;
    let now = outside::now();
    let mut sorted: Vec<_> = causes.causes.iter().collect();
    sorted.sort_by_key(|(_, cause)| std::cmp::Reverse(cause.letters));
    let room = width().saturating_sub(14 + 9 + 8 + 8 + WHAT + 2).max(20);
    let rows = sorted.into_iter().map(|(fingerprint, cause)| {
        let example = &cause.example;
        let kind = [example.source.as_str(), example.event_type.as_deref().unwrap_or_default()].join(" ");
        let kind = if example.source.is_empty() { example.url.as_str() } else { kind.as_str() };
        let (first, last) = (age(cause.first, now), age(example.at, now));
        vec![
            fingerprint.clone(),
            cause.letters.to_string(),
            first,
            last,
            short(kind, WHAT),
            short(&said(example), room),
        ]
    });
    table(&["CAUSE", "LETTERS", "FIRST", "LAST", "WHAT", "WHY"], rows)
}

/// Why a letter was given up, and what was said last.
fn said(head: &Head) -> String {
    format!("{}: {}", head.reason, head.error)
}

async fn list(
    filter: Filter,
    limit: usize,
    after: Option<Cursor>,
    operator: &OperatorArguments,
) -> Result<ExitCode, Failure> {
    let asker = Asker::new(operator).await?;
    let command = Command::List { filter: filter.clone(), limit, after };
    let Reply::Listed(page) = asker.ask(command).await? else { return Err(unexpected()) };
    if operator.json {
        print_json(&page)?;
    } else {
        print_page(&page, &filter);
    }
    Ok(ExitCode::SUCCESS)
}

/// One letter has two lines: what it is, and its id, which would leave no room for anything else.
fn print_page(page: &Page, filter: &Filter) {
    print_unreadable(&page.unreadable);
    if page.letters.is_empty() {
        return print_nothing(filter);
    }
    const TYPE: usize = 20;
    let room = width().saturating_sub(22 + 14 + TYPE + 2 + 10).max(20);
    let rows = page.letters.iter().map(|letter| {
        let kind = letter.event_type.as_deref().unwrap_or("-");
        let state = if letter.replaying { "(being replayed) " } else { "" };
        let why = format!("{state}{}", said(letter));
        let (at, size) = (date(letter.at), letter.size.to_string());
        vec![at, letter.fingerprint.clone(), short(kind, TYPE), size, short(&why, room)]
    });
    let table = table(&["BURIED", "CAUSE", "TYPE", "BYTES", "WHY"], rows);
    let (titles, lines) = table.split_once('\n').unwrap_or((&table, ""));
    println!("{titles}");
    for (line, letter) in lines.lines().zip(&page.letters) {
        println!("{line}\n    {}", letter.id);
    }
    if let Some(next) = &page.next {
        println!("\nMore: {}", again_with(&[("--after", next.to_string())]));
    }
}

/// The command that was typed, with these options in the place of what they were.
pub(crate) fn again_with(options: &[(&str, String)]) -> String {
    let mut words = Vec::new();
    let mut skip = false;
    for word in typed() {
        let is_name = options.iter().any(|(name, _)| word == *name);
        let is_pair = options.iter().any(|(name, _)| word.starts_with(&format!("{name}=")));
        if !std::mem::take(&mut skip) && !is_name && !is_pair {
            words.push(quoted(&word));
        }
        skip = is_name;
    }
    let options: Vec<String> = options.iter().map(|(name, value)| format!("{name} {value}")).collect();
    runnable(&format!("surehook {} {}", words.join(" "), options.join(" ")))
}

fn print_unreadable(unreadable: &[String]) {
    for error in unreadable {
        eprintln!("passed over: {}", harmless(error));
    }
}

/// `letter` or `letters`.
pub(crate) fn plural(count: u64, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}
