//! A fuse: HTTP proxies in front of DynamoDB, QStash and a destination, which count the requests of one path through our
//! code and let one of them fail.
//!
//! Every await of that path that can fail is one of these requests, so counting them enumerates the points of failure.

use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use axum::extract::Request;
use futures::FutureExt;
use surehook::{failure::FailurePath, retry::RetryPolicy, store::Store};
use surehook_local::{Stack, stack::TABLE};
use tokio::sync::Notify;

use super::{
    proxy::{Proxy, Verdict},
    qstash_at, url,
};

/// What happens at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is answered with an error and has no effect.
    Error,
    /// Its connection is cut before it has an effect.
    CutBefore,
    /// It takes effect, and then its connection is cut.
    CutAfter,
    /// The process is killed before it: nothing of it runs any more. Before the next step is after this one, so counting
    /// covers both.
    Killed,
}

impl Fault {
    pub(crate) const ALL: [Self; 4] = [Self::Error, Self::CutBefore, Self::CutAfter, Self::Killed];
}

#[derive(Debug, Default)]
struct Armed {
    /// The step at which the fault happens, and which fault; `None` lets everything through.
    at: Option<(usize, Fault)>,
    steps: usize,
    /// What the faulty step was.
    hit: Option<String>,
}

/// A stack's DynamoDB, QStash and receiver behind a fuse.
#[derive(Debug)]
pub(crate) struct Fuse {
    armed: Arc<Mutex<Armed>>,
    killed: Arc<Notify>,
    dynamo: Proxy,
    qstash: Proxy,
    receiver: Proxy,
}

impl Fuse {
    pub(crate) fn new(stack: &Stack) -> Self {
        let (armed, killed) = (Arc::default(), Arc::default());
        let proxy = |upstream| proxy(&armed, &killed, upstream);
        let (dynamo, qstash) = (proxy(&stack.dynamo.url), proxy(&stack.qstash.url));
        let receiver = proxy(&stack.receiver.url);
        Self { armed, killed, dynamo, qstash, receiver }
    }

    /// Runs a process until it ends or is killed at its step; `None` if it was killed.
    pub(crate) async fn run<T>(&self, process: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            () = self.killed.notified() => None,
            result = process => Some(result),
        }
    }

    /// The receiver behind the fuse.
    pub(crate) fn receiver_url(&self) -> &str {
        &self.receiver.url
    }

    /// Lets the step of this number fail, counted from 0 and from now.
    pub(crate) fn arm(&self, step: usize, fault: Fault) {
        // A process that was killed had perhaps more requests on their way.
        let _earlier = self.killed.notified().now_or_never();
        *self.armed.lock().unwrap() = Armed { at: Some((step, fault)), ..Armed::default() };
    }

    /// Lets everything through again. Says what failed; `None` where the path had fewer steps.
    pub(crate) fn disarm(&self) -> Option<String> {
        std::mem::take(&mut *self.armed.lock().unwrap()).hit
    }

    /// A store whose calls go through the fuse, without retries of the SDK's own: every step stands for itself.
    pub(crate) fn store(&self) -> Store {
        store_at(&self.dynamo.url)
    }

    /// The failure path through this fuse.
    pub(crate) fn failure_path(&self, stack: &Stack) -> FailurePath {
        FailurePath {
            store: self.store(),
            qstash: qstash_at(&self.qstash.url).into(),
            bases: vec![url(&stack.function_url("consumer"))],
            policy: RetryPolicy::default(),
            retention: std::time::Duration::from_secs(14 * 86_400),
        }
    }
}

/// A store over a table at a URL, without retries of the SDK's own.
pub(crate) fn store_at(url: &str) -> Store {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "test"))
        .endpoint_url(url)
        .retry_config(RetryConfig::disabled())
        .build();
    Store::new(Client::from_conf(config), TABLE)
}

fn proxy(shared: &Arc<Mutex<Armed>>, killed: &Arc<Notify>, upstream: &str) -> Proxy {
    let (armed, killed) = (Arc::clone(shared), Arc::clone(killed));
    Proxy::start(upstream, move |request| match next_step(&mut armed.lock().unwrap(), request) {
        None => Verdict::Pass,
        Some(Fault::Error) => Verdict::Answer(500, r#"{"__type":"InternalServerError"}"#),
        Some(Fault::CutBefore) => Verdict::CutBefore,
        Some(Fault::Killed) => {
            killed.notify_one();
            Verdict::Hang
        }
        Some(Fault::CutAfter) => Verdict::CutAfter,
    })
}

/// What befalls the next step.
fn next_step(armed: &mut Armed, request: &Request) -> Option<Fault> {
    let (at, fault) = armed.at?;
    let step = armed.steps;
    armed.steps += 1;
    if step == at {
        armed.hit = Some(name_of(request));
    }
    // A dead process does nothing more.
    (step == at || (step > at && fault == Fault::Killed)).then_some(fault)
}

fn name_of(request: &Request) -> String {
    let target = request.headers().get("x-amz-target").and_then(|value| value.to_str().ok());
    target.and_then(|target| target.rsplit('.').next()).map_or_else(
        || {
            let path = request.uri().path();
            let stem: Vec<&str> = path.split('/').filter(|part| part.len() < 16).collect();
            format!("{} {}", request.method(), stem.join("/"))
        },
        str::to_owned,
    )
}
