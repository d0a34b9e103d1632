//! The wiring of an HTTP function to Lambda's runtime.

use std::{future::Future, io, process::ExitCode, sync::Arc, time::Duration};

use lambda_http::{
    LambdaEvent,
    aws_lambda_events::apigw::{ApiGatewayV2httpRequest, ApiGatewayV2httpResponse},
    lambda_runtime, service_fn,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

use super::{Answer, Incoming, Outcome};
use crate::{Millis, environment::Environment, outside};

/// What is left to answer before Lambda ends the process.
const ANSWERING: Duration = Duration::from_millis(500);
/// What is left to write an attempt's end before answering.
const WRITING: Duration = Duration::from_millis(1_000);

/// How many events Lambda sends to one process at once. Source: AWS, "Lambda Managed Instances"; elsewhere it is not set.
const MAX_CONCURRENCY: &str = "AWS_LAMBDA_MAX_CONCURRENCY";

/// When an invocation began and when it must end: the only time its code knows.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// The wall clock when the invocation began.
    pub now: Millis,
    /// The monotonic clock at the same moment.
    pub started: Instant,
    /// When Lambda will end the process; `None` where the host does not say.
    pub deadline: Option<Instant>,
}

impl Moment {
    /// A moment from the two clocks and Lambda's deadline. A deadline that has passed is unknown: `cargo lambda watch`
    /// counts it from 1970.
    pub fn new(now: Millis, started: Instant, deadline_ms: u64) -> Self {
        let left = Millis::try_from(deadline_ms).unwrap_or(Millis::MAX).saturating_sub(now);
        let left = u64::try_from(left).ok().filter(|left| *left > 0);
        let deadline = left.and_then(|left| started.checked_add(Duration::from_millis(left)));
        Self { now, started, deadline }
    }

    /// The start of a process, which no deadline ends.
    pub fn of_start() -> Self {
        Self { now: outside::now(), started: Instant::now(), deadline: None }
    }

    /// The wall clock now, counted by the monotonic one, so that it never runs backwards within an invocation.
    pub fn at_present(&self) -> Millis {
        let elapsed = Millis::try_from(self.started.elapsed().as_millis()).unwrap_or(Millis::MAX);
        self.now.saturating_add(elapsed)
    }

    /// When to stop trying, half a second before Lambda ends the process, or after `most` where that comes first.
    pub fn give_up_at(&self, most: Duration) -> Instant {
        self.before_the_end(ANSWERING, most)
    }

    /// When to stop working, so that what became of the work can still be written down.
    pub fn work_until(&self, most: Duration) -> Instant {
        self.before_the_end(ANSWERING + WRITING, most)
    }

    fn before_the_end(&self, reserve: Duration, most: Duration) -> Instant {
        let own = self.started + most;
        let limit = self.deadline.and_then(|deadline| deadline.checked_sub(reserve));
        limit.map_or(own, |limit| limit.min(own))
    }
}

/// Serves function-URL events until the runtime ends. The handler never fails: what goes wrong is an [`Answer`] too,
/// because a function error would reach QStash as a bare 502.
pub async fn serve<F, Fut>(environment: Environment, handle: F) -> Result<(), lambda_http::Error>
where
    F: Fn(Incoming, Moment) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Answer> + Send + 'static,
{
    let (handle, environment) = (Arc::new(handle), Arc::new(environment));
    lambda_runtime::run_concurrent(service_fn(move |event: LambdaEvent<ApiGatewayV2httpRequest>| {
        let (handle, environment) = (Arc::clone(&handle), Arc::clone(&environment));
        async move {
            // Boxed, because the compiler gives up on the layout of futures that are nested so deeply.
            let answer = Box::pin(respond(&environment, &*handle, event)).await;
            Ok::<ApiGatewayV2httpResponse, lambda_http::Error>(answer.into())
        }
    }))
    .await
}

async fn respond<F, Fut>(environment: &Environment, handle: &F, event: LambdaEvent<ApiGatewayV2httpRequest>) -> Answer
where
    F: Fn(Incoming, Moment) -> Fut,
    Fut: Future<Output = Answer>,
{
    let moment = Moment::new(outside::now(), Instant::now(), event.context.deadline);
    let invocation = environment.begin(moment);
    let answer = answer(handle, event, moment).await;
    invocation.end().await;
    answer
}

async fn answer<F, Fut>(handle: &F, event: LambdaEvent<ApiGatewayV2httpRequest>, moment: Moment) -> Answer
where
    F: Fn(Incoming, Moment) -> Fut,
    Fut: Future<Output = Answer>,
{
    match Incoming::from_event(event.payload, event.context.request_id) {
        Ok(request) => {
            let retried = request.retried();
            Answer { retried, ..handle(request, moment).await }
        }
        Err(_undecodable) => Outcome::Malformed.into(),
    }
}

/// Runs a function until Lambda ends its process. One that can't start says why on standard error, for people, and fails.
#[allow(clippy::print_stderr, reason = "logging may not be set up when the configuration is wrong")]
pub fn run(function: &str, work: impl Future<Output = Result<(), lambda_http::Error>>) -> ExitCode {
    let several = outside::variable(MAX_CONCURRENCY).is_some_and(|most| most != "1");
    let tell = |error: lambda_http::Error| {
        eprintln!("surehook {function}: {error}");
        ExitCode::FAILURE
    };
    let runtime = match runtime(several) {
        Ok(runtime) => runtime,
        Err(error) => return tell(error.into()),
    };
    let code = runtime.block_on(work).map_or_else(tell, |()| ExitCode::SUCCESS);
    // Names that are still being looked up must not hold the process, which has said why it ends.
    runtime.shutdown_background();
    code
}

/// One thread for one event at a time: handing it from thread to thread took a quarter of its time on the processor. Where Lambda
/// sends `several` at once, they have a thread for each processor.
fn runtime(several: bool) -> io::Result<Runtime> {
    if several { Builder::new_multi_thread() } else { Builder::new_current_thread() }.enable_all().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_in_the_past_is_unknown() {
        let started = Instant::now();
        assert!(Moment::new(1_700_000_000_000, started, 600_000).deadline.is_none());
        assert_eq!(
            Moment::new(1_700_000_000_000, started, 1_700_000_002_000).deadline,
            Some(started + Duration::from_secs(2))
        );
    }

    #[test]
    fn work_stops_before_lambda_ends_the_process() {
        let started = Instant::now();
        let moment = Moment::new(1_000, started, 3_000);
        assert_eq!(moment.give_up_at(Duration::from_secs(8)), started + Duration::from_millis(1_500));
        assert_eq!(moment.give_up_at(Duration::from_secs(1)), started + Duration::from_secs(1));
    }
}
