//! Invocations that begin and end, and freezes between them.

use std::future::pending;

use tokio::{sync::Mutex as AsyncMutex, time::Instant};

use super::*;

/// An environment that counts its freezes by itself, and the moment at which it started.
fn environment() -> (Environment, Moment) {
    let moment = Moment { now: 1_700_000_000_000, started: Instant::now(), deadline: None };
    (Environment { freezes: Freezes::default(), ..Environment::new(moment) }, moment)
}

/// The moment so much later by the wall clock, while the monotonic clock stood still.
fn frozen_for(moment: Moment, seconds: i64) -> Moment {
    Moment { now: moment.now + seconds * 1_000, started: Instant::now(), ..moment }
}

#[test]
fn a_pool_starts_empty_after_freezes_of_30_seconds_in_all() {
    let (environment, moment) = environment();
    let built = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&built);
    let build = move || Ok::<_, ()>(count.fetch_add(1, Ordering::Relaxed));
    let client = Renewed::over(environment.freezes.clone(), build).unwrap();
    for (seconds, expected) in [(0, 0), (29, 0), (58, 1), (87, 1), (90, 2), (3_690, 3)] {
        drop(environment.begin(frozen_for(moment, seconds)));
        assert_eq!(client.get(), expected, "after {seconds} s");
    }
}

#[test]
fn a_client_that_can_not_be_built_anew_keeps_its_pool() {
    let freezes = Freezes::default();
    let tries = AtomicU64::new(0);
    let client = Renewed::over(freezes.clone(), move || match tries.fetch_add(1, Ordering::Relaxed) {
        0 => Ok("first"),
        _ => Err("no file descriptors"),
    });
    let client = client.unwrap();
    freezes.add();
    assert_eq!(client.get(), "first");
}

#[tokio::test]
async fn the_answer_waits_for_a_task_that_ends_soon() {
    let (environment, moment) = environment();
    let invocation = environment.begin(moment);
    let done = environment.background().spawn(async {
        tokio::task::yield_now().await;
        7
    });
    invocation.end().await;
    assert_eq!(done.await, Ok(7));
}

#[tokio::test]
async fn a_task_that_outlives_its_answer_is_aborted_at_the_next_invocation_and_frees_its_lock() {
    let (environment, moment) = environment();
    let invocation = environment.begin(moment);
    let lock = Arc::new(AsyncMutex::new(()));
    let held = Arc::clone(&lock);
    let result = environment.background().spawn(async move {
        let _guard = held.lock().await;
        pending::<()>().await;
    });
    invocation.end().await;
    assert!(lock.try_lock().is_err(), "the answer does not end the task");
    let _next = environment.begin(frozen_for(moment, 600));
    drop(lock.lock().await);
    assert!(result.await.is_err());
}

#[tokio::test]
async fn a_task_of_an_invocation_that_still_works_is_not_aborted() {
    let (environment, moment) = environment();
    let working = environment.begin(moment);
    let (go_on, wait) = oneshot::channel::<()>();
    let result = environment.background().spawn(async move { wait.await.is_ok() });
    environment.begin(moment).end().await;
    drop(environment.begin(moment));
    go_on.send(()).unwrap();
    drop(working);
    assert_eq!(result.await, Ok(true));
}
