//! `/_surehook`: time, chaos and looks at the inside, for tests and for the page. QStash has nothing of the kind.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    response::{
        IntoResponse, Sse,
        sse::{Event, KeepAlive},
    },
};
use bytes::Bytes;
use futures::Stream;
use http::{Method, Response, StatusCode, request::Parts};
use serde::Deserialize;
use serde_json::{Value, json};
use surehook::{Millis, qstash::duration, retry::millis};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::{
    Reply, parameter,
    rows::{self, Wanted},
    views,
};
use crate::{
    account::{Account, Entry},
    chaos::{Rule, RuleError},
    clock::{Clock, Pace},
    message::News,
    server::Server,
    users::USERS,
};

/// Keys of flow control that the page shows.
const MAX_FLOWS: usize = 300;

/// The longest step, in milliseconds: a year and a day. Schedules that run every minute make half a million stops on the way.
const LONGEST_STEP: Millis = 366 * 86_400_000;
/// The most stops of one call that steps from one due time to the next.
const MOST_STEPS: u32 = 10_000;

/// How far the clock is stepped.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Step {
    /// By a span: `3d`.
    Advance(String),
    /// To a time, in milliseconds since 1970.
    To(Millis),
    /// To the next thing that is due, as often as this.
    Next(NextSteps),
}

/// `true` is once.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum NextSteps {
    Once(bool),
    Times(u32),
}

impl NextSteps {
    fn times(&self) -> u32 {
        match self {
            Self::Once(once) => u32::from(*once),
            Self::Times(times) => *times,
        }
    }
}

/// The answer to a call to `/_surehook`; `None` where it is to something else.
pub(super) async fn answer(server: &Arc<Server>, parts: &Parts, body: &Bytes) -> Option<Response<Body>> {
    let path = parts.uri.path().strip_prefix("/_surehook/")?;
    let query = parts.uri.query().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').collect();
    let reply = match (&parts.method, segments.as_slice()) {
        (_, ["page", ..]) => return None,
        (&Method::GET, ["live"]) => return Some(live(server, query)),
        (&Method::GET, ["clock"]) => Ok(Reply::ok(clock(server))),
        (&Method::POST, ["clock"]) => step(server, body).await,
        (_, ["chaos"]) => chaos(server, &parts.method, body),
        (&Method::POST, ["reset"]) => {
            server.reset();
            Ok(Reply::nothing())
        }
        (&Method::POST, ["messages", id, "now"]) => hurry(server, query, id),
        (&Method::GET, rest) => look(server, query, rest),
        _ => Err(Reply::not_found("endpoint")),
    };
    Some(reply.unwrap_or_else(|refused| refused).into_response())
}

/// The user that the page looks at: 1 to 4.
fn user(query: &str) -> Result<usize, Reply> {
    let number = parameter(query, "user").map_or(Ok(1), |text| text.parse::<usize>());
    let index = number.ok().and_then(|number| number.checked_sub(1)).filter(|index| *index < USERS.len());
    index.ok_or_else(|| Reply::bad_request(format!("user must be between 1 and {}", USERS.len())))
}

fn clock(server: &Server) -> Value {
    let (mode, speed) = match server.clock.pace() {
        Pace::Stepped => ("stepped", 0.0),
        Pace::Times(speed) => (if speed == 1.0 { "real" } else { "speed" }, speed),
    };
    let now = server.clock.shown(server.clock.now());
    json!({ "now": now, "mode": mode, "speed": speed, "shownSpeed": server.clock.shown_speed(), "next": server.next_shown() })
}

async fn step(server: &Arc<Server>, body: &Bytes) -> Result<Reply, Reply> {
    let wanted: Step = serde_json::from_slice(body).map_err(|error| {
        Reply::bad_request(format!("{error}: send {{\"advance\":\"3d\"}}, {{\"to\":<ms>}} or {{\"next\":true}}"))
    })?;
    if server.clock.pace() != Pace::Stepped {
        let text = "time passes by itself here: start the server with --clock stepped to step it";
        return Err(Reply::error(StatusCode::CONFLICT, text));
    }
    match wanted {
        Step::Advance(span) => advance(server, &span).await?,
        Step::To(at) => step_to(server, at).await?,
        Step::Next(steps) => step_next(server, steps.times()).await,
    }
    Ok(Reply::ok(clock(server)))
}

async fn advance(server: &Arc<Server>, span: &str) -> Result<(), Reply> {
    let parsed = duration::parse(span).map(millis).filter(|span| *span <= LONGEST_STEP);
    let bad = || Reply::bad_request(format!("\"{span}\" is not a span like 3d, of a year at most"));
    let span = parsed.ok_or_else(bad)?;
    server.step(|server| Some(server.clock.now() + span)).await;
    Ok(())
}

async fn step_to(server: &Arc<Server>, at: Millis) -> Result<(), Reply> {
    if at.saturating_sub(server.clock.now()) > LONGEST_STEP {
        return Err(Reply::bad_request("one step is a year at most: take several"));
    }
    server.step(|_| Some(at)).await;
    Ok(())
}

/// To the next due time, so many times; none at all waits for what is being delivered at this time.
async fn step_next(server: &Arc<Server>, times: u32) {
    server.step(|server| Some(server.clock.now())).await;
    for _ in 0..times.min(MOST_STEPS) {
        if server.step(Server::next_due).await.is_none() {
            break;
        }
    }
}

