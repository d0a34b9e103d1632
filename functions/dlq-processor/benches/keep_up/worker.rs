//! The processor's process: sweeps until nothing is left, and says how much memory it took.

use std::{sync::Arc, time::Duration};

use surehook::{
    config::{Policy, Reader, Variables},
    environment::Background,
    failure::FailurePath,
    outside,
    qstash::Client,
    retry::RetryPolicy,
    secret::Secret,
    store::{Store, limited, routes_cache::RoutesCache},
    telemetry::{Form, Telemetry},
    web::{EndpointUrl, Moment},
};
use surehook_dlq_processor::{PolicyRole, Processor};
use surehook_local::{qstash::TOKEN, stack::TABLE};
use tokio::time::Instant;

/// Runs with the URLs of table, QStash and endpoint.
pub(crate) async fn run(urls: &[String]) {
    let [table, qstash, endpoint] = urls else { panic!("three URLs") };
    let processor = processor(table, qstash, endpoint);
    loop {
        let moment = Moment { now: outside::now(), started: Instant::now(), deadline: None };
        let swept = processor.sweep(moment, outside::draw()).await.unwrap();
        eprintln!("{swept:?}");
        if swept.entries == swept.busy && swept.outbox_left == 0 {
            break;
        }
    }
    println!("{}", megabytes());
}

fn processor(table: &str, qstash: &str, endpoint: &str) -> Processor {
    let store = store_at(table);
    let url = |path: &str| EndpointUrl::parse(&format!("{endpoint}{path}")).unwrap();
    let client = Client::new(qstash.parse().unwrap(), Secret::new(TOKEN).unwrap(), Duration::from_secs(30)).unwrap();
    let (lifetimes, stack) = (Reader::new(&Variables::plain(|_| None)).lifetimes(), "bench");
    Processor {
        routes: Arc::new(RoutesCache::new(store.clone(), (), Background::default())),
        path: FailurePath {
            store,
            qstash: client.into(),
            bases: vec![url("/consumer")],
            policy: RetryPolicy::default(),
            retention: lifetimes.retention,
        },
        requeuer: url("/requeuer"),
        requeuers: vec![url("/requeuer")],
        policy: Policy::of(stack, &lifetimes),
        role: PolicyRole::States,
        stack: stack.into(),
        telemetry: Telemetry::new("bench", "dlq-processor", Form::Text),
    }
}

/// A store with the time-outs and retries of a function.
fn store_at(url: &str) -> Store {
    let config = limited(surehook_local::dynamo::client_of(url).config().to_builder()).build();
    Store::new(aws_sdk_dynamodb::Client::from_conf(config), TABLE)
}

/// The most memory that this process ever took. Source: proc(5), `VmHWM`.
fn megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or_default() / 1_024
}
