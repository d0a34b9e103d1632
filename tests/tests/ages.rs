//! How long a process keeps the routes, by a wall clock that goes on while the monotonic clock stands still.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_sdk_dynamodb::types::AttributeValue;
use surehook::{
    environment::{Background, Environment},
    outside,
    routes::Routes,
    store::{
        Store,
        routes_cache::{Beside, RoutesCache},
    },
    web::Moment,
};
use surehook_local::{Stack, dynamo::client_of, stack::TABLE};
use tokio::time::{Instant, timeout};

use crate::support::{
    apply_paths,
    proxy::{Proxy, Verdict, calls},
    quiet_stack,
};

/// Long enough for any answer, and no part of what is tested.
const PATIENCE: Duration = Duration::from_secs(60);

/// A cache over a table that counts, and a moment at which it was loaded.
struct Known {
    stack: Stack,
    background: Background,
    store: Store,
    routes: Arc<RoutesCache<()>>,
    start: Moment,
}

impl Known {
    /// Routes of one route to `/old`, all of it known and none of it read again yet.
    async fn load() -> Self {
        let stack = quiet_stack().await;
        apply_paths(&stack, &["old"]).await;
        let (background, store) = (Background::default(), stack.store().metered());
        let routes = Arc::new(RoutesCache::new(store.clone(), (), background.clone()));
        let start = Moment { now: outside::now(), started: Instant::now(), deadline: None };
        routes.load(start).await.unwrap();
        Self { stack, background, store, routes, start }
    }

    /// So much later by the wall clock alone.
    fn after(&self, seconds: f64) -> Moment {
        after(self.start, seconds)
    }

    /// The read units of some work, with that in the background.
    async fn cost(&self, work: impl Future<Output = ()>) -> f64 {
        let before = self.store.capacity().read;
        work.await;
        self.background.settle().await;
        self.store.capacity().read - before
    }

    async fn current(&self, seconds: f64) -> Arc<Routes> {
        self.routes.current(0, self.after(seconds)).await.unwrap()
    }
}

fn after(start: Moment, seconds: f64) -> Moment {
    let lead = Duration::from_secs_f64(seconds).as_millis();
    Moment { now: start.now + i64::try_from(lead).unwrap(), started: Instant::now(), ..start }
}

fn store_at(url: &str) -> Store {
    Store::new(client_of(url), TABLE)
}

fn first(routes: &Arc<Routes>) -> &str {
    &routes.routes[0].name
}

#[tokio::test]
async fn routes_are_refreshed_beside_the_work_once_they_are_a_minute_old() {
    let known = Known::load().await;
    let use_at = async |seconds| {
        known.cost(async { drop(known.routes.knowing(|_| true, 0, known.after(seconds)).await.unwrap()) }).await
    };
    assert_eq!(use_at(59.0).await, 0.0);
    assert!(use_at(61.0).await > 0.0);
    assert_eq!(use_at(119.0).await, 0.0, "the refresh counts from when it began");
}

#[tokio::test]
async fn an_event_waits_for_routes_that_are_older_than_two_minutes() {
    for (seconds, expected) in [(119.0, "old"), (121.0, "new")] {
        let known = Known::load().await;
        apply_paths(&known.stack, &["new"]).await;
        let routes = known.routes.knowing(|_| true, 0, known.after(seconds)).await.unwrap();
        assert_eq!(first(&routes), expected, "the consumer after {seconds} s");
        let known = Known::load().await;
        apply_paths(&known.stack, &["new"]).await;
        let routes = known.routes.available(PATIENCE, known.after(seconds)).await.unwrap();
        assert_eq!(first(&routes), expected, "the producer after {seconds} s");
    }
}

#[tokio::test]
async fn the_version_of_the_routes_is_read_at_most_once_a_second() {
    let known = Known::load().await;
    for (seconds, expected) in [(0.0, 1.0), (0.9, 0.0), (1.1, 1.0), (2.0, 0.0), (2.2, 1.0)] {
        let cost = known.cost(async { drop(known.current(seconds).await) }).await;
        assert_eq!(cost, expected, "after {seconds} s");
    }
    apply_paths(&known.stack, &["new"]).await;
    assert_eq!(first(&known.current(2.3).await), "old");
    assert_eq!(first(&known.current(3.3).await), "new");
}

