//! The sentences of answers, for the people who operate a sender.

use super::Outcome;
use crate::store::held::MAX_HELD;

impl Outcome {
    /// Returns what the caller should know beyond the word: names from its own request, and what to change.
    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::SourceUnconfigured(source) => Some(format!(
                "source \"{source}\" is not configured: add it to the routes document and run `surehook routes apply`"
            )),
            Self::NoRoutes => Some("no routes are configured: run `surehook routes apply`".to_owned()),
            Self::Conflict => Some("an event came before with the same id and other content".to_owned()),
            Self::SecretMissing(_) => Some(
                "this sender can't be authenticated now, because a secret is not configured: send it again later; the function's log \
                 names the source"
                    .to_owned(),
            ),
            Self::SenderRefused(refusal) => Some(refusal.to_string()),
            // The same for every topic, so that it tells neither which topics exist nor what their senders prove.
            Self::Unauthorized(_) => Some(
                "the sender is not authenticated. Post to /<topic> with `Authorization: Bearer <token>`, or with the signature that the \
                 topic's source asks for. The function's log and `surehook sources recheck` have the reason"
                    .to_owned(),
            ),
            Self::NotTaken => {
                Some("nothing of this batch was taken: correct the others first".to_owned())
            }
            Self::StoreAway => Some("the table does not answer now: send it again".to_owned()),
            Self::QStashAway => {
                Some("QStash does not take this event now, and it is too large to be stored here: send it again".to_owned())
            }
            Self::RejectedByQStash => Some(
                "QStash rejects this event for good: it may be larger than its plan allows; the function's log says why"
                    .to_owned(),
            ),
            Self::TopicFull(topic) => Some(format!(
                "topic \"{topic}\" has no endpoints at QStash, and {MAX_HELD} of its events are stored already: add an endpoint, and \
                 send this event again"
            )),
            Self::UnknownTopic(topic) => {
                Some(format!("topic \"{topic}\" is neither in TOPICS nor in the routes document; post to /<topic>"))
            }
            Self::BadRequest(sentence) => Some(sentence.clone()),
            Self::PayloadTooLarge(limit) => Some(format!("the body may hold at most {limit} bytes")),
            Self::MethodNotAllowed => Some("use POST /<topic>".to_owned()),
            _ => None,
        }
    }
}
