//! Replay: a dead letter is sent again, with the bytes and headers that it had.
//!
//! (1) one transaction opens the record, marks the letter and notes that a replay is under way; (2) the letter is
//! published, with a deduplication id that follows from it; (3) the letter is removed. Whoever is cut short is finished by
//! the sweep, and every step may be repeated. A letter whose body is redacted has it in QStash alone, which is asked to
//! deliver its own entry again instead of (2).

use std::sync::Arc;

use surehook::{
    Millis,
    failure::first_callback,
    identity::{Delivered, Endpoint, Identified},
    ledger::{DeadLetter, Record, Refused, Status},
    qstash::{
        Client, ClientError,
        client::{Destination, EVENT_HEADER},
        lenient::{REDACTED, bare_name, header_map},
    },
    retry::{RETRIES_PER_ROUND, millis},
    routes::Routes,
    store::replays::PendingReplay,
    web::{EndpointUrl, Moment, ROUTES_HEADER},
};

use crate::{Processor, ProcessorError, Rate};

/// The URL of a letter that was never sent to one, because QStash refused it for its topic.
pub(crate) const TOPIC_SCHEME: &str = "topic:";

/// Replayed events that QStash delivers at the same time.
const MOST_AT_ONCE: u32 = 10;

/// Headers that belong to one connection or to QStash, and not to the event.
const NOT_REPLAYED: [&str; 6] =
    ["host", "content-length", "connection", "user-agent", "transfer-encoding", "accept-encoding"];

/// How fast QStash delivers replays, and how many wait before this one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReplayPace {
    pub(crate) rate: Option<Rate>,
    pub(crate) others: u64,
}

impl ReplayPace {
    /// When QStash delivers a replay that is published now.
    fn due(self, now: Millis) -> Millis {
        now + self.rate.map_or(0, |rate| millis(rate.wait_behind(self.others)))
    }
}

/// How letters are replayed by one command.
#[derive(Debug, Clone)]
pub(crate) struct Replays {
    pub(crate) pace: ReplayPace,
    /// The routes that stood when the command began.
    pub(crate) routes: Arc<Routes>,
    /// Whether conflicts are sent, each as an event of its own.
    pub(crate) as_new: bool,
}

impl Replays {
    /// Returns the terms of the letter of this number, because replays before it make it wait.
    pub(crate) fn of_number(&self, number: usize) -> Self {
        let pace = ReplayPace { others: self.pace.others + number as u64, ..self.pace };
        Self { pace, ..self.clone() }
    }
}

/// How a replayed event is published.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// Its pace.
    pace: ReplayPace,
    /// The version of the routes that stood at the replay. The consumer uses these or newer ones.
    routes: u64,
}

impl Processor {
    /// How many replays wait at QStash for their turn, in the region with the most. It is asked only where a rate makes them wait. Where
    /// QStash does not say, none is reckoned with: then the wait of these letters is taken for shorter than it is.
    pub(crate) async fn waiting_replays(&self, pace: ReplayPace) -> u64 {
        if pace.rate.is_none() {
            return 0;
        }
        let mut most = 0;
        for region in self.path.qstash.each() {
            match region.client.waiting_in_flow(&self.flow_key()).await {
                Ok(waiting) => most = waiting.max(most),
                Err(error) => tracing::warn!(error = %error, "QStash does not say how many replays wait"),
            }
        }
        most
    }

