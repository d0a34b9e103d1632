//! What can go wrong with DynamoDB, told apart by what to do about it.

use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
};

use crate::{aws::AccessError, ledger::Refused};

/// Why a call to the table failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No answer, throttled, or a fault of the service: the same call may succeed later. It may have taken effect.
    #[error("DynamoDB is unavailable ({code})")]
    Away {
        /// The service's error code, or what the client noticed.
        code: String,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// AWS can't be called at all.
    #[error(transparent)]
    Access(AccessError),
    /// There is no table of this name in this region.
    #[error("the table does not exist in this region; set TABLE_NAME and AWS_REGION to those of the stack's outputs")]
    NoTable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The service rejects the call as it is, because of a defect of ours or a missing permission.
    #[error("DynamoDB rejects the call ({code})")]
    Refused {
        /// The service's error code.
        code: String,
        /// What the SDK said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An item lacks what this code needs: it was written by hand, or by another version.
    #[error("the item {key} can't be read: {attribute} is missing or of another type")]
    Unreadable {
        /// Its partition key.
        key: String,
        /// The attribute.
        attribute: &'static str,
    },
    /// A newer version of this code wrote the item: writing it again as this one knows it would lose what it does not know.
    #[error("the item {key} was written by a newer version (v {version}): deploy that version everywhere")]
    Newer {
        /// Its partition key.
        key: String,
        /// Its schema version.
        version: u32,
    },
}

impl StoreError {
    /// Whether the same call may succeed later.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Away { .. } | Self::Access(_))
    }

    /// Whether DynamoDB says that the request itself can never succeed, as for an attribute that is too large. That is a
    /// permanent failure of the event; a missing table or permission is not, because an operator can mend it.
    pub fn is_invalid(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "ValidationException")
    }

    /// Whether the caller lacks a permission.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "AccessDeniedException")
    }

    /// A transaction that was cancelled for this reason.
    pub(super) fn cancelled(reason: &str, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        // The reasons of a cancellation have names of their own for what single calls call exceptions.
        let code = match reason {
            "ValidationError" => "ValidationException",
            "ItemCollectionSizeLimitExceeded" => "ItemCollectionSizeLimitExceededException",
            "" => "no reason",
            other => other,
        };
        Self::of_code(code.to_owned(), Box::new(source))
    }

    fn of_code(code: String, source: Box<dyn std::error::Error + Send + Sync>) -> Self {
        match code.as_str() {
            "ResourceNotFoundException" => Self::NoTable(source),
            refusal if REFUSALS.contains(&refusal) => Self::Refused { code, source },
            _ => Self::Away { code, source },
        }
    }

    pub(super) fn unreadable(key: &str, attribute: &'static str) -> Self {
        Self::Unreadable { key: key.to_owned(), attribute }
    }
}

/// The codes that say "this call will never work", of which the rest is "not now".
const REFUSALS: [&str; 4] = [
    "ValidationException",
    "AccessDeniedException",
    "ItemCollectionSizeLimitExceededException",
    "SerializationException",
];

impl<E, R> From<SdkError<E, R>> for StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
    SdkError<E, R>: RequestId,
{
    fn from(error: SdkError<E, R>) -> Self {
        if let Some(access) = AccessError::of(&error) {
            return Self::Access(access);
        }
        let code = match &error {
            SdkError::ServiceError(service) => service.err().code().unwrap_or("unknown"),
            SdkError::TimeoutError(_) => "time-out",
            SdkError::DispatchFailure(_) => "no connection",
            SdkError::ResponseError(_) => "unreadable answer",
            _ => "no request",
        }
        .to_owned();
        Self::of_code(code, Box::new(error))
    }
}

/// Why a transition did not happen.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The rules refuse it.
    #[error("{0}")]
    Refused(Refused),
    /// The table did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Refused> for LedgerError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}