#[tokio::test]
async fn a_replayed_event_gets_the_routes_of_its_replay_however_young_the_known_ones_are() {
    let known = Known::load().await;
    known.current(0.0).await;
    apply_paths(&known.stack, &["new"]).await;
    let version = known.stack.store().routes_version().await.unwrap();
    let now = known.after(0.0);
    assert_eq!(first(&known.routes.knowing(|_| true, 0, now).await.unwrap()), "old");
    assert_eq!(first(&known.routes.knowing(|_| true, version, now).await.unwrap()), "new");
}

#[tokio::test]
async fn routes_of_a_restored_table_are_known_after_two_minutes_although_their_version_is_the_same() {
    let known = Known::load().await;
    let mut routes = Routes::clone(&*known.current(0.0).await);
    routes.routes[0].name = "restored".to_owned();
    let key = |text: &str| AttributeValue::S(text.to_owned());
    let update = known.stack.dynamo.client().update_item().table_name(TABLE);
    let update = update.key("pk", key("config#routes")).key("sk", key("current"));
    let update = update.update_expression("SET compiled = :compiled");
    let compiled = serde_json::to_string(&routes).unwrap();
    update.expression_attribute_values(":compiled", key(&compiled)).send().await.unwrap();
    assert_eq!(first(&known.current(119.0).await), "old");
    assert_eq!(first(&known.current(121.0).await), "restored");
}

#[tokio::test]
async fn a_table_that_failed_is_left_alone_for_a_second() {
    let stack = quiet_stack().await;
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let denied = r#"{"__type":"com.amazonaws.dynamodb.v20120810#AccessDeniedException","message":"no"}"#;
    let proxy = Proxy::start(&stack.dynamo.url, move |request| {
        count.fetch_add(usize::from(calls(request, "GetItem")), Ordering::SeqCst);
        Verdict::Answer(400, denied)
    });
    let routes = RoutesCache::new(store_at(&proxy.url), (), Background::default());
    let (routes, start) = (Arc::new(routes), Moment { now: outside::now(), started: Instant::now(), deadline: None });
    for (seconds, expected) in [(0.0, 1), (0.9, 1), (1.1, 2)] {
        assert!(routes.fresh(PATIENCE, after(start, seconds)).await.is_none());
        assert_eq!(asked.load(Ordering::SeqCst), expected, "after {seconds} s");
    }
}

#[tokio::test]
async fn a_refresh_that_froze_in_the_middle_holds_up_no_later_one() {
    let stack = quiet_stack().await;
    apply_paths(&stack, &["old"]).await;
    let holds = Arc::new(AtomicBool::new(false));
    let is_holding = Arc::clone(&holds);
    let judge = move |_: &_| if is_holding.load(Ordering::SeqCst) { Verdict::Hold } else { Verdict::Pass };
    let proxy = Proxy::start(&stack.dynamo.url, judge);
    let start = Moment { now: outside::now(), started: Instant::now(), deadline: None };
    let environment = Environment::new(start);
    let routes = Arc::new(RoutesCache::new(store_at(&proxy.url), (), environment.background()));
    routes.load(start).await.unwrap();
    apply_paths(&stack, &["new"]).await;
    holds.store(true, Ordering::SeqCst);
    // Beside this event the routes are refreshed, and its answer does not wait for them.
    let invocation = environment.begin(after(start, 61.0));
    assert_eq!(first(&routes.available(PATIENCE, after(start, 61.0)).await.unwrap()), "old");
    proxy.gate.holds_one().await;
    timeout(PATIENCE, invocation.end()).await.unwrap();
    holds.store(false, Ordering::SeqCst);
    let next = after(start, 600.0);
    let _next = environment.begin(next);
    assert_eq!(first(&routes.available(Duration::from_millis(1_500), next).await.unwrap()), "new");
}

/// State that is never read to its end.
struct Hanging;

impl Beside for Hanging {
    async fn refresh(&self) {
        std::future::pending().await
    }
}

#[tokio::test]
async fn routes_do_not_wait_for_the_state_beside_them() {
    let stack = quiet_stack().await;
    apply_paths(&stack, &["old"]).await;
    let routes = RoutesCache::new(stack.store(), Hanging, Background::default());
    let start = Moment { now: outside::now(), started: Instant::now(), deadline: None };
    assert_eq!(first(&timeout(PATIENCE, routes.load(start)).await.unwrap().unwrap()), "old");
}