    /// Replays one letter, or finishes its replay. A rate paces all replays of this deployment, which share a flow-control key.
    /// Answers the letter's id.
    pub(crate) async fn replay_one(
        &self,
        id: &str,
        replays: &Replays,
        moment: Moment,
    ) -> Result<String, ProcessorError> {
        let Replays { pace, ref routes, as_new } = *replays;
        let (letter, body) = self.find(id).await?;
        let named = named_today(&letter, &body, routes);
        let conflict = self.check_conflict(&letter, named.as_ref(), as_new, moment).await?;
        self.check_route(&letter, &body, named.as_ref(), routes).await?;
        let (mut record, now) = (None, moment.at_present());
        if let Some(with) = &conflict {
            self.keep_original(with, pace.due(now)).await?;
        }
        if letter.replaying.is_none() {
            self.check_entry(&letter).await?;
            let begun = self.path.store.begin_replay_due(&letter, now, pace.due(now)).await;
            record = Some(begun.map_err(|error| unconfirmed(error.into()))?);
        }
        // The consumer completes this letter's own record, unless its endpoint is not ours or it was buried before its source was
        // configured. That of a conflict is completed once it was replayed as a new event.
        let claimed = conflict.is_some() || named.is_some_and(|named| named.key == letter.key);
        let terms = Terms { pace, routes: routes.version };
        if letter.redacted {
            self.retry(&letter, terms, moment).await?;
        } else {
            let message = self.publish(&letter, body, terms).await?;
            if let (Some(record), true) = (&record, claimed) {
                self.note_message(&letter, record, &message, pace.due(now)).await;
            }
        }
        self.end(&letter, claimed, moment).await.map_err(unconfirmed)?;
        Ok(letter.id())
    }

    async fn end(&self, letter: &DeadLetter, claimed: bool, moment: Moment) -> Result<(), ProcessorError> {
        if !claimed {
            self.path.store.forget_replayed(letter).await?;
        }
        Ok(self.path.store.end_replay(letter, moment.at_present()).await?)
    }

    /// An event that no route takes is answered "ignored", which is done: what was kept as a letter would be lost. Where there are
    /// no routes at all, the consumer has a handler of its own, or answers 503.
    async fn check_route(
        &self,
        letter: &DeadLetter,
        body: &[u8],
        named: Option<&Identified>,
        routes: &Routes,
    ) -> Result<(), ProcessorError> {
        if letter.path.is_none() || routes.routes.is_empty() {
            return Ok(());
        }
        let kind = match &letter.about {
            Some(event) => self.path.store.record(event).await?.and_then(|record| record.event_type),
            None => named.and_then(|named| named.event_type.clone()),
        };
        let any_type = letter.redacted && kind.is_none();
        let is_taken = match letter.redacted {
            // Only QStash has the body, and so the conditions are the consumer's to decide.
            true if any_type => routes.routes.iter().any(|route| route.source == letter.source),
            true => !routes.for_type(&letter.source, kind.as_deref()).is_empty(),
            false => {
                let headers = header_map(&letter.headers);
                let delivered = Delivered::new(&headers, body, &letter.first_message_id);
                !routes.destinations(&routes.subject(&letter.source, kind.as_deref(), delivered)).is_empty()
            }
        };
        if is_taken {
            return Ok(());
        }
        let kind = kind.unwrap_or_else(|| "an event without a type".to_owned());
        Err(ProcessorError::NoRoute { kind, source_name: letter.source.clone() })
    }

    /// Tells the record by which message its event comes, for whoever asks. Nothing depends on it.
    async fn note_message(&self, letter: &DeadLetter, record: &Record, message: &str, due: Millis) {
        let noted = self.path.store.note_round(&letter.key, record, 0, due, message);
        if let Err(error) = noted.await {
            tracing::warn!(error = %error, "the message of a replay could not be noted in its record");
        }
    }

    /// Only QStash has the body of a redacted letter, in the entry that it was made from. An event that an operator ended would be
    /// answered "dead" there.
    async fn check_entry(&self, letter: &DeadLetter) -> Result<(), ProcessorError> {
        if !letter.redacted {
            return Ok(());
        }
        if let Some(event) = &letter.about {
            let record = self.path.store.record(event).await?;
            if record.is_some_and(|record| matches!(record.status, Status::Purged | Status::Dead)) {
                return Err(ProcessorError::Moved(Refused::Dead));
            }
        }
        let gone = || ProcessorError::EntryGone(letter.dlq_id.clone());
        let region = self.holder(letter).await?.ok_or_else(gone)?;
        match region.dlq_entry(&letter.dlq_id).await {
            Err(ClientError::NotFound) => Err(gone()),
            other => Ok(other.map(drop)?),
        }
    }

