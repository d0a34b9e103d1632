//! Each fault rings an alarm within an hour of the first event that it hits, at ten events a day, and quiet days ring none.
//!
//! `cargo test --workspace --test integration -- alarms_ring --nocapture` prints the table of `docs/operations.md`.

mod evaluator;

use std::{num::NonZero, thread};

use surehook::{Millis, telemetry::Metric};
use surehook_tests::{
    alarms::{
        HOUR, MINUTE,
        data::{Function, Series},
        definition::{Alarm, Statistic, Watched, alarms},
        evaluator::Window,
        faults::{Fault, Run, healed_by_third_retry, healthy_day, second_fault},
    },
    template::Template,
};

/// Runs of each fault.
const SEEDS: u64 = 1_000;
/// Runs in a thousand in which an alarm must ring within an hour, and of which the table shows the time.
const MUST_RING: usize = 990;
/// What strangers send in a day.
const STRANGERS: usize = 10_000;
/// CloudWatch's default, and aligned periods, which ring later.
const WINDOWS: [Window; 2] = [Window::Sliding, Window::WallClock];

/// An alarm that rings, and how long after the first event that the fault hit.
type Ring<'a> = (Millis, &'a str);

fn deployed(observability: &str) -> Vec<Alarm> {
    alarms(&Template::load(), &[("Observability", observability)])
}

/// Does the same for every seed, on all processors.
fn each_seed<T: Send>(seeds: u64, of: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let part = |first: usize| (first as u64..seeds).step_by(threads).map(&of).collect::<Vec<_>>();
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|first| scope.spawn(move || part(first))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    })
}

/// Returns which alarms ring within an hour of the first event that the fault hit, the first alarm first.
fn rings<'a>(alarms: &'a [Alarm], run: &Run, window: Window) -> Vec<Ring<'a>> {
    let ring = |alarm: &'a Alarm| {
        let at = alarm.rings(&run.data, window, run.hit, run.hit + HOUR).next()?;
        Some((at - run.hit, alarm.entry.as_str()))
    };
    let mut rings: Vec<_> = alarms.iter().filter_map(ring).collect();
    rings.sort_unstable();
    rings
}

/// Returns how many of a thousand runs ring one of these alarms.
fn in_a_thousand(fault: Fault, alarms: &[Alarm], window: Window) -> usize {
    let rung = each_seed(SEEDS / 5, |seed| !rings(alarms, &fault.run(seed), window).is_empty());
    rung.into_iter().filter(|rung| *rung).count() * 5
}

/// What a thousand runs of a fault came to.
struct Outcome<'a> {
    fault: Fault,
    /// All rings of each run, by window.
    runs: Vec<[Vec<Ring<'a>>; 2]>,
}

impl<'a> Outcome<'a> {
    fn of(fault: Fault, alarms: &'a [Alarm]) -> Self {
        let runs = each_seed(SEEDS, |seed| {
            let run = fault.run(seed);
            WINDOWS.map(|window| rings(alarms, &run, window))
        });
        Self { fault, runs }
    }

    /// The first ring of each run that rings.
    fn firsts(&self, window: usize) -> Vec<Ring<'a>> {
        let mut firsts: Vec<_> = self.runs.iter().filter_map(|run| run[window].first().copied()).collect();
        firsts.sort_unstable();
        firsts
    }

    /// How many runs ring an alarm of these.
    fn count(&self, window: usize, names: &[&str]) -> usize {
        self.runs.iter().filter(|run| run[window].iter().any(|(_, name)| names.contains(name))).count()
    }

    /// Minutes until so many runs have rung.
    fn minutes(&self, window: usize, runs: usize) -> String {
        let minutes = |(after, _): &Ring<'_>| (after / MINUTE + 1).to_string();
        self.firsts(window).get(runs - 1).map_or_else(|| "over 60".to_owned(), minutes)
    }

    /// The row of the table in `docs/operations.md`.
    fn row(&self) -> String {
        let mut names: Vec<&str> = self.firsts(0).iter().map(|(_, name)| *name).collect();
        names.sort_unstable();
        names.dedup();
        let [median, most, aligned] =
            [(0, 500), (0, MUST_RING), (1, MUST_RING)].map(|(window, runs)| self.minutes(window, runs));
        format!("| {} | *{}* | {median} | {most} | {aligned} |", self.fault.as_str(), names.join("*, *"))
    }
}

