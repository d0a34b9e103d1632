//! `surehook dev`: the development stack, kept running.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use surehook::{
    outside,
    routes::{Route, Routes},
    web::EndpointUrl,
};
use surehook_local::{
    Stack, StackOptions,
    lambda::{Host, LogLine},
    qstash::{TOKEN, Visitors},
    receiver::Received,
    stack::PRODUCER_TOKEN,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::{Failure, private_file::open_private, routes, text::harmless, topics};

const TOPIC: &str = "strapi.create";
const SOURCE_SECRETS: &str = "SOURCE_SECRETS";

/// How to run the stack.
#[derive(Debug, Args)]
pub(crate) struct DevArguments {
    /// Leave the functions to `cargo lambda watch`
    #[arg(long)]
    no_functions: bool,
    /// Keep the table in this folder; in memory unless given
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How much faster than the world QStash's delays, retries, schedules and rates pass
    #[arg(long, default_value_t = 1.0, value_parser = crate::qstash::speed, allow_negative_numbers = true)]
    speed: f64,
    /// Port of the functions
    #[arg(long, default_value_t = 9000)]
    functions_port: u16,
    /// Port of QStash
    #[arg(long, default_value_t = 8080)]
    qstash_port: u16,
    /// Port of DynamoDB
    #[arg(long, default_value_t = 8000)]
    dynamo_port: u16,
    /// Port of the receiver
    #[arg(long, default_value_t = 9500)]
    receiver_port: u16,
    /// A name besides localhost by which the stack is called, a tunnel's for instance; may be repeated
    #[arg(long, value_name = "NAME", value_parser = crate::qstash::host_name)]
    host_name: Vec<String>,
    /// Where to write the variables for `cargo lambda watch` and for the operator's commands
    #[arg(long, default_value = ".env.surehook", value_name = "FILE")]
    write_env: PathBuf,
}

pub(crate) async fn run(arguments: DevArguments) -> Result<ExitCode, Failure> {
    check_own(&arguments.write_env)?;
    println!("Starting DynamoDB, QStash, the functions and a receiver …");
    let stack = tokio::select! {
        stack = Stack::start(options(&arguments)?) => stack?,
        _ = tokio::signal::ctrl_c() => return Ok(ExitCode::from(130)),
    };
    let routes = prepare(&stack).await?;
    // Whoever sees the file or reads that the stack runs may publish at once, and is to be shown what happens.
    let (deliveries, logs) = (stack.receiver.news(), stack.host.as_ref().map(Host::logs));
    write_environment(&stack, &arguments.write_env)?;
    introduce(&stack, &arguments, &routes);
    tokio::select! {
        () = show(Some(deliveries), delivery) => {}
        () = show(logs, log_line) => {}
        _ = tokio::signal::ctrl_c() => println!("\nStopping."),
    }
    Ok(ExitCode::SUCCESS)
}

fn options(arguments: &DevArguments) -> Result<StackOptions, Failure> {
    let program = if arguments.no_functions { None } else { Some(std::env::current_exe()?) };
    Ok(StackOptions {
        program,
        functions_port: arguments.functions_port,
        qstash_port: arguments.qstash_port,
        dynamo_port: arguments.dynamo_port,
        receiver_port: arguments.receiver_port,
        data: arguments.data.clone(),
        speed: arguments.speed,
        // The ids of messages must not repeat those of the last start, whose events the table knows.
        seed: crate::qstash::drawn_seed(),
        reads_routes_each_time: true,
        visitors: Visitors::named(&arguments.host_name),
        // The secrets of senders are the user's own.
        environment: outside::variable(SOURCE_SECRETS)
            .map(|value| (SOURCE_SECRETS.to_owned(), value))
            .into_iter()
            .collect(),
        ..StackOptions::default()
    })
}

/// A topic and a route, so that the first curl already arrives somewhere.
async fn prepare(stack: &Stack) -> Result<Routes, Failure> {
    let store = stack.store();
    if store.routes(true).await?.version == 0 {
        routes::apply(&store, &first_routes(&stack.receiver.url)).await?;
    }
    let consumer = EndpointUrl::parse(&stack.function_url("consumer/strapi"))?;
    let payloads = EndpointUrl::parse(&stack.function_url("consumer/payload"))?;
    let requeuer = EndpointUrl::parse(&stack.function_url("requeuer"))?;
    let client = crate::demo::qstash_client(&stack.qstash.url)?;
    topics::connect(&client, TOPIC, &consumer, &[], &requeuer).await?;
    topics::connect(&client, "orders", &payloads, &[], &requeuer).await?;
    Ok(store.routes(true).await?)
}

fn first_routes(receiver: &str) -> String {
    let route = |name: &str, source: &str| {
        format!("[[route]]\nname = \"{name}\"\nsource = \"{source}\"\nurl = \"{receiver}/{name}\"\n\n")
    };
    route("shop", "strapi") + &route("warehouse", "payload")
}

/// Variables for the functions under `cargo lambda watch` and for the operator's commands.
pub(crate) fn write_environment(stack: &Stack, file: &Path) -> Result<(), Failure> {
    // Of our variables JSON alone has quotes, and writes an apostrophe this way too.
    let line = |(name, value): &(String, String)| match value.contains('"') {
        true => format!("{name}='{}'\n", value.replace('\'', "\\u0027")),
        false => format!("{name}=\"{value}\"\n"),
    };
    let lines: String = stack.environment.iter().map(line).collect();
    Ok(write_for_owner(file, &lines)?)
}

/// The first line of a file that this command has written, and may write again.
const MARK: &str = "# Written by surehook, and written again at its next start.\n";

/// Why the file of variables can't be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The file has content without the mark.
    #[error("{0} exists, and surehook has not written it; move it away, or have `dev` write another with --write-env")]
    NotOurs(PathBuf),
    /// Reading or writing failed.
    #[error("{0} can't be written; choose another with --write-env")]
    System(PathBuf, #[source] std::io::Error),
}

/// Checks that the file may be written. Other programs keep secrets in such files, so a file that has content without the mark is never
/// written.
pub(crate) fn check_own(file: &Path) -> Result<(), WriteError> {
    match std::fs::read(file) {
        Ok(known) if !known.is_empty() && !known.starts_with(MARK.as_bytes()) => {
            Err(WriteError::NotOurs(file.to_owned()))
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(WriteError::System(file.to_owned(), error)),
        _ => Ok(()),
    }
}

/// Writes a file that its owner alone can read, because it may hold real secrets of senders.
fn write_for_owner(file: &Path, text: &str) -> Result<(), WriteError> {
    check_own(file)?;
    let written = open_private(file).and_then(|mut open| open.write_all(format!("{MARK}{text}").as_bytes()));
    written.map_err(|error| WriteError::System(file.to_owned(), error))
}

/// The routes that are applied, a line for each.
fn listed(routes: &Routes) -> String {
    let line = |route: &Route| format!("\n  {:<11} {}", harmless(&route.source), harmless(&route.url));
    match routes.routes.as_slice() {
        [] => "No route is applied, so that no event goes anywhere.".to_owned(),
        some => format!("Routes (version {}):{}", routes.version, some.iter().map(line).collect::<String>()),
    }
}

/// Describes which state survives a restart.
fn kept(arguments: &DevArguments) -> String {
    match &arguments.data {
        None => "Everything is in memory, and is gone when this ends.".to_owned(),
        Some(folder) => format!(
            "The table is in {}. QStash keeps everything in memory: of the last run its messages that waited, its dead letters,\n\
             schedules, queues and topics of your own are gone. The events of those messages stay unfinished in the table:\n\
             {} --env-file {} stranded",
            folder.display(),
            program_name(),
            arguments.write_env.display(),
        ),
    }
}

fn introduce(stack: &Stack, arguments: &DevArguments, routes: &Routes) {
    let (qstash, env) = (&stack.qstash.url, arguments.write_env.display());
    println!(
        "
  QStash      {qstash}   token {TOKEN}
              open it in a browser to see messages move
  functions   {functions}/<consumer|requeuer|producer>/…
  DynamoDB    {dynamo}   table surehook
  receiver    {receiver}   shows what destinations get

Topic {TOPIC} delivers to {functions}/consumer/strapi, and topic orders to {functions}/consumer/payload.
{routes}
{kept}{speed}
Variables for `cargo lambda watch` and for this command are in {env}.
",
        functions = stack.functions_url,
        dynamo = stack.dynamo.url,
        receiver = stack.receiver.url,
        routes = listed(routes),
        kept = kept(arguments),
        speed = if arguments.speed == 1.0 {
            String::new()
        } else {
            format!("\nQStash's time passes {} times as fast.", arguments.speed)
        },
    );
    if arguments.no_functions {
        println!(
            "Now start the functions in another terminal:
  cargo lambda watch -A 127.0.0.1 -P {port} --env-file {env} --disable-cors --ignore-changes
",
            port = arguments.functions_port
        );
    }
    println!(
        "Try next:

1. What Strapi would send:
curl -X POST {qstash}/v2/publish/{TOPIC} -H 'Authorization: Bearer {TOKEN}' -H 'Content-Type: application/json' -H 'X-Strapi-Event: entry.create' -d '{{\"event\":\"entry.create\",\"createdAt\":\"2026-01-01T00:00:00.000Z\",\"model\":\"article\",\"uid\":\"api::article.article\",\"entry\":{{\"id\":1}}}}'

2. A sender that can't speak QStash:
curl -X POST {producer}/orders -H 'Authorization: Bearer {PRODUCER_TOKEN}' -H 'Content-Type: application/json' -H 'Idempotency-Key: order-1' -d '{{\"eventType\":\"order.created\",\"data\":{{\"id\":1}}}}'

3. What was given up, and the story of one event (EVENT is the webhook-id that the receiver shows):
{me} --env-file {env} dead-letters
{me} --env-file {env} why EVENT

4. Where events go, and where one of yours would go:
{me} --env-file {env} routes show
{me} --env-file {env} routes test YOUR-EVENT.json --source strapi

5. Whether all of it is as it should be, with an event that goes the whole way:
{me} --env-file {env} doctor

Ctrl-C stops everything.
",
        producer = stack.function_url("producer"),
        me = program_name(),
    );
}

/// Returns the command by which the user started this process.
pub(crate) fn program_name() -> String {
    std::env::args().next().unwrap_or_else(|| "surehook".to_owned())
}

/// Prints a line for each thing that comes. Where nobody sends, nothing ever comes.
async fn show<T: Clone>(news: Option<Receiver<T>>, line: impl Fn(T) -> String) {
    let Some(mut news) = news else { return std::future::pending().await };
    loop {
        match news.recv().await {
            Ok(item) => println!("{}", line(item)),
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn delivery(received: Received) -> String {
    format!(
        "receiver  {} {} {}  {} bytes  webhook-id {}",
        received.status,
        received.method,
        harmless(&received.path),
        received.body.len(),
        harmless(received.header("webhook-id").unwrap_or("-")),
    )
}

fn log_line(log: LogLine) -> String {
    format!("{:<9} {}", log.function, harmless(&log.line))
}
