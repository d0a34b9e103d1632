//! What is left after a load, read from where it stands: the table and QStash.

use std::collections::HashMap;

use surehook::{
    identity::{Delivered, Endpoint, EventKey, Identity, identify},
    ledger::Record,
    store::StoreError,
};
use surehook_local::Stack;

use super::{
    account::{Found, Recorded},
    plan::Plan,
};
use crate::Failure;

/// The key of an event, made of its body anew, as the consumer makes it.
pub(super) fn key_of(plan: &Plan, endpoint: &Endpoint, number: u64) -> EventKey {
    identify(endpoint, &Identity::Strapi, Delivered::bare(&plan.body(number), "")).key
}

/// Reads every record of the table, and counts what QStash still has.
pub(super) async fn look(stack: &Stack, endpoint: &Endpoint, plan: &Plan, published: u64) -> Result<Found, Failure> {
    let mut numbers: HashMap<EventKey, u64> = HashMap::new();
    for number in 0..published {
        numbers.insert(key_of(plan, endpoint, number), number);
        // Large bodies take a while, and Ctrl-C is to be heard.
        tokio::task::yield_now().await;
    }
    let mut found = Found { dead: stack.qstash.dlq_len(), waiting: stack.qstash.pending(), ..Found::default() };
    stack.store().each_record(|key, record| note(&mut found, numbers.get(&key), record)).await?;
    Ok(found)
}

fn note(found: &mut Found, number: Option<&u64>, record: Result<Record, StoreError>) {
    match (number, record) {
        (_, Err(_unreadable)) => found.unreadable += 1,
        (None, Ok(_)) => found.strangers += 1,
        (Some(number), Ok(Record { status, attempts, history, .. })) => {
            found.records.insert(*number, Recorded { status, attempts, failed: history.len() });
        }
    }
}
