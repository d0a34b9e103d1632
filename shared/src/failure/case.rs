//! Cases: entries of the dead-letter queue, and which event each is about.

use crate::{
    Millis,
    identity::{Delivered, Endpoint, EventKey, Identified, identify_foreign, identify_redacted},
    json::text_at,
    ledger::Record,
    qstash::{DlqEntry, Region, lenient::header_map},
    retry::Round,
    routes::Routes,
    web::{
        EndpointUrl,
        answer::{SENDER_REFUSED, UNMATCHED},
    },
};

use super::FailurePath;

/// One entry and what is known about its event's past.
#[derive(Debug, Clone)]
pub struct Case<'a> {
    /// The entry.
    pub entry: &'a DlqEntry,
    /// How often and since when the event fails.
    pub round: Round,
    /// The event's first message, which names it where its source says nothing better.
    pub first_message: String,
    /// The requeuer's URL, which hears of the next failure.
    pub requeuer: &'a EndpointUrl,
    /// Sources as configured.
    pub routes: &'a Routes,
    /// The region of QStash that has the entry; `None` where the stack names none.
    pub region: Option<Region>,
}

impl<'a> Case<'a> {
    /// The case of an entry whose failure callback is `callback`: its query carries what must survive from round to round,
    /// because QStash may show headers as digests only.
    pub fn new(
        entry: &'a DlqEntry,
        callback: &EndpointUrl,
        requeuer: &'a EndpointUrl,
        routes: &'a Routes,
        now: Millis,
    ) -> Self {
        let first_message = first_message_of(entry, Some(callback));
        let round = Round::from_url(callback, now);
        Self { entry, round, first_message, requeuer, routes, region: None }
    }

    /// Returns the case of an entry that this region has.
    pub fn in_region(self, region: Option<Region>) -> Self {
        Self { region, ..self }
    }

    /// The requeuer's URL for the next failure. The signature covers its query, so nobody else can choose the round.
    pub(super) fn next_callback(&self) -> EndpointUrl {
        let Round { number, since } = self.round;
        self.requeuer.with_query(&format!("round={}&since={since}&{}", number + 1, first(&self.first_message)))
    }
}

/// The event's first message: as a callback's URL carries it, else as a header does.
fn first_message_of(entry: &DlqEntry, callback: Option<&EndpointUrl>) -> String {
    let carried = callback.and_then(|callback| callback.parameter(FIRST)).filter(|id| !id.is_empty());
    carried.unwrap_or_else(|| entry.first_message_id().to_owned())
}

fn first(message: &str) -> String {
    let encoded: String = url::form_urlencoded::byte_serialize(message.as_bytes()).collect();
    format!("{FIRST}={encoded}")
}

/// The requeuer's URL for the first failure of an event that is sent anew and keeps its name.
pub fn first_callback(requeuer: &EndpointUrl, first_message: &str) -> EndpointUrl {
    requeuer.with_query(&first(first_message))
}

/// The parameter of a callback's URL that carries the event's first message.
const FIRST: &str = "first";

impl Round {
    /// The round that a failure callback's URL names; the sender's own message carries none.
    pub fn from_url(url: &EndpointUrl, now: Millis) -> Self {
        let number = url.parameter("round").and_then(|text| text.parse().ok()).unwrap_or(0);
        let since = url.parameter("since").and_then(|text| text.parse().ok()).unwrap_or(now);
        Self { number, since }
    }
}

/// Everything that is known about the event of one entry.
pub(super) struct Event {
    pub(super) endpoint: Endpoint,
    pub(super) identified: Identified,
    pub(super) body: Vec<u8>,
    pub(super) redacted: bool,
    /// The event of a redacted message, which has a name of its own.
    pub(super) about: Option<EventKey>,
    /// Whether its sender signs, so that nobody knows whose it is until a worker has admitted it.
    pub(super) signs: bool,
    /// Whether our consumer did not believe its sender.
    pub(super) is_refused: bool,
    /// Whether our consumer found no route for it, and its source keeps such events.
    pub(super) is_unmatched: bool,
    pub(super) conflict: bool,
}

impl Event {
    /// Whether a worker has admitted this event, and not another that bears its name.
    pub(super) fn was_admitted(&self, record: Option<&Record>) -> bool {
        let Identified { content, event_type, .. } = &self.identified;
        record.is_some_and(|record| record.has_admitted(content, event_type.as_deref()))
    }
}

