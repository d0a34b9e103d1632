//! `surehook sources recheck`: verifies kept requests of a sender again, and publishes those that pass.

use std::{collections::BTreeMap, process::ExitCode};

use futures::{StreamExt, stream};
use serde::Serialize;
use surehook::{
    Millis,
    config::{Variables, qstash::REGION},
    environment::Environment,
    outside,
    sources::Source,
    store::kept::{KEPT_FOR, Slot},
    web::{Moment, Outcome},
};
use surehook_producer::{Producer, connect, recheck::Rechecked};
use tokio::time::Instant;

use super::RecheckArguments;
use crate::{
    Failure,
    operator::print_json,
    progress::Progress,
    text::{date, harmless, with_causes},
};

/// How the command ends where requests still do not pass.
const REJECTED: u8 = 3;
/// Requests that are published at the same time.
const AT_ONCE: usize = 10;

/// What was found.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    source: String,
    /// Requests that pass and whose events are durable now.
    published: usize,
    /// Requests that pass and were not published, because of `--dry-run`.
    passing: usize,
    /// Why the others do not pass.
    rejected: BTreeMap<String, Rejections>,
}

/// Requests that do not pass for one reason.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rejections {
    requests: usize,
    first: Millis,
    last: Millis,
}

pub(super) async fn run(arguments: &RecheckArguments) -> Result<ExitCode, Failure> {
    let environment = Environment::new(Moment::of_start());
    let variables = Variables::of_environment().await;
    let producer = connect(&variables, &environment).await.map_err(|error| {
        format!(
            "{}\nSet the variables that the producer has (README, \"Configuration\"), or read them with --env-file FILE",
            with_causes(error.as_ref())
        )
    })?;
    check_region(&producer, &variables).await?;
    let source = source(&producer, &arguments.source).await?;
    let slots = slots(&producer, &source.name).await?;
    let report = recheck(&producer, &source, slots, arguments).await;
    if arguments.json {
        print_json(&report)?
    } else {
        report.print()
    }
    Ok(if report.rejected.is_empty() { ExitCode::SUCCESS } else { REJECTED.into() })
}

/// Refuses a shell that publishes to another account of QStash than the stack, where no consumer of the stack may take the events.
async fn check_region(producer: &Producer, variables: &Variables) -> Result<(), Failure> {
    let Some(stack) = producer.durable.store.policy().await? else { return Ok(()) };
    let contradictions = stack.policy.contradictions(variables);
    match contradictions.iter().find(|contradiction| contradiction.name == REGION) {
        Some(contradiction) => Err(format!("{contradiction}: set the variables that the stack's producer has").into()),
        None => Ok(()),
    }
}

/// Returns the source, whose secret must be there: without it no request passes.
async fn source(producer: &Producer, name: &str) -> Result<Source, Failure> {
    let routes = producer.durable.store.routes(true).await?;
    let source = routes.known(name).ok_or_else(|| {
        let known: Vec<&str> = routes.sources.iter().map(|source| source.name.as_str()).collect();
        format!("source \"{name}\" is neither built in nor in the routes document, which has: {}", known.join(", "))
    })?;
    if !source.usable(producer.door.secrets_of(&source)) {
        let variable = source.secret.as_ref().map_or("PRODUCER_TOKEN".to_owned(), |secret| {
            format!("SOURCE_SECRETS with \"{secret}\", in the form that its scheme wants")
        });
        return Err(
            format!("no secret of source \"{name}\" is set here: set {variable}, as the functions have it").into()
        );
    }
    Ok(source.into_owned())
}

async fn slots(producer: &Producer, source: &str) -> Result<Vec<Slot>, Failure> {
    let (mut slots, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = producer.durable.store.kept_requests(source, after, outside::now()).await?;
        slots.extend(page);
        after = next;
        if after.is_none() {
            // The sender may have sent them in an order that matters to its receiver.
            slots.sort_by_key(|slot| slot.request.at);
            return Ok(slots);
        }
    }
}

async fn recheck(producer: &Producer, source: &Source, slots: Vec<Slot>, arguments: &RecheckArguments) -> Report {
    let mut report = Report { source: source.name.clone(), ..Report::default() };
    let progress = Progress::new(slots.len() as u64, "checked");
    let checking = slots.iter().map(async |slot| {
        // Each has the time of a request of its own.
        let moment = Moment { now: outside::now(), started: Instant::now(), deadline: None };
        (slot.request.at, producer.recheck(source, slot, !arguments.dry_run, moment).await)
    });
    let mut checking = stream::iter(checking).buffered(AT_ONCE);
    while let Some((at, rechecked)) = checking.next().await {
        report.add(at, rechecked);
        progress.bar.inc(1);
        progress.tell("");
    }
    progress.bar.finish_and_clear();
    report
}

impl Report {
    fn add(&mut self, at: Millis, rechecked: Rechecked) {
        match rechecked {
            Rechecked::Published => self.published += 1,
            Rechecked::Passes => self.passing += 1,
            Rechecked::Rejected(outcome) => {
                let fresh = || Rejections { requests: 0, first: at, last: at };
                let rejections = self.rejected.entry(reason(&outcome)).or_insert_with(fresh);
                rejections.requests += 1;
                rejections.first = rejections.first.min(at);
                rejections.last = rejections.last.max(at);
            }
        }
    }

    fn print(&self) {
        let rejected: usize = self.rejected.values().map(|one| one.requests).sum();
        let name = harmless(&self.source);
        println!(
            "{} rejected requests of source {name} are kept, of the last {} days.",
            self.published + self.passing + rejected,
            KEPT_FOR / 86_400_000
        );
        for (count, text) in [
            (self.published, "pass, and were published"),
            (self.passing, "pass; run the command without --dry-run to publish them"),
            (rejected, "do not pass, and stay until they expire:"),
        ] {
            if count > 0 {
                println!("{count:>8} {text}");
            }
        }
        for (reason, Rejections { requests, first, last }) in &self.rejected {
            println!("{requests:>12} {}, from {} to {}", harmless(reason), date(*first), date(*last));
        }
    }
}

fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Unauthorized(refusal) => refusal.to_string(),
        other => other.word().to_owned(),
    }
}
