//! Configuration, clients, runtime: all that is built once, in Lambda's init phase.

use std::sync::Arc;

use lambda_http::Error;
use surehook::{
    config::Variables,
    qstash::KeyRing,
    store::Store,
    telemetry::{self, Telemetry},
    web::serve::serve,
};

use crate::{
    Consumer, Handler,
    breakers::Breakers,
    config::Config,
    deliver::{Deliverer, address, connect::Connections},
    routes::RoutesCache,
};

/// Runs the consumer with its default handler, which delivers to destinations, until Lambda ends it.
pub async fn run() -> Result<(), Error> {
    run_with(|config, routes| {
        Ok(Deliverer {
            routes: Arc::clone(routes),
            connections: Connections::new(config.allow_private, address::system_lookup())?,
            secrets: config.signing_secrets()?,
            breakers: Arc::clone(routes.beside()),
        })
    })
    .await
}

/// Runs the consumer with a handler of your own, which is built once, in Lambda's init phase.
pub async fn run_with<H: Handler>(
    handler: impl FnOnce(&Config, &Arc<RoutesCache>) -> Result<H, Error>,
) -> Result<(), Error> {
    telemetry::init();
    let variables = Variables::of_environment().await;
    let config = Config::load(&variables)?;
    let store = Store::connect(&config.table).await;
    let telemetry = Telemetry::new(config.stack.clone(), "consumer", telemetry::on_lambda());
    let breakers = Arc::new(Breakers::new(store.clone(), config.breaker, telemetry.clone()));
    let routes = Arc::new(RoutesCache::new(store.clone(), breakers));
    if let Err(error) = routes.refresh(false).await {
        tracing::warn!(error = %error, "the routes could not be read at start; the first event reads them");
    }
    let secrets = config.source_secrets.clone();
    let handler = handler(&config, &routes)?;
    let consumer = Arc::new(Consumer {
        keys: KeyRing::new(config.keys.ok_or("signing keys are required")?, variables),
        bases: config.bases,
        store,
        routes,
        secrets,
        handler,
        handler_timeout: config.handler_timeout,
        retention: config.lifetimes.retention,
        max_body_bytes: config.max_body_bytes,
        telemetry,
    });
    serve(move |request, moment| {
        let consumer = Arc::clone(&consumer);
        async move { consumer.call(request, moment).await }
    })
    .await
}
