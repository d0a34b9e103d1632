//! The accounts, their common clock, and the timer that moves them on.

use std::{
    collections::BTreeMap,
    future::pending,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::FutureExt;
use surehook::{Millis, outside};
use tokio::{
    sync::{Notify, broadcast, watch},
    time::sleep,
};

use crate::{
    Settings,
    account::{Account, Common, Start},
    burst::Bursts,
    chaos::Chaos,
    choices::Choices,
    clock::{Clock, Moment, Pace},
    deliver,
    message::{Answer, News},
    users::USERS,
};

/// When nothing is due.
const NEVER: Millis = Millis::MAX;
/// Timers stand still while the machine sleeps, clocks do not: the timer looks at the clock this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// News that a slow listener may be behind.
const MOST_NEWS: usize = 16_384;

/// A server.
#[derive(Debug)]
pub(crate) struct Server {
    accounts: Vec<Mutex<Account>>,
    pub(crate) clock: Clock,
    chaos: Mutex<Chaos>,
    pub(crate) choices: Arc<Choices>,
    pub(crate) bursts: Bursts,
    pub(crate) settings: Settings,
    pub(crate) http: reqwest::Client,
    pub(crate) news: broadcast::Sender<News>,
    /// Messages that are not settled, and aborted calls that have not arrived.
    pub(crate) busy: watch::Sender<usize>,
    /// Deliveries that are being made.
    in_flight: watch::Sender<usize>,
    tickets: AtomicU64,
    /// Answers that wait for those of attempts that began before.
    arrived: Mutex<Arrived>,
    /// What the timer waits for.
    armed: AtomicI64,
    wake: Notify,
    stepping: tokio::sync::Mutex<()>,
    is_closed: AtomicBool,
}

/// Answers in the order in which their attempts began.
#[derive(Debug, Default)]
struct Arrived {
    next: u64,
    answers: BTreeMap<u64, (usize, Start, Answer)>,
}

/// A delivery that is being made, until its answer has led to whatever it leads to.
struct Flight(Arc<Server>);

impl Flight {
    fn begin(server: &Arc<Server>) -> Self {
        server.in_flight.send_modify(|flying| *flying += 1);
        Self(Arc::clone(server))
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.in_flight.send_modify(|flying| *flying -= 1);
    }
}

/// One account's or one rule's defect must not take the whole server along.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Server {
    pub(crate) fn new(settings: Settings) -> Result<Arc<Self>, reqwest::Error> {
        let (news, choices) = (broadcast::channel(MOST_NEWS).0, Arc::new(settings.choices.clone()));
        let common = Common {
            plan: settings.plan,
            choices: Arc::clone(&choices),
            seed: settings.seed,
            log_entries: settings.log_entries,
            news: news.clone(),
        };
        let account = |(index, user)| Mutex::new(Account::new(index, user, common.clone()));
        Ok(Arc::new(Self {
            accounts: USERS.iter().enumerate().map(account).collect(),
            clock: Clock::new(settings.pace, settings.callers, settings.origin, outside::now),
            chaos: Mutex::new(Chaos::new(settings.seed, settings.chaos.clone())),
            http: deliver::client(&choices)?,
            choices,
            bursts: Bursts::new(settings.burst_limit),
            settings,
            news,
            busy: watch::channel(0).0,
            in_flight: watch::channel(0).0,
            tickets: AtomicU64::new(0),
            arrived: Mutex::default(),
            armed: AtomicI64::new(NEVER),
            wake: Notify::new(),
            stepping: tokio::sync::Mutex::default(),
            is_closed: AtomicBool::new(false),
        }))
    }

    pub(crate) fn chaos(&self) -> MutexGuard<'_, Chaos> {
        lock(&self.chaos)
    }

    /// Looks at an account, which has forgotten what is too old.
    pub(crate) fn read<T>(&self, index: usize, look: impl FnOnce(&Account, Moment) -> T) -> T {
        let (mut account, moment) = (lock(&self.accounts[index]), self.clock.moment());
        account.forget(moment);
        look(&account, moment)
    }

    /// Changes an account, and begins whatever may begin after that.
    pub(crate) fn change<T>(
        self: &Arc<Self>,
        index: usize,
        change: impl FnOnce(&mut Account, Moment, &mut Chaos) -> T,
    ) -> T {
        let mut account = lock(&self.accounts[index]);
        let mut chaos = lock(&self.chaos);
        let (moment, before) = (self.clock.moment(), account.unsettled());
        account.forget(moment);
        let result = change(&mut account, moment, &mut chaos);
        let mut starts = account.advance(moment);
        starts.extend(account.starts(moment, &mut chaos));
        drop(chaos);
        self.count(before, account.unsettled());
        if account.next_due().is_some_and(|due| due < self.armed.load(Ordering::SeqCst)) {
            self.wake.notify_one();
        }
        // Under the lock, so that attempts have tickets in the order in which they begin.
        for start in starts {
            self.begin(index, start);
        }
        result
    }

    fn count(&self, before: usize, after: usize) {
        if before != after {
            self.busy.send_modify(|busy| *busy = *busy + after - before);
        }
    }

    fn begin(self: &Arc<Self>, index: usize, start: Start) {
        if self.is_closed() {
            return;
        }
        let ticket = self.tickets.fetch_add(1, Ordering::SeqCst);
        let flight = Flight::begin(self);
        tokio::spawn(async move {
            let server = &flight.0;
            // Whatever happens in there, somebody waits for this answer: a queue, a flow, a clock.
            let made = AssertUnwindSafe(deliver::attempt(server, &start)).catch_unwind().await;
            let answer = made.unwrap_or_else(|_panic| Answer::none("the server could not make this call"));
            server.arrive(ticket, index, start, answer);
        });
    }

    /// An answer has come. A clock that is stepped hears answers in the order of the attempts, so that a story can be played again.
    fn arrive(self: &Arc<Self>, ticket: u64, index: usize, start: Start, answer: Answer) {
        if self.clock.pace() != Pace::Stepped {
            return self.finish(index, &start, answer);
        }
        let mut arrived = lock(&self.arrived);
        arrived.answers.insert(ticket, (index, start, answer));
        loop {
            let next = arrived.next;
            let Some((index, start, answer)) = arrived.answers.remove(&next) else { break };
            arrived.next += 1;
            self.finish(index, &start, answer);
        }
    }

    fn finish(self: &Arc<Self>, index: usize, start: &Start, answer: Answer) {
        if !start.is_late {
            self.change(index, |account, moment, chaos| account.finish(start, answer, moment, chaos));
        }
    }

    /// Moves the accounts on whenever something is due.
    pub(crate) async fn keep_time(self: Arc<Self>) {
        loop {
            self.armed.store(NEVER, Ordering::SeqCst);
            let next = self.next_due();
            self.armed.store(next.unwrap_or(NEVER), Ordering::SeqCst);
            let wait = next.and_then(|due| self.clock.until(due));
            let is_due = async {
                match wait {
                    Some(span) => sleep(span.min(LONGEST_SLEEP)).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = is_due => self.move_on(),
                () = self.wake.notified() => {}
            }
        }
    }

    pub(crate) fn next_due(&self) -> Option<Millis> {
        self.accounts.iter().filter_map(|account| lock(account).next_due()).min()
    }

    /// When something is due next, as callers see it.
    pub(crate) fn next_shown(&self) -> Option<Millis> {
        self.next_due().map(|due| self.clock.shown(due))
    }

    fn move_on(self: &Arc<Self>) {
        for index in 0..self.accounts.len() {
            self.change(index, |_, _, _| ());
        }
    }

    /// Steps the clock to each time at which something is due, and at last to what `goal` makes of the present; every delivery of a time is over before
    /// the next time comes. `None` where time passes by itself, or where there is no goal.
    pub(crate) async fn step(self: &Arc<Self>, goal: impl FnOnce(&Self) -> Option<Millis>) -> Option<Millis> {
        if self.clock.pace() != Pace::Stepped {
            return None;
        }
        let _one_at_a_time = self.stepping.lock().await;
        self.settle().await;
        let to = goal(self)?;
        while let Some(due) = self.next_due().filter(|due| *due <= to) {
            self.clock.step_to(due);
            self.move_on();
            self.settle().await;
            // A way on which nothing is delivered must not keep others from their turn.
            tokio::task::yield_now().await;
        }
        self.clock.step_to(to);
        Some(self.clock.now())
    }

    async fn settle(&self) {
        let mut flying = self.in_flight.subscribe();
        let _closed = flying.wait_for(|flying| *flying == 0).await;
    }

    /// Forgets everything, as after a restart.
    pub(crate) fn reset(self: &Arc<Self>) {
        for index in 0..self.accounts.len() {
            self.change(index, |account, _, _| account.reset());
        }
        self.chaos().replace(self.settings.chaos.clone());
    }

    /// Begins nothing and takes nothing from now on.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}
