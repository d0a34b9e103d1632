//! Whatever is done in whatever order: once everything is let go and answered, nothing is left behind.

use proptest::prelude::*;

use super::{tests::*, *};
use crate::chaos::Rule;

/// Something that a user, a receiver or time does.
#[derive(Debug, Clone)]
enum Step {
    Publish {
        queue: Option<u8>,
        flow: Option<(u8, u8)>,
        delay: u8,
        callbacks: bool,
        redelivered: u8,
    },
    /// The attempt that began first, or one after it, is answered.
    Answer {
        which: usize,
        status: u16,
    },
    Wait(u32),
    Cancel(usize),
    Hurry(usize),
    Pause {
        queue: u8,
        paused: bool,
    },
    PauseFlow {
        key: u8,
        paused: bool,
    },
    Pin {
        key: u8,
        rate: u32,
    },
    Reset(u8),
    RemoveQueue(u8),
    RetryDead,
    Chaos(usize),
}

const FLOWS: [&str; 4] = ["parallelism=1", "rate=1, period=10s", "rate=2, period=1h", "parallelism=2, rate=3"];
const CHAOS: [&str; 5] =
    ["delay,share=0.5,span=5s", "reorder,span=20s", "late,share=0.5,span=1m", "repeat-callback", ""];

fn step() -> impl Strategy<Value = Step> {
    let publish = (prop::option::of(0_u8..2), prop::option::of((0_u8..2, 0_u8..4)), 0_u8..3, any::<bool>(), 0_u8..3);
    let publish = publish.prop_map(|(queue, flow, delay, callbacks, redelivered)| Step::Publish {
        queue,
        flow,
        delay,
        callbacks,
        redelivered,
    });
    prop_oneof![
        6 => publish,
        6 => (0_usize..4, prop::sample::select(vec![200_u16, 500, 503, 489])).prop_map(|(which, status)| Step::Answer { which, status }),
        4 => (0_u32..20_000).prop_map(Step::Wait),
        1 => (0_usize..20).prop_map(Step::Cancel),
        1 => (0_usize..20).prop_map(Step::Hurry),
        1 => (0_u8..2, any::<bool>()).prop_map(|(queue, paused)| Step::Pause { queue, paused }),
        1 => (0_u8..2, any::<bool>()).prop_map(|(key, paused)| Step::PauseFlow { key, paused }),
        1 => (0_u8..2, 1_u32..4).prop_map(|(key, rate)| Step::Pin { key, rate }),
        1 => (0_u8..2).prop_map(Step::Reset),
        1 => (0_u8..2).prop_map(Step::RemoveQueue),
        1 => Just(Step::RetryDead),
        1 => (0..CHAOS.len()).prop_map(Step::Chaos),
    ]
}

/// An account, and the attempts that are in the air.
struct World {
    bench: Bench,
    flying: Vec<Start>,
    ids: Vec<String>,
}

impl World {
    fn begin(&mut self) {
        let starts = self.bench.starts();
        self.flying.extend(starts.into_iter().filter(|start| !start.is_late));
        assert!(self.bench.account.running <= self.bench.account.common.plan.parallelism);
        assert_eq!(self.bench.account.running, self.flying.len());
    }

    fn publish(&mut self, queue: Option<u8>, flow: Option<(u8, u8)>, delay: u8, callbacks: bool, retries: u8) {
        let (key, delay, retries) = (flow.map(|(key, _)| format!("k{key}")), format!("{delay}s"), retries.to_string());
        let mut headers = vec![("Upstash-Delay", delay.as_str()), ("Upstash-Retries", retries.as_str())];
        if let (Some(key), Some((_, limits))) = (&key, flow) {
            headers.extend([
                ("Upstash-Flow-Control-Key", key.as_str()),
                ("Upstash-Flow-Control-Value", FLOWS[usize::from(limits)]),
            ]);
        }
        if callbacks {
            headers.extend([("Upstash-Callback", "https://a/cb"), ("Upstash-Failure-Callback", "https://a/failed")]);
        }
        let order = Bench::order("https://a/in", &headers, queue.map(|queue| format!("q{queue}")).as_deref());
        let moment = self.bench.moment();
        self.ids.extend(self.bench.account.publish(order, moment).unwrap().messages.into_iter().map(|(id, _)| id));
    }

