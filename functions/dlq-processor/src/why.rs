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

use crate::{Processor, ProcessorError, letters::head, reply::Head};

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
struct Known {
    key: EventKey,
    record: Option<Record>,
    letters: Vec<DeadLetter>,
    qstash: AtQStash,
    logs: Vec<LogEntry>,
    routes: Routes,
}

impl Processor {
    /// Tells the story of an event, of a message, or of a dead letter.
    pub async fn why(&self, subject: &str, deep: bool, moment: Moment) -> Result<Story, ProcessorError> {
        let subject = subject.trim();
        let routes = self.path.store.routes(true).await?;
        let named = EventKey::parse(subject).or_else(|| DeadLetter::parse_id(subject).map(|(key, _)| key));
        let (key, message) = match named {
            Some(key) => (key, None),
            None => (self.event_of_message(subject, &routes, deep).await?, Some(subject.to_owned())),
        };
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
        Ok(self.tell_story(&Known { key, record, letters, qstash, logs, routes }, moment.now))
    }

    /// The event that a message brought: QStash says where it went and with which body, and those name the event.
    async fn event_of_message(&self, id: &str, routes: &Routes, deep: bool) -> Result<EventKey, ProcessorError> {
        let qstash = &self.path.qstash;
        let unknown = || ProcessorError::Unknown(id.to_owned());
        if id.is_empty() || id.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(unknown());
        }
        if let Some(message) = qstash.message(id).await? {
            return self.name_of(&message, routes).await;
        }
        if let Some(entry) = qstash.dlq_find(id).await? {
            return self.name_of(&entry, routes).await;
        }
        for logged in qstash.logs(id).await {
            if let Some(body) = logged.body() {
                let message = DlqEntry::of_message(&logged.message_id, &logged.url, logged.header, &body);
                return self.name_of(&message, routes).await;
            }
        }
        let found = if deep { self.path.store.event_of_message(id).await? } else { None };
        found.ok_or_else(unknown)
    }

    /// The event of a message, or, where nobody has believed its sender, the name under which it was buried.
    async fn name_of(&self, message: &DlqEntry, routes: &Routes) -> Result<EventKey, ProcessorError> {
        let key = self.path.key_of(message, routes);
        let unproved = key.of_unproved(&message.message_id);
        let is_buried = self.path.store.record(&unproved).await?.is_some();
        Ok(if is_buried { unproved } else { key })
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
            ..Story::default()
        };
        if let Some(record) = &known.record {
            let names = |ids: &[String]| ids.iter().map(|id| name_of(&known.routes, id)).collect();
            story.status = Some(record.status.word().to_owned());
            story.source.clone_from(&record.source);
            story.event_type.clone_from(&record.event_type);
            story.attempts = record.attempts;
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
            Status::Retryable => {
                let round = record.next_at.filter(|at| *at > now);
                if let Some(at) = round {
                    let text =
                        format!("QStash delivers it again: round {} of {}", record.round, self.path.policy.rounds);
                    return Next { at: Some(at), text };
                }
                self.waits(known, record.open_since.unwrap_or(record.updated_at), now, "it failed")
            }
        }
    }

    /// What comes for a record that waits for QStash.
    fn waits(&self, known: &Known, since: Millis, now: Millis, why: &str) -> Next {
        match &known.qstash {
            AtQStash::Waiting(at) => {
                let tried = known.logs.iter().rev().find_map(|entry| entry.next_delivery_time);
                Next::at(tried.or(*at), &format!("{why}; QStash delivers it again"))
            }
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

/// Whether a record waits for the first attempt since its replay.
fn is_replayed(record: &Record) -> bool {
    let failed = record.history.last().is_some_and(|entry| entry.at == record.updated_at);
    record.replay.is_some() && record.open_since >= Some(record.updated_at) && !failed
}

/// Everything that happened, in order.
fn lines(known: &Known) -> Vec<Line> {
    let mut lines: Vec<Line> = known.logs.iter().filter_map(logged).collect();
    lines.extend(known.record.iter().flat_map(of_record));
    for letter in &known.letters {
        let text = format!("given up ({}): dead letter {}", letter.reason, letter.id());
        lines.push(Line { at: letter.at, text });
    }
    lines.sort_by_key(|line| line.at);
    lines
}

fn logged(entry: &LogEntry) -> Option<Line> {
    let status = entry.response_status.filter(|status| *status > 0).map(|status| format!(" {status}"));
    let error = entry.error.as_ref().filter(|error| !error.is_empty()).map(|error| format!(": {error}"));
    let text = format!("QStash: {}{}{}", entry.state, status.unwrap_or_default(), error.unwrap_or_default());
    Some(Line { at: entry.time?, text })
}

fn of_record(record: &Record) -> Vec<Line> {
    let line = |at: Millis, text: String| Line { at, text };
    let mut lines = vec![line(record.first_seen, "first seen by the ledger".to_owned())];
    for (index, entry) in record.history.iter().enumerate() {
        let last = index + 1 == record.history.len();
        let said = record.last_error.as_ref().filter(|_| last).map(|failure| format!(": {}", failure.text));
        let said = said.unwrap_or_default();
        lines.push(line(entry.at, format!("attempt failed (fence {}, {}){said}", entry.fence, entry.class)));
    }
    // What is to come stands under "next"; a round that was planned, but overtaken, never came.
    if let Some(at) = record.next_at.filter(|at| record.round > 0 && *at <= record.updated_at) {
        lines.push(line(at, format!("round {} begins", record.round)));
    }
    match record.status {
        Status::Running => {
            let text = format!("attempt {} begun by {} (fence {})", record.attempts, record.owner, record.fence);
            lines.push(line(record.updated_at, text));
            lines.push(line(record.lease_until, "end of its lease".to_owned()));
        }
        Status::Done => lines.push(line(record.updated_at, "done".to_owned())),
        Status::Purged => lines.push(line(record.updated_at, "purged by an operator".to_owned())),
        Status::Retryable if is_replayed(record) => lines.push(line(record.updated_at, "replay begun".to_owned())),
        Status::Retryable | Status::Dead => {}
    }
    lines
}
