//! The default handler: delivers events to HTTP destinations by routes.
//!
//! | module | what it is for |
//! |---|---|
//! | [`address`] | which addresses may be connected to |
//! | [`connect`] | connections: vetted, pooled |
//! | `request` | what a destination is sent besides the body |
//! | [`verdict`] | how a destination answered |
//! | `summary` | one result from all destinations' |
//!
//! Every destination has its own outcome. Who accepted an event is never sent it again; who refused it for good is not
//! asked again until a replay; who keeps failing is left alone for a while (`crate::breakers`).

pub mod address;
pub mod connect;
mod request;
mod summary;
pub mod verdict;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::join_all};
use surehook::{
    Millis, identity,
    qstash::duration::backoff,
    retry::millis,
    routes::{Destination, Route, Routes, Subject},
    signing::SigningSecrets,
    web::least_routes,
};
use tokio::time::{Instant, timeout_at};

use crate::{
    breakers::{Breakers, LeftAlone, Permit},
    handler::{Attempt, Effects, Event, Handler, HandlerError},
    routes::RoutesCache,
};
use connect::{ConnectError, Connections};
use summary::Delivered;
use verdict::Verdict;

/// What is left of the handler's time when the last destination is given up on: who accepted must be told, or a retry
/// would send to them again.
const SUMMING_UP: Duration = Duration::from_millis(50);
/// What is not worth beginning: the destination could do its work and have no time to say so.
const LEAST_TIME: Duration = Duration::from_millis(250);
/// How long the table may take to say who probes. After that nobody is held back: nothing rests on a breaker.
const MOST_FOR_PERMIT: Duration = Duration::from_secs(1);

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
}

impl Handler for Deliverer {
    async fn handle(&self, event: &Event, attempt: &Attempt) -> Result<Effects, HandlerError> {
        let routes = self.routes_of(event, attempt).await?;
        let subject = subject(&routes, event);
        let destinations = routes.destinations(&subject);
        if destinations.is_empty() && attempt.refused.is_empty() {
            // A route took it before where a destination has accepted it.
            if attempt.delivered.is_empty() && routes.keeps_unmatched(&event.source) {
                return Err(HandlerError::Unmatched);
            }
            return Ok(Effects { ignored: true, ..Effects::so_far(&attempt.delivered, &[]) });
        }
        let settled = |id: &String| attempt.delivered.contains(id) || attempt.refused.contains(id);
        let open: Vec<Destination<'_>> = destinations.into_iter().filter(|to| !settled(&to.route.id)).collect();
        let delivery = Delivery { event, attempt };
        let deliveries = join_all(open.iter().map(|destination| self.deliver_unharmed(destination, delivery))).await;
        summary::sum_up(attempt, summary::refused_before(&routes, attempt), deliveries)
    }
}

impl Deliverer {
    /// Returns the routes of an event. Retries, and events that match no known route, use the routes of the last second. A replayed event
    /// uses the routes that stood when it was replayed, or newer ones, because the operator may just have fixed them.
    async fn routes_of(&self, event: &Event, attempt: &Attempt) -> Result<Arc<Routes>, HandlerError> {
        let (least, moment) = (least_routes(&event.headers), attempt.moment());
        let takes = |routes: &Routes| !routes.destinations(&subject(routes, event)).is_empty();
        let known = match attempt.number {
            0 | 1 => self.routes.knowing(takes, least, moment).await,
            _again => self.routes.current(least, moment).await,
        };
        let routes = known.map_err(|_away| HandlerError::transient("the routes can't be read", attempt))?;
        if routes.routes.is_empty() { Err(HandlerError::Unconfigured) } else { Ok(routes) }
    }

    /// A defect that shows at one destination must not make us forget who else accepted.
    async fn deliver_unharmed<'a>(&self, destination: &Destination<'a>, delivery: Delivery<'_>) -> Delivered<'a> {
        let began = Instant::now();
        let verdict = AssertUnwindSafe(self.deliver(destination, delivery)).catch_unwind().await;
        let verdict = verdict.unwrap_or_else(|_panic| Verdict::inconclusive("the delivery panicked", None));
        Delivered { route: destination.route, verdict, took: began.elapsed() }
    }

