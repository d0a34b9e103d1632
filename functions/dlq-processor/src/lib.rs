//! The DLQ processor: sweeps what is stranded; lists, shows, replays and purges dead letters.
//!
//! It runs on a schedule (`sweep`) and by direct invocation of an operator; the command line calls the same
//! [`Processor::call`]. Everything it does may be repeated and may run twice at once.

pub mod command;
pub mod config;
pub mod letters;
mod outbox;
pub mod replay;
pub mod stranded;
pub mod sweep;
mod wire;

use std::time::Duration;

use surehook::{
    failure::{FailureError, FailurePath},
    ledger::Refused,
    qstash::ClientError,
    store::{LedgerError, StoreError},
    telemetry::Telemetry,
    web::{EndpointUrl, Moment},
};

pub use command::{Command, Filter, Reply, Selection};
use letters::Act;
pub use wire::{connect, run};

/// What the processor needs, built once in Lambda's init phase.
#[derive(Debug, Clone)]
pub struct Processor {
    /// The failure path, shared with the requeuer.
    pub path: FailurePath,
    /// The requeuer's URL, which hears of failures.
    pub requeuer: EndpointUrl,
    /// How long a purged record is kept.
    pub retention: Duration,
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
    #[error("the event has moved on since: {0:?}")]
    Moved(Refused),
    /// The body of this letter is only in QStash.
    #[error("the body of this letter is redacted: retry entry {0} in the QStash console")]
    Redacted(String),
    /// The topic of this letter has no endpoints, so nobody would get it.
    #[error("{0} has no endpoints at QStash: add one, then replay again")]
    NoEndpoints(String),
    /// A command without a choice must not mean everything.
    #[error("choose letters by ids or a filter, or say all")]
    NothingChosen,
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
        match command {
            Command::Sweep => Box::pin(self.sweep(moment, draw)).await.map(Reply::Swept),
            Command::List { filter, limit, after } => {
                self.list(&filter, limit, after.as_deref()).await.map(Reply::Listed)
            }
            Command::Show { id, reveal } => self.show(&id, reveal).await.map(|shown| Reply::Shown(Box::new(shown))),
            Command::Replay { selection, dry_run } => {
                self.each(&selection, dry_run, Act::Replay, moment).await.map(Reply::Replayed)
            }
            Command::Purge { selection, dry_run } => {
                self.each(&selection, dry_run, Act::Purge, moment).await.map(Reply::Purged)
            }
            Command::Stats => self.stats().await.map(Reply::Counted),
            Command::Stranded { limit, deep } => self.stranded(moment.now, limit, deep).await.map(Reply::Stranded),
        }
    }
}
