//! `surehook qstash`: the QStash server by itself.

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use surehook::{outside, qstash::duration};
use surehook_local::qstash::{
    Callers, Choices, FASTEST, LATEST_START, News, Pace, Plan, QStash, Rule, SLOWEST, Settings, State, USERS,
};
use tokio::{net::TcpListener, sync::broadcast::error::RecvError};

use crate::{Failure, text::harmless};

/// How to run the server.
#[derive(Debug, Args)]
pub(crate) struct QstashArguments {
    /// Port to listen on; 0 takes any. The JavaScript SDK's development mode looks on 8080
    #[arg(long, default_value_t = 8080, env = "QSTASH_DEV_PORT")]
    port: u16,
    /// Address to listen on. The tokens are public: never let strangers reach it
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    host: IpAddr,
    /// A name besides localhost by which the server is called, a tunnel's for instance; may be repeated
    #[arg(long, value_name = "NAME")]
    host_name: Vec<String>,
    /// Whose limits hold: free, payg, fixed-1m or fixed-10m
    #[arg(long, default_value = "payg", value_parser = plan)]
    plan: Plan,
    /// How much faster than the world delays, retries, schedules and rates pass
    #[arg(long, default_value_t = 1.0, value_parser = speed)]
    speed: f64,
    /// real: time passes; stepped: it stands until POST /_surehook/clock steps it
    #[arg(long, value_enum, default_value_t = ClockMode::Real, conflicts_with = "speed")]
    clock: ClockMode,
    /// Whose clock tokens, Retry-After, the deduplication window and retention go by, where the server's is not real
    #[arg(long, value_enum, default_value_t = CallersClock::Real)]
    callers: CallersClock,
    /// What the clock shows at first, in milliseconds since 1970; the real time unless given
    #[arg(long, value_name = "MILLISECONDS", value_parser = clap::value_parser!(i64).range(0..=LATEST_START))]
    start: Option<i64>,
    /// Ids and chaos follow from it; drawn and printed unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Something that goes wrong: <fault>[,url=…][,topic=…][,share=0.5][,times=3][,span=10s][,size=7000000]. Faults: duplicate, reorder, delay,
    /// cut-before, cut-after, late, next-key, expired-token, oversized, gzip, lose-callback, repeat-callback, away; may be repeated
    #[arg(long, value_name = "RULE", value_parser = Rule::parse)]
    chaos: Vec<Rule>,
    /// What to do where QStash's documentation is silent, <name>=<value>; docs/qstash-server.md lists the names; may be repeated
    #[arg(long, value_name = "CHOICE")]
    choose: Vec<String>,
    /// Entries that the log remembers
    #[arg(long, default_value_t = Settings::default().log_entries)]
    log_entries: usize,
    /// Print nothing about messages
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClockMode {
    Real,
    Stepped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CallersClock {
    Real,
    Same,
}

fn plan(name: &str) -> Result<Plan, String> {
    Plan::named(name).ok_or_else(|| "the plans are free, payg, fixed-1m and fixed-10m".to_owned())
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (SLOWEST..=FASTEST).contains(speed));
    speed.ok_or_else(|| format!("it must be a number between {SLOWEST} and {FASTEST}"))
}

pub(crate) async fn run(arguments: QstashArguments) -> Result<ExitCode, Failure> {
    let settings = settings(&arguments)?;
    let seed = settings.seed;
    let address = SocketAddr::from((arguments.host, arguments.port));
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("{address} can't be had: {error}. Stop what uses it, or choose another with --port or --host")
    })?;
    let qstash = QStash::start(listener, settings)?;
    introduce(&qstash, &arguments, seed);
    tokio::select! {
        () = tell(&qstash, arguments.quiet) => {}
        _ = tokio::signal::ctrl_c() => println!("\nStopping. What was held here is gone."),
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(arguments: &QstashArguments) -> Result<Settings, Failure> {
    let pace = match arguments.clock {
        ClockMode::Real => Pace::Times(arguments.speed),
        ClockMode::Stepped => Pace::Stepped,
    };
    Ok(Settings {
        pace,
        callers: if arguments.callers == CallersClock::Same { Callers::Same } else { Callers::Real },
        origin: arguments.start,
        plan: arguments.plan,
        choices: Choices::default().with(&arguments.choose)?,
        // Small enough to be typed again.
        seed: arguments.seed.unwrap_or_else(|| (outside::draw() * 1e9) as u64),
        chaos: arguments.chaos.clone(),
        log_entries: arguments.log_entries.max(1),
        host_names: arguments.host_name.clone(),
    })
}

fn introduce(qstash: &QStash, arguments: &QstashArguments, seed: u64) {
    let user = USERS[0];
    println!("QStash is running at {}", qstash.url);
    println!();
    println!("  QSTASH_URL={}", qstash.url);
    println!("  QSTASH_TOKEN={}", user.token);
    println!("  QSTASH_CURRENT_SIGNING_KEY={}", user.current_key);
    println!("  QSTASH_NEXT_SIGNING_KEY={}", user.next_key);
    println!();
    println!("  page   {}/", qstash.url);
    println!("  plan   {}", arguments.plan.name);
    println!("  clock  {}", clock(arguments));
    println!("  seed   {seed}");
    for rule in &arguments.chaos {
        println!("  chaos  {}", serde_json::json!(rule));
    }
    println!();
    if !arguments.host.is_loopback() {
        println!(
            "Others can reach this address, and the tokens are public: whoever can connect can read and send everything."
        );
    }
    println!("Everything is kept in memory and gone when this ends. Ctrl-C stops it.");
    println!();
}

fn clock(arguments: &QstashArguments) -> String {
    match arguments.clock {
        ClockMode::Stepped => "stands; curl -d '{\"advance\":\"1h\"}' …/_surehook/clock steps it".to_owned(),
        ClockMode::Real if arguments.speed == 1.0 => "real".to_owned(),
        ClockMode::Real => format!("{} times as fast", arguments.speed),
    }
}

/// Prints what happens to messages until the server ends. Who wants nothing printed does not make it compose news either.
async fn tell(qstash: &QStash, quiet: bool) {
    if quiet {
        return std::future::pending().await;
    }
    let mut news = qstash.news();
    loop {
        match news.recv().await {
            Ok(news) => println!("{}", line(&news)),
            Err(RecvError::Lagged(missed)) => println!("… {missed} more"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// URLs may be long, lines may not.
fn short(url: &str) -> String {
    let (mut short, rest) = (url.chars().take(200).collect::<String>(), url.chars().nth(200));
    if rest.is_some() {
        short.push('…');
    }
    short
}

fn line(news: &News) -> String {
    let what = match news.state {
        State::Created { delay } if delay.is_zero() => "created".to_owned(),
        State::Created { delay } => format!("created, due in {}", duration::write(delay)),
        State::Active => "being delivered".to_owned(),
        State::Error { status: 0 } => "no answer".to_owned(),
        State::Error { status } => format!("answered {status}"),
        State::Retry { attempt, wait, .. } => {
            format!("attempt {attempt} failed, again in {:.1} s", wait.as_secs_f64())
        }
        State::Delivered { attempt } => format!("delivered, attempt {attempt}"),
        State::Failed { .. } => "given up: it is in the dead-letter queue".to_owned(),
        State::CancelRequested => "to be cancelled".to_owned(),
        State::Cancelled => "cancelled".to_owned(),
    };
    harmless(&format!("{}  {}  {what}", news.message_id.get(..12).unwrap_or(&news.message_id), short(&news.url)))
}
