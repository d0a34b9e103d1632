//! Filters of lists and of bulk calls: values of one name are alternatives, names are conditions.

use std::collections::{BTreeMap, BTreeSet};

use surehook::Millis;
use url::Url;

use crate::{account::DlqId, message::Message};

/// Names that are no filter.
const OTHERS: [&str; 5] = ["cursor", "count", "order", "qstash_token", "user"];
/// Filters whose values may have commas in them.
const WHOLE: [&str; 3] = ["url", "path", "flowControlKey"];
/// Ids that select what a bulk call changes.
const BULK_IDS: [&str; 2] = ["messageIds", "dlqIds"];
/// Values of one filter, at most.
const MOST_VALUES: usize = 1_000;
/// All filters. An unknown one is refused: a bulk call whose filter is misspelt would otherwise mean everything.
const KNOWN: [&str; 18] = [
    "messageId",
    "messageIds",
    "dlqIds",
    "topicName",
    "queueName",
    "scheduleId",
    "url",
    "host",
    "path",
    "label",
    "flowControlKey",
    "fromDate",
    "toDate",
    "callerIp",
    "callerIP",
    "responseStatus",
    "state",
    "api",
];

/// What a call asks for.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    wanted: BTreeMap<String, Vec<String>>,
    pub(super) cursor: Option<String>,
    pub(super) count: Option<usize>,
}

/// What a filter looks at besides the message.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    /// When it happened, as callers see it.
    pub(super) at: Millis,
    pub(super) dlq_id: Option<DlqId>,
    pub(super) status: Option<u16>,
    pub(super) state: Option<&'static str>,
}

impl Filter {
    /// Reads a query.
    pub(super) fn read(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "cursor" => filter.cursor = Some(value.into_owned()).filter(|cursor| !cursor.is_empty()),
                "count" => filter.count = Some(count(&value)?),
                name if OTHERS.contains(&name) => {}
                name => filter.put(name, &value)?,
            }
        }
        Ok(filter)
    }

    /// Adds ids from a body: the older form of bulk calls.
    pub(super) fn with_ids(mut self, name: &str, ids: Vec<String>) -> Result<Self, String> {
        within_values(name, &ids)?;
        self.wanted.insert(name.to_owned(), ids);
        Ok(self)
    }

    /// Drops all filters but ids, if any ids are given.
    pub(super) fn ids_alone(mut self) -> Self {
        if BULK_IDS.iter().any(|name| self.wanted.contains_key(*name)) {
            self.wanted.retain(|name, _| BULK_IDS.contains(&name.as_str()));
        }
        self
    }

    fn put(&mut self, name: &str, value: &str) -> Result<(), String> {
        if !KNOWN.contains(&name) {
            return Err(format!("there is no filter \"{name}\""));
        }
        if ["fromDate", "toDate"].contains(&name) && value.parse::<Millis>().is_err() {
            return Err(format!("{name} must be milliseconds since 1970, not \"{value}\""));
        }
        let values = self.wanted.entry(name.to_owned()).or_default();
        if WHOLE.contains(&name) {
            values.push(value.to_owned());
        } else {
            values.extend(value.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()));
        }
        within_values(name, values)
    }

    /// How many different ids are asked for, if any are.
    pub(super) fn ids(&self, name: &str) -> Option<usize> {
        self.wanted.get(name).map(|ids| ids.iter().collect::<BTreeSet<_>>().len())
    }

    /// How many are wanted: what was asked for, within bounds.
    pub(super) fn page(&self, default: usize, most: usize) -> usize {
        self.count.unwrap_or(default).clamp(1, most)
    }

    /// Whether a message is wanted.
    pub(super) fn wants(&self, message: &Message, seen: Seen) -> bool {
        self.wanted.iter().all(|(name, values)| is_one_of(name, values, message, seen))
    }
}

