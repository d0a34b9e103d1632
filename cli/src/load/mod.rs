//! `surehook load`: the development stack under load, and a pass that proves that the guarantee held.
//!
//! | module | what it is for |
//! |---|---|
//! | [`plan`] | which events, when, with which bodies, copies and failures; pure |
//! | [`generate`] | publishes them, and answers for their destination |
//! | [`account`] | what became of each, and the verdict; pure |
//! | [`verify`] | what is left afterwards, in the table and at QStash |
//! | [`measure`] | memory and time on the processors |
//! | [`report`] | all of it, printed |
//!
//! A load kills nobody, so that what cannot be promised in general must hold here: each destination gets each event exactly once.

mod account;
mod generate;
mod measure;
mod plan;
mod report;
mod verify;

use std::{path::Path, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use surehook::{identity::Endpoint, web::EndpointUrl};
use surehook_local::{
    Runtimes, Stack, StackOptions,
    qstash::{Fault, Rule},
};
use tokio::{
    task::JoinError,
    time::{interval, timeout},
};

use crate::{
    Failure,
    demo::{qstash_client, strapi_endpoint},
    dev,
    progress::Progress,
    qstash::{drawn_seed, speed},
    routes,
    text::{harmless_json, span},
    topics,
};
use account::Verdict;
use generate::Load;
use measure::{Meter, Parts};
use plan::{Plan, Rate};
use report::{Listed, Report};

const TOPIC: &str = "load";
/// Whom a load needs: those who deliver, and those who take up what QStash gives up.
const FUNCTIONS: [&str; 2] = ["consumer", "requeuer"];
/// The destination.
const PATH: &str = "/load";
/// Entries that QStash's log remembers: enough to see what goes on, too few to weigh.
const LOG_ENTRIES: usize = 200;
/// How often progress is shown, and how many times as seldom a sample is taken.
const MOMENT: Duration = Duration::from_millis(250);
const MOMENTS_PER_SAMPLE: u64 = 4;
/// Variables for the operator's commands, where the stack is held.
const ENVIRONMENT_FILE: &str = ".env.load";

/// What kind of load.
#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// Events per second, each at its moment whatever becomes of those before; max (or 0): as fast as they arrive
    #[arg(long, default_value = "50", value_parser = plan::rate)]
    rate: Rate,
    /// How long to publish, such as 30s or 10m
    #[arg(long, default_value = "30s", value_name = "SPAN", value_parser = plan::span)]
    duration: Duration,
    /// Sizes of bodies, in turn, such as 1KB,10KB,120KB; a KB has 1024 bytes
    #[arg(long, default_value = "1KB", value_name = "SIZE", value_delimiter = ',', value_parser = plan::size)]
    body: Vec<usize>,
    /// Share of events that are published twice; as many deliveries are made twice by QStash
    #[arg(long, default_value = "5", value_name = "PERCENT", value_parser = plan::percent)]
    duplicates: f64,
    /// Share of events that their destination answers with 503 once or twice before it accepts them
    #[arg(long, default_value = "5", value_name = "PERCENT", value_parser = plan::percent)]
    failing: f64,
    /// Which events are published twice or fail follows from it; drawn and printed unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Events on their way at the same time, with --rate max
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Execution environments of each function
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    concurrency: u16,
    /// How much faster QStash waits between attempts
    #[arg(long, default_value_t = 600.0, value_parser = speed, allow_negative_numbers = true)]
    speed: f64,
    /// How long to wait after the last publication until everything has arrived
    #[arg(long, default_value = "2m", value_name = "SPAN", value_parser = plan::span)]
    patience: Duration,
    /// Keep the stack running if the verdict is bad, for `surehook why`
    #[arg(long)]
    hold: bool,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

impl LoadArguments {
    fn plan(&self) -> Plan {
        Plan {
            rate: self.rate,
            duration: self.duration,
            sizes: self.body.clone(),
            duplicates: self.duplicates,
            failing: self.failing,
            seed: self.seed.unwrap_or_else(drawn_seed),
        }
    }

    fn options(&self) -> Result<StackOptions, Failure> {
        Ok(StackOptions {
            program: Some(std::env::current_exe()?),
            functions: FUNCTIONS.to_vec(),
            concurrency: self.concurrency.into(),
            speed: self.speed,
            log_entries: LOG_ENTRIES,
            has_bare_dynamo: !self.hold,
            ..StackOptions::default()
        })
    }
}

pub(crate) async fn run(arguments: LoadArguments) -> Result<ExitCode, Failure> {
    tokio::select! {
        ended = play(&arguments) => ended,
        // Dropping the stack ends every process that it started.
        _ = tokio::signal::ctrl_c() => {
            eprintln!("\nStopped.");
            Ok(ExitCode::from(130))
        }
    }
}

async fn play(arguments: &LoadArguments) -> Result<ExitCode, Failure> {
    if arguments.hold {
        dev::check_own(Path::new(ENVIRONMENT_FILE))?;
    }
    let plan = arguments.plan();
    eprintln!("{}", introduction(arguments, plan.seed));
    let parts = Parts::start()?;
    let runtimes = parts.runtimes().unwrap_or_else(Runtimes::current);
    let stack = Stack::start_on(arguments.options()?, &runtimes).await?;
    prepare(&stack, &plan).await?;
    let mut meter = Meter::new(&stack, &FUNCTIONS);
    let load = Load::new(plan, qstash_client(&stack.qstash.url)?, TOPIC, arguments.in_flight.into())?;
    let destination = Arc::clone(&load);
    stack.receiver.react(move |received| destination.react(received));
    put_under_load(&stack, &load, &mut meter, arguments.patience).await?;
    let report = report(&stack, &load, &meter).await?;
    tell(&report, arguments.json)?;
    if !report.held {
        hold_or_advise(&stack, arguments, &report).await?;
    }
    Ok(if report.held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn introduction(arguments: &LoadArguments, seed: u64) -> String {
    let rate = match arguments.rate {
        Rate::Steady(rate) => format!("{rate} events/s"),
        Rate::Max => format!("as fast as it goes with {} events on their way", arguments.in_flight),
    };
    let (duration, copies, failing) =
        (span(arguments.duration), in_percent(arguments.duplicates), in_percent(arguments.failing));
    format!(
        "Load: {rate} for {duration}, {copies}% twice, {failing}% failing at first; --seed {seed} makes the same events again."
    )
}

/// A share as it was given: floating point makes 7.000000000000001 of 7%.
fn in_percent(share: f64) -> f64 {
    (share * 1e8).round() / 1e6
}

/// A topic, a route, a destination that remembers nothing by itself, and a QStash that delivers some messages twice.
async fn prepare(stack: &Stack, plan: &Plan) -> Result<(), Failure> {
    let document = format!("[[route]]\nname = \"load\"\nsource = \"strapi\"\nurl = \"{}{PATH}\"\n", stack.receiver.url);
    routes::apply(&stack.store(), &document).await?;
    let consumer = EndpointUrl::parse(&stack.function_url("consumer/strapi"))?;
    let requeuer = EndpointUrl::parse(&stack.function_url("requeuer"))?;
    topics::connect(&qstash_client(&stack.qstash.url)?, TOPIC, &consumer, &[], &requeuer).await?;
    stack.receiver.remember(0);
    if plan.duplicates > 0.0 {
        let twice = Rule { url: Some(consumer.to_string()), share: plan.duplicates, ..Rule::of(Fault::Duplicate) };
        stack.qstash.set_chaos(vec![twice]);
    }
    Ok(())
}

/// Publishes everything and waits until QStash has nothing left to do, but no longer than `patience`.
async fn put_under_load(
    stack: &Stack,
    load: &Arc<Load>,
    meter: &mut Meter,
    patience: Duration,
) -> Result<(), JoinError> {
    let progress = Progress::new(load.plan.expected().unwrap_or_default(), "arrived");
    // A task of its own: reading `/proc` takes its time, and no event that is due waits for it.
    let generator = tokio::spawn(Arc::clone(load).generate());
    let work = async {
        generator.await?;
        // Who waits too long is told of by the verdict.
        let _settled_in_time = timeout(patience, stack.qstash.idle()).await;
        Ok(())
    };
    tokio::pin!(work);
    let mut moments = interval(MOMENT);
    let mut moment = 0_u64;
    let ended = loop {
        tokio::select! {
            ended = &mut work => break ended,
            _ = moments.tick() => moment += 1,
        }
        show(&progress, load, stack.qstash.pending());
        if moment.is_multiple_of(MOMENTS_PER_SAMPLE) {
            meter.look();
        }
    };
    meter.look();
    progress.bar.finish_and_clear();
    ended
}

fn show(progress: &Progress, load: &Load, waiting: usize) {
    let (published, arrived) = {
        let account = load.account();
        (account.published(), account.arrived)
    };
    progress.bar.set_length(load.plan.expected().unwrap_or(published).max(published));
    progress.bar.set_position(arrived);
    let seconds = load.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    #[allow(clippy::cast_precision_loss, reason = "numbers of events are far below 2^52")]
    let rate = arrived as f64 / seconds;
    progress.tell(&format!("{published} published, {waiting} messages at QStash, {rate:.0}/s"));
}

async fn report(stack: &Stack, load: &Load, meter: &Meter) -> Result<Report, Failure> {
    let (endpoint, published) = (strapi_endpoint(stack)?, load.account().published());
    eprintln!("Comparing {published} events with what arrived and with the ledger …");
    let found = verify::look(stack, &endpoint, &load.plan, published).await?;
    let account = load.account();
    let verdict = account.judge(&found);
    let offenders = listed(&verdict, &load.plan, &endpoint);
    Ok(Report { offenders, ..Report::new(load.plan.seed, load.plan.expected(), &account, meter, verdict) })
}

fn listed(verdict: &Verdict, plan: &Plan, endpoint: &Endpoint) -> Vec<Listed> {
    let of = |offender: &account::Offender| Listed {
        number: offender.number,
        event: verify::key_of(plan, endpoint, offender.number).to_string(),
        faults: offender.faults.iter().map(ToString::to_string).collect(),
    };
    verdict.offenders.iter().map(of).collect()
}

fn tell(report: &Report, json: bool) -> Result<(), Failure> {
    if json {
        println!("{}", harmless_json(&serde_json::to_string_pretty(report)?));
    } else {
        report.print();
    }
    Ok(())
}

/// The table is gone with the stack, so whoever wants to ask it has the stack held.
async fn hold_or_advise(stack: &Stack, arguments: &LoadArguments, report: &Report) -> Result<(), Failure> {
    if !arguments.hold {
        eprintln!(
            "\nThe guarantee did not hold. Run the same again with `--seed {} --hold`: the stack stays, and `surehook why EVENT` tells an event's story.",
            report.seed
        );
        return Ok(());
    }
    dev::write_environment(stack, Path::new(ENVIRONMENT_FILE))?;
    eprintln!("\nThe guarantee did not hold. The stack stays until Ctrl-C; what happened to an event:");
    for Listed { event, .. } in &report.offenders {
        eprintln!("{} --env-file {ENVIRONMENT_FILE} why {event}", dev::program_name());
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_printed_as_they_were_given() {
        for text in ["0", "2.5", "7", "14", "0.25", "33.333", "100"] {
            assert_eq!(in_percent(plan::percent(text).unwrap()).to_string(), text);
        }
    }
}
