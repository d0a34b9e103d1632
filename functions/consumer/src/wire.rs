//! Configuration, clients, runtime: all that is built once, in Lambda's init phase.

use std::sync::Arc;

use lambda_http::Error;
use surehook::{
    config::Variables,
    environment::Environment,
    qstash::KeyRing,
    store::Store,
    telemetry::{self, Form, Telemetry},
    web::{Moment, serve::serve},
};

use crate::{
    Consumer, Handler,
    breakers::Breakers,
    config::Config,
    deliver::{Deliverer, address, connect::Connections},
    heard::HeardSources,
    routes::RoutesCache,
    unmatched::UnmatchedTypes,
};

/// Runs the consumer with its default handler, which delivers to destinations, until Lambda ends it.
pub async fn run() -> Result<(), Error> {
    run_with(deliverer).await
}

/// Runs the consumer with a handler of your own, which is built once, in Lambda's init phase.
pub async fn run_with<H: Handler>(
    handler: impl FnOnce(&Config, &Arc<RoutesCache>) -> Result<H, Error>,
) -> Result<(), Error> {
    telemetry::init();
    let variables = Variables::of_environment().await;
    let config = Config::load(&variables)?;
    let store = Store::connect(&config.table).await;
    let environment = Environment::new(Moment::of_start());
    let consumer = Arc::new(build(config, variables, store, &environment, handler).await?);
    serve(environment, move |request, moment| {
        let consumer = Arc::clone(&consumer);
        async move { consumer.call(request, moment).await }
    })
    .await
}

/// All that is built once. Reading the routes opens the connection to the table, so that no event waits for its handshake; the handler is
/// built while they are on their way.
pub async fn build<H: Handler>(
    config: Config,
    variables: Variables,
    store: Store,
    environment: &Environment,
    handler: impl FnOnce(&Config, &Arc<RoutesCache>) -> Result<H, Error>,
) -> Result<Consumer<H>, Error> {
    let telemetry = Telemetry::new(config.stack.clone(), "consumer", Form::of_process(config.metrics));
    let background = environment.background();
    let breakers = Arc::new(Breakers::new(store.clone(), config.breaker, telemetry.clone(), background.clone()));
    let routes = RoutesCache::new(store.clone(), breakers, background).refreshed_after(config.routes_refresh);
    let routes = Arc::new(routes);
    let (read, handler) = tokio::join!(routes.load(environment.start()), async { handler(&config, &routes) });
    if let Err(error) = read {
        tracing::warn!(error = %error, "the routes could not be read at start; the first event reads them");
    }
    Ok(Consumer {
        keys: KeyRing::new(config.keys.ok_or("signing keys are required")?, variables, environment.start()),
        bases: config.bases,
        store,
        routes,
        secrets: config.source_secrets,
        handler: handler?,
        handler_timeout: config.handler_timeout,
        retention: config.lifetimes.retention,
        max_body_bytes: config.max_body_bytes,
        unmatched: UnmatchedTypes::default(),
        heard: HeardSources::default(),
        telemetry,
    })
}

/// The default handler.
pub fn deliverer(config: &Config, routes: &Arc<RoutesCache>) -> Result<Deliverer, Error> {
    Ok(Deliverer {
        routes: Arc::clone(routes),
        connections: Connections::new(config.allow_private, address::system_lookup())?,
        secrets: config.signing_secrets()?,
        breakers: Arc::clone(routes.beside()),
    })
}
