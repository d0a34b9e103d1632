//! Faults that an operator must see to: senders that are rejected, events that wait for too long, and new causes.

use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

use surehook::{
    Millis,
    store::waiting::{WaitingCause, WaitingEvents},
    web::Moment,
};

use crate::{Processor, ProcessorError, reply::Sweep, stranded::shown, sweep::seconds};

/// Stranded events that one sweep names in its log.
const MAX_STRANDED: usize = 10;
/// From when on a waiting event is a fault. QStash's third retry comes after 33 minutes, so that what it heals stays silent.
pub const FAULT_AFTER: Millis = 40 * 60 * 1_000;
/// A cause that was not seen for so long is new again.
const FORGET_AFTER: Millis = 3_600_000;
/// How often the time of a known cause is written anew.
const REFRESH_AFTER: Millis = 15 * 60 * 1_000;

impl Processor {
    /// Counts and names the sources of which the producer rejected at least half of the plausible requests.
    pub(crate) async fn report_rejecting(&self, now: Millis, report: &mut Sweep) -> Result<(), ProcessorError> {
        for (source, counts) in self.path.store.rejected(now).await? {
            if counts.is_rejecting() {
                report.rejecting_sources += 1;
                report.leave(format!(
                    "source {source}: {} of {} requests of the last hour were rejected, although they look like the sender's own: mend its secret, then run `surehook sources recheck {source}`",
                    counts.rejected,
                    counts.rejected + counts.accepted
                ));
            }
        }
        Ok(())
    }

    /// Counts and names the sources that were silent for longer than they may be. One that was never heard counts from the time when the routes
    /// were applied.
    pub(crate) async fn report_silent(&self, moment: Moment, report: &mut Sweep) -> Result<(), ProcessorError> {
        let routes = self.routes.latest(moment).await?;
        let watched: Vec<_> = routes.sources.iter().filter_map(|source| Some((source, source.silence?))).collect();
        if watched.is_empty() {
            return Ok(());
        }
        let (heard, now) = (self.path.store.heard().await?, moment.now);
        let mut applied = 0;
        if watched.iter().any(|(source, _)| !heard.contains_key(&source.name)) {
            applied = self.path.store.applied_routes(routes.version).await?.map_or(0, |applied| applied.at);
        }
        report.silent_sources = Some(0);
        for (source, silence) in watched {
            let last = heard.get(&source.name).copied();
            // Consumers write once in a tenth of the silence, so that the last event may be younger by as much.
            if now - last.unwrap_or(applied) > silence + silence / 10 {
                report.note_silent(&source.name, last);
            }
        }
        Ok(())
    }

    /// Measures how long events wait, names the stranded ones, and reports new causes.
    pub(crate) async fn report_waiting(&self, now: Millis, report: &mut Sweep) -> Result<(), ProcessorError> {
        let waiting = self.path.store.waiting(self.stranded_before(now), now - FAULT_AFTER).await?;
        report.stranded = waiting.stranded.len() as u64;
        report.oldest_waiting = waiting.oldest.map_or(0, |oldest| seconds(oldest, now));
        let WaitingEvents { stranded, causes, .. } = waiting;
        for event in stranded.into_iter().take(MAX_STRANDED).map(shown) {
            tracing::error!(
                event = event.event,
                since = event.since,
                "an event has waited longer than every retry can take"
            );
        }
        if causes.is_empty() { Ok(()) } else { self.report_causes(&causes, now, report).await }
    }

    /// Names each cause for which events wait, and counts those that no sweep of the last hour saw.
    async fn report_causes(
        &self,
        causes: &BTreeMap<String, WaitingCause>,
        now: Millis,
        report: &mut Sweep,
    ) -> Result<(), ProcessorError> {
        causes.values().for_each(|cause| report.leave(named(cause)));
        let mut known = self.path.store.reported_causes().await?;
        let (new, is_due) = note_causes(&mut known, causes.keys(), now);
        for WaitingCause { source, error, .. } in new.iter().map(|cause| &causes[*cause]) {
            tracing::error!(source, error, "events wait for a new cause");
        }
        if is_due {
            self.path.store.put_reported_causes(&known).await?;
        }
        report.new_faults = new.len() as u64;
        Ok(())
    }
}

impl Sweep {
    fn note_silent(&mut self, source: &str, last: Option<Millis>) {
        *self.silent_sources.get_or_insert_default() += 1;
        let last = last.map_or("never".to_owned(), date);
        self.leave(format!("source {source} is silent for longer than its silence: its last event came {last}"));
    }
}

/// Notes the causes for which events wait. Returns those that no sweep of the last hour saw, and whether `known` must be written.
pub fn note_causes<'c>(
    known: &mut BTreeMap<String, Millis>,
    causes: impl Iterator<Item = &'c String> + Clone,
    now: Millis,
) -> (Vec<&'c String>, bool) {
    known.retain(|_, seen| *seen > now - FORGET_AFTER);
    let new: Vec<_> = causes.clone().filter(|cause| !known.contains_key(*cause)).collect();
    let is_stale = causes.clone().any(|cause| known.get(cause).is_some_and(|seen| *seen < now - REFRESH_AFTER));
    let is_due = !new.is_empty() || is_stale;
    if is_due {
        known.extend(causes.map(|cause| (cause.clone(), now)));
    }
    (new, is_due)
}

fn date(at: Millis) -> String {
    let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap_or_default());
    humantime::format_rfc3339_seconds(at).to_string()
}

fn named(cause: &WaitingCause) -> String {
    let since = date(cause.since);
    let events = if cause.events == 1 { "event waits" } else { "events wait" };
    format!("source {}: {} {events}, the oldest since {since}: {}", cause.source, cause.events, cause.error)
}
