//! The faults, and runs of a stack with each.

use surehook::Millis;

use super::{
    HOUR, MINUTE,
    data::Data,
    delivery::{Event, Trouble},
    random::Random,
    senders::{self, WITH_WRONG_SECRET, WITHOUT_SECRET},
    stack::Stack,
};

/// Where the runs begin.
const EPOCH: Millis = 1_700_000_000_000;
/// How long a stack has run before its fault.
const HISTORY: Millis = 75 * MINUTE;
/// How long it runs with the fault.
const AFTER: Millis = HOUR + 5 * MINUTE;
/// The span between two events on average: ten a day.
const BETWEEN_EVENTS: Millis = 24 * HOUR / 10;
/// The span between two starts of the sweep.
const BETWEEN_SWEEPS: Millis = 5 * MINUTE;

/// A fault that events fail by. It begins with the first event that it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The sender signs with another secret than the producer has.
    WrongSenderSecret,
    /// The producer lacks the secret of the sender.
    MissingSenderSecret,
    /// The sender posts to a topic that is not configured.
    UnknownTopic,
    /// Consumer and requeuer have other signing keys than QStash.
    WrongSigningKeys,
    /// Failure callbacks go nowhere while the destination answers 503.
    WrongRequeuerUrl,
    /// QStash rejects the stack's token.
    QStashToken,
    /// The topic has no endpoints at QStash.
    TopicGone,
    /// No routes are applied.
    NoRoutes,
    /// The destination answers 503.
    Unavailable,
    /// The destination answers 401.
    Unauthorized,
    /// The destination does not answer in time.
    TimeOut,
    /// Lambda turns requests to the consumer away.
    ConsumerThrottled,
    /// Lambda turns requests to the producer away, and the sender does not send again.
    ProducerThrottled,
    /// The sweep does not start any more. The hour counts from the first start that is missing, because it hits no event itself.
    SweepDead,
}

/// What a run wrote.
#[derive(Debug)]
pub struct Run {
    /// The data points.
    pub data: Data,
    /// When the fault hit its first event; of a run without a fault, the beginning.
    pub hit: Millis,
    /// When the run ended.
    pub end: Millis,
}

