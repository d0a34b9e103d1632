//! The rows of the page. Counters, list and search are all about the messages that the log still has.

use serde_json::{Value, json};

use super::{Reply, parameter, views};
use crate::{
    account::{Account, Entry},
    clock::Clock,
    message::State,
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
    /// The place in the log behind which the page goes on.
    after: Option<u64>,
    count: usize,
}

impl Wanted {
    pub(super) fn read(query: &str) -> Result<Self, Reply> {
        let class = parameter(query, "state").filter(|class| class != "all");
        if let Some(class) = class.as_deref().filter(|class| !CLASSES.contains(class)) {
            return Err(Reply::bad_request(format!("\"{class}\" is no filter; there are all, {}", CLASSES.join(", "))));
        }
        let number = |name| parameter(query, name).map(|text| text.parse::<u64>()).transpose();
        let bad = |_error| Reply::bad_request("count and after are whole numbers");
        let count = number("count").map_err(bad)?.and_then(|count| usize::try_from(count).ok());
        let search = parameter(query, "search").unwrap_or_default().to_lowercase();
        Ok(Self {
            class,
            words: search.split_whitespace().map(str::to_owned).collect(),
            after: number("after").map_err(bad)?,
            count: count.unwrap_or(MAX_ROWS).min(MAX_ROWS),
        })
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
pub(super) fn messages(account: &Account, wanted: &Wanted, clock: &Clock) -> Value {
    let found: Vec<&Entry> = account.log.latest().filter(|entry| wanted.takes(entry, clock)).collect();
    let begin = wanted.after.map_or(0, |after| found.partition_point(|entry| entry.sequence >= after));
    let page = &found[begin..found.len().min(begin + wanted.count)];
    let is_last = begin + page.len() == found.len();
    let next = page.last().filter(|_| !is_last).map(|entry| entry.sequence);
    let rows: Vec<Value> = page.iter().map(|entry| row(account, entry, clock)).collect();
    json!({ "messages": rows, "total": found.len(), "next": next })
}

/// Returns a message's row. A failed message that is no longer in the dead-letter queue can't be retried from there.
pub(super) fn row(account: &Account, entry: &Entry, clock: &Clock) -> Value {
    let mut row = views::summary(entry, clock);
    forget_dead(account, entry, &mut row);
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
    let mut counts = serde_json::Map::new();
    for name in ["all"].into_iter().chain(CLASSES) {
        counts.insert(name.to_owned(), json!(0));
    }
    for entry in account.log.latest() {
        for name in ["all", class(entry.state)] {
            counts[name] = json!(counts[name].as_u64().unwrap_or_default() + 1);
        }
    }
    Value::Object(counts)
}

/// Returns DLQ entries, the newest first.
pub(super) fn dead(account: &Account, wanted: &Wanted, clock: &Clock) -> Value {
    let rows = account.dead_after(None).rev().take(wanted.count);
    let rows: Vec<Value> = rows.map(|(id, dead)| views::summary(&Entry::of_dead(*id, dead), clock)).collect();
    json!({ "messages": rows, "total": account.dlq.len() })
}
