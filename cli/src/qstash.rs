//! `surehook qstash`: the QStash server by itself.

use clap::{Args, ValueEnum};
use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Duration,
};
use surehook::{config::QStashVariables, outside, qstash::Region};
use surehook_local::qstash::{
    Callers, Choices, FASTEST, LATEST_START, News, Pace, Plan, QStash, Rule, SLOWEST, Settings, State, User, Visitors,
};
use tokio::{
    net::TcpListener,
    sync::broadcast::{Receiver, error::RecvError},
};

use crate::{
    Failure,
    text::{short, span, with_causes},
};

/// The year 2000: a time before it was meant to be in another unit.
const EARLIEST_START: i64 = 946_684_800_000;
/// Columns of a URL in a line.
const MOST_OF_A_URL: usize = 200;

/// The help of `--region`. It is no doc comment, because names in those have backticks, which a terminal would show.
const REGION_HELP: &str = "Region that deliveries name: EU_CENTRAL_1 or US_EAST_1. The printed variables are those of the region. Servers of \
                           two regions print different users, because each region has keys of its own";

/// How to run the server.
#[derive(Debug, Args)]
#[command(
    after_help = "Each of the four users also has a read-only token, for GET calls only: readonly-defaultUser, readonly-testUser1,\n\
                       readonly-testUser2 and readonly-testUser3."
)]
pub(crate) struct QstashArguments {
    /// Port to listen on; 0 takes any. The JavaScript SDK's development mode looks on 8080
    #[arg(long, default_value_t = 8080, env = "QSTASH_DEV_PORT")]
    port: u16,
    /// Address to listen on. The tokens are public: never let strangers reach it
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS", value_parser = address)]
    host: IpAddr,
    /// A name besides localhost by which the server is called, a tunnel's for instance; may be repeated
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    host_name: Vec<String>,
    /// Whose limits hold: free, payg, fixed-1m or fixed-10m
    #[arg(long, default_value = "payg", value_parser = plan)]
    plan: Plan,
    /// How much faster than the world delays, retries, schedules and rates pass
    #[arg(long, default_value_t = 1.0, value_parser = speed, allow_negative_numbers = true)]
    speed: f64,
    /// real: time passes; stepped: it stands until POST /_surehook/clock steps it
    #[arg(long, value_enum, default_value_t = ClockMode::Real, conflicts_with = "speed")]
    clock: ClockMode,
    /// Whose clock callers live by. With --speed: tokens, Retry-After, times that are shown, deduplication and retention; with --clock stepped: tokens only
    #[arg(long, value_enum, default_value_t = CallersClock::Real)]
    callers: CallersClock,
    /// What the clock shows at first, in milliseconds since 1970; the real time unless given
    #[arg(long, value_name = "MILLISECONDS", value_parser = start, allow_negative_numbers = true)]
    start: Option<i64>,
    /// Ids and chaos follow from it; drawn and printed unless given
    #[arg(long)]
    seed: Option<u64>,
    /// Something that goes wrong: <fault>[,url=…][,topic=…][,share=0.5][,times=3][,span=10s][,size=7340032]. Faults: duplicate, reorder, delay,
    /// cut-before, cut-after, late, next-key, expired-token, oversized, gzip, lose-callback, repeat-callback, away; may be repeated
    #[arg(long, value_name = "RULE", value_parser = Rule::parse)]
    chaos: Vec<Rule>,
    /// What to do where QStash's documentation is silent, <name>=<value>; docs/qstash-server.md lists the names; may be repeated
    #[arg(long, value_name = "CHOICE")]
    choose: Vec<String>,
    /// Entries that the log remembers, at least 1
    #[arg(long, default_value_t = Settings::default().log_entries, value_parser = log_entries)]
    log_entries: usize,
    /// Management calls that each user has in a second; publishing has no limit. Without the flag there is none
    #[arg(long, value_name = "CALLS")]
    burst_limit: Option<u32>,
    #[arg(long, value_name = "REGION", value_parser = region, help = REGION_HELP)]
    region: Option<Region>,
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

fn region(name: &str) -> Result<Region, String> {
    Region::parse(name).ok_or_else(|| "the regions are EU_CENTRAL_1 and US_EAST_1".to_owned())
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_name| "it must be an address such as 127.0.0.1; names belong to --host-name".to_owned())
}

