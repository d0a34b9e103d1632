//! The DLQ processor: sweeps what is stranded; lists, shows, replays and purges dead letters.
//!
//! It runs on a schedule (`sweep`) and by direct invocation of an operator; the command line calls the same
//! [`Processor::call`]. Everything it does may be repeated and may run twice at once.

mod attempts;
mod beginning;
mod bulk;
pub mod command;
pub mod config;
mod conflict;
mod entries;
pub mod faults;
mod held;
pub mod letters;
mod outbox;
mod outbox_letter;
mod permissions;
pub mod policy;
mod queue;
mod rate;
pub mod replay;
pub mod reply;
mod story;
pub mod stranded;
mod subject;
pub mod sweep;
pub mod why;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use surehook::{
    Millis,
    config::Policy,
    failure::{FailureError, FailurePath},
    identity::EventKey,
    ledger::Refused,
    qstash::{ClientError, Region},
    store::{LedgerError, StoreError, routes_cache::RoutesCache},
    telemetry::{Line, Telemetry},
    web::{EndpointUrl, Moment},
};

use bulk::{Act, Bulk};
pub use command::{Command, Cursor, Filter, Selection};
pub use policy::PolicyRole;
pub use rate::Rate;
use replay::{ReplayPace, Replays};
pub use reply::Reply;
pub use wire::{connect, run};

/// What the processor needs, built once in Lambda's init phase.
#[derive(Debug, Clone)]
pub struct Processor {
    /// The failure path, shared with the requeuer.
    pub path: FailurePath,
    /// The routes, of which each sweep and each replay command reads the version once.
    pub routes: Arc<RoutesCache<()>>,
    /// The requeuer's URL, which hears of failures.
    pub requeuer: EndpointUrl,
    /// All of its URLs: what is under way still names those that were there before a domain of one's own.
    pub requeuers: Vec<EndpointUrl>,
    /// The settings that decide when an event is stranded, and how long the record of a finished one is kept.
    pub policy: Policy,
    /// Whether these settings are the stack's, or follow it.
    pub role: PolicyRole,
    /// Names this deployment in QStash's flow-control keys, which are shared by the whole account.
    pub stack: String,
    /// The metrics of a sweep.
    pub telemetry: Telemetry,
}

/// Why a command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorError {
    /// The table.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// QStash.
    #[error(transparent)]
    QStash(#[from] ClientError),
    /// The failure path.
    #[error(transparent)]
    Failure(#[from] FailureError),
    /// The command names no dead letter that exists.
    #[error("there is no dead letter {0}; `surehook dead-letters list` shows those that exist")]
    NoSuchLetter(String),
    /// The record moved on since the letter was written.
    #[error("it can't be done now: {0}")]
    Moved(Refused),
    /// The letter was replayed and its event buried anew since.
    #[error("there is no dead letter {0} any more; its event was given up again as {1}")]
    Renewed(String, String),
    /// No route takes the event of this letter, so that a replay would be answered "ignored", and lose it.
    #[error(
        "no route takes it ({kind} of source {source_name}): `surehook routes show` says what is routed; add a route, and replay again"
    )]
    NoRoute {
        /// The event's type, or what stands for it.
        kind: String,
        /// Its source.
        source_name: String,
    },
    /// The replay was begun, but nobody confirmed that it went out.
    #[error("{0}. Its replay is begun: the next sweep sends it; `surehook dead-letters purge` prevents that")]
    Unconfirmed(#[source] Box<ProcessorError>),
    /// Only QStash has the body of this letter.
    #[error("the body of this letter is redacted: only QStash has it")]
    OnlyAtQStash,
    /// The body of this letter was in QStash alone, and is not there any more.
    #[error(
        "the body of this letter is redacted, and its entry {0} is gone from QStash: it was retried by hand, or QStash's \
         retention ended. Only the sender can send it again; `purge` the letter when you have seen to it"
    )]
    EntryGone(String),
    /// The body of this letter is in a region of QStash that is not configured.
    #[error(
        "only QStash's region {0} has the body of this letter, and {0}_QSTASH_TOKEN is not set: set it, then replay again"
    )]
    NoRegion(Region),
    /// The topic of this letter has no endpoints, so nobody would get it.
    #[error("{0} has no endpoints at QStash: add one, then replay again")]
    NoEndpoints(String),
    /// A command without a choice must not mean everything.
    #[error("choose letters by ids or a filter, or say all")]
    NothingChosen,
    /// A filter that is given but empty.
    #[error("the filter {0} is empty: give it a value, or leave it out")]
    EmptyFilter(&'static str),
    /// The function's time is over.
    #[error("there was no time left for it: ask again")]
    NoTime,
    /// The lists in which the beginning of an id is looked for are too long to be read.
    #[error("too many events wait to find one by the beginning of its id: write the whole id")]
    TooManyToSearch,
    /// What was asked about is not known here.
    #[error(
        "nothing is known of \"{0}\": it is no event key or dead letter of this table, and QStash has it neither waiting, nor in \
         its dead-letter queue, nor in its log. The beginning of an id is looked for among dead letters, events that wait and QStash's \
         dead-letter queue. `--deep` looks through the whole table for a message id"
    )]
    Unknown(String),
    /// This shell's settings differ from the stack's, which decide about waiting events.
    #[error(
        "the settings of this shell contradict those of the stack, so that events that wait would be ended or retried wrongly:{0}\n\
         Unset these variables, or give them the stack's values; or have the stack do it: --function NAME"
    )]
    Contradiction(String),
    /// QStash still brings the event, so that ending it would lose it.
    #[error("QStash delivers it{}: it is not stranded", at(*.0))]
    Due(Option<Millis>),
    /// The event's message stands in QStash's dead-letter queue, from where the sweep takes it.
    #[error(
        "QStash gave its message up (entry {0}): the next sweep retries it or makes it a dead letter. Run `surehook sweep` first"
    )]
    InDlq(String),
    /// QStash does not tell whether it still delivers the event.
    #[error(
        "{why} (message \"{message}\"), so it may still be delivered. Look for it in QStash's console; --force ends it all the same"
    )]
    NotInLog {
        /// The event's last message.
        message: String,
        /// What QStash said.
        why: String,
    },
    /// A text that is no event key, and not the beginning of one that waits.
    #[error(
        "\"{0}\" is not an event key, which has 64 hexadecimal digits, nor the beginning of the key of an event that waits: \
         `surehook stranded` lists those that do"
    )]
    NotAKey(String),
    /// Several ids begin with this.
    #[error("\"{0}\" is the beginning of several ids: {list}; write more of it", list = .1.join(", "))]
    Ambiguous(String, Vec<String>),
    /// The content of this letter collides with an event that came earlier under the same id.
    #[error(
        "it is a conflict: its content collides with event {0}, which came before under the same id, so that it would become the same \
         dead letter again. `surehook why {0}` shows that event; if this one is to be delivered too, replay it with --as-new"
    )]
    Conflict(EventKey),
    /// A letter that collides with nothing can't be an event of its own.
    #[error("it is no conflict, so that it can't be sent as a new event: replay it without --as-new")]
    NoConflict,
}