/// What happens in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Event,
    Sweep,
    Stranger,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 14] = [
        Self::WrongSenderSecret,
        Self::MissingSenderSecret,
        Self::UnknownTopic,
        Self::WrongSigningKeys,
        Self::WrongRequeuerUrl,
        Self::QStashToken,
        Self::TopicGone,
        Self::NoRoutes,
        Self::Unavailable,
        Self::Unauthorized,
        Self::TimeOut,
        Self::ConsumerThrottled,
        Self::ProducerThrottled,
        Self::SweepDead,
    ];

    /// Returns its name in `docs/operations.md`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongSenderSecret => "wrong secret of a sender",
            Self::MissingSenderSecret => "missing secret of a sender",
            Self::UnknownTopic => "sender posts to an unknown topic",
            Self::WrongSigningKeys => "wrong signing keys",
            Self::WrongRequeuerUrl => "wrong requeuer URL, and the destination answers 503",
            Self::QStashToken => "wrong or expired QStash token",
            Self::TopicGone => "topic without endpoints",
            Self::NoRoutes => "no routes",
            Self::Unavailable => "destination answers 503",
            Self::Unauthorized => "destination answers 401",
            Self::TimeOut => "destination times out",
            Self::ConsumerThrottled => "Lambda throttles the consumer",
            Self::ProducerThrottled => "Lambda throttles the producer",
            Self::SweepDead => "the sweep does not start",
        }
    }

    /// Returns the alarms that may ring first, by their entries in `docs/operations.md`.
    pub fn alarms(self) -> &'static [&'static str] {
        match self {
            Self::WrongSenderSecret => &["Rejected senders"],
            Self::MissingSenderSecret | Self::UnknownTopic | Self::NoRoutes | Self::TopicGone => &["Unconfigured"],
            Self::WrongSigningKeys => &["Misconfigured"],
            Self::WrongRequeuerUrl | Self::Unavailable | Self::TimeOut => &["Waiting", "New fault"],
            Self::Unauthorized => &["Dead letters"],
            Self::QStashToken => &["Sweep failed", "Outbox"],
            Self::ConsumerThrottled => &["Throttles"],
            Self::ProducerThrottled => &["Errors"],
            Self::SweepDead => &["Sweep silent"],
        }
    }

    /// Returns whether a stack with `Observability=lean` notices it.
    pub fn rings_in_lean(self) -> bool {
        self != Self::ConsumerThrottled
    }

    /// Runs a stack with this fault.
    pub fn run(self, seed: u64) -> Run {
        let (mut random, begin) = seeded(seed);
        let sweeps = sweeps(&mut random, begin, begin + HISTORY + AFTER);
        let hit = match self {
            Self::SweepDead => sweeps.iter().copied().find(|at| *at >= begin + HISTORY).unwrap(),
            _ => begin + HISTORY,
        };
        let mut steps = events(&mut random, begin, hit + AFTER);
        steps.extend((self != Self::SweepDead).then_some((hit, Step::Event)));
        let is_lost = |at: Millis| self == Self::SweepDead && at >= hit;
        steps.extend(sweeps.into_iter().filter(|at| !is_lost(*at)).map(|at| (at, Step::Sweep)));
        let mut stack = Stack::new(random, hit + AFTER);
        play(&mut stack, steps, |stack, at| if at < hit { healthy(stack, at) } else { self.hit(stack, at) });
        Run { data: stack.into_data(), hit, end: hit + AFTER }
    }

    /// Sends an event while the fault lasts.
    fn hit(self, stack: &mut Stack, at: Millis) {
        match self {
            Self::WrongSenderSecret => stack.producer = &WITH_WRONG_SECRET,
            Self::MissingSenderSecret => stack.producer = &WITHOUT_SECRET,
            Self::QStashToken => stack.is_token_rejected = true,
            Self::TopicGone => stack.is_topic_gone = true,
            Self::ProducerThrottled => stack.is_producer_throttled = true,
            _ => {}
        }
        let topic = if self == Self::UnknownTopic { "githup" } else { "github" };
        if stack.post(&senders::event_to(topic), at) {
            let has_requeuer = !matches!(self, Self::WrongSigningKeys | Self::WrongRequeuerUrl);
            stack.deliver(Event { has_requeuer, ..Event::troubled(self.trouble()) }, at);
        }
    }

    fn trouble(self) -> Trouble {
        match self {
            Self::WrongSigningKeys => Trouble::SigningKeys,
            Self::NoRoutes => Trouble::NoRoutes,
            Self::Unavailable | Self::WrongRequeuerUrl => Trouble::Unavailable,
            Self::Unauthorized => Trouble::Unauthorized,
            Self::TimeOut => Trouble::TimeOut,
            Self::ConsumerThrottled => Trouble::Throttled,
            _ => Trouble::None,
        }
    }
}

/// Runs a healthy stack for a day. `strangers` send so many requests to the producer.
pub fn healthy_day(seed: u64, strangers: usize) -> Run {
    let (mut random, begin) = seeded(seed);
    let (hit, end) = (begin + HISTORY, begin + HISTORY + 24 * HOUR);
    let mut steps = steps(&mut random, begin, end);
    let arrivals: Vec<Millis> = (0..strangers).map(|_| random.within(hit..end)).collect();
    steps.extend(arrivals.into_iter().map(|at| (at, Step::Stranger)));
    let mut stack = Stack::new(random, end);
    play(&mut stack, steps, healthy);
    Run { data: stack.into_data(), hit, end }
}

