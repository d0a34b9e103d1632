//! What is deployed: the template, and the functions as it has them.
//!
//! | module | what must hold |
//! |---|---|
//! | [`on_lambda`] | (functions that log as on Lambda, with secrets of the tests' own) |
//! | [`lines`] | (what the functions wrote) |
//! | [`keeper`] | (Parameter Store and Secrets Manager) |
//! | [`every_path`] | (everything that functions can be asked) |
//! | [`described`] | the template says what the code needs: variables, limits, table, metrics, secrets |
//! | [`permissions`] | every permission that is used is granted, and none more |
//! | [`pages`] | the pages keep secrets out of arguments, and name versions that work |
//! | [`pipeline`] | what builds and deploys is pinned, hashed, attested, and bounded |
//! | [`frozen`] | what an environment remembers is as old as the wall clock says |
//! | [`log_lines`] | what the functions write, and what they never write |
//! | [`rotated_keys`] | secrets by reference, and keys that are rotated without a deployment |

mod described;
mod every_path;
#[cfg(target_os = "linux")]
mod frozen;
mod keeper;
mod lines;
mod log_lines;
pub(crate) mod on_lambda;
mod pages;
mod permissions;
mod pipeline;
mod rotated_keys;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use surehook_local::{
    Stack, StackOptions,
    lambda::{FunctionSpec, Host},
    qstash::Visitors,
};
use tokio::net::TcpListener;

use lines::Log;

use crate::support::{
    options,
    proxy::{Proxy, Verdict},
};

/// A stack whose functions get what a test gives each of them.
#[derive(Debug)]
pub(crate) struct Deployed {
    pub(crate) stack: Stack,
    /// What the functions wrote, from their start.
    pub(crate) log: Log,
    /// Cuts the functions off from QStash.
    pub(crate) qstash_away: Arc<AtomicBool>,
    _qstash: Proxy,
}

impl Deployed {
    /// Starts everything. `environment` gives a function variables over those that the stack has for all.
    pub(crate) async fn start<E>(functions: &[&'static str], environment: impl FnOnce(&Stack) -> E) -> Self
    where
        E: Fn(&'static str) -> Vec<(String, String)>,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let functions_port = listener.local_addr().unwrap().port();
        let without_functions = StackOptions { program: None, functions_port, ..options() };
        let mut stack = Stack::start(without_functions).await.unwrap();
        let qstash_away = Arc::new(AtomicBool::new(false));
        let is_away = Arc::clone(&qstash_away);
        let qstash = Proxy::start(&stack.qstash.url, move |_| {
            if is_away.load(Ordering::SeqCst) { Verdict::Answer(503, "away") } else { Verdict::Pass }
        });
        let of = environment(&stack);
        let specs = functions.iter().map(|name| {
            let mut environment = stack.environment.clone();
            environment.push(("QSTASH_URL".to_owned(), qstash.url.clone()));
            environment.extend(of(name));
            spec(name, environment)
        });
        let host = Host::start(listener, Visitors::default(), specs.collect());
        let log = Log::follow(host.logs());
        host.warm().await.unwrap();
        stack.host = Some(host);
        Self { stack, log, qstash_away, _qstash: qstash }
    }
}

fn spec(name: &str, environment: Vec<(String, String)>) -> FunctionSpec {
    FunctionSpec {
        name: name.to_owned(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_surehook-under-test")),
        arguments: vec!["function".to_owned(), name.to_owned()],
        environment,
        time_limit: Duration::from_secs(30),
        concurrency: 4,
    }
}

/// Variables as pairs of owned texts.
pub(crate) fn pairs<const N: usize>(variables: [(&str, &str); N]) -> Vec<(String, String)> {
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}
