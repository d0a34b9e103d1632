//! What an outage left: entries in QStash's dead-letter queue, or rows in the outbox.

use std::{process::Stdio, time::Duration};

use axum::{Router, extract::Request, http::StatusCode};
use futures::{StreamExt, stream};
use surehook::{
    identity::{Delivered, Endpoint, Identity, identify},
    ledger::{Claim, Failure, rules::Attempted},
    outside,
    qstash::{Client, client::Destination},
    secret::Secret,
    store::{
        Store,
        outbox::OutboxRow,
        shelves::{Order, Walk},
    },
    web::EndpointUrl,
};
use surehook_local::{Stack, StackOptions, qstash::TOKEN};
use tokio::process::Command;

use crate::{TO_QSTASH, TO_TABLE, WORKER, network};

/// Calls of the stage at the same time.
const AT_ONCE: usize = 64;
const TOPIC: &str = "orders";

/// What is worked off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Entries that are delivered again later.
    Requeue,
    /// Entries that become dead letters.
    Bury,
    /// Rows of the outbox.
    Outbox,
    /// Held rows of one topic, which has an endpoint again.
    Held,
}

/// A stack with something to work off.
pub(crate) struct Stage {
    stack: Stack,
    endpoint: String,
    work: Work,
    count: usize,
}

impl Stage {
    pub(crate) async fn set(work: Work, size: usize, count: usize) -> Self {
        let stack = Stack::start(StackOptions { parallelism: 1_000, has_bare_dynamo: true, ..StackOptions::default() })
            .await
            .unwrap();
        let endpoint = network::serve(Router::new().fallback(answer)).await;
        let stage = Self { stack, endpoint, work, count };
        match work {
            Work::Requeue | Work::Bury => stage.fail_all(size).await,
            Work::Outbox | Work::Held => stage.store_all(size).await,
        }
        stage
    }

    fn client(&self) -> Client {
        let url = self.stack.qstash.url.parse().unwrap();
        Client::new(url, Secret::new(TOKEN).unwrap(), Duration::from_secs(30)).unwrap()
    }

    fn store(&self) -> Store {
        network::store_at(&self.stack.dynamo.url)
    }

    /// Publishes events to one topic whose consumer fails at all of them, and writes their records as the consumer does.
    async fn fail_all(&self, size: usize) {
        let path = if self.work == Work::Bury { "refused" } else { "failed" };
        let url = format!("{}/consumer/strapi?{path}", self.endpoint);
        let client = &self.client();
        client.add_endpoints(TOPIC, std::slice::from_ref(&url)).await.unwrap();
        let url = &EndpointUrl::parse(&url).unwrap();
        stream::iter(0..self.count)
            .for_each_concurrent(AT_ONCE, |number| async move {
                let body = event(number, size);
                self.record(url, &body).await;
                let headers = [("Upstash-Retries", "0"), ("Content-Type", "application/json")];
                let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
                client.publish(&Destination::Topic(TOPIC.to_owned()), &headers, body.into()).await.unwrap();
            })
            .await;
        self.stack.qstash.idle().await;
        assert_eq!(self.stack.qstash.dlq_len(), self.count);
    }

    async fn record(&self, url: &EndpointUrl, body: &str) {
        let base = EndpointUrl::parse(&format!("{}/consumer", self.endpoint)).unwrap();
        let named = identify(&Endpoint::of(url, &[base]), &Identity::Strapi, Delivered::bare(body.as_bytes(), ""));
        let now = outside::now();
        let claim = Claim {
            owner: "bench".into(),
            content: named.content,
            source: "strapi".into(),
            event_type: named.event_type,
            message_id: String::new(),
            now,
            lease_until: now + 11_000,
        };
        let store = self.store();
        let held = store.claim(&named.key, &claim).await.unwrap();
        let failure = Failure { class: "transient".into(), text: "503".into() };
        store.fail(&named.key, &held, &Attempted::default(), &failure, now).await.unwrap();
    }

    async fn store_all(&self, size: usize) {
        let endpoint = format!("{}/ok", self.endpoint);
        self.client().add_endpoints(TOPIC, &[endpoint]).await.unwrap();
        let (store, now) = (&self.store(), outside::now());
        stream::iter(0..self.count)
            .for_each_concurrent(AT_ONCE, |number| async move {
                let id = format!("row-{number}");
                let headers = vec![
                    ("Upstash-Deduplication-Id".to_owned(), id.clone()),
                    ("Content-Type".to_owned(), "application/json".to_owned()),
                ];
                let at = now + i64::try_from(number).unwrap();
                let row = OutboxRow { id, at, topic: TOPIC.into(), headers, body: event(number, size).into() };
                match self.work {
                    Work::Held => drop(store.hold(&row).await.unwrap()),
                    _ => store.put_outbox(&row).await.unwrap(),
                }
            })
            .await;
    }

    /// Starts the processor behind the network, and waits until it has nothing left to do; returns its memory in MB.
    pub(crate) async fn sweep_until_done(&self) -> u64 {
        let table = network::way(&self.stack.dynamo.url, TO_TABLE, true).await;
        let qstash = network::way(&self.stack.qstash.url, TO_QSTASH, false).await;
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(WORKER).args([&table, &qstash, &self.endpoint]).stdout(Stdio::piped()).kill_on_drop(true);
        let output = command.spawn().unwrap().wait_with_output().await.unwrap();
        assert!(output.status.success(), "the processor failed");
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }

    /// Nothing is lost: each entry waits at QStash or is a dead letter, each row was delivered.
    pub(crate) async fn verify(&self) {
        assert_eq!(self.stack.qstash.dlq_len(), 0);
        match self.work {
            Work::Requeue => assert_eq!(self.stack.qstash.pending(), self.count),
            Work::Bury => {
                let (store, mut letters) = (self.store(), 0);
                let mut shelves = store.shelves(Walk::all(Order::OldestFirst)).await.unwrap();
                while shelves.next().await.unwrap().is_some() {
                    letters += 1;
                }
                assert_eq!(letters, self.count);
            }
            Work::Outbox | Work::Held => self.stack.qstash.idle().await,
        }
    }
}

/// The consumer, as an outage has it: refused, failed, or as it should be.
async fn answer(request: Request) -> StatusCode {
    match request.uri().query() {
        Some("failed") => StatusCode::SERVICE_UNAVAILABLE,
        Some("refused") => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::OK,
    }
}

/// A Strapi event of this size, which does not compress away.
fn event(number: usize, size: usize) -> String {
    let mut state = number as u64 + 1;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'a' + ((state >> 33) % 26) as u8)
    });
    let noise: String = noise.take(size.saturating_sub(120)).collect();
    format!(
        r#"{{"event":"entry.create","createdAt":"2026-01-01T00:00:00.000Z","model":"m","uid":"api::m.m","entry":{{"n":{number},"t":"{noise}"}}}}"#
    )
}
