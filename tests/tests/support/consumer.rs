//! Consumers in the test's own process, where a test needs its own handler, store or time.

use std::{sync::Arc, time::Duration};

use surehook::{
    breaker::BreakerPolicy,
    environment::Background,
    outside,
    qstash::{KeyRing, SigningKeys},
    secret::Secret,
    signing::SigningSecrets,
    sources::SourceSecrets,
    store::{
        Store,
        dynamodb::types::{AttributeValue, TransactWriteItem, Update},
    },
    telemetry::{Form, Telemetry},
    web::{Incoming, Moment},
};
use surehook_consumer::{
    Attempt, Consumer, Effects, Event, Handler, HandlerError,
    breakers::Breakers,
    deliver::{Deliverer, address::system_lookup, connect::Connections},
    routes::RoutesCache,
};
use surehook_local::{
    Stack,
    stack::{SIGNING_SECRET, TABLE},
};
use tokio::time::Instant;

use super::{signature_at, url};

/// The same consumer with another handler.
pub(crate) fn with_handler<H>(consumer: Consumer<Deliverer>, handler: H) -> Consumer<H> {
    Consumer {
        keys: consumer.keys,
        bases: consumer.bases,
        store: consumer.store,
        routes: consumer.routes,
        secrets: consumer.secrets,
        handler,
        handler_timeout: consumer.handler_timeout,
        retention: consumer.retention,
        max_body_bytes: consumer.max_body_bytes,
        unmatched: consumer.unmatched,
        heard: consumer.heard,
        telemetry: consumer.telemetry,
    }
}

/// A consumer in this process, its routes read beforehand, as in Lambda's init phase.
pub(crate) async fn consumer(stack: &Stack, store: surehook::store::Store) -> Consumer<Deliverer> {
    let routes = loaded_routes(stack.store(), breakers(stack.store())).await;
    consumer_with(stack, store, routes)
}

/// Returns an empty cache of routes.
pub(crate) fn routes_cache(store: Store, breakers: Arc<Breakers>) -> Arc<RoutesCache> {
    Arc::new(RoutesCache::new(store, breakers, Background::default()))
}

/// Returns a cache of routes that was loaded, as in Lambda's init phase.
pub(crate) async fn loaded_routes(store: Store, breakers: Arc<Breakers>) -> Arc<RoutesCache> {
    let routes = routes_cache(store, breakers);
    routes.load(moment()).await.unwrap();
    routes
}

/// Breakers over a table.
pub(crate) fn breakers(store: Store) -> Arc<Breakers> {
    let policy = BreakerPolicy { wait: Duration::from_secs(60) };
    Arc::new(Breakers::new(store, Some(policy), Telemetry::new("test", "consumer", Form::Text), Background::default()))
}

/// A consumer that knows its routes from this cache.
pub(crate) fn consumer_with(
    stack: &Stack,
    store: surehook::store::Store,
    routes: Arc<RoutesCache>,
) -> Consumer<Deliverer> {
    let handler = Deliverer {
        routes: Arc::clone(&routes),
        connections: Connections::new(true, system_lookup()).unwrap(),
        secrets: SigningSecrets::new(&[Secret::new(SIGNING_SECRET).unwrap()]).unwrap(),
        breakers: Arc::clone(routes.beside()),
    };
    Consumer {
        keys: KeyRing::fixed(SigningKeys::new(vec![Secret::new(stack.qstash.keys().0).unwrap()]).unwrap(), moment()),
        bases: vec![url(&stack.function_url("consumer"))],
        store,
        routes,
        secrets: SourceSecrets::default(),
        handler,
        handler_timeout: Duration::from_secs(8),
        retention: Duration::from_secs(14 * 86_400),
        max_body_bytes: 4_500_000,
        unmatched: Default::default(),
        heard: Default::default(),
        telemetry: Telemetry::new("test", "consumer", Form::Text),
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

/// Counts events in the table, each under a key of its own.
pub(crate) struct Counting;

impl Handler for Counting {
    async fn handle(&self, event: &Event, _: &Attempt) -> Result<Effects, HandlerError> {
        let update = Update::builder()
            .table_name(TABLE)
            .key("pk", AttributeValue::S(format!("count#{}", event.key)))
            .key("sk", AttributeValue::S("count".into()))
            .update_expression("ADD times :one")
            .expression_attribute_values(":one", AttributeValue::N("1".into()));
        Ok(Effects::writing(vec![TransactWriteItem::builder().update(update.build().unwrap()).build()]))
    }
}

/// How often [`Counting`] counted an event.
pub(crate) async fn times_counted(stack: &Stack, body: &str) -> u32 {
    let key = |text: String| AttributeValue::S(text);
    let request = stack.dynamo.client().get_item().table_name(TABLE).consistent_read(true);
    let request = request.key("pk", key(format!("count#{}", super::key(stack, body)))).key("sk", key("count".into()));
    let item = request.send().await.unwrap().item.unwrap_or_default();
    item.get("times").map_or(0, |times| times.as_n().unwrap().parse().unwrap())
}
