//! Configuration, clients, runtime: all that is built once, in Lambda's init phase.

use std::{sync::Arc, time::Duration};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use surehook::{
    config::Variables,
    environment::{Background, Environment},
    failure::FailurePath,
    outside,
    qstash::Client,
    store::{Store, routes_cache::RoutesCache},
    telemetry::{self, Telemetry},
    web::Moment,
};
use tokio::time::Instant;

use crate::{Command, Processor, config::Config};

/// How long one call to QStash may take: pages of large messages are slow.
const QSTASH_TIMEOUT: Duration = Duration::from_secs(30);

/// Builds a processor from the environment, for the function and for the command line.
pub async fn connect(variables: &Variables) -> Result<Processor, Error> {
    let config = Config::load(variables)?;
    let (url, token) = config.qstash.ok_or("QSTASH_TOKEN is required")?;
    let path = FailurePath {
        store: Store::connect(&config.table).await,
        qstash: Client::new(url, token, QSTASH_TIMEOUT)?,
        bases: config.consumers,
        policy: config.lifetimes.retry,
    };
    Ok(Processor {
        routes: Arc::new(RoutesCache::new(path.store.clone(), (), Background::default())),
        path,
        requeuer: config.requeuers.first().cloned().ok_or("REQUEUER_URL is required")?,
        requeuers: config.requeuers,
        retention: config.lifetimes.retention,
        stack: config.stack.clone(),
        telemetry: Telemetry::new(config.stack, "dlq-processor", telemetry::on_lambda()),
    })
}

/// Runs the processor until Lambda ends it.
pub async fn run() -> Result<(), Error> {
    telemetry::init();
    let environment = Arc::new(Environment::new(Moment::of_start()));
    let processor = connect(&Variables::of_environment().await).await?;
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<Command>| {
        let (processor, environment) = (processor.clone(), Arc::clone(&environment));
        async move {
            let moment = Moment::new(outside::now(), Instant::now(), event.context.deadline);
            environment.begin(moment);
            // Boxed, because the compiler gives up on the layout of futures that are nested so deeply.
            let reply = Box::pin(processor.call(event.payload, moment, outside::draw())).await;
            // Lambda's runtime logs the `Debug` of an error, and that of the SDK has whole answers of the table in it.
            reply.map_err(|error| Error::from(error.to_string()))
        }
    }))
    .await
}