impl FailurePath {
    /// The event that a message brings, or brought. Where its body is redacted, our consumer's answer tells.
    pub fn key_of(&self, message: &DlqEntry, routes: &Routes) -> EventKey {
        self.named(message, routes).key
    }

    /// Returns the key of a message's event together with what else identifies it.
    pub fn named(&self, message: &DlqEntry, routes: &Routes) -> Identified {
        let event = self.name_message(message, routes);
        let key = event.about.unwrap_or(event.identified.key);
        Identified { key, ..event.identified }
    }

    /// The name under which a redacted message is buried, which is not its event's.
    pub fn redacted_key(&self, message: &DlqEntry, routes: &Routes) -> Option<EventKey> {
        let event = self.name_message(message, routes);
        event.redacted.then_some(event.identified.key)
    }

    fn name_message(&self, message: &DlqEntry, routes: &Routes) -> Event {
        let callback = message.failure_callback.as_deref().and_then(|url| EndpointUrl::parse(url).ok());
        self.name(message, &first_message_of(message, callback.as_ref()), routes)
    }

    pub(super) fn name_event(&self, case: &Case<'_>) -> Event {
        self.name(case.entry, &case.first_message, case.routes)
    }

    /// A redacted body can't name its event, so what its consumer answered does, or else its message.
    fn name(&self, message: &DlqEntry, first_message: &str, routes: &Routes) -> Event {
        let endpoint = match EndpointUrl::parse(&message.url) {
            Ok(url) => Endpoint::of(&url, &self.bases),
            Err(_) => Endpoint::Foreign(message.url.clone()),
        };
        let (body, redacted) = match message.body() {
            Ok(body) => (body, false),
            Err(_hidden) => (Vec::new(), true),
        };
        // Our consumer's answer tells the event; a message that is retried by hand has another id.
        let is_apart = redacted && endpoint.source().is_some();
        let is_refused = endpoint.source().is_some() && answered(message, SENDER_REFUSED);
        let is_unmatched = endpoint.source().is_some() && answered(message, UNMATCHED);
        let about = if is_apart && !is_refused { answered_event(message) } else { None };
        let headers = header_map(&message.header);
        let delivered = Delivered::new(&headers, &body, first_message);
        let identified = match endpoint.source() {
            _ if redacted => {
                let identity = about.as_ref().map_or(first_message, EventKey::as_str);
                Some(identify_redacted(&endpoint, identity))
            }
            Some(_) => routes.identify(&endpoint, delivered),
            None => None,
        };
        let identified = identified.unwrap_or_else(|| identify_foreign(&endpoint, delivered));
        let source = endpoint.source().and_then(|source| routes.known(source));
        let signs = !redacted && source.is_some_and(|source| source.signature.is_some());
        Event { endpoint, identified, body, redacted, about, signs, is_refused, is_unmatched, conflict: false }
    }
}

/// Whether this is the fixed word of our consumer's last answer.
pub(super) fn answered(message: &DlqEntry, word: &str) -> bool {
    text_at(&message.response_body(), "/status").is_some_and(|answered| answered == word)
}

/// The event that our consumer's last answer was about.
pub(super) fn answered_event(entry: &DlqEntry) -> Option<EventKey> {
    text_at(&entry.response_body(), "/event").and_then(|key| EventKey::parse(&key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> DlqEntry {
        let json = r#"{"messageId":"msg_2","header":{"Surehook-Event":["REDACTED:abc"]}}"#;
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn rounds_and_the_first_message_travel_in_the_callback_url() {
        let requeuer = EndpointUrl::parse("https://r.example/").unwrap();
        let (routes, entry) = (Routes::default(), entry());
        let first = Case::new(&entry, &requeuer, &requeuer, &routes, 1_000);
        assert_eq!(first.round, Round { number: 0, since: 1_000 });
        let named = Case { first_message: "msg_1 &=".into(), ..first };
        let next = Case::new(&entry, &named.next_callback(), &requeuer, &routes, 9_000);
        assert_eq!(next.round, Round { number: 1, since: 1_000 });
        assert_eq!(next.first_message, "msg_1 &=", "although the header that carries it is redacted");
    }

    #[test]
    fn a_round_that_makes_no_sense_is_the_first() {
        let url = EndpointUrl::parse("https://r.example/?round=-1&since=x").unwrap();
        assert_eq!(Round::from_url(&url, 7), Round { number: 0, since: 7 });
    }
}
