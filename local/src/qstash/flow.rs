//! Flow control: how many messages of one key are delivered at the same time, and how many within a period.
//!
//! A key has no settings of its own; each message carries those that it was published with, as at QStash.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FlowControl {
    pub(super) key: String,
    pub(super) parallelism: Option<usize>,
    /// So many, within such a period.
    pub(super) rate: Option<(u32, Duration)>,
}

#[derive(Debug, Default)]
pub(super) struct Flows(Mutex<BTreeMap<String, Arc<Flow>>>);

#[derive(Debug, Default)]
struct Flow {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// When the next message may go, where a rate is asked for.
    next: Option<Instant>,
}

/// The right to deliver one message; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Pass(Arc<Flow>);

impl Drop for Pass {
    fn drop(&mut self) {
        if let Ok(mut state) = self.0.state.lock() {
            state.running -= 1;
        }
        self.0.freed.notify_one();
    }
}

impl FlowControl {
    /// Reads key and value as their headers have them: `parallelism=<n>, rate=<n>, period=<span or seconds>`.
    pub(super) fn read(key: &str, value: &str, span: impl Fn(&str) -> Option<Duration>) -> Option<Self> {
        let (mut parallelism, mut rate, mut period) = (None, None, Duration::from_secs(1));
        for part in value.split(',') {
            let (name, value) = part.split_once('=')?;
            let value = value.trim();
            match name.trim() {
                "parallelism" => parallelism = Some(value.parse().ok().filter(|n| *n > 0)?),
                "rate" => rate = Some(value.parse().ok().filter(|n| *n > 0)?),
                "period" => period = value.parse().ok().map(Duration::from_secs).or_else(|| span(value))?,
                _ => return None,
            }
        }
        let asked = parallelism.is_some() || rate.is_some();
        asked.then(|| Self { key: key.to_owned(), parallelism, rate: rate.map(|rate| (rate, period)) })
    }
}

impl Flows {
    /// Waits until a message may be delivered. `speed` makes periods shorter, like all of QStash's waiting.
    pub(super) async fn enter(&self, control: &FlowControl, speed: f64) -> Option<Pass> {
        let flow = Arc::clone(self.0.lock().ok()?.entry(control.key.clone()).or_default());
        if let Some(at) = flow.turn(control, speed, Instant::now()) {
            sleep_until(at).await;
        }
        loop {
            let freed = flow.freed.notified();
            if flow.try_begin(control) {
                return Some(Pass(Arc::clone(&flow)));
            }
            freed.await;
        }
    }
}

impl Flow {
    /// When a message's turn comes: messages are spread evenly over the period.
    fn turn(&self, control: &FlowControl, speed: f64, now: Instant) -> Option<Instant> {
        let (rate, period) = control.rate?;
        let mut state = self.state.lock().ok()?;
        let at = state.next.map_or(now, |next| next.max(now));
        state.next = Some(at + (period / rate).div_f64(speed));
        Some(at)
    }

    fn try_begin(&self, control: &FlowControl) -> bool {
        let Ok(mut state) = self.state.lock() else { return true };
        let free = control.parallelism.is_none_or(|most| state.running < most);
        state.running += usize::from(free);
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<FlowControl> {
        FlowControl::read("k", value, surehook::qstash::duration::parse)
    }

    #[test]
    fn values_are_read_in_any_order() {
        let both = read("rate=5, period=1m,parallelism=3").unwrap();
        assert_eq!((both.parallelism, both.rate), (Some(3), Some((5, Duration::from_secs(60)))));
        assert_eq!(read("rate=5").unwrap().rate, Some((5, Duration::from_secs(1))));
        assert_eq!(read("rate=5,period=9").unwrap().rate, Some((5, Duration::from_secs(9))));
        for bad in ["", "period=1s", "rate=0", "rate=x", "speed=1"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_rate_spreads_turns_evenly() {
        let (flow, now) = (Flow::default(), Instant::now());
        let control = read("rate=4,period=2").unwrap();
        let turns: Vec<Duration> = (0..3).map(|_| flow.turn(&control, 1.0, now).unwrap() - now).collect();
        assert_eq!(turns, [0, 500, 1_000].map(Duration::from_millis));
        let later = now + Duration::from_secs(9);
        assert_eq!(flow.turn(&control, 1.0, later), Some(later), "a pause gives no credit");
    }

    #[tokio::test]
    async fn no_more_run_than_are_allowed() {
        let flows = Flows::default();
        let control = read("parallelism=1").unwrap();
        let first = flows.enter(&control, 1.0).await.unwrap();
        let second = flows.enter(&control, 1.0);
        tokio::pin!(second);
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        assert!(second.await.is_some());
    }
}
