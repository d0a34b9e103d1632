//! Configuration: every environment variable that we read, and nothing else.
//!
//! A function asks a [`Reader`] for what it needs and then, once, whether anything was wrong; so an operator sees all
//! problems at once, each with its variable's name.

pub mod policy;
pub mod qstash;
mod variables;
pub mod vault;

use std::{collections::BTreeSet, fmt::Display, str::FromStr, time::Duration};

use url::Url;

pub use policy::{Contradiction, Policy};
pub use qstash::QStashVariables;
pub use variables::{SECRETS, SIGNING_KEYS, Variables};

use crate::{
    breaker::BreakerPolicy,
    qstash::{client::is_name, duration},
    retry::{LONGEST_WISH, RetryPolicy, Schedule},
    secret::Secret,
    signing::{DEVELOPMENT_MASTER, SigningSecrets},
    sources::SourceSecrets,
    store::routes_cache::DEFAULT_REFRESH,
    tls,
    web::{EndpointUrl, is_safe_for_secrets},
};

/// QStash's European host, the default of Upstash's own SDKs.
pub const DEFAULT_QSTASH_URL: &str = "https://qstash.upstash.io";
/// The problem of a URL to which a secret must not be sent.
const PLAIN_HTTP: &str =
    "uses http, which sends secrets unencrypted; use https, or a loopback address such as http://127.0.0.1:8080";
/// The safety margin between a handler's deadline and the end of its lease.
pub const LEASE_MARGIN: Duration = Duration::from_secs(3);
/// What a function URL carries in base64, in bytes. Source: AWS, "Lambda quotas": 6 MB.
pub const LARGEST_BODY: usize = 4_500_000;
/// Characters of a token that opens the producer's door.
const SHORTEST_TOKEN: usize = 16;
const DAY: Duration = Duration::from_secs(86_400);
/// The longest span that a setting may have: what is longer is a slip, and sums of such spans would overflow.
const YEAR: Duration = Duration::from_secs(365 * 86_400);
/// The most rounds that an event may get, for the same reason.
const MOST_ROUNDS: u32 = 1_000;

/// Everything that is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration can't be used:{}", list(.0))]
pub struct ConfigError(Vec<String>);

impl ConfigError {
    /// One problem with one variable.
    pub fn of(name: &str, problem: impl Display) -> Self {
        Self(vec![format!("{name} {problem}")])
    }

    /// Each problem, beginning with its variable's name.
    pub fn problems(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

fn list(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// Reads variables and remembers what is wrong with them.
pub struct Reader<'a> {
    variables: &'a Variables,
    problems: Vec<String>,
    /// Variables that name a secret which can't be had; nothing else is said about them.
    unresolved: BTreeSet<String>,
}

impl std::fmt::Debug for Reader<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reader").field("problems", &self.problems).finish_non_exhaustive()
    }
}

/// How long things are kept, and how long failures are retried.
#[derive(Debug, Clone)]
pub struct Lifetimes {
    /// When a failed event is delivered again.
    pub retry: RetryPolicy,
    /// How long QStash keeps an entry of its dead-letter queue.
    pub dlq_retention: Duration,
    /// How long after that a dead letter may be replayed.
    pub replay_window: Duration,
    /// How long a record outlives its event.
    pub retention: Duration,
}

impl<'a> Reader<'a> {
    /// A reader of variables: the environment's in a `main`, a table's in a test.
    pub fn new(variables: &'a Variables) -> Self {
        Self { variables, problems: Vec::new(), unresolved: BTreeSet::new() }
    }

    /// All problems, if there were any.
    pub fn finish(self) -> Result<(), ConfigError> {
        if self.problems.is_empty() { Ok(()) } else { Err(ConfigError(self.problems)) }
    }

