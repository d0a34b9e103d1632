//! Event types that no route took. `surehook routes unmatched` lists them.
//!
//! An environment writes each type at most once a minute, and no more types than a list shows. An event that a route takes is
//! not looked at here.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use surehook::{
    Millis,
    store::{Store, unmatched::MOST_TYPES},
};
use tokio::time::timeout;

/// How often one type is written, in milliseconds.
const INTERVAL: Millis = 60_000;
/// How long an event waits for this note, on which nothing rests.
const MOST_FOR_NOTE: Duration = Duration::from_millis(500);
/// The name of all types beyond those that an environment writes.
const OTHERS: &str = "(others)";

/// The types that this environment knows.
#[derive(Debug, Default)]
pub struct UnmatchedTypes(Mutex<HashMap<(String, String), Noted>>);

/// The state of one type.
#[derive(Debug, Default)]
struct Noted {
    /// When it was last written.
    at: Option<Millis>,
    /// Events that came since.
    since: u64,
}

impl UnmatchedTypes {
    /// Notes an event that no route took.
    pub(crate) async fn note(&self, store: &Store, source: &str, event_type: Option<&str>, now: Millis) {
        let Some((event_type, count)) = self.due(source, event_type.unwrap_or_default(), now) else { return };
        match timeout(MOST_FOR_NOTE, store.note_unmatched(source, &event_type, count, now)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "an unmatched event type could not be noted"),
            Err(_elapsed) => tracing::warn!("an unmatched event type could not be noted in time"),
        }
    }

    /// The type to write, and how many events of it came since it was written; `None` within a minute of that.
    fn due(&self, source: &str, event_type: &str, now: Millis) -> Option<(String, u64)> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (source.to_owned(), event_type.to_owned());
        let is_known = known.contains_key(&key) || known.len() < MOST_TYPES;
        let key = if is_known { key } else { (source.to_owned(), OTHERS.to_owned()) };
        let noted = known.entry(key.clone()).or_default();
        noted.since += 1;
        if noted.at.is_some_and(|at| now.abs_diff(at) < INTERVAL.unsigned_abs()) {
            return None;
        }
        noted.at = Some(now);
        Some((key.1, std::mem::take(&mut noted.since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_790_000_000_000;

    #[test]
    fn a_type_is_written_once_a_minute_with_all_that_came_since() {
        let types = UnmatchedTypes::default();
        let due = |event_type, now| types.due("strapi", event_type, now).map(|(_, count)| count);
        assert_eq!((due("a", NOW), due("a", NOW + 1), due("b", NOW + 2)), (Some(1), None, Some(1)));
        assert_eq!((due("a", NOW + 59_999), due("a", NOW + 60_000)), (None, Some(3)));
        assert_eq!(due("a", NOW), Some(1), "a clock that went back silences nothing for long");
    }

    #[test]
    fn a_sender_that_makes_types_up_fills_no_table() {
        let types = UnmatchedTypes::default();
        let due = |event_type: &str| types.due("s", event_type, NOW).map(|(event_type, _)| event_type);
        for number in 0..MOST_TYPES {
            assert_eq!(due(&number.to_string()), Some(number.to_string()));
        }
        assert_eq!((due("one more"), due("and another"), due("7")), (Some(OTHERS.to_owned()), None, None));
    }
}
