//! Configuration, clients, runtime: all that is built once, in Lambda's init phase.

use std::sync::Arc;

use lambda_http::Error;
use surehook::{
    outside,
    store::Store,
    telemetry::{self, Telemetry},
    web::serve::serve,
};

use crate::{Consumer, config::Config, deliver::Deliverer, routes::RoutesCache, sign::SigningSecrets};

/// Runs the consumer until Lambda ends it. To handle events yourself, give your own [`crate::Handler`] where the
/// [`Deliverer`] stands.
pub async fn run() -> Result<(), Error> {
    telemetry::init();
    let config = Config::load(&outside::variable)?;
    let store = Store::connect(&config.table).await;
    let routes = Arc::new(RoutesCache::new(store.clone()));
    if let Err(error) = routes.refresh(false).await {
        tracing::warn!(error = %error, "the routes could not be read at start; the first event reads them");
    }
    let secrets = SigningSecrets::new(&config.signing_secrets)?;
    let handler = Deliverer::new(Arc::clone(&routes), secrets, config.allow_private)?;
    let consumer = Arc::new(Consumer {
        keys: config.keys.ok_or("signing keys are required")?,
        bases: config.bases,
        store,
        routes,
        handler,
        handler_timeout: config.handler_timeout,
        retention: config.lifetimes.retention,
        max_body_bytes: config.max_body_bytes,
        telemetry: Telemetry::new(config.stack, "consumer", telemetry::on_lambda()),
    });
    serve(move |request, moment| {
        let consumer = Arc::clone(&consumer);
        async move { consumer.call(request, moment).await }
    })
    .await
}
