//! `surehook dead-letters show`.

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use surehook::outside;
use surehook_dlq_processor::{
    Command, Filter, Reply,
    reply::{Conflict, FailedAttempt, Shown},
};

use super::{Asker, OperatorArguments, print_json, unexpected};
use crate::{
    Failure,
    follow_up::runnable,
    text::{date, date_and_distance, harmless, harmless_lines},
};

/// Characters of a body that are printed for people.
const MOST_PRINTED: usize = 16 * 1_024;

/// Which, and how much of it.
#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// Its id, as `dead-letters list` prints it; or an event's key (its beginning is enough), or a cause, for the newest of it
    id: String,
    /// Show secret headers as well
    #[arg(long)]
    reveal: bool,
    /// Print the body and nothing else, byte for byte (made harmless where it goes to a terminal)
    #[arg(long, conflicts_with = "json")]
    body: bool,
    #[command(flatten)]
    operator: OperatorArguments,
}

pub(crate) async fn run(arguments: ShowArguments) -> Result<ExitCode, Failure> {
    let asker = Asker::new(&arguments.operator).await?;
    let id = newest(&asker, arguments.id).await?;
    if arguments.body {
        print_bytes(&body_of(&asker, &id).await?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut shown = shown(&asker, &id, arguments.reveal).await?;
    if arguments.operator.json {
        complete(&asker, &mut shown).await?;
        print_json(&shown)?;
    } else {
        print(&shown);
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest letter of a cause, where a cause is named.
async fn newest(asker: &Asker, id: String) -> Result<String, Failure> {
    let is_cause = id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_cause {
        return Ok(id);
    }
    let filter = Filter { fingerprint: Some(id.clone()), ..Filter::default() };
    let Reply::Listed(page) = asker.ask(Command::List { filter, limit: 1, after: None }).await? else {
        return Err(unexpected());
    };
    // The text may also be the beginning of an event's key.
    Ok(page.letters.into_iter().next().map_or(id, |head| head.id))
}

/// A body byte for byte; on a terminal, which would obey it, as harmless text.
fn print_bytes(body: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    if out.is_terminal() {
        println!("{}", harmless_lines(&String::from_utf8_lossy(body)));
    } else {
        out.write_all(body)?;
    }
    Ok(())
}

/// A letter, with the start of its body where that is large.
pub(crate) async fn shown(asker: &Asker, id: &str, reveal: bool) -> Result<Shown, Failure> {
    let command = Command::Show { id: id.trim().to_owned(), reveal };
    let Reply::Shown(shown) = asker.ask(command).await? else { return Err(unexpected()) };
    Ok(*shown)
}

/// Fetches the rest of a large body.
pub(crate) async fn complete(asker: &Asker, shown: &mut Shown) -> Result<(), Failure> {
    if shown.body_is_whole || shown.redacted {
        return Ok(());
    }
    match String::from_utf8(body_of(asker, &shown.head.id).await?) {
        Ok(text) => (shown.body, shown.body_base64) = (Some(text), None),
        Err(error) => (shown.body, shown.body_base64) = (None, Some(STANDARD.encode(error.as_bytes()))),
    }
    shown.body_is_whole = true;
    Ok(())
}

async fn body_of(asker: &Asker, id: &str) -> Result<Vec<u8>, Failure> {
    let (mut body, mut offset) = (Vec::new(), 0);
    loop {
        let command = Command::Body { id: id.trim().to_owned(), offset };
        let Reply::Part(part) = asker.ask(command).await? else { return Err(unexpected()) };
        body.extend(STANDARD.decode(part.base64)?);
        match part.next {
            Some(next) => offset = next,
            None => return Ok(body),
        }
    }
}

fn print(shown: &Shown) {
    let (head, now) = (&shown.head, outside::now());
    println!("Dead letter {}", head.id);
    let line = |name: &str, value: &str| println!("  {name:<13}{}", harmless(value));
    line("buried", &date_and_distance(head.at, now));
    if shown.first_failed > 0 {
        line("failed first", &date_and_distance(shown.first_failed, now));
    }
    line("why", &format!("{}: {}", head.reason, head.error));
    line("cause", &head.fingerprint);
    line("event", &shown.event);
    line("source", if head.source.is_empty() { "(an endpoint that is not ours)" } else { &head.source });
    line("type", head.event_type.as_deref().unwrap_or("-"));
    line("sent to", &format!("{} {}", shown.method, head.url));
    line("messages", &format!("first {}, last {}", shown.first_message_id, shown.message_id));
    line("accepted by", &if shown.delivered.is_empty() { "nobody".to_owned() } else { shown.delivered.join(", ") });
    if head.replaying {
        line("replay", "under way, or cut short: the next sweep finishes it");
    }
    if let Some(conflict) = &shown.conflict {
        line("conflict", &explained(conflict));
    }
    println!("\nAttempts: {} failed, {} extra rounds", shown.history.len(), shown.rounds);
    shown.history.iter().for_each(print_attempt);
    print_messages(shown);
}

/// A failed attempt, with each delivery in a line of its own.
fn print_attempt(attempt: &FailedAttempt) {
    println!("  {}  {} (fence {})", date(attempt.at), harmless(&attempt.class), attempt.fence);
    for delivery in &attempt.deliveries {
        println!("    {}", harmless(&delivery.to_string()));
    }
    if attempt.deliveries.is_empty() && !attempt.said.is_empty() {
        println!("    {}", harmless(&attempt.said));
    }
}

/// Explains a conflict, and names the other event.
pub(super) fn explained(conflict: &Conflict) -> String {
    let Conflict { with, status } = conflict;
    let status = status.as_deref().unwrap_or("without a record by now");
    format!("with event {with} ({status}), which came before with the same id and other content")
}

fn print_messages(shown: &Shown) {
    let headers = |headers: &std::collections::BTreeMap<String, Vec<String>>| {
        for (name, values) in headers {
            println!("  {}: {}", harmless(name), harmless(&values.join(", ")));
        }
    };
    match shown.response.status {
        0 => println!("\nAnswer: none"),
        status => {
            let whose =
                if shown.head.source.is_empty() { "Last answer" } else { "Last answer of the consumer to QStash" };
            println!("\n{whose}: {status}, {} bytes", shown.response.size);
        }
    }
    headers(&shown.response.headers);
    if !shown.response.body.is_empty() {
        println!("\n{}", harmless_lines(&shown.response.body));
    }
    match shown.redacted {
        true => println!("\nRequest: its body is redacted, only QStash has it; `replay` has QStash deliver it again"),
        false => println!("\nRequest: {} bytes, SHA-256 {}", shown.head.size, shown.body_sha256),
    }
    headers(&shown.headers);
    println!();
    print_body(shown);
}

/// The command that prints a body as it is.
fn to_print_body(shown: &Shown) -> String {
    runnable(&format!("surehook dead-letters show {} --body", shown.head.id))
}

fn print_body(shown: &Shown) {
    match (&shown.body, &shown.body_base64) {
        (Some(text), _) => {
            let start: String = text.chars().take(MOST_PRINTED).collect();
            println!("{}", harmless_lines(&start));
            if start.len() < text.len() || !shown.body_is_whole {
                println!("… the whole body: {}", to_print_body(shown));
            }
        }
        (None, Some(_)) => println!("(not text; the bytes: {})", to_print_body(shown)),
        (None, None) => {}
    }
}
