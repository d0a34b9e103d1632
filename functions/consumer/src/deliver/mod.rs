//! The default handler: delivers events to HTTP destinations by routes.
//!
//! | module | what it is for |
//! |---|---|
//! | [`address`] | which addresses may be connected to |
//! | [`connect`] | connections: vetted, pooled |
//! | `request` | what a destination is sent besides the body |
//! | [`verdict`] | how a destination answered |
//!
//! Every destination has its own outcome. Who accepted an event is never sent it again; who refused it for good is not
//! asked again until a replay; who keeps failing is left alone for a while (`crate::breakers`).

pub mod address;
pub mod connect;
mod request;
pub mod verdict;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::join_all};
use surehook::{
    Millis,
    identity::cut,
    ledger::record::MOST_ERROR_TEXT,
    qstash::duration::backoff,
    retry::millis,
    routes::{Destination, Route, Routes, Subject, said_by},
    signing::SigningSecrets,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    breakers::{Breakers, LeftAlone},
    handler::{Attempt, Effects, Event, Handler, HandlerError},
    routes::RoutesCache,
};
use connect::{ConnectError, Connections};
use verdict::Verdict;

/// What is left of the handler's time when the last destination is given up on: who accepted must be told, or a retry
/// would send to them again.
const SUMMING_UP: Duration = Duration::from_millis(50);
/// What is not worth beginning: the destination could do its work and have no time to say so.
const LEAST_TIME: Duration = Duration::from_millis(250);
/// What each of very many destinations may say in an error, in bytes.
const SHORTEST_SAID: usize = 16;

/// The handler.
#[derive(Debug)]
pub struct Deliverer {
    /// Where events go.
    pub routes: Arc<RoutesCache>,
    /// How they get there.
    pub connections: Connections,
    /// What signs them.
    pub secrets: SigningSecrets,
    /// Who is left alone.
    pub breakers: Arc<Breakers>,
}

/// An attempt under way.
#[derive(Debug, Clone, Copy)]
struct Delivery<'a> {
    event: &'a Event,
    attempt: &'a Attempt,
    began: Instant,
}

impl Handler for Deliverer {
    async fn handle(&self, event: &Event, attempt: &Attempt) -> Result<Effects, HandlerError> {
        let routes = self.routes_of(event, attempt).await?;
        let subject = subject(&routes, event);
        let destinations = routes.destinations(&subject);
        if destinations.is_empty() && attempt.refused.is_empty() {
            return Ok(Effects { ignored: true, ..Effects::so_far(&attempt.delivered, &[]) });
        }
        let settled = |id: &String| attempt.delivered.contains(id) || attempt.refused.contains(id);
        let open: Vec<Destination<'_>> = destinations.into_iter().filter(|to| !settled(&to.route.id)).collect();
        let delivery = Delivery { event, attempt, began: Instant::now() };
        let verdicts = join_all(open.iter().map(|destination| self.deliver_unharmed(destination, delivery))).await;
        let refused_before = attempt.refused.iter().map(|id| said_before(&routes, id, attempt)).collect();
        sum_up(attempt, refused_before, open.iter().map(|destination| destination.route).zip(verdicts))
    }
}

impl Deliverer {
    /// The routes of an event. Only the table's word of this moment makes an event unwanted, and ends one that failed before: who
    /// mended the routes and replays must not have it delivered by those that were wrong, and whom an earlier attempt knew must not
    /// be forgotten by a worker that does not know them yet.
    async fn routes_of(&self, event: &Event, attempt: &Attempt) -> Result<Arc<Routes>, HandlerError> {
        let known = match attempt.number {
            0 | 1 => self.routes.knowing(|routes| !routes.destinations(&subject(routes, event)).is_empty()).await,
            _again => self.routes.refresh(true).await,
        };
        let routes = known.map_err(|_away| HandlerError::transient("the routes can't be read", attempt))?;
        if routes.routes.is_empty() { Err(HandlerError::Unconfigured) } else { Ok(routes) }
    }

    /// A defect that shows at one destination must not make us forget who else accepted.
    async fn deliver_unharmed(&self, destination: &Destination<'_>, delivery: Delivery<'_>) -> Verdict {
        let verdict = AssertUnwindSafe(self.deliver(destination, delivery)).catch_unwind().await;
        verdict.unwrap_or_else(|_panic| Verdict::untried("the delivery panicked", None))
    }

    async fn deliver(&self, destination: &Destination<'_>, delivery: Delivery<'_>) -> Verdict {
        let route = destination.route;
        if destination.undecided {
            // To ignore the event could lose it, and to send it could be wrong: a person decides.
            return Verdict::Refused(
                "its events and conditions can't be decided: the body can't be read as JSON".to_owned(),
            );
        }
        let limit = delivery.limit(route);
        if delivery.rest() < route.timeout().min(LEAST_TIME) {
            return Verdict::untried("there was no time left to try it", None);
        }
        let permit = match timeout_at(
            limit,
            self.breakers.ask(route, limit.saturating_duration_since(Instant::now()), delivery.at_present()),
        )
        .await
        {
            Ok(Ok(permit)) => permit,
            Ok(Err(left_alone)) => return delivery.held_back(&left_alone),
            Err(_elapsed) => return Verdict::untried("the table does not say in time whether to try it", None),
        };
        let verdict = self.send(route, delivery, limit).await;
        let trouble = match &verdict {
            Verdict::NotNow { reason, is_trouble: true, .. } => Some(without_words(reason)),
            _ => None,
        };
        self.breakers.note(route, &delivery.event.key, permit, trouble, delivery.at_present());
        verdict
    }

