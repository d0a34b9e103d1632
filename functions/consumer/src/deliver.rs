//! The default handler: delivers events to HTTP destinations by routes.
//!
//! Every destination has its own outcome. Who accepted an event is never sent it again; who refused it for good is not
//! asked again until a replay.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use reqwest::{Client, Response};
use surehook::{
    identity::cut,
    qstash::duration::parse_retry_after,
    routes::{Route, Routes, said_by},
    web::answer::{is_refusal, is_success},
};
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use crate::{
    address::{NotPublic, VettingResolver, is_public},
    handler::{Attempt, Effects, Event, Handler, HandlerError},
    routes::RoutesCache,
    sign::SigningSecrets,
};

/// What is left of the handler's time when the last destination is given up on: who accepted must be told, or a retry
/// would send to them again.
const SUMMING_UP: Duration = Duration::from_millis(50);
/// How much of a destination's answer is read: enough for an error's text.
const MOST_ANSWER: usize = 64 * 1_024;
/// Headers of the delivery that a destination gets as well. All others stay here: they may hold our own secrets.
const PASSED_ON: [&str; 6] =
    ["content-type", "traceparent", "tracestate", "x-strapi-event", "x-webhook-id", "x-webhook-retry"];

/// The handler.
#[derive(Debug)]
pub struct Deliverer {
    routes: Arc<RoutesCache>,
    http: Client,
    secrets: SigningSecrets,
    allow_private: bool,
}

/// How one destination answered.
enum Verdict {
    Accepted,
    Refused(String),
    NotNow { reason: String, retry_after: Option<Duration> },
}

impl Deliverer {
    /// A deliverer with a connection pool of its own. No redirects: a destination is the URL that the operator wrote.
    pub fn new(routes: Arc<RoutesCache>, secrets: SigningSecrets, allow_private: bool) -> Result<Self, reqwest::Error> {
        let http = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(Arc::new(VettingResolver { allow_private }))
            .user_agent(concat!("Surehook/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { routes, http, secrets, allow_private })
    }

    /// The routes of an event. Only the table's word of this moment makes an event unwanted.
    async fn routes_of(&self, event: &Event, attempt: &Attempt) -> Result<Arc<Routes>, HandlerError> {
        let wanted = |routes: &Routes| !routes.matching(&event.source, event.event_type.as_deref()).is_empty();
        let known = self.routes.knowing(wanted).await;
        let routes = known.map_err(|_away| HandlerError::transient("the routes can't be read", attempt))?;
        if routes.routes.is_empty() { Err(HandlerError::Unconfigured) } else { Ok(routes) }
    }

    async fn deliver(&self, route: &Route, event: &Event, attempt: &Attempt) -> Verdict {
        let limit = (attempt.deadline - SUMMING_UP).min(Instant::now() + Duration::from_millis(route.timeout_ms));
        match timeout_at(limit, self.send(route, event, attempt)).await {
            Ok(verdict) => verdict,
            Err(_elapsed) => Verdict::not_now("no answer in time"),
        }
    }

    async fn send(&self, route: &Route, event: &Event, attempt: &Attempt) -> Verdict {
        let Ok(url) = Url::parse(&route.url) else {
            return Verdict::not_now("the route's URL can't be read");
        };
        if let Err(error) = self.vet_literal(&url) {
            return Verdict::not_now(&error.to_string());
        }
        let request = self.http.post(url).headers(self.headers(event, attempt)).body(event.body.clone());
        match request.send().await {
            Ok(response) => judge(response, attempt).await,
            Err(error) => Verdict::not_now(&root_cause(&error)),
        }
    }

    fn vet_literal(&self, url: &Url) -> Result<(), NotPublic> {
        let address = match url.host() {
            Some(Host::Ipv4(address)) => address.into(),
            Some(Host::Ipv6(address)) => address.into(),
            _ => return Ok(()),
        };
        if self.allow_private || is_public(address) { Ok(()) } else { Err(NotPublic(address.to_string())) }
    }

    fn headers(&self, event: &Event, attempt: &Attempt) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for name in PASSED_ON {
            if let Some(value) = event.headers.get(name) {
                headers.insert(HeaderName::from_static(name), value.clone());
            }
        }
        let id = event.key.as_str();
        let timestamp = attempt.now / 1_000;
        let own = [
            ("webhook-id", Some(id.to_owned())),
            ("webhook-timestamp", Some(timestamp.to_string())),
            ("webhook-signature", self.secrets.sign(id, timestamp, &event.body)),
        ];
        for (name, value) in own {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers
    }
}

impl Handler for Deliverer {
    async fn handle(&self, event: &Event, attempt: &Attempt) -> Result<Effects, HandlerError> {
        let routes = self.routes_of(event, attempt).await?;
        let matching = routes.matching(&event.source, event.event_type.as_deref());
        if matching.is_empty() && attempt.refused.is_empty() {
            return Ok(Effects { ignored: true, ..Effects::so_far(&attempt.delivered, &[]) });
        }
        let settled = |route: &&Route| attempt.delivered.contains(&route.id) || attempt.refused.contains(&route.id);
        let open: Vec<&Route> = matching.into_iter().filter(|route| !settled(route)).collect();
        let verdicts = join_all(open.iter().map(|route| self.deliver(route, event, attempt))).await;
        let refused_before = attempt.refused.iter().map(|id| said_before(&routes, id, attempt)).collect();
        sum_up(attempt, refused_before, open.into_iter().zip(verdicts))
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
                refusals.push(format!("{}: {reason}", route.name));
            }
            Verdict::NotNow { reason, retry_after } => {
                waits.push(format!("{}: {reason}", route.name));
                longest = longest.max(retry_after);
            }
        }
    }
    if !waits.is_empty() {
        waits.extend(refusals);
        return Err(HandlerError::Transient { reason: waits.join("; "), retry_after: longest, effects });
    }
    if !refusals.is_empty() {
        return Err(HandlerError::Permanent { reason: refusals.join("; "), effects });
    }
    Ok(effects)
}

/// What a destination said when it refused in an earlier attempt: its letter must tell the cause, whichever attempt was the last.
fn said_before(routes: &Routes, id: &str, attempt: &Attempt) -> String {
    let name = routes.by_id(id).map_or(id, |route| route.name.as_str());
    let said = said_by(&attempt.last_error, name);
    said.map_or_else(|| format!("{name}: refused in an earlier attempt"), str::to_owned)
}

impl Verdict {
    fn not_now(reason: &str) -> Self {
        Self::NotNow { reason: reason.to_owned(), retry_after: None }
    }
}

async fn judge(response: Response, attempt: &Attempt) -> Verdict {
    let status = response.status().as_u16();
    if is_success(status) {
        return Verdict::Accepted;
    }
    let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = retry_after.and_then(|text| parse_retry_after(text, attempt.now));
    let reason = cut(format!("{status} {}", read_some(response).await), 200);
    if is_refusal(status) { Verdict::Refused(reason) } else { Verdict::NotNow { reason, retry_after } }
}

/// The start of an answer's body. What is not read is not worth waiting for.
async fn read_some(mut response: Response) -> String {
    let mut read = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        read.extend_from_slice(&chunk);
        if read.len() >= MOST_ANSWER {
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// The innermost error says what happened; the outer ones repeat the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
