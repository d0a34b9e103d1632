//! The figures as a person reads them.

use std::collections::BTreeMap;

use crate::{
    cold::{Cold, FirstEvents},
    contestant::Contestant,
    stats::{Spread, differences, percentile, ratios},
    table::{Table, bracketed, figure, middle, times, with_quartiles},
    throttle::SHARE,
    warm::{Effort, Events, SIZES, Starts, Warm},
};

/// All that one run found.
#[derive(Debug)]
pub(crate) struct Findings {
    /// What [`crate::machine::description`] says.
    pub(crate) machine: String,
    /// How much was measured.
    pub(crate) effort: Effort,
    /// What DynamoDB was.
    pub(crate) database: String,
    /// Megabytes that are uploaded; the floor is no function that anybody deploys.
    pub(crate) sizes: BTreeMap<Contestant, f64>,
    /// Megabytes of Node's dependencies as installed, zipped without bundling.
    pub(crate) unbundled: f64,
    /// Starts, and events to functions that run.
    pub(crate) warm: Warm,
    /// First events at a small function's share, or why there are none.
    pub(crate) cold: Result<Cold, String>,
}

impl Findings {
    /// Everything, in Markdown.
    pub(crate) fn text(&self) -> String {
        let sizes = SIZES.map(|(size, name)| self.events(size, name)).concat();
        [self.circumstances(), self.size_and_memory(), self.cold(), self.starts(), sizes, self.above_the_floor()]
            .concat()
    }

    fn circumstances(&self) -> String {
        let Effort { rounds, batches, events, warming } = self.effort;
        format!(
            "### Circumstances\n\n{}- DynamoDB: {}\n- effort: {rounds} rounds; in each, for every contestant a fresh process, \
             {warming} events to warm it up, then {batches} batches of {events} new events and their duplicates for each size\n\n",
            self.machine, self.database
        )
    }

    fn size_and_memory(&self) -> String {
        let mut table = Table::new(&["", "zip, MB", "resident at the end, MB", "peak, MB"]);
        for (contestant, starts) in &self.warm.starts {
            let size = self.sizes.get(contestant).copied().unwrap_or(f64::NAN);
            table.add(&[bold(*contestant), figure(size), middle(&starts.resident), middle(&starts.peak)]);
        }
        let note = format!("Node's packages without bundling: {} MB zipped.\n\n", figure(self.unbundled));
        format!("### Size and memory\n\n{}{note}", table.text())
    }

    fn starts(&self) -> String {
        let mut table = Table::new(&["", "start, ms", "× Surehook", "first event, ms", "× Surehook"]);
        let ours = self.warm.starts.get(&Contestant::Surehook).cloned().unwrap_or_default();
        for (contestant, Starts { init, first, .. }) in &self.warm.starts {
            let (init_ratio, first_ratio) = (ratios(init, &ours.init), ratios(first, &ours.first));
            let cells = [with_quartiles(init), times(init_ratio), with_quartiles(first), times(first_ratio)];
            table.add(&[&[bold(*contestant)], cells.as_slice()].concat());
        }
        format!("### Cold start with a whole core, DynamoDB in plain text\n\n{}", table.text())
    }

    fn cold(&self) -> String {
        let title = format!("### Cold start at {:.1} % of a core, DynamoDB behind TLS\n\n", SHARE * 100.0);
        match &self.cold {
            Ok(cold) => title + &cold_table(cold),
            Err(reason) => format!("{title}Not measured: {reason}\n\n"),
        }
    }

    fn events(&self, size: usize, name: &str) -> String {
        let mut table = Table::new(&[
            "",
            "p50, ms",
            "× Surehook",
            "p95, ms",
            "p99, ms",
            "CPU, µs",
            "× Surehook",
            "duplicate p50, ms",
            "duplicate CPU, µs",
            "peak memory, MB",
        ]);
        let of = |contestant| self.warm.events.get(&(size, contestant)).cloned().unwrap_or_default();
        let ours = of(Contestant::Surehook);
        for contestant in Contestant::ALL {
            table.add(&event_row(contestant, &of(contestant), &ours));
        }
        format!("### Warm, bodies of {name}\n\n{}", table.text())
    }

    /// What the consumer takes beyond the runtime, the SDK's calls and the post.
    fn above_the_floor(&self) -> String {
        let mut table = Table::new(&["body", "own CPU per new event, µs", "of all its CPU, %"]);
        for (size, name) in SIZES {
            let of = |contestant| self.warm.events.get(&(size, contestant)).map_or(&[][..], |events| &events.cpu);
            let own = differences(of(Contestant::Surehook), of(Contestant::Floor));
            let share = own.middle / percentile(of(Contestant::Surehook), 0.5) * 100.0;
            table.add(&[name.to_owned(), bracketed(own, ""), figure(share)]);
        }
        format!("### Surehook above the floor\n\n{}", table.text())
    }
}

fn event_row(contestant: Contestant, events: &Events, ours: &Events) -> Vec<String> {
    vec![
        bold(contestant),
        middle(&events.walls),
        times(ratios(&events.wall, &ours.wall)),
        figure(percentile(&events.walls, 0.95)),
        figure(percentile(&events.walls, 0.99)),
        middle(&events.cpu),
        times(ratios(&events.cpu, &ours.cpu)),
        middle(&events.again_wall),
        middle(&events.again_cpu),
        middle(&events.peak),
    ]
}

fn cold_table(cold: &Cold) -> String {
    let mut table = Table::new(&[
        "",
        "start (not held back), ms",
        "first event, ms",
        "× Surehook",
        "CPU of the first event, ms",
        "both together, ms",
        "× Surehook",
    ]);
    let ours = cold.get(&Contestant::Surehook).cloned().unwrap_or_default();
    for (contestant, FirstEvents { init, first, first_cpu, together }) in cold {
        let (first_ratio, together_ratio): (Spread, Spread) =
            (ratios(first, &ours.first), ratios(together, &ours.together));
        table.add(&[
            bold(*contestant),
            with_quartiles(init),
            with_quartiles(first),
            times(first_ratio),
            middle(first_cpu),
            middle(together),
            times(together_ratio),
        ]);
    }
    let count = ours.first.len();
    format!("Bodies of 10 KB, {count} starts of each.\n\n{}", table.text())
}

fn bold(contestant: Contestant) -> String {
    format!("**{}**", contestant.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(cold: Result<Cold, String>) -> Findings {
        let mut warm = Warm::default();
        for (contestant, cpu) in
            [(Contestant::Surehook, 400.0), (Contestant::Floor, 320.0), (Contestant::Node, 4_000.0)]
        {
            let events = Events { cpu: vec![cpu; 3], wall: vec![1.0; 3], walls: vec![1.0; 9], ..Events::default() };
            warm.events.insert((10_240, contestant), events);
        }
        Findings {
            machine: "- machine: a test\n".to_owned(),
            effort: Effort { rounds: 1, warming: 0, batches: 3, events: 3 },
            database: "none".to_owned(),
            sizes: BTreeMap::new(),
            unbundled: 1.0,
            warm,
            cold,
        }
    }

    #[test]
    fn the_floor_is_subtracted_batch_by_batch() {
        let text = findings(Ok(Cold::new())).text();
        assert!(text.contains("| 10 KB | 80.0 (80.0–80.0) | 20.0 |"), "{text}");
        assert!(text.contains("10.0× (10.0–10.0)"), "{text}");
    }

    #[test]
    fn what_was_not_measured_says_why() {
        let text = findings(Err("no permission".to_owned())).text();
        assert!(text.contains("Not measured: no permission"), "{text}");
    }
}