fn within_values(name: &str, values: &[String]) -> Result<(), String> {
    let text = || format!("{name} can't have more than {MOST_VALUES} values");
    if values.len() > MOST_VALUES { Err(text()) } else { Ok(()) }
}

/// Whether what a filter looks at is one of its values. It is taken from the message once, however many values there are.
fn is_one_of(name: &str, values: &[String], message: &Message, seen: Seen) -> bool {
    let origin = &message.origin;
    let has = |subject: Option<&str>| subject.is_some_and(|subject| values.iter().any(|value| value == subject));
    let url = || Url::parse(&message.url).ok();
    let date = |holds: fn(Millis, Millis) -> bool| {
        values.iter().any(|value| value.parse().is_ok_and(|date| holds(seen.at, date)))
    };
    match name {
        "messageId" | "messageIds" => has(Some(&message.id)),
        "dlqIds" => has(seen.dlq_id.map(|id| id.to_string()).as_deref()),
        "topicName" => has(origin.topic.as_deref()),
        "queueName" => has(origin.queue.as_deref()),
        "scheduleId" => has(origin.schedule.as_deref()),
        "url" => has(Some(&message.url)),
        "host" => url().is_some_and(|url| values.iter().any(|value| is_host(&url, value))),
        "path" => url().is_some_and(|url| has(Some(url.path()))),
        "label" => message.options.labels.iter().any(|label| has(Some(label))),
        "flowControlKey" => has(message.options.flow.as_ref().map(|flow| flow.key.as_str())),
        "callerIp" | "callerIP" => has(Some(&origin.caller_ip)),
        "fromDate" => date(|at, from| at >= from),
        "toDate" => date(|at, to| at <= to),
        "responseStatus" => has(seen.status.map(|status| status.to_string()).as_deref()),
        "state" => seen.state.is_some_and(|state| values.iter().any(|value| is_state(state, value))),
        _ => false,
    }
}

/// A host with or without its port.
fn is_host(url: &Url, value: &str) -> bool {
    let host = url.host_str().unwrap_or_default();
    host.eq_ignore_ascii_case(value) || url.port().is_some_and(|port| format!("{host}:{port}") == value)
}

/// `IN_PROGRESS` is a filter only, and "cancelled" is spelt in two ways.
fn is_state(state: &str, wanted: &str) -> bool {
    match wanted {
        "IN_PROGRESS" => ["ACTIVE", "RETRY", "ERROR"].contains(&state),
        "CANCELED" => state == "CANCELLED",
        wanted => state == wanted,
    }
}

fn count(value: &str) -> Result<usize, String> {
    value.parse().map_err(|_bad| format!("count must be a whole number, not \"{value}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::tests::message;

    fn wants(query: &str, seen: Seen) -> bool {
        Filter::read(query).unwrap().wants(&message("https://a.example:8443/in?x=1,2"), seen)
    }

    #[test]
    fn values_of_a_name_are_alternatives_and_names_are_conditions() {
        let seen = Seen { at: 50, status: Some(503), state: Some("ERROR"), dlq_id: "50-0".parse().ok() };
        for query in [
            "",
            "messageId=msg_0&messageId=msg_1",
            "messageIds=msg_0,msg_1",
            "host=a.example&path=/in",
            "host=a.example:8443",
            "url=https://a.example:8443/in?x=1,2",
            "fromDate=50&toDate=50",
            "responseStatus=500,503&state=IN_PROGRESS",
            "dlqIds=50-0",
        ] {
            assert!(wants(query, seen), "{query}");
        }
        for query in
            ["messageId=msg_0", "host=a.example&path=/", "fromDate=51", "toDate=49", "state=CANCELED", "label=l"]
        {
            assert!(!wants(query, seen), "{query}");
        }
    }

    #[test]
    fn a_misspelt_filter_does_not_mean_everything() {
        for bad in ["lable=x", "fromDate=yesterday", "count=all"] {
            assert!(Filter::read(bad).is_err(), "{bad}");
        }
    }
}
