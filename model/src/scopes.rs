//! What is explored, by name.

use crate::{
    Ledger,
    bounds::{Clocks, Left, MARGIN},
    rules::Rules,
};

/// A scope, with what it is about.
#[derive(Debug, Clone)]
pub struct Scope {
    /// What it is about.
    pub name: &'static str,
    /// What is explored.
    pub ledger: Ledger,
}

/// Nothing goes wrong: what a scope adds, it says.
pub const BASE: Ledger = Ledger {
    rules: Rules { hole: None },
    clocks: Clocks::Any(2),
    ours: true,
    transactional: true,
    events: 1,
    workers: 2,
    helpers: 1,
    left: Left {
        deliveries: 0,
        copies: 0,
        crashes: 0,
        timeouts: 0,
        failures: 0,
        exhausts: 0,
        settles: 0,
        rounds: 0,
        replays: 0,
        resumes: 0,
        purges: 0,
        epochs: 0,
        strands: 0,
        forgets: 0,
        seconds: 0,
    },
};

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Size {
    /// Seconds: with every test run.
    Quick,
    /// Minutes: before a change lands.
    Full,
    /// An hour, and gigabytes.
    Deep,
}

/// The scopes of a size.
pub fn scopes(size: Size) -> Vec<Scope> {
    let more = u8::from(size >= Size::Full);
    let most = u8::from(size >= Size::Deep);
    let many = more + most;
    vec![
        scope(
            "workers: crashes, lost answers, clocks that show anything",
            Ledger {
                workers: 2 + usize::from(more),
                left: Left {
                    deliveries: 3 + most,
                    crashes: 1,
                    timeouts: 1 + more,
                    failures: 1,
                    strands: more,
                    ..BASE.left
                },
                ..BASE
            },
        ),
        scope(
            "takeovers in a row: a lease runs out twice",
            Ledger {
                clocks: Clocks::Any(3),
                workers: 2 + usize::from(more),
                left: Left { deliveries: 3 + most, crashes: more, timeouts: 1 + more, ..BASE.left },
                ..BASE
            },
        ),
        scope(
            "workers whose effect is outside the table",
            Ledger {
                transactional: false,
                left: Left {
                    deliveries: 3 + most,
                    crashes: 1,
                    timeouts: 1 + more,
                    failures: 1,
                    strands: 1,
                    ..BASE.left
                },
                ..BASE
            },
        ),
        scope(
            "lives: expiry, lazy deletion, renewal",
            Ledger {
                left: Left {
                    deliveries: 3 + most,
                    copies: 1 + more,
                    timeouts: 1,
                    crashes: more,
                    epochs: 2,
                    ..BASE.left
                },
                ..BASE
            },
        ),
        scope(
            "failure path: requeue and bury, by requeuer and sweep at once",
            Ledger {
                workers: 1 + usize::from(more),
                helpers: 2,
                left: Left {
                    deliveries: 2 + most,
                    crashes: 1,
                    timeouts: 1,
                    failures: 1,
                    exhausts: 1,
                    settles: 2 + more,
                    rounds: 1,
                    ..BASE.left
                },
                ..BASE
            },
        ),
        scope(
            "replay and purge, by operator and sweep at once",
            Ledger {
                workers: 1,
                helpers: 2,
                left: Left {
                    deliveries: 2 + most,
                    crashes: 1,
                    timeouts: 1,
                    exhausts: 1 + more,
                    settles: 1 + more,
                    replays: 1 + most,
                    resumes: 1,
                    purges: 1,
                    ..BASE.left
                },
                ..BASE
            },
        ),
        scope(
            "what was purged or buried, and expires",
            Ledger {
                workers: 1,
                left: Left {
                    deliveries: 2 + more,
                    copies: 1,
                    timeouts: 1,
                    exhausts: 1 + most,
                    settles: 1 + most,
                    purges: 1,
                    epochs: 1,
                    ..BASE.left
                },
                ..BASE
            },
        ),
        scope(
            "replay to an endpoint that is not ours",
            Ledger {
                ours: false,
                helpers: 2,
                left: Left {
                    deliveries: 2 + many,
                    crashes: 1,
                    timeouts: 1,
                    settles: 2 + many,
                    replays: 2,
                    resumes: 1 + more,
                    ..BASE.left
                },
                ..BASE
            },
        ),
        scope(
            "what QStash forgets",
            Ledger {
                left: Left {
                    deliveries: 2,
                    crashes: 1,
                    timeouts: 1,
                    failures: 1,
                    exhausts: 1,
                    settles: 1 + most,
                    strands: 1,
                    forgets: 1,
                    ..BASE.left
                },
                ..BASE
            },
        ),
        scope(
            "clocks that differ by the margin: one handler at a time",
            Ledger {
                clocks: Clocks::Ahead(MARGIN),
                transactional: false,
                workers: 2 + usize::from(most),
                left: Left { deliveries: 3, crashes: 1, timeouts: 1, failures: more, seconds: 6, ..BASE.left },
                ..BASE
            },
        ),
        scope(
            "two events",
            Ledger {
                events: 2,
                left: Left { deliveries: 3, crashes: more, timeouts: 1, exhausts: more, settles: more, ..BASE.left },
                ..BASE
            },
        ),
        scope(
            "everything at once",
            Ledger {
                clocks: Clocks::Any(1 + more),
                left: Left {
                    deliveries: 2 + most,
                    copies: most,
                    crashes: 1,
                    timeouts: more,
                    failures: 1,
                    exhausts: 1,
                    settles: 1 + most,
                    rounds: most,
                    replays: 1,
                    resumes: 1,
                    epochs: 1,
                    strands: more,
                    ..BASE.left
                },
                ..BASE
            },
        ),
    ]
}

fn scope(name: &'static str, ledger: Ledger) -> Scope {
    Scope { name, ledger }
}
