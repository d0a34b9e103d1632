//! The rows of the page. Counters, list and search are all about the messages that the log still has.

use std::str::FromStr;

use serde_json::{Value, json};

use super::{Reply, parameter, views};
use crate::{
    account::{Account, DlqId, Entry},
    clock::Clock,
    message::{Dead, State},
};

/// Rows of one answer, unless the page asks for fewer.
const MAX_ROWS: usize = 300;
/// The fields of a row that a search reads.
const SEARCHED: [&str; 9] =
    ["messageId", "url", "label", "topicName", "queueName", "scheduleId", "error", "state", "method"];

/// The filters of the page beside "all".
const CLASSES: [&str; 5] = ["waiting", "active", "delivered", "failed", "cancelled"];

/// Returns the filter that shows messages of a state.
fn class(state: State) -> &'static str {
    match state {
        State::Created { .. } | State::Error { .. } | State::Retry { .. } => "waiting",
        State::Active => "active",
        State::Delivered { .. } => "delivered",
        State::Failed { .. } => "failed",
        State::CancelRequested | State::Cancelled => "cancelled",
    }
}

/// The rows that the page asks for.
#[derive(Debug)]
pub(super) struct Wanted {
    class: Option<String>,
    words: Vec<String>,
    /// The place behind which the page goes on: of messages their place in the log, of DLQ entries their id.
    after: Option<String>,
    count: usize,
}

impl Wanted {
    pub(super) fn read(query: &str) -> Result<Self, Reply> {
        let class = parameter(query, "state").filter(|class| class != "all");
        if let Some(class) = class.as_deref().filter(|class| !CLASSES.contains(class)) {
            return Err(Reply::bad_request(format!("\"{class}\" is no filter; there are all, {}", CLASSES.join(", "))));
        }
        let count = parameter(query, "count").map(|text| text.parse::<usize>()).transpose();
        let count = count.map_err(|_error| Reply::bad_request("count is a whole number"))?;
        let search = parameter(query, "search").unwrap_or_default().to_lowercase();
        Ok(Self {
            class,
            words: search.split_whitespace().map(str::to_owned).collect(),
            after: parameter(query, "after"),
            count: count.unwrap_or(MAX_ROWS).min(MAX_ROWS),
        })
    }

    fn after<T: FromStr>(&self) -> Result<Option<T>, Reply> {
        let read = self.after.as_deref().map(str::parse).transpose();
        read.map_err(|_error| Reply::bad_request("after is what an answer of this list has as its next"))
    }

    /// Returns a page of a list that begins with the rows that were shown before, and the last row of the page if more follow.
    fn page<'a, T>(&self, found: &'a [T], was_shown: impl Fn(&T) -> bool) -> (&'a [T], Option<&'a T>) {
        let rest = &found[found.partition_point(was_shown)..];
        let page = &rest[..rest.len().min(self.count)];
        (page, page.last().filter(|_| page.len() < rest.len()))
    }

    fn takes(&self, entry: &Entry, clock: &Clock) -> bool {
        self.class.as_deref().is_none_or(|wanted| wanted == class(entry.state)) && self.finds(entry, clock)
    }

    /// Each word must stand in some field.
    fn finds(&self, entry: &Entry, clock: &Clock) -> bool {
        if self.words.is_empty() {
            return true;
        }
        let row = views::summary(entry, clock);
        let fields: Vec<String> =
            SEARCHED.iter().filter_map(|name| row[*name].as_str()).map(str::to_lowercase).collect();
        self.words.iter().all(|word| fields.iter().any(|field| field.contains(word)))
    }
}

/// Returns messages that something happened to, the last first, and how many there are. `next` is the place to go on from.
pub(super) fn messages(account: &Account, wanted: &Wanted, clock: &Clock) -> Result<Reply, Reply> {
    let after = wanted.after::<u64>()?;
    let found: Vec<&Entry> = account.log.latest().filter(|entry| wanted.takes(entry, clock)).collect();
    let (page, last) = wanted.page(&found, |entry| after.is_some_and(|after| entry.sequence >= after));
    let next = last.map(|entry| entry.sequence);
    let rows: Vec<Value> = page.iter().map(|entry| row(account, entry, clock)).collect();
    Ok(Reply::ok(json!({ "messages": rows, "total": found.len(), "next": next })))
}

/// Returns a message's row. A failed message that is no longer in the dead-letter queue can't be retried from there.
pub(super) fn row(account: &Account, entry: &Entry, clock: &Clock) -> Value {
    let mut row = views::summary(entry, clock);
    forget_dead(account, entry, &mut row);
    row["sequence"] = json!(entry.sequence);
    row
}

/// Removes the id of a DLQ entry that is gone.
pub(super) fn forget_dead(account: &Account, entry: &Entry, view: &mut Value) {
    let is_gone = entry.dlq_id.is_some_and(|id| !account.dlq.contains_key(&id));
    if let Some(fields) = view.as_object_mut().filter(|_| is_gone) {
        fields.remove("dlqId");
    }
}

/// Counts the messages of each filter.
pub(super) fn counts(account: &Account) -> Value {
    let mut counts = [0_u64; CLASSES.len()];
    for entry in account.log.latest() {
        let at = CLASSES.iter().position(|name| *name == class(entry.state));
        at.into_iter().for_each(|at| counts[at] += 1);
    }
    let each = CLASSES.iter().zip(counts).map(|(name, count)| ((*name).to_owned(), json!(count)));
    let all = ("all".to_owned(), json!(counts.iter().sum::<u64>()));
    Value::Object(each.chain([all]).collect())
}

/// Returns DLQ entries, the newest first, and how many there are. `next` is the place to go on from.
pub(super) fn dead(account: &Account, wanted: &Wanted, clock: &Clock) -> Result<Reply, Reply> {
    let after = wanted.after::<DlqId>()?;
    let is_found = |id: DlqId, dead: &Dead| wanted.words.is_empty() || wanted.finds(&Entry::of_dead(id, dead), clock);
    let found: Vec<(&DlqId, &Dead)> =
        account.dead_after(None).rev().filter(|(id, dead)| is_found(**id, dead)).collect();
    let (page, last) = wanted.page(&found, |(id, _)| after.is_some_and(|after| **id >= after));
    let next = last.map(|(id, _)| id.to_string());
    let rows: Vec<Value> = page.iter().map(|(id, dead)| views::summary(&Entry::of_dead(**id, dead), clock)).collect();
    Ok(Reply::ok(json!({ "messages": rows, "total": found.len(), "next": next })))
}