fn chaos(server: &Server, method: &Method, body: &Bytes) -> Result<Reply, Reply> {
    match *method {
        Method::GET => {}
        Method::PUT => server.chaos().replace(rules(body)?),
        Method::POST => rules(body)?.into_iter().for_each(|rule| server.chaos().add(rule)),
        Method::DELETE => server.chaos().replace(Vec::new()),
        _ => return Err(super::wrong_method()),
    }
    Ok(Reply::ok(json!(server.chaos().rules())))
}

/// One rule or a list of them, each an object or a line.
fn rules(body: &Bytes) -> Result<Vec<Rule>, Reply> {
    let hint = "send {\"fault\":\"duplicate\",\"share\":0.5}, \"duplicate,share=0.5\", or a list of such";
    let bad = |text: String| Reply::bad_request(format!("{text}: {hint}"));
    let given: Value = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    let given = if let Value::Array(list) = given { list } else { vec![given] };
    given.into_iter().map(|one| rule(one).map_err(|error| bad(error.to_string()))).collect()
}

fn rule(given: Value) -> Result<Rule, RuleError> {
    match given {
        Value::String(line) => Rule::parse(&line),
        // A list would be read as the fields of one rule, in their order.
        Value::Array(_) => Err(RuleError::Unreadable("a list is no rule".to_owned())),
        rule => Rule::read(rule),
    }
}

fn hurry(server: &Arc<Server>, query: &str, id: &str) -> Result<Reply, Reply> {
    let (is_known, is_hurried) = server.change(user(query)?, |account, moment, _| {
        (account.log.of(id).next().is_some() || account.pending_of(id).is_some(), account.hurry(id, moment))
    });
    match (is_hurried, is_known) {
        (true, _) => Ok(Reply::nothing()),
        (false, true) => Err(Reply::error(StatusCode::CONFLICT, "the message does not wait for its time")),
        (false, false) => Err(Reply::not_found("message")),
    }
}

fn look(server: &Server, query: &str, path: &[&str]) -> Result<Reply, Reply> {
    let index = user(query)?;
    let shown = &server.clock;
    let wanted = Wanted::read(query)?;
    match path {
        ["state"] => Ok(Reply::ok(state(server, index))),
        ["messages"] => server.read(index, |account, _| rows::messages(account, &wanted, shown)),
        ["dlq"] => server.read(index, |account, _| rows::dead(account, &wanted, shown)),
        ["messages", id] => server.read(index, |account, _| detail(account, id, shown)),
        _ => Err(Reply::not_found("endpoint")),
    }
}

fn detail(account: &Account, id: &str, clock: &Clock) -> Result<Reply, Reply> {
    let logged: Vec<&Entry> = account.log.of(id).collect();
    // The log forgets earlier than the dead-letter queue.
    let dead = || account.dead_after(None).find(|(_, dead)| dead.message.id == id);
    let dead = if logged.is_empty() { dead().map(|(id, dead)| Entry::of_dead(*id, dead)) } else { None };
    let entries: Vec<&Entry> = logged.into_iter().chain(&dead).collect();
    let mut shown = views::detail(&entries, clock);
    if let (Some(shown), Some(last)) = (&mut shown, entries.last()) {
        rows::forget_dead(account, last, shown);
    }
    Reply::one(shown, "message")
}

fn state(server: &Server, index: usize) -> Value {
    let (shown, chaos) = (&server.clock, json!(server.chaos().rules()));
    let users: Vec<Value> = USERS.iter().map(|user| json!({ "name": user.name, "token": user.token })).collect();
    let wait = server.settings.plan.response_wait;
    // Read before the account is locked: the clock asks all accounts what is due next.
    let clock = clock(server);
    server.read(index, |account, _| {
        json!({
            "clock": clock,
            "plan": account.common.plan.name,
            "seed": server.settings.seed.to_string(),
            "choices": *server.choices,
            "user": index + 1,
            "users": users,
            "counts": account.counts,
            "listed": rows::counts(account),
            "oldest": account.log.oldest(),
            "pending": account.pending.len(),
            "active": account.running,
            "dlq": account.dlq.len(),
            "topics": account.topics.values().map(|one| views::topic(one, shown)).collect::<Vec<_>>(),
            "queues": views::queues(account, shown),
            "schedules": account.schedules.values().map(|one| views::schedule_row(one, wait, shown)).collect::<Vec<_>>(),
            "flowControl": account.flows.iter().take(MAX_FLOWS).map(|(key, one)| views::flow(account, key, one, shown)).collect::<Vec<_>>(),
            "chaos": chaos,
        })
    })
}

/// Messages as they move, each as its row.
fn live(server: &Arc<Server>, query: &str) -> Response<Body> {
    let index = match user(query) {
        Ok(index) => index,
        Err(reply) => return reply.into_response(),
    };
    let events = events(Arc::clone(server), server.news.subscribe(), index);
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

fn events(server: Arc<Server>, news: Receiver<News>, index: usize) -> impl Stream<Item = Result<Event, Infallible>> {
    futures::stream::unfold((server, news), move |(server, mut news)| async move {
        loop {
            let event = match news.recv().await {
                Ok(item) if item.user != index => continue,
                Ok(item) => row(&server, index, &item.message_id),
                // The page reads the list again.
                Err(RecvError::Lagged(_)) => Some(Event::default().event("lagged").data("{}")),
                Err(RecvError::Closed) => return None,
            };
            if let Some(event) = event {
                return Some((Ok(event), (server, news)));
            }
        }
    })
}

fn row(server: &Server, index: usize, id: &str) -> Option<Event> {
    let row = server.read(index, |account, _| {
        let entry = account.log.newest_first().find(|entry| entry.message.id == id)?;
        Some(rows::row(account, entry, &server.clock))
    })?;
    Some(Event::default().data(row.to_string()))
}