#[test]
fn each_fault_rings_an_alarm_of_its_own_within_an_hour() {
    let (full, lean) = (deployed("full"), deployed("lean"));
    let lean: Vec<&str> = lean.iter().map(|alarm| alarm.entry.as_str()).collect();
    println!("| fault | first alarm | median | 99 % | 99 %, aligned periods |\n|---|---|---|---|---|");
    let outcomes = Fault::ALL.map(|fault| Outcome::of(fault, &full));
    outcomes.iter().for_each(|outcome| println!("{}", outcome.row()));
    for outcome in &outcomes {
        let fault = outcome.fault;
        for (number, window) in WINDOWS.iter().enumerate() {
            let firsts = outcome.firsts(number);
            assert!(firsts.len() >= MUST_RING, "{fault:?} rings in {} runs of {SEEDS}, {window:?}", firsts.len());
            assert!(firsts.iter().all(|(_, name)| fault.alarms().contains(name)), "{fault:?}: {}", outcome.row());
            let rung = outcome.count(number, &lean);
            let expected = if fault.rings_in_lean() { MUST_RING..=1_000 } else { 0..=0 };
            assert!(expected.contains(&rung), "{fault:?} rings in {rung} runs of {SEEDS} with Observability=lean");
        }
    }
}

/// A second fault rings while *Waiting* still rings for the first.
#[test]
fn a_second_fault_rings_while_the_first_lasts() {
    let full = deployed("full");
    let alarm = |entry: &str| full.iter().find(|alarm| alarm.entry == entry).unwrap();
    let (new_fault, waiting) = (alarm("New fault"), alarm("Waiting"));
    let rung = each_seed(SEEDS, |seed| {
        let run = second_fault(seed);
        WINDOWS.map(|window| {
            let rings = |alarm: &Alarm| {
                alarm.rings(&run.data, window, run.hit - HOUR, run.hit + HOUR).filter(|at| *at > run.hit).count()
            };
            (rings(new_fault), rings(waiting))
        })
    });
    for number in 0..WINDOWS.len() {
        let count = rung.iter().filter(|run| run[number] == (1, 0)).count();
        assert!(count >= MUST_RING, "{count} of {SEEDS}");
    }
}

/// Asserts that no alarm rings in any run.
fn assert_quiet(seeds: u64, run: impl Fn(u64) -> Run + Sync) {
    let full = deployed("full");
    let rung = each_seed(seeds, |seed| {
        let run = run(seed);
        let rings = |alarm: &Alarm| {
            WINDOWS.iter().any(|window| alarm.rings(&run.data, *window, run.hit, run.end).next().is_some())
        };
        full.iter().filter(|alarm| rings(alarm)).map(|alarm| (seed, alarm.entry.clone())).collect::<Vec<_>>()
    });
    assert_eq!(rung.concat(), []);
}

#[test]
fn a_healthy_day_rings_no_alarm() {
    assert_quiet(SEEDS, |seed| healthy_day(seed, 0));
}

#[test]
fn a_fault_that_the_third_retry_heals_rings_no_alarm() {
    assert_quiet(SEEDS, healed_by_third_retry);
}

#[test]
fn a_day_of_ten_thousand_requests_of_strangers_rings_no_alarm() {
    assert_quiet(20, |seed| healthy_day(seed, STRANGERS));
}

/// The alarm that stacks had before senders were counted.
fn signature_refused() -> Alarm {
    let metric = Series::Own(Metric::SignatureRefused, Function::Producer).name();
    let template = deployed("full").into_iter().find(|alarm| alarm.entry == "Unconfigured").unwrap();
    Alarm {
        watched: vec![Watched { metric, statistic: Statistic::Sum }],
        period: 15 * MINUTE,
        threshold: 10.0,
        ..template
    }
}

fn changed(observability: &str, entry: &str, change: impl Fn(&mut Alarm)) -> Vec<Alarm> {
    let mut alarms = deployed(observability);
    alarms.iter_mut().filter(|alarm| alarm.entry == entry).for_each(change);
    alarms
}

/// Proves that these tests would notice alarms that ring too late, or at strangers.
#[test]
fn alarms_that_stacks_had_before_do_not_ring_in_time() {
    let refused = [signature_refused()];
    assert_eq!(in_a_thousand(Fault::WrongSenderSecret, &refused, Window::Sliding), 0);
    let strangers = healthy_day(0, STRANGERS);
    assert!(refused[0].rings(&strangers.data, Window::Sliding, strangers.hit, strangers.end).next().is_some());
    let waiting = changed("lean", "Waiting", |alarm| alarm.threshold = 48.0 * 3_600.0);
    assert_eq!(in_a_thousand(Fault::Unavailable, &waiting, Window::Sliding), 0);
    let in_a_row = changed("full", "Throttles", |alarm| (alarm.evaluation_periods, alarm.datapoints_to_alarm) = (2, 2));
    assert!(in_a_thousand(Fault::ConsumerThrottled, &in_a_row, Window::WallClock) < MUST_RING);
    let silent = changed("full", "Sweep silent", |alarm| {
        (alarm.period, alarm.evaluation_periods, alarm.datapoints_to_alarm) = (15 * MINUTE, 2, 2);
    });
    assert!(in_a_thousand(Fault::SweepDead, &silent, Window::WallClock) < MUST_RING);
}
