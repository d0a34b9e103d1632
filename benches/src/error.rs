//! What can keep a benchmark from being one.

use std::{io, path::Path};

use surehook::{
    routes::RoutesError,
    store::{LedgerError, StoreError},
};

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried, and what to do where one can do something.
        what: String,
        /// What was said.
        source: io::Error,
    },
    /// A function did not do what it should; its own words are in its log.
    #[error("{who} {what}. Its output is in {log}")]
    Function {
        /// Which contestant.
        who: &'static str,
        /// What it did.
        what: String,
        /// Where its output is.
        log: String,
    },
    /// The document has no place for figures.
    #[error("{0} has no lines `{1}` and `{2}`: put them where the figures belong")]
    Markers(String, &'static str, &'static str),
    /// The embedded DynamoDB ended before it said where it listens.
    #[error("the embedded DynamoDB did not start; name another one with --dynamodb")]
    Dynamo,
    /// A table can't be made or written.
    #[error("DynamoDB does not do what is needed of it: {0}. Is the URL of --dynamodb right?")]
    Table(String),
    /// The counts that are kept can't be read.
    #[error("{0} can't be read: {1}. Count anew with --write")]
    Counts(String, serde_json::Error),
    /// Valgrind counted nothing.
    #[error("Valgrind wrote no sum into {0}: is it installed? On Debian: apt-get install valgrind")]
    Valgrind(String),
    /// The consumer executes more than it did, or less.
    #[error(
        "{0} of the counts above are not what is kept. If that is meant, keep them with `benches/instructions --write`, and say why"
    )]
    Differ(usize),
    /// The test certificate can't be made.
    #[error("the test certificate can't be made: {0}")]
    Certificate(String),
}

impl BenchError {
    /// For [`Result::map_err`]: says what was tried.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::System { what, source }
    }

    /// The same about a file.
    pub(crate) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self {
        Self::system(format!("the file {}", path.display()))
    }
}

impl From<StoreError> for BenchError {
    fn from(error: StoreError) -> Self {
        Self::Table(error.to_string())
    }
}

impl From<LedgerError> for BenchError {
    fn from(error: LedgerError) -> Self {
        Self::Table(error.to_string())
    }
}

impl From<RoutesError> for BenchError {
    fn from(error: RoutesError) -> Self {
        Self::Table(error.to_string())
    }
}

impl From<rcgen::Error> for BenchError {
    fn from(error: rcgen::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}

impl From<tokio_rustls::rustls::Error> for BenchError {
    fn from(error: tokio_rustls::rustls::Error) -> Self {
        Self::Certificate(error.to_string())
    }
}
