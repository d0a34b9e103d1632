//! Consumers in the test's own process, where a test needs its own handler, store or time.

use std::{sync::Arc, time::Duration};

use surehook::{
    outside,
    qstash::SigningKeys,
    secret::Secret,
    telemetry::Telemetry,
    web::{Incoming, Moment},
};
use surehook_consumer::{Consumer, deliver::Deliverer, routes::RoutesCache, sign::SigningSecrets};
use surehook_local::Stack;
use tokio::time::Instant;

use super::{signature_at, url};

/// The same consumer with another handler.
pub(crate) fn with_handler<H>(consumer: Consumer<Deliverer>, handler: H) -> Consumer<H> {
    Consumer {
        keys: consumer.keys,
        bases: consumer.bases,
        store: consumer.store,
        routes: consumer.routes,
        handler,
        handler_timeout: consumer.handler_timeout,
        retention: consumer.retention,
        max_body_bytes: consumer.max_body_bytes,
        telemetry: consumer.telemetry,
    }
}

/// A consumer in this process, its routes read beforehand, as in Lambda's init phase.
pub(crate) async fn consumer(stack: &Stack, store: surehook::store::Store) -> Consumer<Deliverer> {
    let routes = Arc::new(RoutesCache::new(stack.store()));
    routes.refresh(true).await.unwrap();
    consumer_with(stack, store, routes)
}

/// A consumer that knows its routes from this cache.
pub(crate) fn consumer_with(
    stack: &Stack,
    store: surehook::store::Store,
    routes: Arc<RoutesCache>,
) -> Consumer<Deliverer> {
    let handler = Deliverer::new(Arc::clone(&routes), SigningSecrets::new(&[]).unwrap(), true).unwrap();
    Consumer {
        keys: SigningKeys::new(vec![Secret::new(stack.qstash.keys().0).unwrap()]).unwrap(),
        bases: vec![url(&stack.function_url("consumer"))],
        store,
        routes,
        handler,
        handler_timeout: Duration::from_secs(8),
        retention: Duration::from_secs(14 * 86_400),
        max_body_bytes: 4_500_000,
        telemetry: Telemetry::new("test", "consumer", false),
    }
}

pub(crate) fn moment() -> Moment {
    Moment { now: outside::now(), started: Instant::now(), deadline: None }
}

pub(crate) fn incoming(stack: &Stack, body: &str) -> Incoming {
    incoming_at(stack, body, outside::now())
}

/// A delivery at a time of the test's choice, in milliseconds.
pub(crate) fn incoming_at(stack: &Stack, body: &str, now: i64) -> Incoming {
    let url = stack.function_url("consumer/strapi");
    let mut headers = http::HeaderMap::new();
    headers.insert("upstash-signature", signature_at(stack, &url, body.as_bytes(), now / 1_000).parse().unwrap());
    headers.insert(
        "upstash-message-id",
        "msg_26hZCxZCuWyyTWPmSVBrNB882AMRP8TsrTzVKVsUg4NWwrkBPUcHzhNjWvDGmXoDL".parse().unwrap(),
    );
    Incoming {
        method: "POST".into(),
        path: "/strapi".into(),
        query: String::new(),
        domain: None,
        headers,
        body: body.to_owned().into(),
        request_id: outside::new_id(),
    }
}
