//! One result from all destinations': what the record keeps of each, what it says, and when QStash is to come again.

use std::time::Duration;

use surehook::{
    identity::cut,
    ledger::{FailedDelivery, record::MOST_ERROR_TEXT},
    routes::{BETWEEN, Route, Routes, said_by},
    web::answer::is_refusal,
};

use super::{usual_wait, verdict::Verdict};
use crate::handler::{Attempt, Effects, HandlerError};

/// What each of very many destinations may say in an error, in bytes.
const SHORTEST_SAID: usize = 16;

/// The result of a delivery to one destination.
#[derive(Debug)]
pub(super) struct Delivered<'a> {
    pub(super) route: &'a Route,
    pub(super) verdict: Verdict,
    pub(super) took: Duration,
}

impl Delivered<'_> {
    /// Returns what the record keeps of it; `None` if it was accepted.
    fn failed(&self) -> Option<FailedDelivery> {
        let (Verdict::Refused { status, .. } | Verdict::NotNow { status, .. }) = self.verdict else { return None };
        let took_ms = u32::try_from(self.took.as_millis()).unwrap_or(u32::MAX);
        Some(FailedDelivery { destination: self.route.id.clone(), status, took_ms })
    }
}

/// Transient if any may still accept, permanent if any refused, else done.
#[allow(
    clippy::result_large_err,
    reason = "there is one per attempt, and a box would stand in the API of all handlers"
)]
pub(super) fn sum_up(
    attempt: &Attempt,
    mut refusals: Vec<String>,
    deliveries: Vec<Delivered<'_>>,
) -> Result<Effects, HandlerError> {
    let mut effects = Effects::so_far(&attempt.delivered, &attempt.refused);
    let (mut waiting, mut wishes) = (Vec::new(), Vec::new());
    for delivered in deliveries {
        effects.failed.extend(delivered.failed());
        let Delivered { route, verdict, .. } = delivered;
        match verdict {
            Verdict::Accepted => effects.delivered.push(route.id.clone()),
            Verdict::Refused { reason, .. } => {
                effects.refused.push(route.id.clone());
                refusals.push(saying(&route.name, &reason));
            }
            Verdict::NotNow { reason, retry_after, .. } => {
                waiting.push(saying(&route.name, &reason));
                wishes.push(retry_after);
            }
        }
    }
    if !waiting.is_empty() {
        waiting.extend(refusals);
        let retry_after = agreed(&wishes, usual_wait(attempt));
        return Err(HandlerError::Transient { reason: joined(&waiting), retry_after, effects });
    }
    if !refusals.is_empty() {
        return Err(HandlerError::Permanent { reason: joined(&refusals), effects });
    }
    Ok(effects)
}

/// When to come again. One destination has its wish. Several share QStash's few retries: none of them makes the event come sooner than
/// it would, which would use the others' up, and none later than suits another.
fn agreed(wishes: &[Option<Duration>], usual: Duration) -> Option<Duration> {
    match wishes {
        [only] => *only,
        several => several.iter().map(|wish| wish.unwrap_or_default()).min().filter(|wish| *wish > usual),
    }
}

/// What stands between two destinations in an error must not stand in their words.
fn saying(name: &str, reason: &str) -> String {
    format!("{name}: {}", reason.replace(BETWEEN, ", "))
}

/// All of them in the room that the record has: each gets the same share, so that none is cut off by another's many words.
fn joined(said: &[String]) -> String {
    let share = (MOST_ERROR_TEXT / said.len().max(1)).saturating_sub(BETWEEN.len()).max(SHORTEST_SAID);
    let whole = said.join(BETWEEN);
    if whole.len() <= MOST_ERROR_TEXT {
        return whole;
    }
    said.iter().map(|one| cut(one.clone(), share)).collect::<Vec<_>>().join(BETWEEN)
}

/// What destinations said when they refused the event in earlier attempts: its letter must tell the cause, whichever attempt was the last.
/// The words of one whose route was renamed or removed meanwhile stand under the name that it had.
pub(super) fn refused_before(routes: &Routes, attempt: &Attempt) -> Vec<String> {
    let mut orphans = refusals_of_others(routes, &attempt.last_error).into_iter();
    let said = |id: &String| {
        let mut names = routes.routes.iter().filter(|route| route.id == *id).map(|route| route.name.as_str());
        let said = names.clone().find_map(|name| said_by(&attempt.last_error, name));
        let said = said.or_else(|| orphans.next()).map(str::to_owned);
        said.unwrap_or_else(|| saying(names.next().unwrap_or(id), "refused in an earlier attempt"))
    };
    attempt.refused.iter().map(said).collect()
}

/// Refusals in an error by names that no route has.
fn refusals_of_others<'a>(routes: &Routes, error: &'a str) -> Vec<&'a str> {
    let is_orphan = |said: &&str| {
        let (name, words) = said.split_once(": ").unwrap_or_default();
        let status = words.split(' ').next().and_then(|status| status.parse().ok());
        routes.by_name(name).is_none() && status.is_some_and(is_refusal)
    };
    error.split(BETWEEN).filter(is_orphan).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_destination_has_its_share_of_an_error() {
        let said: Vec<String> =
            (0..10).map(|n| saying(&format!("shop-{n}"), &format!("503 {}", "x".repeat(190)))).collect();
        let whole = joined(&said);
        assert!(whole.len() <= MOST_ERROR_TEXT, "{}", whole.len());
        for n in 0..10 {
            assert!(said_by(&whole, &format!("shop-{n}")).is_some_and(|said| said.contains("503")), "{whole}");
        }
        assert_eq!(joined(&[saying("a", "1"), saying("b", "2")]), "a: 1; b: 2");
    }

    #[test]
    fn no_destination_can_speak_for_another() {
        let error = joined(&[saying("a", "422 x; b: 503 y")]);
        assert_eq!(said_by(&error, "b"), None);
    }

    #[test]
    fn several_destinations_come_again_neither_too_soon_nor_too_late_for_any() {
        let (none, short, long, longer) = (None, seconds(2), seconds(60), seconds(86_400));
        for (wishes, expected) in [
            (vec![none], none),
            (vec![short], short),
            (vec![longer], longer),
            (vec![none, longer], none),
            (vec![none, short], none),
            (vec![short, longer], none),
            (vec![long, longer], long),
        ] {
            assert_eq!(agreed(&wishes, Duration::from_secs(12)), expected, "{wishes:?}");
        }
    }

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }
}
