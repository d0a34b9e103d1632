//! `surehook why`: the story of one event.

use std::process::ExitCode;

use clap::Args;
use surehook::{Millis, outside};
use surehook_dlq_processor::{Command, Reply, why::Story};
use surehook_local::stack::SPEED;

use super::{Asker, OperatorArguments, print_json, show::explained, unexpected};
use crate::{
    Failure,
    follow_up::runnable,
    text::{date, date_and_distance, harmless},
};

/// Which event.
#[derive(Debug, Args)]
pub(crate) struct WhyArguments {
    /// An event key (the `webhook-id` that destinations get), a QStash message id, an id of QStash's dead-letter queue, or a dead letter's
    /// id. The beginning of one is enough for dead letters, for events that wait, and for QStash's dead-letter queue
    subject: String,
    /// Look for a message that QStash knows no more in the whole table
    #[arg(long)]
    deep: bool,
    #[command(flatten)]
    operator: OperatorArguments,
}

pub(crate) async fn run(arguments: WhyArguments) -> Result<ExitCode, Failure> {
    let asker = Asker::new(&arguments.operator).await?;
    let command = Command::Why { subject: arguments.subject, deep: arguments.deep };
    let Reply::Story(story) = asker.ask(command).await? else { return Err(unexpected()) };
    match arguments.operator.json {
        true => print_json(&story)?,
        false => {
            print(&story, outside::now());
            print_speed(outside::variable(SPEED).and_then(|speed| speed.parse().ok()).unwrap_or(1.0));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the speed of QStash's time, because the times above are those of a wall clock.
fn print_speed(speed: f64) {
    if speed != 1.0 {
        println!(
            "\nQStash's time passes {speed} times as fast here: an hour of its waits takes {:.1} s.",
            3_600.0 / speed
        );
    }
}

fn print(story: &Story, now: Millis) {
    println!("Event {}", story.event);
    let line = |name: &str, value: &str| println!("  {name:<13}{}", harmless(value));
    let ignored = if story.ignored { " (ignored: no route took it, so nobody got it)" } else { "" };
    line("status", &format!("{}{ignored}", story.status.as_deref().unwrap_or("(no record)")));
    line("source", if story.source.is_empty() { "-" } else { &story.source });
    line("type", story.event_type.as_deref().unwrap_or("-"));
    line("attempts", &story.attempts.to_string());
    for (name, destinations) in [("accepted by", &story.accepted_by), ("refused by", &story.refused_by)] {
        if !destinations.is_empty() {
            line(name, &destinations.join(", "));
        }
    }
    if let Some(conflict) = &story.conflict {
        line("conflict", &explained(conflict));
    }
    if let Some(error) = &story.last_error {
        line("last error", error);
    }
    println!("\nWhat happened");
    let (past, future): (Vec<_>, Vec<_>) = story.lines.iter().partition(|line| line.at <= now);
    for happened in past {
        println!("  {}  {}", date(happened.at), harmless(&happened.text));
    }
    println!("\nWhat happens next");
    for planned in future {
        println!("  {}  {}", date(planned.at), harmless(&planned.text));
    }
    let when = story.next.at.map(|at| format!("{}: ", date_and_distance(at, now))).unwrap_or_default();
    println!("  {when}{}", runnable(&harmless(&story.next.text)));
    println!("\nA replay would\n  {}", runnable(&harmless(&story.replay)));
    for letter in &story.letters {
        println!("  {}", runnable(&format!("surehook dead-letters show {}", letter.id)));
    }
}
