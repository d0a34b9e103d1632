//! Configuration, clients, runtime: all that is built once, in Lambda's init phase.

use std::sync::Arc;

use lambda_http::Error;
use surehook::{
    config::Variables,
    environment::Environment,
    outside,
    qstash::Client,
    store::{Store, routes_cache::RoutesCache},
    telemetry::{self, Form, Telemetry},
    web::{Moment, serve::serve},
};

use crate::{Producer, config::Config, door::Door, durable::Durable, kept::RejectedRequests, senders::Senders};

/// The table's part of the time in which a sender is answered, where it must be asked for the routes.
const FOR_ROUTES: u32 = 5;

/// Runs the producer until Lambda ends it.
pub async fn run() -> Result<(), Error> {
    telemetry::init();
    let environment = Environment::new(Moment::of_start());
    let producer = connect(&Variables::of_environment().await, &environment).await?;
    serve(environment, move |request, moment| {
        let producer = producer.clone();
        async move { producer.call(request, moment, outside::new_id()).await }
    })
    .await
}

/// Creates the producer that these variables describe.
pub async fn connect(variables: &Variables, environment: &Environment) -> Result<Producer, Error> {
    let config = Config::load(variables)?;
    let (url, token) = config.qstash.ok_or("QSTASH_TOKEN is required")?;
    let store = Store::connect(&config.table).await;
    let routes = RoutesCache::new(store.clone(), (), environment.background());
    let door = Door {
        routes: Arc::new(routes.refreshed_after(config.routes_refresh)),
        secrets: config.source_secrets,
        tokens: config.tokens,
        topics: config.topics,
        patience: config.answer_within / FOR_ROUTES,
    };
    match door.routes.available(door.patience, environment.start()).await {
        Some(routes) => door.tell_missing(&routes),
        None => tracing::warn!("the routes could not be read at start; the first event reads them"),
    }
    let id = outside::new_id();
    let telemetry = Telemetry::new(config.stack.clone(), "producer", Form::of_process(config.metrics));
    Ok(Producer {
        rejected: RejectedRequests::new(store.clone(), door.patience, &id),
        door,
        senders: Senders::new(store.clone(), environment.background(), telemetry.clone(), &id),
        durable: Durable {
            qstash: Client::new(url, token, config.answer_within)?,
            store,
            within: config.answer_within,
        },
        max_body_bytes: config.max_body_bytes,
        telemetry,
        stack: config.stack,
    })
}
