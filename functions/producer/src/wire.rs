//! Configuration, clients, runtime: all that is built once, in Lambda's init phase.

use std::time::Duration;

use lambda_http::Error;
use surehook::{
    outside,
    qstash::Client,
    store::Store,
    telemetry::{self, Telemetry},
    web::serve::serve,
};

use crate::{Producer, config::Config};

/// How long QStash may take before the outbox serves. Twice this is the longest that a sender waits.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// Runs the producer until Lambda ends it.
pub async fn run() -> Result<(), Error> {
    telemetry::init();
    let config = Config::load(&outside::variable)?;
    let (url, token) = config.qstash.ok_or("QSTASH_TOKEN is required")?;
    let producer = Producer {
        stack: config.stack.clone(),
        token: config.token.ok_or("PRODUCER_TOKEN is required")?,
        topics: config.topics,
        qstash: Client::new(url, token, PATIENCE)?,
        store: Store::connect(&config.table).await,
        patience: PATIENCE,
        max_body_bytes: config.max_body_bytes,
        telemetry: Telemetry::new(config.stack, "producer", telemetry::on_lambda()),
    };
    serve(move |request, moment| {
        let producer = producer.clone();
        async move { producer.call(request, moment, outside::new_id()).await }
    })
    .await
}
