//! Why: the story of one event, from everything that knows of it: its record, its dead letters, QStash's queue and log.

use serde::{Deserialize, Serialize};
use surehook::{
    Millis,
    identity::EventKey,
    ledger::{DeadLetter, Record, Status},
    qstash::{ClientError, DlqEntry, LogEntry, client::Destination},
    routes::{Route, Routes},
    web::Moment,
};

use crate::{
    Processor, ProcessorError,
    attempts::failed_attempts,
    letters::head,
    replay::named_today,
    reply::{Conflict, FailedAttempt, Head},
    story::{is_replayed, lines},
};

/// Entries of QStash's log that a story takes in.
const MOST_LOGS: usize = 50;

/// The story of one event.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Story {
    /// Its key.
    pub event: String,
    /// Where it stands; absent where the ledger has no record of it.
    pub status: Option<String>,
    /// Its source; empty for endpoints that are not ours.
    pub source: String,
    /// Its type, where known.
    pub event_type: Option<String>,
    /// Attempts that were begun.
    pub attempts: u64,
    /// What happened, in order.
    pub lines: Vec<Line>,
    /// Its failed attempts, the oldest first.
    #[serde(default)]
    pub history: Vec<FailedAttempt>,
    /// The event that it collides with, if it is a conflict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conflict: Option<Conflict>,
    /// What was said last, if it failed.
    pub last_error: Option<String>,
    /// Destinations that accepted it.
    pub accepted_by: Vec<String>,
    /// Destinations that refused it for good.
    pub refused_by: Vec<String>,
    /// Whether it is done although no destination got it: no route took it.
    pub ignored: bool,
    /// Its dead letters.
    pub letters: Vec<Head>,
    /// What happens next.
    pub next: Next,
    /// What a replay would do.
    pub replay: String,
}

/// Something that happened, or will.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When, in milliseconds since the epoch.
    pub at: Millis,
    /// What.
    pub text: String,
}

/// What happens next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Next {
    /// When, where that is known.
    pub at: Option<Millis>,
    /// What.
    pub text: String,
}

/// Where QStash has the event's last message.
#[derive(Debug)]
pub(crate) enum AtQStash {
    /// It waits, and is delivered then.
    Waiting(Option<Millis>),
    /// It was given up, and stands in the dead-letter queue.
    GivenUp(Box<DlqEntry>),
    /// QStash has delivered it, or never had it.
    Gone,
    /// QStash did not say.
    Silent(String),
}

/// All that is known of an event.
pub(crate) struct Known {
    key: EventKey,
    pub(crate) record: Option<Record>,
    pub(crate) letters: Vec<DeadLetter>,
    qstash: AtQStash,
    pub(crate) logs: Vec<LogEntry>,
    pub(crate) routes: Routes,
    conflict: Option<Conflict>,
}

impl Known {
    /// Returns when QStash delivers the message next, if it says so. Its answer counts more than the time that the requeuer planned, because
    /// the QStash server of the development stack may wait shorter (`--speed`).
    fn due_at_qstash(&self) -> Option<Millis> {
        let AtQStash::Waiting(not_before) = &self.qstash else { return None };
        self.logs.iter().filter_map(|entry| entry.next_delivery_time).max().or(*not_before)
    }
}

impl Processor {
    /// Tells the story of an event, of a message, or of a dead letter.
    pub async fn why(&self, subject: &str, deep: bool, moment: Moment) -> Result<Story, ProcessorError> {
        let subject = subject.trim();
        let routes = self.path.store.routes(true).await?;
        let (key, message) = self.event_of(subject, &routes, deep).await?;
        let record = self.path.store.record(&key).await?;
        let mut letters = self.path.store.heads(&key).await?;
        if record.is_none() && letters.is_empty() && message.is_none() {
            return Err(ProcessorError::Unknown(subject.to_owned()));
        }
        // What comes next, the last message knows; one that was asked for may be an older one.
        let last = record.as_ref().map(|record| record.message_id.clone()).filter(|id| !id.is_empty());
        let message = last.or(message);
        let (qstash, logs) = match &message {
            Some(id) => (self.at_qstash(id).await, self.logs(id).await),
            None => (AtQStash::Gone, Vec::new()),
        };
        // A redacted message is buried under a name of its own.
        if let AtQStash::GivenUp(entry) = &qstash
            && let Some(apart) = self.path.redacted_key(entry, &routes).filter(|apart| *apart != key)
        {
            letters.extend(self.path.store.heads(&apart).await?);
        }
        let conflict = self.conflict_of_letters(&letters, &routes, moment.now).await?;
        Ok(self.tell_story(&Known { key, record, letters, qstash, logs, routes, conflict }, moment.now))
    }

