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
use surehook::{failure::FailurePath, retry::RetryPolicy, store::Store};
use surehook_local::{Stack, stack::TABLE};

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
    /// The process is killed before it. Before the next step is after this one, so counting covers both.
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
    dynamo: Proxy,
    qstash: Proxy,
    receiver: Proxy,
}

impl Fuse {
    pub(crate) fn new(stack: &Stack) -> Self {
        let armed = Arc::default();
        let dynamo = proxy(&armed, &stack.dynamo.url);
        let qstash = proxy(&armed, &stack.qstash.url);
        let receiver = proxy(&armed, &stack.receiver.url);
        Self { armed, dynamo, qstash, receiver }
    }

    /// The receiver behind the fuse.
    pub(crate) fn receiver_url(&self) -> &str {
        &self.receiver.url
    }

    /// Lets the step of this number fail, counted from 0 and from now.
    pub(crate) fn arm(&self, step: usize, fault: Fault) {
        *self.armed.lock().unwrap() = Armed { at: Some((step, fault)), ..Armed::default() };
    }

    /// Lets everything through again. Says what failed; `None` where the path had fewer steps.
    pub(crate) fn disarm(&self) -> Option<String> {
        std::mem::take(&mut *self.armed.lock().unwrap()).hit
    }

    /// A store whose calls go through the fuse, without retries of the SDK's own: every step stands for itself.
    pub(crate) fn store(&self) -> Store {
        let config = aws_sdk_dynamodb::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("local", "local", None, None, "test"))
            .endpoint_url(&self.dynamo.url)
            .retry_config(RetryConfig::disabled())
            .build();
        Store::new(Client::from_conf(config), TABLE)
    }

    /// The failure path through this fuse.
    pub(crate) fn failure_path(&self, stack: &Stack) -> FailurePath {
        FailurePath {
            store: self.store(),
            qstash: qstash_at(&self.qstash.url),
            bases: vec![url(&stack.function_url("consumer"))],
            policy: RetryPolicy::default(),
        }
    }
}

fn proxy(shared: &Arc<Mutex<Armed>>, upstream: &str) -> Proxy {
    let armed = Arc::clone(shared);
    Proxy::start(upstream, move |request| match next_step(&mut armed.lock().unwrap(), request) {
        None => Verdict::Pass,
        Some(Fault::Error) => Verdict::Answer(500, r#"{"__type":"InternalServerError"}"#),
        Some(Fault::CutBefore | Fault::Killed) => Verdict::CutBefore,
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
