//! Configuration, clients, runtime: all that is built once, in Lambda's init phase.

use std::{sync::Arc, time::Duration};

use lambda_http::Error;
use surehook::{
    config::Variables,
    environment::Environment,
    failure::FailurePath,
    outside,
    qstash::{Clients, KeyRing},
    store::{Store, routes_cache::RoutesCache},
    telemetry::{self, Form, Telemetry},
    web::{Moment, serve::serve},
};

use crate::{Requeuer, config::Config};

/// How long one call to QStash may take.
const QSTASH_TIMEOUT: Duration = Duration::from_secs(10);

/// Runs the requeuer until Lambda ends it.
pub async fn run() -> Result<(), Error> {
    telemetry::init();
    let variables = Variables::of_environment().await;
    let config = Config::load(&variables)?;
    let accounts = config.qstash.ok_or("QSTASH_TOKEN is required")?;
    let path = FailurePath {
        store: Store::connect(&config.table).await,
        qstash: Clients::new(accounts, QSTASH_TIMEOUT)?.ok_or("QSTASH_TOKEN is required")?,
        bases: config.consumers,
        policy: config.lifetimes.retry,
        retention: config.lifetimes.retention,
    };
    let environment = Environment::new(Moment::of_start());
    let requeuer = Requeuer {
        keys: Arc::new(KeyRing::new(config.keys.ok_or("signing keys are required")?, variables, environment.start())),
        bases: config.bases,
        routes: Arc::new(RoutesCache::new(path.store.clone(), (), environment.background())),
        path: Arc::new(path),
        telemetry: Telemetry::new(config.stack, "requeuer", Form::of_process(config.metrics)),
    };
    serve(environment, move |request, moment| {
        let requeuer = requeuer.clone();
        async move { requeuer.call(request, moment, outside::draw()).await }
    })
    .await
}