    /// Explains the newest of an event's letters, if it is a conflict. Its body decides that, so it is read whole.
    async fn conflict_of_letters(
        &self,
        letters: &[DeadLetter],
        routes: &Routes,
        now: Millis,
    ) -> Result<Option<Conflict>, ProcessorError> {
        let Some(head) = letters.last().filter(|head| !head.redacted && head.path.is_some()) else { return Ok(None) };
        let Some((letter, body)) = self.path.store.letter(&head.key, head.fence).await? else { return Ok(None) };
        self.conflict_of(&letter, named_today(&letter, &body, routes).as_ref(), now).await
    }

    pub(crate) async fn at_qstash(&self, message: &str) -> AtQStash {
        let asked = async {
            if let Some(waiting) = self.path.qstash.message(message).await? {
                return Ok(AtQStash::Waiting(waiting.not_before));
            }
            let entry = self.path.qstash.dlq_find(message).await?;
            Ok::<_, ClientError>(entry.map_or(AtQStash::Gone, |entry| AtQStash::GivenUp(Box::new(entry))))
        };
        asked.await.unwrap_or_else(|error| AtQStash::Silent(error.to_string()))
    }

    /// QStash's log is an extra: a story without it is still one.
    async fn logs(&self, message: &str) -> Vec<LogEntry> {
        let logs = self.path.qstash.logs(message).await;
        let skipped = logs.len().saturating_sub(MOST_LOGS);
        logs.into_iter().skip(skipped).collect()
    }

    fn tell_story(&self, known: &Known, now: Millis) -> Story {
        let mut story = Story {
            event: known.key.to_string(),
            lines: lines(known),
            letters: known.letters.iter().map(head).collect(),
            next: self.next(known, now),
            replay: self.replay_would(known),
            conflict: known.conflict.clone(),
            ..Story::default()
        };
        if let Some(record) = &known.record {
            let names = |ids: &[String]| ids.iter().map(|id| name_of(&known.routes, id)).collect();
            story.status = Some(record.status.word().to_owned());
            story.source.clone_from(&record.source);
            story.event_type.clone_from(&record.event_type);
            story.attempts = record.attempts;
            story.history = failed_attempts(record, &known.routes);
            story.last_error = record.last_error.as_ref().map(ToString::to_string);
            story.accepted_by = names(&record.delivered);
            story.refused_by = names(&record.refused);
            // A handler of one's own has no routes, and delivers to nobody that the ledger knows.
            let by_routes = !known.routes.routes.is_empty();
            story.ignored = record.status == Status::Done && record.delivered.is_empty() && by_routes;
        }
        story
    }

    fn next(&self, known: &Known, now: Millis) -> Next {
        let Some(record) = &known.record else { return unclaimed(&known.qstash) };
        let expires = record.expires_at.map(|at| at.saturating_mul(1_000));
        match record.status {
            Status::Done => {
                Next::at(expires, "nothing; its record is kept until then, so that no copy of it is handled")
            }
            Status::Purged => Next::at(expires, "nothing; an operator removed it, and its record is kept until then"),
            Status::Dead if expires.is_some() => Next::at(
                expires,
                "nothing, unless its dead letter is replayed; it expires then, because no route took it",
            ),
            Status::Dead => Next::at(None, "nothing, until somebody replays or purges its dead letter"),
            Status::Running if record.is_leased(now) => Next::at(
                Some(record.lease_until),
                "a worker has it; if it dies, QStash's first delivery after the end of the lease takes it over",
            ),
            Status::Running => self.waits(known, record.lease_until, now, "its worker ended without a word"),
            Status::Retryable if record.is_unconfirmed() => Next::at(
                None,
                &format!(
                    "nothing: it was handled, and QStash was told so, but the table did not take that down. Ask its destinations for \
                     this key (`webhook-id`), then `surehook stranded --dismiss {}`",
                    known.key
                ),
            ),
            Status::Retryable if is_replayed(record) => {
                self.waits(known, record.open_since.unwrap_or(record.updated_at), now, "it was replayed")
            }
            Status::Retryable => match (&known.qstash, record.next_at.filter(|at| *at > now)) {
                (AtQStash::GivenUp(_), _) | (_, None) => {
                    self.waits(known, record.open_since.unwrap_or(record.updated_at), now, "it failed")
                }
                (_, Some(planned)) => Next::at(
                    known.due_at_qstash().or(Some(planned)),
                    &format!("QStash delivers it again: round {} of {}", record.round, self.path.policy.rounds),
                ),
            },
        }
    }

