//! The canary: an event that goes the whole way. QStash signs it and brings it, the consumer verifies, claims and completes it,
//! and the ledger says when. It goes nowhere from there: no route can name its source.

use std::time::Duration;

use bytes::Bytes;
use surehook::{
    Millis,
    identity::{Delivered, Endpoint, EventKey, Identity, identify},
    ledger::{Record, Status},
    outside,
    qstash::{Client, client::Destination},
    sources::CANARY,
    store::Store,
    web::EndpointUrl,
};
use tokio::time::{Instant, sleep};

use crate::{
    doctor::facts::{Canary, Facts},
    text::with_causes,
};

/// How long it may take: a cold start, and a busy QStash.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often the ledger is asked.
const INTERVAL: Duration = Duration::from_millis(100);

/// Where it is delivered below a function's URL.
pub(super) fn url_below(base: &EndpointUrl) -> EndpointUrl {
    base.below(&format!("/{CANARY}"), "")
}

/// A body that never was before.
pub(super) fn body() -> String {
    serde_json::json!({ "canary": outside::new_id() }).to_string()
}

pub(super) async fn send(facts: &Facts, client: &Client, store: &Store) -> Result<Canary, String> {
    let bases = facts.consumer_urls();
    let url = url_below(bases.first().ok_or("CONSUMER_URL is missing")?);
    let body = Bytes::from(body());
    let key = key(&url, &bases, &body);
    // One try: who waits for it has no time for a second, and it must not come once nobody waits.
    let headers = [("Upstash-Retries".to_owned(), "0".to_owned())];
    let (began, started) = (outside::now(), Instant::now());
    let published = client.publish(&Destination::Url(url.to_string()), &headers, body).await;
    let published = published.map_err(|error| format!("it could not be published: {}", with_causes(&error)))?;
    let message = published.first().cloned().unwrap_or_default();
    let took = started.elapsed();
    let arrived = follow(&key, &message, client, store).await;
    if arrived.is_err() {
        clean_up(client, &message).await;
    }
    arrived.map(|record| measured(&record, began, took))
}

fn key(url: &EndpointUrl, bases: &[EndpointUrl], body: &Bytes) -> EventKey {
    identify(&Endpoint::of(url, bases), &Identity::Body, Delivered::bare(body, "")).key
}

/// Waits until the record says done, or QStash says that it has given up.
async fn follow(key: &EventKey, message: &str, client: &Client, store: &Store) -> Result<Record, String> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        let record =
            store.record(key).await.map_err(|error| format!("its record can't be read: {}", with_causes(&error)))?;
        if let Some(record) = record.filter(|record| record.status == Status::Done) {
            return Ok(record);
        }
        if let Some(why) = given_up(client, message).await {
            return Err(why);
        }
        sleep(INTERVAL).await;
    }
    Err(format!("nothing was heard of it for {} s; its message is {message}", PATIENCE.as_secs()))
}

async fn given_up(client: &Client, message: &str) -> Option<String> {
    let entries = client.logs(message).await.ok()?;
    let last = entries.iter().rev().find(|entry| entry.state == "FAILED" || entry.state == "ERROR")?;
    let said = match (last.response_status, &last.error) {
        (Some(status), _) if status > 0 => format!("was answered {status}"),
        (_, Some(error)) => error.clone(),
        _ => "got no answer".to_owned(),
    };
    Some(format!("QStash called {} and {said}", last.url))
}

/// A canary that failed, or comes late, must not become a dead letter of the stack: it would ring the alarm.
async fn clean_up(client: &Client, message: &str) {
    let _gone_already = client.cancel(message).await;
    if let Ok(Some(entry)) = client.dlq_find(message).await {
        let _left_to_the_sweep = client.dlq_delete(&entry.dlq_id).await;
    }
}

fn measured(record: &Record, began: Millis, published: Duration) -> Canary {
    let span = |millis: Millis| Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    let handled = span(record.updated_at - record.first_seen);
    // Two machines' clocks: what they differ by falls upon the way between them.
    let delivered = span(record.first_seen - began).saturating_sub(published);
    Canary { published, delivered, handled }
}