pub(crate) fn host_name(text: &str) -> Result<String, String> {
    let is_name = !text.is_empty() && !text.contains(['/', ':', ' ']);
    if is_name { Ok(text.to_owned()) } else { Err("it must be a name alone, without http:// and port".to_owned()) }
}

fn log_entries(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|entries| *entries > 0).ok_or_else(|| "it must be a number above 0".to_owned())
}

/// Milliseconds since 1970. Seconds would be some day of January 1970, which nobody means.
fn start(text: &str) -> Result<i64, String> {
    let at = text.parse().ok().filter(|at| (EARLIEST_START..=LATEST_START).contains(at));
    at.ok_or_else(|| format!("it must be milliseconds since 1970, between {EARLIEST_START} and {LATEST_START}"))
}

pub(crate) fn speed(text: &str) -> Result<f64, String> {
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
    // Whoever reads the first line may publish at once, and is to be told of it.
    let news = (!arguments.quiet).then(|| qstash.news());
    introduce(&qstash, &arguments, seed);
    tokio::select! {
        () = tell(news) => {}
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
        choices: Choices::default()
            .with(&arguments.choose)
            .map_err(|error| format!("--choose: {}", with_causes(&error)))?,
        seed: arguments.seed.unwrap_or_else(drawn_seed),
        chaos: arguments.chaos.clone(),
        log_entries: arguments.log_entries,
        burst_limit: arguments.burst_limit,
        visitors: Visitors::named(&arguments.host_name),
        region: arguments.region,
    })
}

/// Small enough to be typed again.
pub(crate) fn drawn_seed() -> u64 {
    (outside::draw() * 1e9) as u64
}

fn introduce(qstash: &QStash, arguments: &QstashArguments, seed: u64) {
    let (user, variables) = (User::of(arguments.region), QStashVariables::of(arguments.region));
    let url = own_url(&qstash.url);
    println!("QStash is running at {url}");
    println!();
    println!("  {}={url}", variables.url);
    println!("  {}={}", variables.token, user.token);
    println!("  {}={}", variables.keys[0], user.current_key);
    println!("  {}={}", variables.keys[1], user.next_key);
    println!();
    println!("  page   {url}/");
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

/// A URL that can be called: an address that stands for all of this machine's is none.
fn own_url(url: &str) -> String {
    url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
}

fn clock(arguments: &QstashArguments) -> String {
    match arguments.clock {
        ClockMode::Stepped => "stands; curl -d '{\"advance\":\"1h\"}' …/_surehook/clock steps it".to_owned(),
        ClockMode::Real if arguments.speed == 1.0 && arguments.start.is_some() => {
            "as fast as the real one, from --start".to_owned()
        }
        ClockMode::Real if arguments.speed == 1.0 => "real".to_owned(),
        ClockMode::Real => format!("{} times as fast", arguments.speed),
    }
}

/// Prints what happens to messages until the server ends. Who wants nothing printed does not make it compose news either.
async fn tell(news: Option<Receiver<News>>) {
    let Some(mut news) = news else { return std::future::pending().await };
    loop {
        match news.recv().await {
            Ok(news) => println!("{}", line(&news)),
            Err(RecvError::Lagged(missed)) => println!("… {missed} more"),
            Err(RecvError::Closed) => return,
        }
    }
}

/// A wait: as other commands say spans, and to the tenth where it is short.
fn wait(wait: Duration) -> String {
    if wait.as_secs() >= 10 {
        return span(wait);
    }
    let tenths = Duration::from_millis(wait.as_millis() as u64 / 100 * 100);
    humantime::format_duration(tenths).to_string()
}

fn line(news: &News) -> String {
    let what = match news.state {
        State::Created { delay } if delay.is_zero() => "created".to_owned(),
        State::Created { delay } => format!("created, due in {}", wait(delay)),
        State::Active => "being delivered".to_owned(),
        State::Error { status: 0 } => "no answer".to_owned(),
        State::Error { status } => format!("answered {status}"),
        State::Retry { attempt, wait: again, .. } => format!("attempt {attempt} failed, again in {}", wait(again)),
        State::Delivered { attempt } => format!("delivered, attempt {attempt}"),
        State::Failed { .. } => "given up: it is in the dead-letter queue".to_owned(),
        State::CancelRequested => "to be cancelled".to_owned(),
        State::Cancelled => "cancelled".to_owned(),
    };
    // URLs may be long, lines may not.
    format!("{}  {}  {what}", news.message_id, short(&news.url, MOST_OF_A_URL))
}
