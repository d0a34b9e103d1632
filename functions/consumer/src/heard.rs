//! Sources that were heard. The sweep raises an alarm where one of them is silent for longer than its `silence`.
//!
//! A source without a `silence` costs nothing. One with it costs a write at most once in a tenth of its silence and environment.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use surehook::{Millis, age::Age, store::Store, web::Moment};
use tokio::time::timeout;

/// How long an event waits for this write, on which nothing rests.
const PATIENCE: Duration = Duration::from_millis(500);
/// Writes of one source that its silence lasts for.
const SHARE: u32 = 10;

/// When each source was last written, by this environment.
#[derive(Debug, Default)]
pub struct HeardSources(Mutex<BTreeMap<String, Age>>);

impl HeardSources {
    /// Notes that a source was heard, which may be silent for so long.
    pub(crate) async fn note(&self, store: &Store, source: &str, silence: Millis, moment: Moment) {
        if !self.is_due(source, silence, moment) {
            return;
        }
        match timeout(PATIENCE, store.put_heard(source, moment.now)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(error = %error, "that a source was heard could not be written"),
            Err(_elapsed) => tracing::warn!("that a source was heard could not be written in time"),
        }
        // The next event tries again.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(source);
    }

    fn is_due(&self, source: &str, silence: Millis, moment: Moment) -> bool {
        let interval = Duration::from_millis(u64::try_from(silence).unwrap_or_default()) / SHARE;
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = written.get(source).is_none_or(|last| last.elapsed(moment) >= interval);
        if is_due {
            written.insert(source.to_owned(), Age::begin(moment));
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const HOUR: Millis = 3_600_000;

    #[test]
    fn a_source_is_written_once_in_a_tenth_of_its_silence() {
        let sources = HeardSources::default();
        let is_due = |source, now| {
            let moment = Moment { now, started: Instant::now(), deadline: None };
            sources.is_due(source, 10 * HOUR, moment)
        };
        assert!(is_due("strapi", 0) && is_due("github", 1));
        assert!(!is_due("strapi", HOUR - 60_000) && is_due("strapi", HOUR + 60_000));
        assert!(!is_due("strapi", HOUR + 120_000));
    }
}
