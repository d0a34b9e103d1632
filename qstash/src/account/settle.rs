//! What an answer leads to: delivered, again later, or the dead-letter queue; and who is told.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use surehook::{digest::Sha256, retry::millis};

use super::{Account, DlqId, Entry, Stage, Start, publish::Blank, timeline::Due};
use crate::{
    chance::number,
    chaos::{Chaos, Mischief},
    clock::Moment,
    message::{Answer, Dead, Kind, Message, Origin, State},
    options::{Callback, Deduplication, Headers, Options, Redacted},
    retry::{Outcome, Wait, outcome},
};

/// An attempt that ended.
struct Ended<'a> {
    message: Arc<Message>,
    retried: u32,
    answer: Arc<Answer>,
    moment: Moment,
    chaos: &'a mut Chaos,
}

impl Account {
    /// Takes the answer to an attempt.
    pub(crate) fn finish(&mut self, start: &Start, answer: Answer, moment: Moment, chaos: &mut Chaos) {
        self.running -= 1;
        self.leave_flow(start.message.number, moment.now);
        if self.pending.contains_key(&start.message.number) {
            self.keep_late(start, moment);
        }
        let (message, retried) = (Arc::clone(&start.message), start.retried);
        let ended = Ended { message, retried, answer: Arc::new(answer), moment, chaos };
        self.settle(ended);
    }

    /// An aborted call arrives later, as it was made.
    fn keep_late(&mut self, start: &Start, moment: Moment) {
        let Some(span) = start.mischief.late else { return };
        let mischief = Mischief { late: None, cut_before: false, ..start.mischief };
        let late = Start { is_late: true, mischief, ..start.clone() };
        self.timeline.put_late(moment.now.saturating_add(millis(span)), late);
    }

    fn settle(&mut self, mut ended: Ended<'_>) {
        let Some(pending) = self.pending.get_mut(&ended.message.number) else { return };
        pending.held = false;
        let is_cancelled = pending.is_cancelled;
        let (message, now) = (Arc::clone(&ended.message), ended.moment.now);
        if !ended.answer.is_success() {
            let state = State::Error { status: ended.answer.status };
            self.note(Entry::new(now, &message, state, ended.retried + 1).with_answer(&ended.answer));
        }
        if !is_cancelled || ended.answer.is_success() {
            self.call_back(&mut ended, Kind::Callback, None);
        }
        let callers_now = ended.moment.callers_now;
        match outcome(&message.options, ended.retried, &ended.answer, &self.common.choices, callers_now) {
            Outcome::Delivered => self.end_with(&ended, State::Delivered { attempt: ended.retried + 1 }),
            _ if is_cancelled => self.end_with(&ended, State::Cancelled),
            Outcome::Again(wait) => self.again(&ended, wait),
            Outcome::GivenUp => self.give_up(&mut ended),
        }
    }

    fn end_with(&mut self, ended: &Ended<'_>, state: State) {
        let entry = Entry::new(ended.moment.now, &ended.message, state, ended.retried + 1).with_answer(&ended.answer);
        self.note(entry);
        self.end(&ended.message, state, ended.moment);
    }

    fn again(&mut self, ended: &Ended<'_>, wait: Wait) {
        let moment = ended.moment;
        let span = match wait {
            Wait::Own(span) => millis(span),
            Wait::Asked(span) => moment.span(span),
        };
        let (due, number, attempt) = (moment.now.saturating_add(span), ended.message.number, ended.retried + 1);
        let state = State::Retry { status: ended.answer.status, attempt, wait: wait.span() };
        self.note(Entry::new(moment.now, &ended.message, state, attempt).with_answer(&ended.answer).next_at(due));
        if let Some(pending) = self.pending.get_mut(&number) {
            (pending.retried, pending.stage, pending.due) = (attempt, Stage::Waiting, due);
            self.timeline.put(due, Due::Message(number));
        }
    }

    fn give_up(&mut self, ended: &mut Ended<'_>) {
        let (moment, message, answer) = (ended.moment, Arc::clone(&ended.message), Arc::clone(&ended.answer));
        let id = self.next_dlq_id(moment.now);
        self.dlq.insert(
            id,
            Dead { message: Arc::clone(&message), answer: Arc::clone(&answer), attempts: ended.retried + 1 },
        );
        let state = State::Failed { status: answer.status };
        let entry = Entry::new(moment.now, &message, state, ended.retried + 1).with_answer(&answer);
        self.note(Entry { dlq_id: Some(id), ..entry });
        self.call_back(ended, Kind::FailureCallback, Some(id));
        self.end(&message, state, moment);
    }