    fn answer(&mut self, which: usize, status: u16) {
        if which < self.flying.len() {
            let start = self.flying.remove(which);
            self.bench.answer(&start, status);
        }
    }

    fn take(&mut self, step: Step) {
        let moment = self.bench.moment();
        let account = &mut self.bench.account;
        let id = |which: usize, ids: &[String]| ids.get(which).cloned().unwrap_or_default();
        match step {
            Step::Publish { queue, flow, delay, callbacks, redelivered } => {
                self.publish(queue, flow, delay, callbacks, redelivered);
            }
            Step::Answer { which, status } => self.answer(which, status),
            Step::Wait(span) => self.bench.now += Millis::from(span),
            Step::Cancel(which) => drop(account.cancel(&id(which, &self.ids), moment)),
            Step::Hurry(which) => drop(account.hurry(&id(which, &self.ids), moment)),
            Step::Pause { queue, paused } => {
                account.put_queue(&format!("q{queue}"), None, Some(paused), moment.now).unwrap();
            }
            Step::PauseFlow { key, paused } => {
                account.change_flow(&format!("k{key}"), moment.now, |flow| flow.paused = paused);
            }
            Step::Pin { key, rate } => account.change_flow(&format!("k{key}"), moment.now, |flow| {
                flow.pinned_rate = Some((rate, std::time::Duration::from_secs(rate.into())));
            }),
            Step::Reset(key) => {
                account.change_flow(&format!("k{key}"), moment.now, |flow| flow.reset_rate(moment.now));
            }
            Step::RemoveQueue(queue) => drop(account.remove_queue(&format!("q{queue}"), moment)),
            Step::RetryDead => {
                if let Some(id) = account.dlq.keys().next().copied() {
                    account.retry_dead(id, &crate::options::Given::default(), moment).unwrap();
                }
            }
            Step::Chaos(rule) => self.bench.chaos.replace(Rule::parse(CHAOS[rule]).into_iter().collect()),
        }
        self.begin();
    }

    /// Lets everything go, and answers until nothing more comes.
    fn let_go(&mut self) {
        self.bench.chaos.replace(Vec::new());
        let now = self.bench.now;
        for name in self.bench.account.queues.keys().cloned().collect::<Vec<_>>() {
            self.bench.account.put_queue(&name, None, Some(false), now).unwrap();
        }
        for key in self.bench.account.flows.keys().cloned().collect::<Vec<_>>() {
            self.bench.account.change_flow(&key, now, |flow| flow.paused = false);
        }
        loop {
            self.begin();
            match (self.flying.is_empty(), self.bench.account.next_due()) {
                (false, _) => self.answer(0, 200),
                (true, Some(due)) => self.bench.now = due.max(self.bench.now),
                (true, None) => return,
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn nothing_is_left_behind(steps in prop::collection::vec(step(), 1..60)) {
        let plan = Plan { parallelism: 3, ..Plan::PAYG };
        let mut world = World { bench: Bench::on(plan), flying: Vec::new(), ids: Vec::new() };
        for step in steps {
            world.take(step);
        }
        world.let_go();
        let account = &world.bench.account;
        prop_assert_eq!(account.unsettled(), 0, "a message is left");
        prop_assert!(account.flows.values().all(|flow| flow.running == 0), "a flow thinks that something runs");
        prop_assert!(account.queues.values().all(Queue::is_empty), "a queue has a place taken");
        let counts = account.counts;
        prop_assert_eq!(counts.created, counts.delivered + counts.failed + counts.cancelled, "each ends once");
    }
}