    /// Returns the region that has a redacted letter's entry; `None` if none has it. A letter that is older than the names of regions does
    /// not tell, so that each region is asked.
    async fn holder(&self, letter: &DeadLetter) -> Result<Option<&Client>, ProcessorError> {
        let holding: Vec<&Client> = self.path.qstash.holding(letter.region).map(|region| &region.client).collect();
        match (holding.as_slice(), letter.region) {
            ([only], _) => return Ok(Some(only)),
            ([], Some(region)) => return Err(ProcessorError::NoRegion(region)),
            _ => {}
        }
        let mut found = Vec::new();
        for client in holding {
            match client.dlq_entry(&letter.dlq_id).await {
                Ok(entry) => found.push((client, entry)),
                Err(ClientError::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Two regions may have entries of one id. The message tells them apart, unless the sweep pointed the letter to a later one.
        let same = found.iter().find(|(_, entry)| entry.message_id == letter.message_id);
        let only = found.first().filter(|(_, entry)| found.len() == 1 && entry.url == letter.url);
        Ok(same.or(only).map(|(client, _)| *client))
    }

    /// Has QStash deliver a redacted letter's entry again, as it is.
    async fn retry(&self, letter: &DeadLetter, terms: Terms, moment: Moment) -> Result<(), ProcessorError> {
        let region = self.holder(letter).await.map_err(unconfirmed)?;
        if let Some(event) = &letter.about {
            let now = moment.at_present();
            let reopened = self.path.store.reopen(event, now, terms.pace.due(now)).await;
            reopened.map_err(|error| unconfirmed(error.into()))?;
        }
        let Some(region) = region else { return self.was_retried(letter).await };
        match region.dlq_retry(&letter.dlq_id, &self.retry_headers(letter, terms)).await {
            Ok(_) => Ok(()),
            Err(ClientError::NotFound) => self.was_retried(letter).await,
            Err(error) => Err(unconfirmed(error.into())),
        }
    }

    /// An entry that is gone was retried by whoever was cut short, or its time at QStash was over. Only a later delivery of its event
    /// tells; otherwise the letter stays, so that somebody sees it.
    async fn was_retried(&self, letter: &DeadLetter) -> Result<(), ProcessorError> {
        let record = match &letter.about {
            Some(event) => self.path.store.record(event).await?,
            None => None,
        };
        if record.is_some_and(|record| record.message_id != letter.message_id) {
            return Ok(());
        }
        self.path.store.forget_pending(&pending(letter)).await?;
        Err(ProcessorError::EntryGone(letter.dlq_id.clone()))
    }

    /// Publishes a letter in the region that it came from, or in the own one if that is not configured any more. What QStash refuses for
    /// good is not tried again by the sweep: the operator hears of it, and may replay or purge the letter.
    async fn publish(&self, letter: &DeadLetter, body: Vec<u8>, terms: Terms) -> Result<String, ProcessorError> {
        let headers = self.headers(letter, terms);
        let region = self.path.qstash.of(letter.region);
        match region.publish(&self.destination(letter), &headers, body.into()).await {
            Ok(ids) if !ids.is_empty() => Ok(ids.into_iter().next().unwrap_or_default()),
            Ok(_) | Err(ClientError::NotFound) => Err(ProcessorError::NoEndpoints(letter.url.clone())),
            Err(error @ ClientError::Refused { .. }) => {
                self.path.store.forget_pending(&pending(letter)).await?;
                Err(error.into())
            }
            Err(error) => Err(unconfirmed(error.into())),
        }
    }

    /// Our own endpoints are found below the base of today, others where they were.
    pub(crate) fn destination(&self, letter: &DeadLetter) -> Destination {
        if let Some(topic) = letter.url.strip_prefix(TOPIC_SCHEME) {
            return Destination::Topic(topic.to_owned());
        }
        let base = self.path.bases.first();
        let current = letter.path.as_deref().zip(base).map(|(path, base)| below(base, path));
        Destination::Url(current.unwrap_or_else(|| letter.url.clone()))
    }

    fn headers(&self, letter: &DeadLetter, terms: Terms) -> Vec<(String, String)> {
        let mut headers: Vec<(String, String)> =
            letter.headers.iter().flat_map(|(name, values)| forwarded(name, values)).collect();
        headers.extend(self.retry_headers(letter, terms));
        headers.extend([
            ("Upstash-Method".to_owned(), letter.method.clone()),
            ("Upstash-Deduplication-Id".to_owned(), letter.replay_id()),
        ]);
        headers
    }

    /// The flow-control key of this deployment's replays.
    fn flow_key(&self) -> String {
        format!("surehook-replay-{}", self.stack)
    }

    fn retry_headers(&self, letter: &DeadLetter, terms: Terms) -> [(String, String); 6] {
        let callback = first_callback(&self.requeuer, &letter.first_message_id);
        [
            ("Upstash-Retries".to_owned(), RETRIES_PER_ROUND.to_string()),
            ("Upstash-Failure-Callback".to_owned(), callback.to_string()),
            ("Upstash-Flow-Control-Key".to_owned(), self.flow_key()),
            ("Upstash-Flow-Control-Value".to_owned(), flow(terms.pace.rate)),
            (format!("Upstash-Forward-{EVENT_HEADER}"), letter.first_message_id.clone()),
            (format!("Upstash-Forward-{ROUTES_HEADER}"), terms.routes.to_string()),
        ]
    }
}

/// How the consumer will name a letter's event: by the recipe of today, whatever was known when the letter was written.
pub(crate) fn named_today(letter: &DeadLetter, body: &[u8], routes: &Routes) -> Option<Identified> {
    let endpoint = Endpoint::Ours { source: letter.source.clone(), path: letter.path.clone()? };
    let headers = header_map(&letter.headers);
    routes.identify(&endpoint, Delivered::new(&headers, body, &letter.first_message_id))
}

fn pending(letter: &DeadLetter) -> PendingReplay {
    PendingReplay { letter: letter.id(), replay: letter.replay_id() }
}

fn unconfirmed(error: ProcessorError) -> ProcessorError {
    let is_begun = error.is_away() || matches!(error, ProcessorError::Store(_));
    if is_begun { ProcessorError::Unconfirmed(Box::new(error)) } else { error }
}

/// How fast QStash delivers replays: never many at once, so that a receiver that was just mended is not flooded.
fn flow(rate: Option<Rate>) -> String {
    let parallelism = format!("parallelism={MOST_AT_ONCE}");
    match rate {
        Some(Rate { count, seconds }) => format!("{parallelism}, rate={count}, period={seconds}s"),
        None => parallelism,
    }
}

fn below(base: &EndpointUrl, path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    base.below(path, query).to_string()
}

/// Returns a header of the delivery as it is published again, once for each value. Returns nothing for headers that are not the event's
/// own, and for those of which QStash shows a digest instead of a value.
fn forwarded(name: &str, values: &[String]) -> Vec<(String, String)> {
    let bare = bare_name(name);
    let is_own = !bare.starts_with("upstash-")
        && !NOT_REPLAYED.contains(&bare.as_str())
        && !bare.eq_ignore_ascii_case(EVENT_HEADER)
        && !bare.eq_ignore_ascii_case(ROUTES_HEADER);
    if !is_own || values.iter().any(|value| value.starts_with(REDACTED)) {
        return Vec::new();
    }
    let name = if bare == "content-type" { "Content-Type".to_owned() } else { format!("Upstash-Forward-{bare}") };
    values.iter().map(|value| (name.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_events_own_headers_are_published_again() {
        let name = |name: &str| forwarded(name, &["v".to_owned()]).pop().map(|(name, _)| name);
        assert_eq!(name("Content-Type").as_deref(), Some("Content-Type"));
        assert_eq!(name("X-Strapi-Event").as_deref(), Some("Upstash-Forward-x-strapi-event"));
        assert_eq!(name("Upstash-Forward-Authorization").as_deref(), Some("Upstash-Forward-authorization"));
        for other in
            ["Upstash-Signature", "Upstash-Message-Id", "Host", "Content-Length", "Surehook-Event", "Surehook-Routes"]
        {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
