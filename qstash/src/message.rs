//! A message on its way, the answers it gets, and what happens to it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use surehook::{Millis, digest::Sha256, qstash::lenient};

use crate::options::Options;

/// A message. Nothing in it changes once it was accepted, so log and dead-letter queue share it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// Its place among all messages of the account: the order in which they were accepted.
    pub(crate) number: u64,
    /// What chance knows it by: its place among what was published, or what it follows from. Unlike the number it does not depend on what happens at
    /// the same time.
    pub(crate) key: u64,
    pub(crate) id: String,
    pub(crate) url: String,
    pub(crate) origin: Arc<Origin>,
    /// The name of the topic's endpoint, where it has one.
    pub(crate) endpoint: Option<String>,
    pub(crate) options: Arc<Options>,
    pub(crate) body: Bytes,
    pub(crate) digest: Sha256,
    pub(crate) created_at: Millis,
    pub(crate) not_before: Millis,
}

/// Where messages come from: the same for all that one call made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    pub(crate) kind: Kind,
    pub(crate) topic: Option<String>,
    /// The queue that it was published to.
    pub(crate) queue: Option<String>,
    /// The place in a queue that a callback holds for its message.
    pub(crate) holds: Option<Place>,
    pub(crate) schedule: Option<String>,
    pub(crate) caller_ip: String,
}

/// A place in a queue: the queue, and the number of the message that was given it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) queue: String,
    pub(crate) number: u64,
}

impl Message {
    /// The place in a queue that this message has or holds.
    pub(crate) fn place(&self) -> Option<Place> {
        let own = || Some(Place { queue: self.origin.queue.clone()?, number: self.number });
        self.origin.holds.clone().or_else(own)
    }
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// What somebody published.
    #[default]
    Message,
    /// Tells of an attempt.
    Callback,
    /// Tells of a message that was given up.
    FailureCallback,
}

impl Kind {
    /// Its name in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Callback => "callback",
            Self::FailureCallback => "failureCallback",
        }
    }
}

/// What came back from an attempt; `status` 0 is no answer at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names as Go writes them, which is how they are shown.
    pub(crate) headers: lenient::Headers,
    pub(crate) body: Bytes,
    /// Why there is no answer.
    pub(crate) error: Option<String>,
}

impl Answer {
    pub(crate) fn none(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }

    /// Bytes of its body and headers.
    pub(crate) fn size(&self) -> usize {
        let of = |(name, values): (&String, &Vec<String>)| name.len() + values.iter().map(String::len).sum::<usize>();
        self.body.len() + self.headers.iter().map(of).sum::<usize>()
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A message that was given up, with the last answer.
#[derive(Debug, Clone)]
pub(crate) struct Dead {
    pub(crate) message: Arc<Message>,
    pub(crate) answer: Arc<Answer>,
    /// How often it was tried.
    pub(crate) attempts: u32,
}

/// What happened to a message, with what a watcher wants to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It was published, or taken from the dead-letter queue, to be delivered after so long, in the server's time.
    Created {
        /// The delay.
        delay: Duration,
    },
    /// An attempt begins.
    Active,
    /// An attempt failed with this status (0: no answer).
    Error {
        /// The answer's status.
        status: u16,
    },
    /// The next attempt comes after so long, in the server's time or, where the answer asked for it, the receiver's.
    Retry {
        /// The answer's status.
        status: u16,
        /// Attempts so far.
        attempt: u32,
        /// The wait.
        wait: Duration,
    },
    /// It was delivered, at this attempt.
    Delivered {
        /// Attempts in all.
        attempt: u32,
    },
    /// It was given up with this status.
    Failed {
        /// The last answer's status.
        status: u16,
    },
    /// Somebody asks for it to be cancelled.
    CancelRequested,
    /// It was cancelled.
    Cancelled,
}

impl State {
    /// Its name in logs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created { .. } => "CREATED",
            Self::Active => "ACTIVE",
            Self::Error { .. } => "ERROR",
            Self::Retry { .. } => "RETRY",
            Self::Delivered { .. } => "DELIVERED",
            Self::Failed { .. } => "FAILED",
            Self::CancelRequested => "CANCEL_REQUESTED",
            Self::Cancelled => crate::choices::CANCELLED,
        }
    }
}

/// What happens to messages, as it happens.
#[derive(Debug, Clone)]
pub struct News {
    /// Which message.
    pub message_id: String,
    /// Where it goes.
    pub url: String,
    /// What happened.
    pub state: State,
    /// The topic it was published to.
    pub topic: Option<String>,
    /// SHA-256 of its body, in hexadecimal.
    pub body_sha256: String,
    /// Whether it is a callback of either kind.
    pub is_callback: bool,
    /// Whose it is: the user's place among [`crate::USERS`].
    pub user: usize,
}
