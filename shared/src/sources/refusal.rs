//! Why a sender is not believed. Sentences for the sender say what to send; none says what would have been right.

/// A refusal, a variant per reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SenderRefusal {
    /// No bearer token.
    #[error(
        "send `Authorization: Bearer <token>`; where the sender signs instead, its topic must stand in the routes document"
    )]
    NoToken,
    /// Another bearer token.
    #[error("the bearer token is not the one that is configured")]
    WrongToken,
    /// A header that must be there is not.
    #[error("the header {0} is missing")]
    NoHeader(String),
    /// The signature's header holds nothing that the scheme knows.
    #[error("the header {0} holds no signature in the form that is configured")]
    Unreadable(String),
    /// The timestamp is not a number of seconds or milliseconds since 1970.
    #[error("the timestamp is missing, or is not a unix time")]
    NoTimestamp,
    /// No secret gives this signature for these bytes.
    #[error("the signature does not belong to these bytes and the secret that is configured")]
    Mismatch,
    /// It was signed too long before it first arrived.
    #[error("the timestamp is older than the tolerance: the event was signed too long before it first arrived")]
    Stale,
    /// It came to another path than that of its source.
    #[error("events of a source that signs come to /<source>, without a query, and nowhere below")]
    OtherPath,
    /// The producer did not seal this.
    #[error("the producer's seal does not belong to this event")]
    BadSeal,
    /// It was signed in the future.
    #[error("the timestamp is further in the future than the tolerance: is the sender's clock right?")]
    Early,
}

impl SenderRefusal {
    /// The fixed word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NoToken => "no-token",
            Self::WrongToken => "wrong-token",
            Self::NoHeader(_) => "header-missing",
            Self::Unreadable(_) => "signature-unreadable",
            Self::NoTimestamp => "timestamp-unreadable",
            Self::Mismatch => "signature-mismatch",
            Self::Stale => "timestamp-stale",
            Self::Early => "timestamp-early",
            Self::OtherPath => "other-path",
            Self::BadSeal => "bad-seal",
        }
    }
}
