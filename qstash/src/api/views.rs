//! Messages, entries and the rest as QStash shows them. Fields are absent when they are empty; times are the callers'.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use surehook::Millis;

use crate::{
    account::{Account, DlqId, Entry, Flow, Queue, Schedule, Topic},
    clock::Clock,
    message::{Answer, Dead, Message},
    options::{Callback, Options, digest_of},
};

/// Characters of a text in a row of the page.
const MOST_OF_A_ROW: usize = 2_000;
/// Entries that the page shows of a message: so many of the first, and so many of the last.
const MOST_ENTRIES: usize = 100;

/// An object that is filled field by field.
#[derive(Debug, Default)]
pub(super) struct View(Map<String, Value>);

impl View {
    pub(super) fn put(&mut self, name: &str, value: impl Into<Value>) -> &mut Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// Only what is there.
    pub(super) fn some(&mut self, name: &str, value: Option<impl Into<Value>>) -> &mut Self {
        if let Some(value) = value {
            self.put(name, value);
        }
        self
    }

    /// Text as it is, anything else in base64 under another name; an empty body is absent.
    fn body(&mut self, name: &str, body: &[u8]) -> &mut Self {
        match std::str::from_utf8(body) {
            Ok("") => self,
            Ok(text) => self.put(name, text),
            Err(_) => self.put(&format!("{name}Base64"), STANDARD.encode(body)),
        }
    }

    pub(super) fn done(&mut self) -> Value {
        Value::Object(std::mem::take(&mut self.0))
    }
}

/// The headers of a message, those that are redacted as their digests.
fn headers(options: &Options) -> Value {
    json!(options.headers.shown(|name, value| options.redacted.header(name, value)))
}

/// What options say, under the names that all views share.
fn put_options(view: &mut View, options: &Options) {
    let flow = options.flow.as_ref();
    let limits = flow.map(|flow| flow.limits);
    let rate = limits.and_then(|limits| limits.rate);
    view.put("method", options.method.as_str())
        .put("header", headers(options))
        .some("callback", options.callback.as_ref().map(|callback| callback.url.clone()))
        .some("failureCallback", options.failure_callback.as_ref().map(|callback| callback.url.clone()))
        .some("flowControlKey", flow.map(|flow| flow.key.clone()))
        .some("parallelism", limits.and_then(|limits| limits.parallelism))
        .some("rate", rate)
        .some("period", rate.and(limits).map(|limits| limits.period.as_secs()))
        .some("retryDelayExpression", options.retry_delay.as_ref().map(|expression| expression.text().to_owned()))
        .some("label", options.labels.first().cloned())
        .some("labels", (!options.labels.is_empty()).then(|| json!(options.labels)));
}

fn callback_headers(options: &Options, callback: Option<&Callback>) -> Option<Value> {
    let headers = callback.map(|callback| &callback.headers).filter(|headers| !headers.is_empty())?;
    Some(json!(headers.shown(|name, value| options.redacted.header(name, value))))
}

fn put_origin(view: &mut View, message: &Message) {
    let origin = &message.origin;
    view.some("topicName", origin.topic.clone())
        .some("endpointName", message.endpoint.clone())
        .some("queueName", origin.queue.clone())
        .some("scheduleId", origin.schedule.clone());
}

fn put_message(view: &mut View, message: &Message, clock: &Clock) {
    let options = &message.options;
    view.put("messageId", message.id.clone()).put("url", message.url.clone());
    put_options(view, options);
    put_origin(view, message);
    view.put("maxRetries", options.retries)
        .put("notBefore", clock.shown(message.not_before))
        .put("createdAt", clock.shown(message.created_at));
    put_caller(view, options, &message.origin.caller_ip);
    put_body(view, options, &message.body);
}

/// Who published it, and what callbacks are sent with.
fn put_caller(view: &mut View, options: &Options, caller_ip: &str) {
    // Python's SDK reads the one spelling, JavaScript's the other.
    view.put("callerIP", caller_ip)
        .put("callerIp", caller_ip)
        .some("callbackHeader", callback_headers(options, options.callback.as_deref()))
        .some("failureCallbackHeader", callback_headers(options, options.failure_callback.as_deref()));
}

fn put_body(view: &mut View, options: &Options, body: &[u8]) {
    match options.redacted.body {
        true => view.put("body", digest_of(body)),
        false => view.body("body", body),
    };
}

