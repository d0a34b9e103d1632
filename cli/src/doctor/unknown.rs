//! Why a fact is not known. The variant decides the severity.

use std::error::Error;

use aws_sdk_lambda::error::ProvideErrorMetadata;
use surehook::{
    aws::{self, AccessError},
    qstash::ClientError,
    store::StoreError,
};

use crate::text::with_causes;

/// Why a fact is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// A setting that the question needs is missing or wrong. The rule of settings reports it.
    Unset(String),
    /// The answer is a definite no (401, 403, no such table), which the same call gets again.
    Rejected {
        /// The answer.
        why: String,
        /// A sentence that says what to do about it.
        fix: &'static str,
    },
    /// There was no answer, or none that says anything.
    Unanswered(String),
}

/// An answer, or why there is none.
pub(crate) type Learned<T> = Result<T, Unknown>;

const NO_ACCESS: &str = "run the command that the message names, then the doctor again";
const NO_PERMISSION: &str = "give your AWS credentials the permission that the message names";
const NO_TABLE: &str = "deploy the stack, or set TABLE_NAME and AWS_REGION to those of its outputs";
const OTHER_REGION: &str =
    "copy the token and the host of the same region from the QStash console (QSTASH_TOKEN, QSTASH_URL)";
const OTHER_TOKEN: &str =
    "copy the token of this account and region from the QStash console (QSTASH_TOKEN, QSTASH_URL)";
const OLD_VERSION: &str = "deploy the stack again; its functions and this command line have different versions";
const TRY_AGAIN: &str = "try again; the message names the service that did not answer";

impl Unknown {
    /// Returns why a call to AWS brought no answer.
    pub(crate) fn of_aws<E: ProvideErrorMetadata + Error + 'static>(error: &E) -> Self {
        let why = aws::explained(error);
        match error.code() {
            _ if AccessError::of(error).is_some() => Self::Rejected { why, fix: NO_ACCESS },
            Some(code) if code.starts_with("AccessDenied") => Self::Rejected { why, fix: NO_PERMISSION },
            _ => Self::Unanswered(why),
        }
    }

    /// Returns what to do about it.
    pub(crate) fn fix(&self) -> &'static str {
        match self {
            Self::Unset(_) => "set the variable, or name a deployed stack: --stack NAME",
            Self::Rejected { fix, .. } => fix,
            Self::Unanswered(why) if why.contains("does not take this command") => OLD_VERSION,
            Self::Unanswered(_) => TRY_AGAIN,
        }
    }
}

impl std::fmt::Display for Unknown {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unset(why) | Self::Rejected { why, .. } | Self::Unanswered(why) => formatter.write_str(why),
        }
    }
}

impl From<StoreError> for Unknown {
    fn from(error: StoreError) -> Self {
        let fix = match &error {
            StoreError::Access(_) => NO_ACCESS,
            StoreError::NoTable(_) => NO_TABLE,
            denied if denied.is_denied() => NO_PERMISSION,
            _ => return Self::Unanswered(with_causes(&error)),
        };
        Self::Rejected { why: with_causes(&error), fix }
    }
}

impl From<ClientError> for Unknown {
    fn from(error: ClientError) -> Self {
        let why = with_causes(&error);
        match error {
            ClientError::Refused { text, .. } | ClientError::Unavailable { text, .. }
                if text.contains("not found in this region") =>
            {
                Self::Rejected { why, fix: OTHER_REGION }
            }
            ClientError::Refused { status: 401 | 403, .. } | ClientError::Unavailable { status: 401 | 403, .. } => {
                Self::Rejected { why, fix: OTHER_TOKEN }
            }
            _ => Self::Unanswered(why),
        }
    }
}
