//! The limits of QStash's plans. They change, so they are data. Source: QStash's pricing data of August 2026.

use std::time::Duration;

const DAY: u64 = 86_400;
const MEGABYTE: usize = 1024 * 1024;

/// What an account may do; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The plan's name on the command line.
    pub name: &'static str,
    /// Messages per day.
    pub messages_per_day: Option<u64>,
    /// Size of a message's body, in bytes.
    pub message_size: usize,
    /// The longest delay.
    pub delay: Option<Duration>,
    /// The most retries. No longer published. Five was seen on the free plan, and Upstash's development server, whose plan is pay as you
    /// go, refuses more than five.
    pub retries: Option<u32>,
    /// How long an answer is waited for.
    pub response_wait: Duration,
    /// How long an entry stays in the dead-letter queue, counted by the callers' clock.
    pub dlq_retention: Option<Duration>,
    /// How long the log remembers, counted by the callers' clock.
    pub log_retention: Option<Duration>,
    /// Topics, and endpoints of each.
    pub topics: (usize, usize),
    /// Schedules.
    pub schedules: usize,
    /// Queues, and deliveries of each at the same time.
    pub queues: (usize, usize),
    /// Deliveries of the account at the same time.
    pub parallelism: usize,
}

impl Plan {
    /// The free plan.
    pub const FREE: Self = Self {
        name: "free",
        messages_per_day: Some(1_000),
        message_size: MEGABYTE,
        delay: Some(Duration::from_secs(7 * DAY)),
        retries: Some(5),
        response_wait: Duration::from_secs(15 * 60),
        dlq_retention: Some(Duration::from_secs(3 * DAY)),
        log_retention: Some(Duration::from_secs(3 * DAY)),
        topics: (1, 100),
        schedules: 10,
        queues: (10, 2),
        parallelism: 10,
    };
    /// Pay as you go.
    pub const PAYG: Self = Self {
        name: "payg",
        messages_per_day: None,
        message_size: 10 * MEGABYTE,
        delay: Some(Duration::from_secs(365 * DAY)),
        retries: Some(5),
        response_wait: Duration::from_secs(2 * 3_600),
        dlq_retention: Some(Duration::from_secs(7 * DAY)),
        log_retention: Some(Duration::from_secs(7 * DAY)),
        topics: (100, 100),
        schedules: 1_000,
        queues: (100, 10),
        parallelism: 100,
    };
    /// A million messages a day at a fixed price.
    pub const FIXED_1M: Self = Self {
        name: "fixed-1m",
        messages_per_day: Some(1_000_000),
        message_size: 50 * MEGABYTE,
        delay: None,
        response_wait: Duration::from_secs(6 * 3_600),
        dlq_retention: Some(Duration::from_secs(30 * DAY)),
        log_retention: Some(Duration::from_secs(14 * DAY)),
        topics: (1_000, 1_000),
        schedules: 10_000,
        queues: (1_000, 10),
        parallelism: 200,
        ..Self::PAYG
    };
    /// Ten million messages a day at a fixed price.
    pub const FIXED_10M: Self = Self {
        name: "fixed-10m",
        messages_per_day: Some(10_000_000),
        response_wait: Duration::from_secs(12 * 3_600),
        dlq_retention: Some(Duration::from_secs(90 * DAY)),
        topics: (2_000, 2_000),
        schedules: 50_000,
        parallelism: 1_000,
        ..Self::FIXED_1M
    };
    /// All of them.
    pub const ALL: [Self; 4] = [Self::FREE, Self::PAYG, Self::FIXED_1M, Self::FIXED_10M];

    /// The plan of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|plan| plan.name == name)
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::PAYG
    }
}
