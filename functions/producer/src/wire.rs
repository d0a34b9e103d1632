//! Configuration, clients, runtime: all that is built once, in Lambda's init phase.

use std::sync::Arc;

use lambda_http::Error;
use surehook::{
    config::Variables,
    outside,
    qstash::Client,
    store::{Store, routes_cache::RoutesCache},
    telemetry::{self, Telemetry},
    web::serve::serve,
};

use crate::{Producer, config::Config, door::Door, durable::Durable};

/// The table's part of the time in which a sender is answered, where it must be asked for the routes.
const FOR_ROUTES: u32 = 5;

/// Runs the producer until Lambda ends it.
pub async fn run() -> Result<(), Error> {
    telemetry::init();
    let producer = producer(Config::load(&Variables::of_environment().await)?).await?;
    serve(move |request, moment| {
        let producer = producer.clone();
        async move { producer.call(request, moment, outside::new_id()).await }
    })
    .await
}

async fn producer(config: Config) -> Result<Producer, Error> {
    let (url, token) = config.qstash.ok_or("QSTASH_TOKEN is required")?;
    let store = Store::connect(&config.table).await;
    let door = Door {
        routes: Arc::new(RoutesCache::new(store.clone(), ())),
        secrets: config.source_secrets,
        tokens: config.tokens,
        topics: config.topics,
        patience: config.answer_within / FOR_ROUTES,
    };
    match door.routes.at_hand(door.patience).await {
        Some(routes) => door.tell_missing(&routes),
        None => tracing::warn!("the routes could not be read at start; the first event reads them"),
    }
    Ok(Producer {
        door,
        durable: Durable {
            qstash: Client::new(url, token, config.answer_within)?,
            store,
            within: config.answer_within,
        },
        max_body_bytes: config.max_body_bytes,
        telemetry: Telemetry::new(config.stack.clone(), "producer", telemetry::on_lambda()),
        stack: config.stack,
    })
}
