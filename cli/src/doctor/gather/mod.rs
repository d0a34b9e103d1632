//! Asking whoever knows. What can't be asked is kept as the reason, not as a failure of the doctor.

mod alarms;
mod calls;
mod canary;
mod concurrency;
mod deployed;
mod regions;
mod usage;

use std::time::Duration;

use surehook::{
    config::{Reader, Variables},
    outside,
    qstash::{Client, ClientError},
    store::Store,
};
use surehook_dlq_processor::{Command, Reply, command::Filter, reply::Permissions};

use super::facts::{FUNCTIONS, Facts, Function, Learned, Topic, Unknown, Waiting};
use crate::{
    Failure,
    operator::{Asker, OperatorArguments},
    text::with_causes,
};

/// How long one call to QStash may take.
const QSTASH_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks everybody. `sends` says whether functions may be called and the canary sent.
pub(super) async fn facts(stack: Option<String>, sends: bool) -> Result<Facts, Failure> {
    let functions = match &stack {
        Some(stack) => deployed::functions(stack).await,
        None => of_shell().await,
    };
    let variables = &functions[FUNCTIONS.len() - 1].variables;
    let (client, store) = (client(variables), store(variables).await);
    let (now, qstash_clock) = match &client {
        Ok(client) => clocks(client).await,
        Err(why) => (outside::now(), Err(why.clone())),
    };
    let processor = processor(stack.as_deref()).await;
    let (alarms, concurrency) = match &stack {
        Some(stack) => (alarms::of(stack).await, Some(concurrency::of(stack).await)),
        None => (None, None),
    };
    let routes = ask(&store, async |store| store.routes(true).await).await;
    let retention = Reader::new(variables).lifetimes().retention;
    let mut facts = Facts {
        now,
        qstash_clock,
        keys: ask(&client, async |client| client.keys().await).await,
        topics: ask(&client, topics).await,
        table: ask(&store, async |store| store.inspect().await).await,
        usage: usage::of(&store, &routes, retention).await,
        routes,
        waiting: waiting(&processor).await,
        permissions: permissions(&processor).await,
        alarms,
        concurrency,
        functions,
        other_regions: Vec::new(),
        probes: Vec::new(),
        canary: None,
    };
    facts.other_regions = regions::others(&facts).await;
    // Without a token, why it can't be had is told; whether events come through is unknown then.
    if sends && let (Ok(client), Ok(store)) = (&client, &store) {
        facts.canary = Some(canary::send(&facts, client, store).await);
    }
    if sends {
        facts.probes = calls::probe(&facts).await;
    }
    Ok(facts)
}

/// Before a deployment all functions are to get what the shell has.
async fn of_shell() -> Vec<Function> {
    let variables = Variables::of_environment().await;
    FUNCTIONS.map(|name| Function { name, variables: variables.clone(), deployed: None }).into()
}

fn client(variables: &Variables) -> Learned<Client> {
    let (url, token) =
        read(variables, |reader| reader.qstash())?.ok_or(Unknown::Unset("QSTASH_TOKEN is missing".into()))?;
    Client::new(url, token, QSTASH_TIMEOUT).map_err(|error| Unknown::Unset(with_causes(&error)))
}

async fn store(variables: &Variables) -> Learned<Store> {
    Ok(Store::connect(read(variables, |reader| reader.table())?).await)
}

fn read<T>(variables: &Variables, setting: impl FnOnce(&mut Reader<'_>) -> T) -> Learned<T> {
    let mut reader = Reader::new(variables);
    let value = setting(&mut reader);
    reader.finish().map_err(|error| Unknown::Unset(error.problems().collect::<Vec<_>>().join("; ")))?;
    Ok(value)
}

/// This machine's clock in the middle of a call, and QStash's.
async fn clocks(client: &Client) -> (surehook::Millis, Learned<Option<surehook::Millis>>) {
    let before = outside::now();
    let theirs = client.clock().await.map_err(Unknown::from);
    (before + (outside::now() - before) / 2, theirs)
}

/// Asks a service that is configured. Otherwise returns why it is not.
async fn ask<C, T, E: Into<Unknown>>(service: &Learned<C>, call: impl AsyncFnOnce(&C) -> Result<T, E>) -> Learned<T> {
    call(service.as_ref().map_err(Clone::clone)?).await.map_err(Into::into)
}

async fn topics(client: &Client) -> Result<Vec<Topic>, ClientError> {
    let mut topics = Vec::new();
    for known in client.topics().await? {
        let is_shown = known.headers().is_some();
        let last = if is_shown { None } else { client.last_of_topic(&known.name).await? };
        topics.push(Topic { known, last });
    }
    Ok(topics)
}

/// The DLQ processor: the deployed one, which thereby proves its role, or this process.
async fn processor(stack: Option<&str>) -> Learned<Asker> {
    let function = stack.map(|stack| deployed::name(stack, "dlq-processor"));
    Asker::new(&OperatorArguments { json: false, function }).await.map_err(|error| match stack {
        Some(_) => unanswered(&error),
        // This process could not be configured, which the rule of settings reports.
        None => Unknown::Unset(first_line(&error)),
    })
}

async fn waiting(processor: &Learned<Asker>) -> Learned<Waiting> {
    let asker = processor.as_ref().map_err(Clone::clone)?;
    let asked = async {
        let stranded = match asker.ask(Command::Stranded { limit: 1_000, deep: false }).await? {
            Reply::Stranded(events) => events.len(),
            _ => 0,
        };
        let letters = match asker.ask(Command::Causes { filter: Filter::default(), after: None }).await? {
            Reply::Caused(causes) => causes.letters,
            _ => 0,
        };
        Ok::<_, Failure>(Waiting { stranded, letters })
    };
    asked.await.map_err(|error| unanswered(&error))
}

async fn permissions(processor: &Learned<Asker>) -> Learned<Permissions> {
    let asker = processor.as_ref().map_err(Clone::clone)?;
    match asker.ask(Command::Permissions).await.map_err(|error| unanswered(&error))? {
        Reply::Permissions(permissions) => Ok(permissions),
        _ => Err(Unknown::Unanswered("the DLQ processor answers something else than it was asked".to_owned())),
    }
}

fn unanswered(error: &Failure) -> Unknown {
    Unknown::Unanswered(first_line(error))
}

fn first_line(error: &Failure) -> String {
    with_causes(error.as_ref()).lines().next().unwrap_or_default().to_owned()
}