/// A message that is not settled.
pub(super) fn message(message: &Message, clock: &Clock) -> Value {
    let mut view = View::default();
    put_message(&mut view, message, clock);
    view.done()
}

/// An entry of the dead-letter queue. The status is 0 where no answer came: SDKs need the field.
pub(super) fn dead(id: &DlqId, dead: &Dead, clock: &Clock) -> Value {
    let mut view = View::default();
    put_message(&mut view, &dead.message, clock);
    view.put("dlqId", id.to_string())
        .put("responseStatus", dead.answer.status)
        .some("error", dead.answer.error.clone());
    if !dead.answer.headers.is_empty() {
        view.put("responseHeader", json!(dead.answer.headers));
    }
    view.body("responseBody", &dead.answer.body).done()
}

/// An entry of the log. Some fields stand under two names, because the clients read different ones.
pub(super) fn logged(entry: &Entry, cancelled: &str, clock: &Clock) -> Value {
    let (message, options) = (&entry.message, &entry.message.options);
    let mut view = View::default();
    let word = entry.state.word();
    view.put("time", clock.shown(entry.at))
        .put("messageId", message.id.clone())
        .put("state", if word == crate::choices::CANCELLED { cancelled } else { word })
        .put("url", message.url.clone());
    put_options(&mut view, options);
    put_origin(&mut view, message);
    let retry_delay = options.retry_delay.as_ref().map(|expression| expression.text().to_owned());
    let body = match options.redacted.body {
        true => digest_of(&message.body),
        false => STANDARD.encode(&message.body),
    };
    view.put("maxRetries", options.retries)
        .put("timeout", u64::try_from(options.timeout.as_millis()).unwrap_or(u64::MAX))
        .some("body", (!message.body.is_empty()).then_some(body))
        .some("retryDelayExpr", retry_delay)
        .some("callbackHeaders", callback_headers(options, options.callback.as_deref()))
        .some("failureCallbackHeaders", callback_headers(options, options.failure_callback.as_deref()))
        .some("nextDeliveryTime", entry.next.map(|next| clock.shown(next)));
    if let Some(answer) = &entry.answer {
        put_answer(&mut view, answer);
    }
    view.done()
}

fn put_answer(view: &mut View, answer: &Answer) {
    view.some("error", answer.error.clone());
    if answer.status == 0 {
        return;
    }
    view.put("responseStatus", answer.status)
        .put("responseHeader", json!(answer.headers))
        .put("responseHeaders", json!(answer.headers))
        .some("responseBody", (!answer.body.is_empty()).then(|| STANDARD.encode(&answer.body)));
}

/// A topic.
pub(super) fn topic(topic: &Topic, clock: &Clock) -> Value {
    let mut view = View::default();
    view.put("name", topic.name.clone())
        .put("createdAt", clock.shown(topic.created_at))
        .put("updatedAt", clock.shown(topic.updated_at))
        .put("endpoints", json!(topic.endpoints));
    view.done()
}

/// All queues. Their messages are counted in one walk, however many queues there are.
pub(super) fn queues(account: &Account, clock: &Clock) -> Value {
    let lags = account.lags();
    let lag = |queue: &Queue| lags.get(queue.name.as_str()).copied().unwrap_or_default();
    account.queues.values().map(|one| queue(one, lag(one), clock)).collect()
}

/// A queue.
pub(super) fn queue(queue: &Queue, lag: usize, clock: &Clock) -> Value {
    json!({
        "name": queue.name,
        "parallelism": queue.parallelism,
        "createdAt": clock.shown(queue.created_at),
        "updatedAt": clock.shown(queue.updated_at),
        "lag": lag,
        "paused": queue.paused,
    })
}

/// The beginning of a text that may be long: rows are sent often.
fn short(text: &str) -> String {
    text.chars().take(MOST_OF_A_ROW).collect()
}

/// A schedule.
pub(super) fn schedule(schedule: &Schedule, plan_wait: Duration, clock: &Clock) -> Value {
    let mut view = schedule_without_body(schedule, plan_wait, clock);
    put_body(&mut view, &schedule.options, &schedule.order.body);
    view.done()
}

/// What the page shows of a schedule: without its body, which may be large.
pub(super) fn schedule_row(schedule: &Schedule, plan_wait: Duration, clock: &Clock) -> Value {
    let mut view = schedule_without_body(schedule, plan_wait, clock);
    view.put("destination", short(schedule.order.destination.text())).done()
}

