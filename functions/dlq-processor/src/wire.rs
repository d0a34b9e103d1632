//! Configuration, clients, runtime: all that is built once, in Lambda's init phase.

use std::{sync::Arc, time::Duration};

use lambda_runtime::{Error, LambdaEvent, service_fn};
use surehook::{
    config::{Policy, Reader, Variables},
    environment::{Background, Environment},
    failure::FailurePath,
    outside,
    qstash::Clients,
    store::{Store, routes_cache::RoutesCache},
    telemetry::{self, Form, Telemetry},
    web::Moment,
};
use tokio::time::Instant;

use crate::{Command, PolicyRole, Processor, config::Config};

/// How long one call to QStash may take: pages of large messages are slow.
const QSTASH_TIMEOUT: Duration = Duration::from_secs(30);

/// Builds the processor of a command line. It works by the stack's policy, which it reads from the table.
pub async fn connect(variables: &Variables) -> Result<Processor, Error> {
    let mut reader = Reader::new(variables);
    let table = reader.table();
    if reader.finish().is_err() {
        // All problems at once, the missing table among them.
        return Err(Config::load(variables)
            .map(drop)
            .err()
            .map_or_else(|| "TABLE_NAME is required".into(), Error::from));
    }
    let store = Store::connect(table).await;
    let stack = store.policy().await?;
    let followed = stack.as_ref().map(|stack| stack.policy.applied_to(variables));
    let config = Config::load(followed.as_ref().unwrap_or(variables))?;
    let contradictions = stack.as_ref().map(|stack| stack.policy.contradictions(variables)).unwrap_or_default();
    build(config, store, PolicyRole::Follows { stack, contradictions })
}

fn build(config: Config, store: Store, role: PolicyRole) -> Result<Processor, Error> {
    let accounts = config.qstash.ok_or("QSTASH_TOKEN is required")?;
    let region = accounts.first().and_then(|own| own.region);
    let policy = role.policy_or(Policy::of(&config.stack, &config.lifetimes).publishing_to(region));
    let path = FailurePath {
        store,
        qstash: Clients::new(accounts, QSTASH_TIMEOUT)?.ok_or("QSTASH_TOKEN is required")?,
        bases: config.consumers,
        policy: config.lifetimes.retry,
        retention: config.lifetimes.retention,
    };
    Ok(Processor {
        routes: Arc::new(RoutesCache::new(path.store.clone(), (), Background::default())),
        path,
        requeuer: config.requeuers.first().cloned().ok_or("REQUEUER_URL is required")?,
        requeuers: config.requeuers,
        policy,
        role,
        stack: config.stack.clone(),
        telemetry: Telemetry::new(config.stack, "dlq-processor", Form::of_process(config.metrics)),
    })
}

/// Runs the processor until Lambda ends it.
pub async fn run() -> Result<(), Error> {
    telemetry::init();
    let environment = Arc::new(Environment::new(Moment::of_start()));
    let config = Config::load(&Variables::of_environment().await)?;
    let store = Store::connect(&config.table).await;
    let processor = build(config, store, PolicyRole::States)?;
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<Command>| {
        let (processor, environment) = (processor.clone(), Arc::clone(&environment));
        async move {
            let moment = Moment::new(outside::now(), Instant::now(), event.context.deadline);
            let _invocation = environment.begin(moment);
            // Boxed, because the compiler gives up on the layout of futures that are nested so deeply.
            let reply = Box::pin(processor.call(event.payload, moment, outside::draw())).await;
            // Lambda's runtime logs the `Debug` of an error, and that of the SDK has whole answers of the table in it.
            reply.map_err(|error| Error::from(error.to_string()))
        }
    }))
    .await
}