    async fn send(&self, route: &Route, delivery: Delivery<'_>, limit: Instant) -> Verdict {
        let Delivery { event, attempt, .. } = delivery;
        let headers = request::headers(route, event, &self.secrets, attempt.now);
        match timeout_at(limit, self.connections.post(&route.url, headers, event.body.clone())).await {
            Ok(Ok(response)) => Verdict::of(response, attempt.now, limit).await,
            Ok(Err(error @ ConnectError::Http(_))) => Verdict::unanswered(error.to_string()),
            Ok(Err(never_asked)) => Verdict::untried(never_asked.to_string(), None),
            Err(_elapsed) => Verdict::unanswered("no answer in time"),
        }
    }
}

fn subject<'a>(routes: &Routes, event: &'a Event) -> Subject<'a> {
    routes.subject(&event.source, event.event_type.as_deref(), &event.body)
}

impl Delivery<'_> {
    /// One deadline for name, connection, TLS, request and answer. Nothing that is awaited for one destination may outlast it:
    /// the handler would be cut off, and who had accepted would be forgotten.
    fn limit(&self, route: &Route) -> Instant {
        Instant::now() + route.timeout().min(self.rest())
    }

    /// What is left of the handler's time.
    fn rest(&self) -> Duration {
        (self.attempt.deadline - SUMMING_UP).saturating_duration_since(Instant::now())
    }

    fn at_present(&self) -> Millis {
        self.attempt.now.saturating_add(millis(self.began.elapsed()))
    }

    /// A destination that is left alone. The events that it holds back are spread, so that they do not all come at the moment at
    /// which it opens; and none comes sooner than QStash would bring it anyway, because that would use its few retries up.
    fn held_back(&self, left_alone: &LeftAlone) -> Verdict {
        let LeftAlone { rest, reason } = left_alone;
        let spread = rest.mul_f64(f64::from(self.event.key.shard(u8::MAX)) / f64::from(u8::MAX));
        let usual = backoff(self.attempt.retried.saturating_add(1));
        let retry_after = Some(*rest + spread).filter(|wait| *wait > usual);
        Verdict::untried(format!("left alone for a while, because it keeps failing: {reason}"), retry_after)
    }
}

/// One result from all destinations': transient if any may still accept, permanent if any refused, else done.
fn sum_up<'a>(
    attempt: &Attempt,
    mut refusals: Vec<String>,
    verdicts: impl Iterator<Item = (&'a Route, Verdict)>,
) -> Result<Effects, HandlerError> {
    let mut effects = Effects::so_far(&attempt.delivered, &attempt.refused);
    let (mut waits, mut longest) = (Vec::new(), None);
    for (route, verdict) in verdicts {
        match verdict {
            Verdict::Accepted => effects.delivered.push(route.id.clone()),
            Verdict::Refused(reason) => {
                effects.refused.push(route.id.clone());
                refusals.push(saying(&route.name, &reason));
            }
            Verdict::NotNow { reason, retry_after, .. } => {
                waits.push(saying(&route.name, &reason));
                longest = longest.max(retry_after);
            }
        }
    }
    if !waits.is_empty() {
        waits.extend(refusals);
        return Err(HandlerError::Transient { reason: joined(&waits), retry_after: longest, effects });
    }
    if !refusals.is_empty() {
        return Err(HandlerError::Permanent { reason: joined(&refusals), effects });
    }
    Ok(effects)
}

/// The status of an answer, or what was wrong with the connection. What a destination said about one event has no place in the
/// records of others, which a breaker's reason comes to.
fn without_words(reason: &str) -> &str {
    let first = reason.split(' ').next().unwrap_or_default();
    if first.len() == 3 && first.bytes().all(|byte| byte.is_ascii_digit()) { first } else { reason }
}

/// What stands between two destinations in an error must not stand in their words.
fn saying(name: &str, reason: &str) -> String {
    format!("{name}: {}", reason.replace("; ", ", "))
}

/// All of them in the room that the record has: each gets the same share, so that none is cut off by another's many words.
fn joined(said: &[String]) -> String {
    let share = (MOST_ERROR_TEXT / said.len().max(1)).saturating_sub("; ".len()).max(SHORTEST_SAID);
    let whole = said.join("; ");
    if whole.len() <= MOST_ERROR_TEXT {
        return whole;
    }
    said.iter().map(|one| cut(one.clone(), share)).collect::<Vec<_>>().join("; ")
}

/// What a destination said when it refused in an earlier attempt: its letter must tell the cause, whichever attempt was the last.
fn said_before(routes: &Routes, id: &str, attempt: &Attempt) -> String {
    let mut names = routes.routes.iter().filter(|route| route.id == id).map(|route| route.name.as_str());
    let said = names.clone().find_map(|name| said_by(&attempt.last_error, name));
    said.map_or_else(|| saying(names.next().unwrap_or(id), "refused in an earlier attempt"), str::to_owned)
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
}
