//! How fast one process calls QStash's management API, which has a burst limit for each second.
//!
//! Publishing has none. Source: QStash documentation, "API Rate Limit Response": a call beyond the limit is answered with 429 and
//! `Burst-RateLimit-Reset`, the second at which the limit begins anew.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use reqwest::{Response, StatusCode, header::HeaderMap};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};

/// The header that names the second at which the limit begins anew.
const RESET: &str = "burst-ratelimit-reset";
/// The shortest and the longest wait for that second: both clocks are read to the second.
const MIN_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Calls that the limit rejected are repeated this often before they count as failed.
pub(super) const MAX_WAITS: usize = 20;

/// Limits the calls that are made at the same time: half as many after each second that hit the limit, and one more after as many
/// successes as calls are allowed.
#[derive(Debug)]
pub struct Pace {
    permits: Semaphore,
    most: usize,
    state: Mutex<State>,
    waits: AtomicUsize,
}

#[derive(Debug)]
struct State {
    limit: usize,
    /// Permits that a halving could not take because calls held them.
    owed: usize,
    successes: usize,
    /// When calls go on after the limit was hit.
    resume: Option<Instant>,
}

impl Pace {
    /// Allows at most this many calls at the same time.
    pub fn new(most: usize) -> Self {
        let state = State { limit: most, owed: 0, successes: 0, resume: None };
        Self { permits: Semaphore::new(most), most, state: Mutex::new(state), waits: AtomicUsize::new(0) }
    }

    /// Returns how many calls are allowed at the same time now.
    pub fn limit(&self) -> usize {
        self.state().limit
    }

    /// Returns how many calls the limit rejected so far.
    pub fn waits(&self) -> usize {
        self.waits.load(Ordering::Relaxed)
    }

    /// Waits until a call is allowed.
    pub(super) async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        let permit = self.permits.acquire().await.ok()?;
        loop {
            let resume = self.state().resume.filter(|at| *at > Instant::now());
            let Some(at) = resume else { return Some(permit) };
            sleep_until(at).await;
        }
    }

    /// Ends a call: gives its permit back, unless a halving took it.
    pub(super) fn leave(&self, permit: Option<SemaphorePermit<'_>>, is_success: bool) {
        let mut state = self.state();
        if state.owed > 0 {
            state.owed -= 1;
            permit.into_iter().for_each(SemaphorePermit::forget);
            return;
        }
        state.successes += usize::from(is_success);
        if state.successes >= state.limit && state.limit < self.most {
            (state.successes, state.limit) = (0, state.limit + 1);
            self.permits.add_permits(1);
        }
    }

    /// Halves the concurrency, once for each wait, and has calls wait until the limit begins anew.
    pub(super) fn slow_down(&self, wait: Duration) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        let (mut state, now) = (self.state(), Instant::now());
        if state.resume.is_some_and(|at| at > now) {
            return;
        }
        let fewer = state.limit / 2;
        state.limit -= fewer;
        state.owed += fewer - self.permits.forget_permits(fewer);
        (state.successes, state.resume) = (0, Some(now + wait));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how long a caller that hit the burst limit waits; `None` for every other answer. Both times are QStash's own, so that
/// the clock of this machine does not matter.
pub(super) fn burst_wait(response: &Response) -> Option<Duration> {
    if response.status() == StatusCode::TOO_MANY_REQUESTS { wait_of(response.headers()) } else { None }
}

fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let reset: u64 = text(RESET)?.trim().parse().unwrap_or_default();
    let date = text("date").and_then(|date| httpdate::parse_http_date(date).ok());
    let date =
        date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok()).map_or(reset, |date| date.as_secs());
    Some(Duration::from_secs(reset.saturating_sub(date)).clamp(MIN_WAIT, MAX_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(reset: &str) -> HeaderMap {
        let date = "Mon, 30 Nov 2026 18:00:00 GMT";
        let pairs = [(RESET, reset), ("date", date)];
        pairs.into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_wait_lasts_from_the_date_of_the_answer_to_the_reset_within_bounds() {
        let at = 1_796_061_600_u64;
        let wait = |reset: u64| wait_of(&headers(&reset.to_string())).map(|wait| wait.as_secs());
        assert_eq!([wait(at), wait(at + 3), wait(at + 3_600), wait(0)], [Some(1), Some(3), Some(10), Some(1)]);
        assert_eq!(wait_of(&headers("soon")), Some(MIN_WAIT));
        assert_eq!(wait_of(&HeaderMap::new()), None, "a daily quota is no burst");
    }

    #[tokio::test(start_paused = true)]
    async fn the_concurrency_is_halved_once_for_each_wait_and_grows_again() {
        let pace = Pace::new(8);
        let held = [pace.enter().await, pace.enter().await, pace.enter().await];
        let began = Instant::now();
        pace.slow_down(Duration::from_secs(2));
        pace.slow_down(Duration::from_secs(2));
        assert_eq!((pace.limit(), pace.waits()), (4, 2));
        held.into_iter().for_each(|permit| pace.leave(permit, false));
        for _ in 0..4 {
            let permit = pace.enter().await;
            pace.leave(permit, true);
        }
        assert_eq!((pace.limit(), began.elapsed()), (5, Duration::from_secs(2)));
        assert_eq!(pace.permits.available_permits(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn permits_that_calls_hold_are_taken_when_these_end() {
        let pace = Pace::new(4);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(pace.enter().await);
        }
        pace.slow_down(Duration::from_secs(1));
        held.into_iter().for_each(|permit| pace.leave(permit, false));
        assert_eq!((pace.limit(), pace.permits.available_permits()), (2, 2));
    }
}
