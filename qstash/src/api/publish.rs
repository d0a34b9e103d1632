//! Publish, enqueue and batch.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Reply, named, wrong_method};
use crate::{
    account::{Order, Published, Refused},
    choices::DUPLICATE,
    destination::Destination,
    message::Origin,
    options::Given,
};

/// One message of a batch.
#[derive(Debug, Deserialize)]
struct Item {
    destination: String,
    #[serde(default)]
    headers: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    queue: Option<String>,
}

impl Call<'_> {
    pub(super) fn publish(self, destination: &str) -> Result<Reply, Reply> {
        self.publish_to(destination, None)
    }

    /// `<queue>/<destination>`.
    pub(super) fn enqueue(self, rest: &str) -> Result<Reply, Reply> {
        let (queue, destination) = rest.split_once('/').unwrap_or((rest, ""));
        let queue = named(queue)?.to_owned();
        self.publish_to(destination, Some(queue))
    }

    fn publish_to(self, destination: &str, queue: Option<String>) -> Result<Reply, Reply> {
        if self.method != Method::POST {
            return Err(wrong_method());
        }
        let order = self.order(destination, queue).map_err(|refused| self.refused(&refused))?;
        let published = self.change(|account, moment| account.publish(order, moment));
        let published = published.map_err(|refused| self.refused(&refused))?;
        let status = StatusCode::from_u16(self.server.choices.publish_status).unwrap_or(StatusCode::CREATED);
        let status = if published.deduplicated { DUPLICATE } else { status };
        Ok(Reply::with(status, shown(&published)))
    }

    /// What this call asks to be delivered.
    fn order(&self, destination: &str, queue: Option<String>) -> Result<Order, Refused> {
        let given = without_cron(Given::of_call(&self.parts.headers, self.query))?;
        self.order_with(destination, given, queue)
    }

    pub(super) fn order_with(&self, destination: &str, given: Given, queue: Option<String>) -> Result<Order, Refused> {
        let destination = Destination::read(destination, self.query, self.server.choices.strip_query_options)?;
        Ok(Order { destination, given, body: self.body.clone(), origin: self.origin(queue) })
    }

    fn origin(&self, queue: Option<String>) -> Origin {
        Origin { queue, caller_ip: self.caller_ip.clone(), ..Origin::default() }
    }

    pub(super) fn batch(self) -> Result<Reply, Reply> {
        if self.method != Method::POST {
            return Err(wrong_method());
        }
        let items: Vec<Item> = self.json()?;
        let orders: Vec<Result<Order, Refused>> = items.into_iter().map(|item| self.item(item)).collect();
        let whole = self.server.choices.batch_all_or_nothing;
        let all = self.change(|account, moment| account.publish_all(orders, whole, moment));
        let shown_or_told = |one: Result<Published, Refused>| match one {
            Ok(published) => shown(&published),
            Err(refused) => json!({ "error": refused.to_string() }),
        };
        let all = all.map_err(|refused| self.refused(&refused))?;
        Ok(Reply::ok(all.into_iter().map(shown_or_told).collect()))
    }

    /// An item as if it had been published by a call of its own.
    fn item(&self, item: Item) -> Result<Order, Refused> {
        let text = item.destination.split('#').next().unwrap_or_default();
        let (raw, query) = text.split_once('?').unwrap_or((text, ""));
        let destination = Destination::read(raw, query, false)?;
        let headers = item.headers.unwrap_or_default();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let pairs: Vec<(String, String)> = headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
        let given = without_cron(Given::of_pairs(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))))?;
        let body = item.body.map(Bytes::from).unwrap_or_default();
        Ok(Order { destination, given, body, origin: self.origin(item.queue.filter(|queue| !queue.is_empty())) })
    }
}

/// What a call gave, if it does not mean a schedule.
fn without_cron(given: Given) -> Result<Given, Refused> {
    if given.get("upstash-cron").is_some() { Err(Refused::CronHere) } else { Ok(given) }
}

/// A topic is answered with an array, even of one; a copy names the message that is known.
fn shown(published: &Published) -> Value {
    let one = |(id, url): &(String, String)| {
        let mut one = json!({ "messageId": id, "url": url });
        if published.deduplicated {
            one["deduplicated"] = true.into();
        }
        one
    };
    let mut all = published.messages.iter().map(one);
    if published.many { all.collect() } else { all.next().unwrap_or_default() }
}