    /// A message is settled: it is forgotten, its schedule hears of it, and its queue may go on.
    pub(super) fn end(&mut self, message: &Arc<Message>, state: State, moment: Moment) {
        self.give_back_flow(message.number, moment.now);
        self.pending.remove(&message.number);
        self.numbers.remove(&message.id);
        self.tell_schedule(message, state);
        self.leave_queue(message, moment.now);
    }

    /// Publishes a callback, where the message asks for one.
    fn call_back(&mut self, ended: &mut Ended<'_>, kind: Kind, dlq_id: Option<DlqId>) {
        let options = &ended.message.options;
        let wanted = if kind == Kind::Callback { &options.callback } else { &options.failure_callback };
        let Some(callback) = wanted else { return };
        let copies = ended.chaos.callbacks(&ended.message, ended.retried, kind);
        let body = Bytes::from(self.told(ended, dlq_id).to_string());
        for copy in 0..copies {
            let follows_from = [self.index as u64, ended.message.key, ended.retried.into(), kind as u64, copy as u64];
            let key = number(self.common.seed, &follows_from);
            let blank = Blank { key: Some(key), ..callback_message(&ended.message, callback, kind, body.clone()) };
            let accepted = self.accept(blank, ended.moment);
            self.keep_place(&accepted);
        }
    }

    /// The body of a callback. Numbers stand where captures have numbers, and `retried` is left out when it is 0.
    fn told(&self, ended: &Ended<'_>, dlq_id: Option<DlqId>) -> Value {
        let (message, answer) = (&ended.message, &ended.answer);
        let mut body = json!({
            "status": answer.status,
            "header": answer.headers,
            "body": STANDARD.encode(&answer.body),
            "maxRetries": message.options.retries,
            "sourceMessageId": message.id,
            "url": message.url,
            "method": message.options.method.as_str(),
            "sourceHeader": message.options.headers.shown(|_, value| value.to_owned()),
            "createdAt": ended.moment.shown(message.created_at),
            "notBefore": ended.moment.shown(message.not_before),
            "callerIP": message.origin.caller_ip,
        });
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body[name] = value;
            }
        };
        put("retried", (ended.retried > 0).then(|| ended.retried.into()));
        put("dlqId", dlq_id.map(|id| id.to_string().into()));
        put("sourceBody", (!message.body.is_empty()).then(|| STANDARD.encode(&message.body).into()));
        put("topicName", message.origin.topic.clone().map(Value::from));
        put("endpointName", message.endpoint.clone().map(Value::from));
        put("scheduleId", message.origin.schedule.clone().map(Value::from));
        body
    }
}

/// The callback as a message of its own: retries and time-out that it does not say are the message's. Its body has all of the message in it, so it is not shown where
/// anything of the message is not.
fn callback_message(source: &Message, callback: &Callback, kind: Kind, body: Bytes) -> Blank {
    let json = Headers::of(vec![("content-type".to_owned(), "application/json".to_owned())]);
    let options = Options {
        method: callback.method.clone(),
        delay: callback.delay,
        not_before: None,
        retries: callback.retries.unwrap_or(source.options.retries),
        retry_delay: callback.retry_delay.clone(),
        timeout: callback.timeout.unwrap_or(source.options.timeout),
        callback: None,
        failure_callback: None,
        deduplication: Deduplication::Off,
        flow: callback.flow.clone(),
        labels: callback.labels.as_ref().unwrap_or(&source.options.labels).clone(),
        redacted: Redacted { body: !source.options.redacted.is_nothing(), ..source.options.redacted.clone() },
        headers: json.under(&callback.headers),
    };
    let origin =
        Origin { kind, holds: source.place(), caller_ip: source.origin.caller_ip.clone(), ..Origin::default() };
    Blank {
        key: None,
        url: callback.url.clone(),
        endpoint: None,
        origin: Arc::new(origin),
        options: Arc::new(options),
        digest: Sha256::of(&body),
        body,
    }
}
