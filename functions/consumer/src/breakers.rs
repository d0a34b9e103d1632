//! The circuit breakers as this process knows them.
//!
//! They are read together with the routes, and written beside the work and not in its way: what is lost of them costs time and
//! nothing else. Only a probe waits for the table, because only one may probe.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use surehook::{
    Millis,
    breaker::{Breaker, BreakerPolicy, Passage, Tally, WINDOW},
    environment::Background,
    retry::millis,
    routes::Route,
    store::{Store, StoreError},
    telemetry::{Metric, Telemetry},
};

/// How often a state is written anew when somebody else was first.
const MOST_RACES: usize = 4;
/// What a probe may take beyond its delivery's time limit before the next one is let through.
const PROBE_MARGIN: Duration = Duration::from_secs(2);

/// The breakers of all destinations.
#[derive(Debug)]
pub struct Breakers {
    store: Store,
    /// `None` switches them off.
    policy: Option<BreakerPolicy>,
    telemetry: Telemetry,
    background: Background,
    known: Mutex<HashMap<String, Known>>,
}

/// What this process knows of a destination.
#[derive(Debug, Default)]
struct Known {
    breaker: Option<Breaker>,
    /// When the counting of this process began.
    window: Millis,
    /// Successes that the table does not know; a failure takes them along.
    succeeded: u32,
}

/// Leave to send.
#[derive(Debug)]
pub enum Permit {
    /// The breaker is closed.
    Usual,
    /// This delivery decides whether it will be.
    Probe(Breaker),
}

/// What a delivery says of its destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It is up: it answered, be it that it wants no more for now.
    Up,
    /// It is in trouble: which, in words that are not its own. What a destination said about one event has no place in the records of
    /// others, which a breaker's reason comes to.
    Down(String),
    /// Nothing: it was not tried, or had no fair chance.
    Unknown,
}

/// What the table is to hear of a delivery.
#[derive(Debug)]
enum News {
    Failed(Tally, String),
    /// The probe failed.
    StillDown {
        held: Breaker,
        next: Breaker,
    },
    /// The probe succeeded.
    Up(Breaker),
}

/// The breaker is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftAlone {
    /// For so much longer.
    pub rest: Duration,
    /// What was wrong last.
    pub reason: String,
}

impl Breakers {
    /// Breakers over a table, none of them known yet.
    pub fn new(store: Store, policy: Option<BreakerPolicy>, telemetry: Telemetry, background: Background) -> Self {
        Self { store, policy, telemetry, background, known: Mutex::default() }
    }

    /// Reads them all.
    pub async fn read(&self) -> Result<(), StoreError> {
        if self.policy.is_none() {
            return Ok(());
        }
        let mut fresh: BTreeMap<String, Breaker> = self.store.breakers().await?;
        let mut all = self.all();
        for (destination, known) in all.iter_mut() {
            known.breaker = fresh.remove(destination);
        }
        for (destination, breaker) in fresh {
            all.insert(destination, Known { breaker: Some(breaker), ..Known::default() });
        }
        Ok(())
    }

    /// Asks whether to send now. Where it is time for a probe, and nobody else probes, this delivery is it: nobody else probes for
    /// as long as it may take, `longest`.
    pub async fn ask(&self, route: &Route, longest: Duration, now: Millis) -> Result<Permit, LeftAlone> {
        let known = self.all().get(&route.id).and_then(|known| known.breaker.clone());
        let Some(breaker) = known.filter(|_| self.policy.is_some()) else {
            return Ok(Permit::Usual);
        };
        match breaker.passage(now) {
            Passage::Closed => Ok(Permit::Usual),
            Passage::Open(until) => Err(LeftAlone::until(until, &breaker, now)),
            Passage::HalfOpen => self.probe(route, breaker, longest, now).await,
        }
    }

    async fn probe(&self, route: &Route, seen: Breaker, longest: Duration, now: Millis) -> Result<Permit, LeftAlone> {
        let probing = seen.probing(longest + PROBE_MARGIN, now);
        match self.store.put_breaker(&route.id, Some(&seen), &probing).await {
            Ok(Ok(())) => {
                self.learn(&route.id, Some(probing.clone()));
                Ok(Permit::Probe(probing))
            }
            // It is closed by now, or was never written.
            Ok(Err(None)) => {
                self.learn(&route.id, None);
                Ok(Permit::Usual)
            }
            Ok(Err(Some(current))) => {
                let passage = current.passage(now);
                self.learn(&route.id, Some(current.clone()));
                if passage == Passage::Closed { Ok(Permit::Usual) } else { Err(LeftAlone::of(&current, now)) }
            }
            // Nothing rests on a breaker: a table that takes no writes must not shut out a destination that may be well.
            Err(error) => {
                tracing::warn!(error = %error, "a probe could not be noted down");
                Ok(Permit::Usual)
            }
        }
    }