    async fn deliver(&self, destination: &Destination<'_>, delivery: Delivery<'_>) -> Verdict {
        let route = destination.route;
        if destination.undecided {
            // To ignore the event could lose it, and to send it could be wrong: a person decides.
            let reason = "its events and conditions can't be decided: the body can't be read as JSON".to_owned();
            return Verdict::Refused { status: 0, reason };
        }
        let permit = match self.permit(route, delivery).await {
            Ok(permit) => permit,
            Err(left_alone) => return delivery.held_back(&left_alone),
        };
        let time = delivery.time_for(route);
        if time < route.timeout().min(LEAST_TIME) {
            return Verdict::inconclusive("there was no time left to try it", None);
        }
        let verdict = self.send(route, delivery, time).await;
        let is_first = delivery.attempt.number <= 1;
        self.breakers.note(route, permit, verdict.health(), is_first, delivery.at_present());
        verdict
    }

    async fn permit(&self, route: &Route, delivery: Delivery<'_>) -> Result<Permit, LeftAlone> {
        let asked = self.breakers.ask(route, delivery.time_for(route), delivery.at_present());
        let limit = Instant::now() + MOST_FOR_PERMIT.min(delivery.rest());
        timeout_at(limit, asked).await.unwrap_or(Ok(Permit::Usual))
    }

    /// One deadline for name, connection, TLS, request and answer. Nothing that is awaited for one destination may outlast it:
    /// the handler would be cut off, and who had accepted would be forgotten.
    async fn send(&self, route: &Route, delivery: Delivery<'_>, time: Duration) -> Verdict {
        let Delivery { event, attempt, .. } = delivery;
        let limit = Instant::now() + time;
        let headers = request::headers(route, event, &self.secrets, attempt.now);
        match timeout_at(limit, self.connections.post(&route.url, headers, event.body.clone())).await {
            Ok(Ok(response)) => Verdict::of(response, attempt.now, limit).await,
            Ok(Err(error @ ConnectError::Http(_))) => Verdict::unanswered(error.to_string(), error.without_words()),
            Ok(Err(never_asked)) => Verdict::inconclusive(never_asked.to_string(), None),
            Err(_elapsed) if delivery.is_fair(route, time) => {
                Verdict::unanswered("no answer in time", "no answer in time")
            }
            Err(_elapsed) => Verdict::inconclusive("no answer in the little time that was left", None),
        }
    }
}

fn subject<'a>(routes: &'a Routes, event: &'a Event) -> Subject<'a> {
    let delivered = identity::Delivered::new(&event.headers, &event.body, "");
    routes.subject(&event.source, event.event_type.as_deref(), delivered)
}

impl Delivery<'_> {
    /// How long a delivery may take.
    fn time_for(&self, route: &Route) -> Duration {
        route.timeout().min(self.rest())
    }

    /// Whether that is what a destination can count on. Where a slow table has used most of it up, silence says nothing.
    fn is_fair(&self, route: &Route, time: Duration) -> bool {
        time * 2 >= route.timeout().min(self.attempt.deadline - self.attempt.started)
    }

    /// What is left of the handler's time.
    fn rest(&self) -> Duration {
        (self.attempt.deadline - SUMMING_UP).saturating_duration_since(Instant::now())
    }

    fn at_present(&self) -> Millis {
        self.attempt.now.saturating_add(millis(self.attempt.started.elapsed()))
    }

    /// A destination that is left alone. The events that it holds back are spread, so that they do not all come at the moment at
    /// which it opens; and none comes sooner than QStash would bring it anyway, because that would use its few retries up.
    fn held_back(&self, left_alone: &LeftAlone) -> Verdict {
        let LeftAlone { rest, reason } = left_alone;
        let spread = rest.mul_f64(f64::from(self.event.key.shard(u8::MAX)) / f64::from(u8::MAX));
        let retry_after = Some(*rest + spread).filter(|wait| *wait > usual_wait(self.attempt));
        Verdict::inconclusive(format!("left alone for a while, because it keeps failing: {reason}"), retry_after)
    }
}

/// How long QStash waits of itself before the next attempt.
fn usual_wait(attempt: &Attempt) -> Duration {
    backoff(attempt.retried.saturating_add(1))
}
