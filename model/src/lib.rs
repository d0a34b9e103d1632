//! The ledger's rules, explored by a model checker.
//!
//! [`rules`] are the very functions that run in production; [`world`] is what they work on: the table, QStash, workers and
//! the failure path. [`step`], `work` and `help` say what may happen next, a crash or a lost answer between any two steps
//! included, and `promises` what must hold in every state that can be reached. [`scopes`] lists what is explored, and
//! `cargo run -p surehook-model` explores it.
//!
//! The model is harsher than life where that costs nothing: clocks may show anything, a write whose answer was lost may
//! take effect at any later time, QStash delivers a message as often as it likes and gives it up while somebody is at it.

pub mod bounds;
mod choices;
mod help;
mod promises;
pub mod rules;
pub mod scopes;
pub mod step;
mod work;
pub mod world;

use stateright::{Checker, Model, Property};

use bounds::{Clocks, Left};
use rules::Rules;
use step::Action;
use world::{Event, World};

/// What is explored.
#[derive(Debug, Clone)]
pub struct Ledger {
    /// The rules, perhaps with a hole.
    pub rules: Rules,
    /// How clocks are related.
    pub clocks: Clocks,
    /// Whether events go to our consumer; otherwise to an endpoint of somebody else's, and only a burial makes a record.
    pub ours: bool,
    /// Whether the effect of a handler is in the transaction that writes `done`.
    pub transactional: bool,
    /// Events that were published.
    pub events: usize,
    /// Invocations of the consumer at the same time.
    pub workers: usize,
    /// Requeuers, sweeps and operators at the same time.
    pub helpers: usize,
    /// What may go wrong.
    pub left: Left,
}

impl Model for Ledger {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let count = u8::try_from(self.events).unwrap_or(u8::MAX);
        let event = |message| Event { queued: [message].into(), ..Event::default() };
        vec![World {
            events: (0..count).map(event).collect(),
            workers: Vec::new(),
            helpers: Vec::new(),
            limbo: Vec::new(),
            epoch: 0,
            time: 0,
            next: count,
            left: self.left,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        self.choices(world, actions);
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        self.step(&mut next, action);
        (next != *world).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let always = promises::ALWAYS.into_iter().map(|(name, holds)| Property::always(name, holds));
        let sometimes = promises::SOMETIMES.into_iter().map(|(name, holds)| Property::sometimes(name, holds));
        always.chain(sometimes).collect()
    }
}

/// What an exploration found.
#[derive(Debug)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// The longest path, in steps.
    pub depth: usize,
    /// Promises that were broken, each with the shortest way there.
    pub broken: Vec<(&'static str, Vec<String>)>,
    /// What was never reached although it should have been.
    pub unreached: Vec<&'static str>,
}

impl Ledger {
    /// Explores everything within the bounds, the shortest paths first, so that what is broken is told in the fewest steps.
    pub fn explore(self) -> Explored {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        explored(&self.checker().threads(threads).spawn_bfs().join())
    }

    /// Explores everything within the bounds, one path to its end before the next: that takes far less memory.
    pub fn explore_deep(self) -> Explored {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        explored(&self.checker().threads(threads).spawn_dfs().join())
    }
}

/// What no scope reached: a model in which it never happens proves nothing about it.
pub fn unreached(explored: &[Explored]) -> Vec<&'static str> {
    let nowhere = |name: &&str| explored.iter().all(|scope| scope.unreached.contains(name));
    promises::SOMETIMES.into_iter().map(|(name, _)| name).filter(nowhere).collect()
}

fn explored(checker: &impl Checker<Ledger>) -> Explored {
    let discoveries = checker.discoveries();
    let path = |name| discoveries.get(name).map(|path| path.clone().into_actions());
    let names = |promises: &[promises::Promise]| promises.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    let broken = names(&promises::ALWAYS)
        .into_iter()
        .filter_map(|name| Some((name, path(name)?.into_iter().map(|action| format!("{action:?}")).collect())));
    let unreached = names(&promises::SOMETIMES).into_iter().filter(|name| !discoveries.contains_key(name));
    Explored {
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        broken: broken.collect(),
        unreached: unreached.collect(),
    }
}