fn schedule_without_body(schedule: &Schedule, plan_wait: Duration, clock: &Clock) -> View {
    let (order, options) = (&schedule.order, &schedule.options);
    let mut view = View::default();
    view.put("scheduleId", schedule.id.clone())
        .put("cron", schedule.cron.text())
        .put("destination", order.destination.text())
        .put("createdAt", clock.shown(schedule.created_at))
        .put("retries", options.retries)
        .put("isPaused", schedule.is_paused);
    put_options(&mut view, options);
    put_caller(&mut view, options, &order.origin.caller_ip);
    view.some("queueName", order.origin.queue.clone())
        .some("delay", (!options.delay.is_zero()).then(|| options.delay.as_secs()))
        .some("timeout", (options.timeout != plan_wait).then(|| options.timeout.as_secs()))
        .some("lastScheduleTime", schedule.last.map(|at| clock.shown(at)))
        .some("nextScheduleTime", schedule.next.map(|at| clock.shown(at)))
        .some("lastScheduleStates", (!schedule.states.is_empty()).then(|| json!(schedule.states)))
        .some("error", schedule.error.clone());
    view
}

/// A flow-control key.
pub(super) fn flow(account: &Account, key: &str, flow: &Flow, clock: &Clock) -> Value {
    let limits = flow.limits();
    json!({
        "flowControlKey": key,
        "waitListSize": account.wait_list(key),
        "parallelismMax": limits.parallelism.unwrap_or_default(),
        "parallelismCount": flow.running,
        "rateMax": limits.rate.unwrap_or_default(),
        "rateCount": flow.count,
        "ratePeriod": limits.period.as_secs(),
        "ratePeriodStart": seconds(clock.shown(flow.period_start)),
        "isPinnedParallelism": flow.pinned_parallelism.is_some(),
        "isPinnedRate": flow.pinned_rate.is_some(),
        "isPaused": flow.paused,
    })
}

fn seconds(at: Millis) -> Millis {
    at.max(0) / 1_000
}

/// What the page shows of a message in a row.
pub(super) fn summary(entry: &Entry, clock: &Clock) -> Value {
    let message = &entry.message;
    let mut view = View::default();
    view.put("messageId", message.id.clone())
        .put("url", short(&message.url))
        .put("method", message.options.method.as_str())
        .put("state", entry.state.word())
        .put("createdAt", clock.shown(message.created_at))
        .put("updatedAt", clock.shown(entry.at))
        .put("attempts", entry.attempts)
        .put("maxRetries", message.options.retries)
        .put("kind", message.origin.kind.word())
        .some("label", (!message.options.labels.is_empty()).then(|| short(&message.options.labels.join(", "))))
        .some("nextDeliveryTime", entry.next.map(|next| clock.shown(next)))
        .some("responseStatus", entry.answer.as_ref().map(|answer| answer.status))
        .some("error", entry.answer.as_ref().and_then(|answer| answer.error.as_deref()).map(short))
        .some("dlqId", entry.dlq_id.map(|id| id.to_string()));
    put_origin(&mut view, message);
    view.done()
}

/// All that the page shows of a message.
pub(super) fn detail(entries: &[&Entry], clock: &Clock) -> Option<Value> {
    let last = entries.last()?;
    let mut full = message(&last.message, clock);
    if let (Value::Object(full), Value::Object(summary)) = (&mut full, summary(last, clock)) {
        full.extend(summary);
    }
    let (first, rest) = entries.split_at(entries.len().min(MOST_ENTRIES));
    let last = &rest[rest.len().saturating_sub(MOST_ENTRIES)..];
    full["log"] = first.iter().chain(last).map(|entry| step(entry, clock)).collect();
    Some(full)
}

fn step(entry: &Entry, clock: &Clock) -> Value {
    let mut view = View::default();
    view.put("time", clock.shown(entry.at))
        .put("state", entry.state.word())
        .some("nextDeliveryTime", entry.next.map(|next| clock.shown(next)));
    if let Some(answer) = &entry.answer {
        view.some("error", answer.error.clone())
            .put("responseStatus", answer.status)
            .put("responseHeader", json!(answer.headers))
            .body("responseBody", &answer.body);
    }
    view.done()
}