    /// Takes note of what a delivery says of its destination. Of the failures those of first attempts count, so that an event that is
    /// tried again and again can't open a breaker alone. What the table is to hear, it hears beside the work.
    pub fn note(self: &Arc<Self>, route: &Route, permit: Permit, health: &Health, is_first: bool, now: Millis) {
        let Some(news) = self.news(&route.id, permit, health, is_first, now) else {
            return;
        };
        let (breakers, route) = (Arc::clone(self), route.clone());
        drop(self.background.spawn(async move { breakers.tell(&route, news, now).await }));
    }

    fn news(&self, destination: &str, permit: Permit, health: &Health, is_first: bool, now: Millis) -> Option<News> {
        let policy = self.policy?;
        match (permit, health) {
            (Permit::Usual, Health::Up) => {
                self.count_success(destination, now);
                None
            }
            (Permit::Usual, Health::Down(reason)) if is_first => {
                Some(News::Failed(self.tally_of_failure(destination, now), reason.clone()))
            }
            (Permit::Probe(held), Health::Up) => Some(News::Up(held)),
            (Permit::Probe(held), Health::Down(reason)) => {
                let next = held.opening(reason, now, policy);
                Some(News::StillDown { held, next })
            }
            // A probe that says nothing is followed by the next one, when its time is over.
            (Permit::Usual, Health::Down(_)) | (_, Health::Unknown) => None,
        }
    }

    async fn tell(&self, route: &Route, news: News, now: Millis) {
        match news {
            News::Failed(tally, reason) => self.write_count(route, tally, &reason, now).await,
            News::StillDown { held, next } => drop(self.write(route, Some(&held), &next).await),
            News::Up(held) => self.close(route, &held).await,
        }
    }

    fn count_success(&self, destination: &str, now: Millis) {
        let mut all = self.all();
        let known = all.entry(destination.to_owned()).or_default();
        known.begin(now);
        known.succeeded = known.succeeded.saturating_add(1);
    }

    /// A failure, and the successes before it.
    fn tally_of_failure(&self, destination: &str, now: Millis) -> Tally {
        let mut all = self.all();
        let known = all.entry(destination.to_owned()).or_default();
        known.begin(now);
        Tally { failed: 1, succeeded: std::mem::take(&mut known.succeeded) }
    }

    async fn write_count(&self, route: &Route, tally: Tally, reason: &str, now: Millis) {
        let mut seen = self.all().get(&route.id).and_then(|known| known.breaker.clone());
        for _ in 0..MOST_RACES {
            let Some(next) = Breaker::count(seen.as_ref(), tally, reason, now) else {
                return self.learn(&route.id, seen);
            };
            match self.write(route, seen.as_ref(), &next).await {
                Some(current) => seen = current,
                None => return,
            }
        }
    }

    /// Writes a state; answers the one that is there where somebody else was first.
    async fn write(&self, route: &Route, seen: Option<&Breaker>, next: &Breaker) -> Option<Option<Breaker>> {
        match self.store.put_breaker(&route.id, seen, next).await {
            Ok(Ok(())) => {
                self.learn(&route.id, Some(next.clone()));
                if let Some(until) = next.open_until.filter(|until| *until > next.version) {
                    self.tell_opened(route, next, until);
                }
                None
            }
            Ok(Err(current)) => Some(current),
            Err(error) => {
                tracing::warn!(error = %error, "a failure could not be counted");
                None
            }
        }
    }

    async fn close(&self, route: &Route, held: &Breaker) {
        match self.store.close_breaker(&route.id, held).await {
            // Somebody else decides by now, and is heard with the routes.
            Ok(false) => {}
            Ok(true) => {
                self.learn(&route.id, None);
                tracing::info!(destination = route.name, "a destination is up again");
            }
            Err(error) => tracing::warn!(error = %error, "a breaker could not be closed; the next probe will"),
        }
    }

    /// The destination's own words stay in the records.
    fn tell_opened(&self, route: &Route, breaker: &Breaker, until: Millis) {
        let Breaker { failed, succeeded, opened, .. } = breaker;
        let destination = &route.name;
        tracing::warn!(destination, failed, succeeded, opened, until, "a destination keeps failing and is left alone");
        self.telemetry.count(Metric::CircuitOpened, 1, breaker.version);
    }

    fn learn(&self, destination: &str, breaker: Option<Breaker>) {
        self.all().entry(destination.to_owned()).or_default().breaker = breaker;
    }

    /// A panic while it was locked left at worst a count behind.
    fn all(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Begins a window of counting anew when the last one is over.
    fn begin(&mut self, now: Millis) {
        if now >= self.window + millis(WINDOW) {
            (self.window, self.succeeded) = (now, 0);
        }
    }
}

impl LeftAlone {
    fn of(breaker: &Breaker, now: Millis) -> Self {
        Self::until(breaker.open_until.unwrap_or(now), breaker, now)
    }

    fn until(until: Millis, breaker: &Breaker, now: Millis) -> Self {
        let rest = Duration::from_millis(u64::try_from(until - now).unwrap_or_default());
        Self { rest, reason: breaker.reason.clone() }
    }
}
