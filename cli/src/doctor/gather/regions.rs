//! The regions of QStash beside the one to publish to: their keys, and what they still have of this stack.

use std::collections::BTreeMap;

use surehook::{
    qstash::{Account, Client, ClientError, LogEntry, log::end_of},
    web::EndpointUrl,
};

use super::{QSTASH_TIMEOUT, read};
use crate::{
    doctor::facts::{Facts, Leftover, OtherRegion, Unknown, is_same_function},
    text::with_causes,
};

/// Pages of 100 entries that are read of a region's log, and of its dead-letter queue.
const MAX_PAGES: usize = 50;
/// The largest page of a dead-letter queue that is read, in bytes.
const MAX_BYTES: usize = 32 * 1_024 * 1_024;

/// The functions of this stack that QStash calls.
struct Called {
    consumers: Vec<EndpointUrl>,
    requeuers: Vec<EndpointUrl>,
}

impl Called {
    /// Returns whether a message belongs to this stack, by its URL or by the URL of its failure callback.
    fn has(&self, url: &str, callback: Option<&str>) -> bool {
        let is_requeuer = |url: &EndpointUrl| self.requeuers.iter().any(|own| is_same_function(own, url));
        let is_consumer = |url: &EndpointUrl| self.consumers.iter().any(|base| url.path_below(base).is_some());
        let [url, callback] = [Some(url), callback].map(|url| url.and_then(|url| EndpointUrl::parse(url).ok()));
        url.is_some_and(|url| is_consumer(&url) || is_requeuer(&url)) || callback.is_some_and(|url| is_requeuer(&url))
    }
}

/// Asks each region that the DLQ processor calls besides its own.
pub(super) async fn others(facts: &Facts) -> Vec<OtherRegion> {
    let variables = &facts.function("dlq-processor").variables;
    // What is wrong with them is reported by the rule of settings.
    let accounts = read(variables, |reader| reader.qstash_accounts()).ok().flatten().unwrap_or_default();
    let called = Called { consumers: facts.consumer_urls(), requeuers: facts.requeuer_urls() };
    let mut others = Vec::new();
    for account in accounts.into_iter().skip(1) {
        others.extend(other(account, &called).await);
    }
    others
}

async fn other(account: Account, called: &Called) -> Option<OtherRegion> {
    let region = account.region?;
    let client =
        Client::new(account.url, account.token, QSTASH_TIMEOUT).map_err(|error| Unknown::Unset(with_causes(&error)));
    let client = match client {
        Ok(client) => client,
        Err(why) => return Some(OtherRegion { region, keys: Err(why.clone()), leftover: Err(why) }),
    };
    let keys = client.keys().await.map_err(Unknown::from);
    let leftover = leftover(&client, called).await.map_err(Unknown::from);
    Some(OtherRegion { region, keys, leftover })
}

async fn leftover(client: &Client, called: &Called) -> Result<Leftover, ClientError> {
    let (messages, is_log_whole) = waiting(client, called).await?;
    let (entries, is_queue_whole) = dead(client, called).await?;
    Ok(Leftover { messages, entries, is_whole: is_log_whole && is_queue_whole })
}

/// Counts the messages of this stack that the log shows no end of. QStash lists waiting messages in no other way.
async fn waiting(client: &Client, called: &Called) -> Result<(usize, bool), ClientError> {
    let (mut by_message, mut cursor) = (BTreeMap::<String, Vec<LogEntry>>::new(), None);
    for _ in 0..MAX_PAGES {
        let (entries, next) = client.log_page(cursor.as_deref()).await?;
        for entry in entries.into_iter().filter(|entry| called.has(&entry.url, entry.failure_callback.as_deref())) {
            by_message.entry(entry.message_id.clone()).or_default().push(entry);
        }
        cursor = next;
        if cursor.is_none() {
            break;
        }
    }
    Ok((by_message.values().filter(|entries| end_of(entries).is_none()).count(), cursor.is_none()))
}

/// Counts the entries of this stack in the dead-letter queue.
async fn dead(client: &Client, called: &Called) -> Result<(usize, bool), ClientError> {
    let (mut found, mut cursor) = (0, None);
    for _ in 0..MAX_PAGES {
        let page = client.dlq_page(cursor.as_deref(), 100, MAX_BYTES).await?;
        let entries = page.entries().filter_map(Result::ok);
        found += entries.filter(|entry| called.has(&entry.url, entry.failure_callback.as_deref())).count();
        cursor = page.cursor;
        if cursor.is_none() {
            break;
        }
    }
    Ok((found, cursor.is_none()))
}