    fn optional(&mut self, name: &str) -> Option<String> {
        match self.variables.get(name) {
            Ok(value) => value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty()),
            Err(error) => {
                self.problem(name, error);
                self.unresolved.insert(name.to_owned());
                None
            }
        }
    }

    fn required(&mut self, name: &str, meaning: &str) -> String {
        self.optional(name).unwrap_or_else(|| {
            self.problem(name, format!("is missing: {meaning}"));
            String::new()
        })
    }

    fn problem(&mut self, name: &str, text: impl Display) {
        let problem = format!("{name} {text}");
        // A setting may be read twice.
        if !self.unresolved.contains(name) && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    fn parsed<T: FromStr>(&mut self, name: &str, default: T, form: &str) -> T {
        match self.optional(name).map(|text| text.parse()) {
            None => default,
            Some(Ok(value)) => value,
            Some(Err(_)) => {
                self.problem(name, format!("must be {form}"));
                default
            }
        }
    }

    fn span(&mut self, name: &str, default: Duration) -> Duration {
        self.optional_span(name).unwrap_or(default)
    }

    fn optional_span(&mut self, name: &str) -> Option<Duration> {
        let span = duration::parse(&self.optional(name)?).filter(|span| !span.is_zero() && *span <= YEAR);
        if span.is_none() {
            self.problem(name, "must be a span of time above zero and up to a year, such as 8s or 1h");
        }
        span
    }

    fn secret(&mut self, name: &str, meaning: &str) -> Option<Secret> {
        Secret::new(self.required(name, meaning))
    }

    /// `TABLE_NAME`: the DynamoDB table.
    pub fn table(&mut self) -> String {
        tls::ENDPOINTS.iter().for_each(|name| self.check_endpoint(name));
        self.required("TABLE_NAME", "the name of the DynamoDB table")
    }

    /// AWS's own SDK takes any URL.
    fn check_endpoint(&mut self, name: &str) {
        let url = self.optional(name).map(|text| Url::parse(&text));
        match url {
            Some(Err(error)) => self.problem(name, format!("is no URL: {error}")),
            Some(Ok(url)) if !is_safe_for_secrets(&url) => self.problem(name, PLAIN_HTTP),
            _ => {}
        }
    }

    /// `STACK`: names this deployment where an account is shared; `surehook` by default.
    pub fn stack(&mut self) -> String {
        self.optional("STACK").unwrap_or_else(|| "surehook".to_owned())
    }

    /// `METRICS`: whether log lines carry metrics on Lambda; `true` by default.
    pub fn metrics(&mut self) -> bool {
        self.parsed("METRICS", true, "true or false")
    }

    fn is_lambda(&mut self) -> bool {
        self.optional("AWS_LAMBDA_INITIALIZATION_TYPE").is_some_and(|kind| kind != "surehook-local")
    }

    /// `CONSUMER_URL`: a list of the consumer's public URLs (scheme, host, optional prefix), separated by commas.
    pub fn consumer_urls(&mut self, required: bool) -> Vec<EndpointUrl> {
        self.own_urls("CONSUMER_URL", required.then_some("the consumer's function URL"))
    }

    /// `REQUEUER_URL`: the requeuer's public URLs, separated by commas; the first is the one that hears of failures. May be absent on
    /// the requeuer itself: the domain that Lambda names serves.
    pub fn requeuer_urls(&mut self, required: bool) -> Vec<EndpointUrl> {
        self.own_urls("REQUEUER_URL", required.then_some("the requeuer's function URL"))
    }

    fn own_urls(&mut self, name: &str, required: Option<&str>) -> Vec<EndpointUrl> {
        let text = match required {
            Some(meaning) => self.required(name, meaning),
            None => self.optional(name).unwrap_or_default(),
        };
        self.urls(name, &text)
    }

    fn urls(&mut self, name: &str, text: &str) -> Vec<EndpointUrl> {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        let mut urls = Vec::new();
        for part in parts {
            match EndpointUrl::parse(part) {
                // As `below` rebuilds the URL of a request for its root: with a slash behind a prefix nothing would be equal to it.
                Ok(url) if url.query().is_none() => urls.push(url.below("/", "")),
                Ok(_) => self.problem(name, format!("\"{part}\" must not have a query")),
                Err(error) => self.problem(name, format!("\"{part}\": {error}")),
            }
        }
        urls
    }

    /// `HANDLER_TIMEOUT`: how long a handler may work on one event; 8 s by default.
    pub fn handler_timeout(&mut self) -> Duration {
        self.span("HANDLER_TIMEOUT", Duration::from_secs(8))
    }

    /// `MAX_BODY_BYTES`: the largest body that is taken. [`LARGEST_BODY`] by default.
    pub fn max_body_bytes(&mut self) -> usize {
        self.parsed("MAX_BODY_BYTES", LARGEST_BODY, "a number of bytes")
    }

    /// `ALLOW_PRIVATE_DESTINATIONS`: for development only.
    pub fn allow_private_destinations(&mut self) -> bool {
        self.parsed("ALLOW_PRIVATE_DESTINATIONS", false, "true or false")
    }

    /// `SIGNING_SECRETS`: the master secret that the secrets of destinations follow from (`whsec_…`), and its predecessors while
    /// it is being replaced, separated by commas. `None` where it is not set.
    pub fn signing_secrets(&mut self) -> Option<SigningSecrets> {
        let text = self.optional("SIGNING_SECRETS")?;
        let masters: Vec<Secret> = text.split(',').filter_map(|part| Secret::new(part.trim())).collect();
        if self.is_lambda() && masters.iter().any(|master| master.expose() == DEVELOPMENT_MASTER) {
            self.problem(
                "SIGNING_SECRETS",
                "is the published secret of the development stack: anybody could sign with it",
            );
        }
        let secrets = SigningSecrets::new(&masters);
        secrets.map_err(|error| self.problem("SIGNING_SECRETS", error)).ok()
    }

    /// `SOURCE_SECRETS`: the secrets of senders, by the names that the routes document gives them; none by default.
    pub fn source_secrets(&mut self) -> SourceSecrets {
        let text = self.optional("SOURCE_SECRETS").unwrap_or_else(|| "{}".to_owned());
        SourceSecrets::parse(&text).unwrap_or_else(|error| {
            self.problem("SOURCE_SECRETS", error);
            SourceSecrets::default()
        })
    }

    /// `ANSWER_WITHIN`: how long the producer may take to answer; 5 s by default.
    pub fn answer_within(&mut self) -> Duration {
        let within = self.span("ANSWER_WITHIN", Duration::from_secs(5));
        if !(Duration::from_millis(500)..=Duration::from_secs(60)).contains(&within) {
            self.problem("ANSWER_WITHIN", "must be a span of time from 500ms to 60s");
        }
        within
    }

    /// `BREAKER_WAIT`: how long a destination that keeps failing is left alone at first; one minute by default, `None` for `off`.
    pub fn breaker(&mut self) -> Option<BreakerPolicy> {
        if self.optional("BREAKER_WAIT").as_deref() == Some("off") {
            return None;
        }
        let wait = self.span("BREAKER_WAIT", Duration::from_secs(60));
        if wait > LONGEST_WISH {
            self.problem("BREAKER_WAIT", "must be a span of time up to an hour, or off");
        }
        Some(BreakerPolicy { wait })
    }

    /// `ROUTES_REFRESH`: the age after which a function reads the routes again; a minute by default and at most.
    pub fn routes_refresh(&mut self) -> Duration {
        let refresh = self.span("ROUTES_REFRESH", DEFAULT_REFRESH);
        if refresh > DEFAULT_REFRESH {
            self.problem("ROUTES_REFRESH", "must be a span of time up to a minute, such as 10s");
        }
        refresh
    }

    /// `PRODUCER_TOKEN`: what senders prove themselves with, and its predecessor behind a comma while it is replaced.
    pub fn producer_tokens(&mut self) -> Vec<Secret> {
        let both = self.secret("PRODUCER_TOKEN", "the bearer token that senders use");
        let text = both.as_ref().map(Secret::expose).unwrap_or_default();
        let tokens: Vec<&str> = text.split(',').map(str::trim).filter(|token| !token.is_empty()).collect();
        if tokens.iter().any(|token| token.len() < SHORTEST_TOKEN) {
            self.problem(
                "PRODUCER_TOKEN",
                "needs 16 characters and more, in each of its tokens where a comma separates several",
            );
        }
        tokens.into_iter().filter_map(Secret::new).collect()
    }

    /// `TOPICS`: topics that take our own payload, separated by commas; the routes document may name more.
    pub fn topics(&mut self) -> Vec<String> {
        let text = self.optional("TOPICS").unwrap_or_default();
        let topics: Vec<String> =
            text.split(',').map(|part| part.trim().to_owned()).filter(|t| !t.is_empty()).collect();
        for topic in topics.iter().filter(|topic| !is_name(topic)) {
            self.problem("TOPICS", format!("\"{topic}\" may have letters, digits, '-', '_' and '.' only"));
        }
        topics
    }

    /// `RETRY_*`, `QSTASH_DLQ_RETENTION_DAYS`, `REPLAY_WINDOW_DAYS` and `RETENTION_DAYS`. A record must outlive every retry
    /// and replay of its event; a `RETENTION_DAYS` below that sum is refused with the sum shown.
    pub fn lifetimes(&mut self) -> Lifetimes {
        let retry = self.retry_policy();
        let dlq = self.days("QSTASH_DLQ_RETENTION_DAYS", 7);
        let window = self.days("REPLAY_WINDOW_DAYS", 3);
        let needed = retry.horizon() + dlq + window;
        let needed_days = u32::try_from(needed.as_secs().div_ceil(DAY.as_secs())).unwrap_or(u32::MAX);
        let days: u32 = self.parsed("RETENTION_DAYS", needed_days, "a number of days");
        if days < needed_days {
            let hours = retry.horizon().as_secs().div_ceil(3_600);
            let (dlq, window) = (dlq.as_secs() / DAY.as_secs(), window.as_secs() / DAY.as_secs());
            self.problem(
                "RETENTION_DAYS",
                format!(
                    "is {days}, but done records must be kept {needed_days} days: {hours} h of retries + {dlq} d in \
                     QStash's dead-letter queue + {window} d for replays"
                ),
            );
        }
        Lifetimes { retry, dlq_retention: dlq, replay_window: window, retention: DAY * days }
    }

    fn days(&mut self, name: &str, default: u16) -> Duration {
        DAY * u32::from(self.parsed(name, default, "a number of days up to 65535"))
    }

    fn retry_policy(&mut self) -> RetryPolicy {
        let default = RetryPolicy::default();
        let schedule = self.schedule();
        let listed = match &schedule {
            Schedule::List(waits) => u32::try_from(waits.len()).unwrap_or(u32::MAX),
            Schedule::Exponential { .. } => default.rounds,
        };
        let rounds = self.parsed("RETRY_ROUNDS", listed, "a number of rounds");
        if rounds > MOST_ROUNDS {
            self.problem("RETRY_ROUNDS", format!("is {rounds}, but an event gets {MOST_ROUNDS} rounds at most"));
        }
        RetryPolicy { schedule, rounds: rounds.min(MOST_ROUNDS), max_age: self.optional_span("RETRY_MAX_AGE") }
    }

    fn schedule(&mut self) -> Schedule {
        let names = ["RETRY_BASE", "RETRY_FACTOR", "RETRY_CAP", "RETRY_JITTER"];
        if let Some(text) = self.optional("RETRY_LIST") {
            for name in names.into_iter().filter(|name| self.optional(name).is_some()).collect::<Vec<_>>() {
                self.problem(name, "contradicts RETRY_LIST: set one or the other");
            }
            return self.listed(&text);
        }
        let jitter = self.parsed("RETRY_JITTER", 0.2, "a share from 0 to 1");
        let factor = self.parsed("RETRY_FACTOR", 2.0, "a number of at least 1");
        if !(0.0..=1.0).contains(&jitter) {
            self.problem("RETRY_JITTER", "must be a share from 0 to 1");
        }
        if !(factor >= 1.0 && f64::is_finite(factor)) {
            self.problem("RETRY_FACTOR", "must be a number of at least 1");
        }
        let base = self.span("RETRY_BASE", Duration::from_secs(3_600));
        Schedule::Exponential { base, factor, cap: self.span("RETRY_CAP", DAY), jitter }
    }

    fn listed(&mut self, text: &str) -> Schedule {
        let wait = |part| duration::parse(part).filter(|wait| *wait <= YEAR);
        let waits: Option<Vec<Duration>> = text.split(',').map(wait).collect();
        Schedule::List(waits.unwrap_or_else(|| {
            self.problem("RETRY_LIST", "must be spans of time up to a year, separated by commas, such as 1m,1h,1d");
            Vec::new()
        }))
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