/// Runs a stack whose destination answers 503 until QStash's third retry of the first event that it hits.
pub fn healed_by_third_retry(seed: u64) -> Run {
    let (mut random, begin) = seeded(seed);
    let (hit, end) = (begin + HISTORY, begin + HISTORY + 2 * HOUR);
    let mut steps = steps(&mut random, begin, end);
    steps.push((hit, Step::Event));
    // The second retry comes after 160 seconds.
    let heals = hit + random.within(3 * MINUTE..32 * MINUTE);
    let mut stack = Stack::new(random, end);
    play(&mut stack, steps, |stack, at| match at {
        at if at < hit || at > heals => healthy(stack, at),
        at => fail(stack, at, "shop", heals),
    });
    Run { data: stack.into_data(), hit, end }
}

/// Runs a stack whose first destination answers 503 from the beginning on, and whose second one too since `hit`, one to twelve hours later.
pub fn second_fault(seed: u64) -> Run {
    let (mut random, begin) = seeded(seed);
    let hit = begin + random.within(HOUR..12 * HOUR);
    let mut steps = steps(&mut random, begin, hit + AFTER);
    steps.extend([(begin, Step::Event), (hit, Step::Event)]);
    let mut stack = Stack::new(random, hit + AFTER);
    play(&mut stack, steps, |stack, at| fail(stack, at, if at < hit { "shop" } else { "stock" }, Millis::MAX));
    Run { data: stack.into_data(), hit, end: hit + AFTER }
}

/// Returns the randomness of a run, and when it begins.
fn seeded(seed: u64) -> (Random, Millis) {
    let mut random = Random::new(seed);
    let begin = EPOCH + random.within(0..24 * HOUR);
    (random, begin)
}

/// Returns the events and sweeps of a span.
fn steps(random: &mut Random, begin: Millis, end: Millis) -> Vec<(Millis, Step)> {
    let mut steps = events(random, begin, end);
    steps.extend(sweeps(random, begin, end).into_iter().map(|at| (at, Step::Sweep)));
    steps
}

/// Returns events at random times.
fn events(random: &mut Random, begin: Millis, end: Millis) -> Vec<(Millis, Step)> {
    let next = |at: &Millis, random: &mut Random| at + random.gap(BETWEEN_EVENTS);
    let first = next(&begin, random);
    let all = std::iter::successors(Some(first), |at| Some(next(at, random)));
    all.take_while(|at| *at < end).map(|at| (at, Step::Event)).collect()
}

/// Returns the starts of the sweep, of which `EventBridge` delays each by some seconds.
fn sweeps(random: &mut Random, begin: Millis, end: Millis) -> Vec<Millis> {
    let first = begin + random.within(0..BETWEEN_SWEEPS);
    (0..)
        .map(|number| first + number * BETWEEN_SWEEPS)
        .take_while(|at| *at < end)
        .map(|at| at + random.within(0..20_000))
        .collect()
}

/// Plays all steps in order of time.
fn play(stack: &mut Stack, mut steps: Vec<(Millis, Step)>, mut event: impl FnMut(&mut Stack, Millis)) {
    steps.sort_unstable();
    for (at, step) in steps {
        match step {
            Step::Event => event(stack, at),
            Step::Sweep => stack.sweep(at),
            Step::Stranger => {
                let request = senders::stranger(&mut stack.random);
                stack.post(&request, at);
            }
        }
    }
}

/// Sends an event that is delivered.
fn healthy(stack: &mut Stack, at: Millis) {
    if stack.post(&senders::event_to("github"), at) {
        stack.deliver(Event::healthy(), at);
    }
}

/// Sends an event whose destination answers 503 until it heals.
fn fail(stack: &mut Stack, at: Millis, cause: &'static str, heals: Millis) {
    if stack.post(&senders::event_to("github"), at) {
        stack.deliver(Event { cause, heals, ..Event::troubled(Trouble::Unavailable) }, at);
    }
}