impl ProcessorError {
    /// Whether the next letter would fare no better now.
    fn is_away(&self) -> bool {
        match self {
            Self::Store(error) => error.is_away(),
            Self::QStash(error) => error.is_away(),
            Self::Unconfirmed(error) => error.is_away(),
            _ => false,
        }
    }
}

/// When a delivery is due, where that is known.
fn at(due: Option<Millis>) -> String {
    let since = due.and_then(|due| u64::try_from(due).ok()).map(Duration::from_millis);
    since.map_or_else(
        || " again".to_owned(),
        |since| format!(" at {}", humantime::format_rfc3339_seconds(UNIX_EPOCH + since)),
    )
}

/// A filter that says something about what it names.
fn checked(filter: Filter) -> Result<Filter, ProcessorError> {
    match filter.empty_part() {
        Some(name) => Err(ProcessorError::EmptyFilter(name)),
        None => Ok(filter),
    }
}

impl From<LedgerError> for ProcessorError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Store(error),
            LedgerError::Refused(refused) => Self::Moved(refused),
        }
    }
}

impl Processor {
    /// Carries a command out. `draw` spreads the waits of a sweep.
    pub async fn call(&self, command: Command, moment: Moment, draw: f64) -> Result<Reply, ProcessorError> {
        let word = command.word();
        let result = match self.check_policy(&command) {
            Ok(()) => self.carry_out(command, moment, draw).await,
            Err(refused) => Err(refused),
        };
        self.tell(word, &result, moment);
        result
    }

    /// One line for each invocation; what a command was about is its operator's business.
    fn tell(&self, command: &'static str, result: &Result<Reply, ProcessorError>, moment: Moment) {
        let counts = match result {
            Ok(Reply::Swept(report)) => report.counts(),
            _ => Vec::new(),
        };
        let (outcome, reason) = if result.is_ok() { (command, "") } else { ("failed", command) };
        let (duration, at) = (moment.started.elapsed(), moment.at_present());
        self.telemetry.line(Line { outcome, reason, counts, duration, at, ..Line::default() });
    }

    async fn carry_out(&self, command: Command, moment: Moment, draw: f64) -> Result<Reply, ProcessorError> {
        match command {
            Command::Sweep => Box::pin(self.sweep(moment, draw)).await.map(Reply::Swept),
            Command::List { filter, limit, after } => self.list(&filter, limit, after, moment).await.map(Reply::Listed),
            Command::Causes { filter, after } => self.causes(&checked(filter)?, after, moment).await.map(Reply::Caused),
            Command::Show { id, reveal } => {
                self.show(&id, reveal, moment.now).await.map(|shown| Reply::Shown(Box::new(shown)))
            }
            Command::Body { id, offset } => self.body(&id, offset).await.map(Reply::Part),
            Command::Replay { selection, dry_run, limit, after, rate, as_new } => {
                let bulk = Bulk { selection, dry_run, limit, after };
                let pace = ReplayPace { rate, others: 0 };
                let act = Act::Replay(Replays { pace, routes: self.routes.latest(moment).await?, as_new });
                Box::pin(self.each(bulk, act, moment)).await.map(Reply::Replayed)
            }
            Command::Outcomes { ids } => self.outcomes(ids).await.map(Reply::Outcomes),
            Command::Purge { selection, dry_run, limit, after } => {
                let bulk = Bulk { selection, dry_run, limit, after };
                Box::pin(self.each(bulk, Act::Purge, moment)).await.map(Reply::Purged)
            }
            Command::Stranded { limit, deep } => self.stranded(moment.now, limit, deep).await.map(Reply::Stranded),
            Command::Dismiss { events, force } => Ok(Reply::Dismissed(self.dismiss(events, force, moment).await)),
            Command::Permissions => self.permissions().await.map(Reply::Permissions),
            Command::Why { subject, deep } => {
                Box::pin(self.why(&subject, deep, moment)).await.map(|story| Reply::Story(Box::new(story)))
            }
        }
    }
}