    /// What comes for a record that waits for QStash.
    fn waits(&self, known: &Known, since: Millis, now: Millis, why: &str) -> Next {
        match &known.qstash {
            AtQStash::Waiting(_) => Next::at(known.due_at_qstash(), &format!("{why}; QStash delivers it again")),
            AtQStash::GivenUp(_) if known.letters.iter().any(|letter| letter.redacted) => Next::at(
                None,
                "nothing, until somebody replays its dead letter: its body is redacted, so only QStash can deliver it again",
            ),
            AtQStash::GivenUp(entry) => Next::at(None, &format!("{why}; {}", given_up(entry))),
            AtQStash::Gone | AtQStash::Silent(_) if since < self.stranded_before(now) => Next::at(
                None,
                &format!(
                    "{why}, and nobody brings it again: it is stranded. Send it again from its sender (the same bytes are the \
                     same event), or `surehook stranded --dismiss {}`",
                    known.key
                ),
            ),
            AtQStash::Gone => Next::at(
                Some(since + self.policy.horizon),
                &format!("{why}; QStash does not show its next delivery. If none comes, it is listed as stranded then"),
            ),
            AtQStash::Silent(error) => Next::at(None, &format!("{why}; what comes next only QStash knows ({error})")),
        }
    }

    fn replay_would(&self, known: &Known) -> String {
        let Some(letter) = known.letters.last() else {
            return "there is no dead letter, so there is nothing to replay".to_owned();
        };
        let open = known.record.as_ref().is_none_or(|record| record.status == Status::Dead);
        if !open && letter.replaying.is_none() && !letter.redacted {
            return "nothing: the event has moved on since its dead letter was written".to_owned();
        }
        let conflict = known.conflict.as_ref().filter(|conflict| conflict.status.is_some());
        if let Some(Conflict { with, .. }) = conflict.filter(|_| letter.replaying.is_none()) {
            return format!(
                "be refused, because its content collides with event {with}; `surehook dead-letters replay {} --as-new` delivers it \
                 as an event of its own",
                letter.id()
            );
        }
        let how = match self.destination(letter) {
            _ if letter.redacted => {
                format!("have QStash deliver its entry {} again, because only QStash has the body", letter.dlq_id)
            }
            Destination::Url(url) => format!("publish its {} bytes to {url}", letter.size),
            Destination::Topic(topic) => format!("publish its {} bytes to the topic {topic}", letter.size),
        };
        let to = known.record.as_ref().map(|record| self.receivers(letter, record, &known.routes)).unwrap_or_default();
        format!("{how}{to}")
    }

    /// Which destinations a replayed event of ours would reach.
    fn receivers(&self, letter: &DeadLetter, record: &Record, routes: &Routes) -> String {
        // The routes of a redacted event depend on its body, which nobody here knows.
        if letter.path.is_none() || letter.redacted {
            return String::new();
        }
        let matching = routes.for_type(&letter.source, letter.event_type.as_deref());
        let open = matching.iter().filter(|route| !record.delivered.contains(&route.id));
        let open: Vec<String> = open.map(|route| named_with_condition(route)).collect();
        let accepted: Vec<String> = record.delivered.iter().map(|id| name_of(routes, id)).collect();
        let not = if accepted.is_empty() {
            String::new()
        } else {
            format!("; not to {}, which accepted it", accepted.join(", "))
        };
        match open.as_slice() {
            [] if routes.routes.is_empty() => String::new(),
            [] if matching.is_empty() => {
                " and is refused therefore: no route takes it, so that nobody would get it. Add a route first"
                    .to_owned()
            }
            [] => format!(", where it is done at once{not}"),
            open => format!(", from where it goes to {}{not}", open.join(", ")),
        }
    }
}

impl Next {
    fn at(at: Option<Millis>, text: &str) -> Self {
        Self { at, text: text.to_owned() }
    }
}

fn given_up(entry: &DlqEntry) -> String {
    format!("QStash gave it up (entry {}): the requeuer, or the next sweep, takes it from there", entry.dlq_id)
}

/// What comes for an event that the ledger does not know.
fn unclaimed(qstash: &AtQStash) -> Next {
    match qstash {
        AtQStash::Waiting(at) => Next::at(*at, "QStash delivers it; no worker of ours has claimed it yet"),
        AtQStash::GivenUp(entry) => Next::at(None, &given_up(entry)),
        AtQStash::Gone => Next::at(
            None,
            "the ledger has no record of it: it went to an endpoint that is not ours, its record has expired, or it never came",
        ),
        AtQStash::Silent(error) => Next::at(None, &format!("only QStash knows ({error})")),
    }
}

/// A route's name; its conditions are asked when the event's body is there.
fn named_with_condition(route: &Route) -> String {
    if route.when.is_empty() { route.name.clone() } else { format!("{} (if its conditions hold)", route.name) }
}

/// A destination's name.
pub(crate) fn name_of(routes: &Routes, id: &str) -> String {
    routes.by_id(id).map_or_else(|| format!("{id} (no longer in the routes)"), |route| route.name.clone())
}
