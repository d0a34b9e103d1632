//! How much is explored: who takes part, how clocks differ, and what may go wrong how often.

use surehook::Millis;

/// How the clocks of the parts are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Clocks {
    /// Not at all: each may show any of so many times within an epoch, in any order. Whether a lease is over is then a matter
    /// of chance, which is the worst that clocks can do.
    Any(u8),
    /// Those of odd workers are ahead of the others by so many seconds. A handler works for [`HANDLER`] seconds at most, by
    /// a clock of its own that only has to run evenly.
    Ahead(u8),
}

/// Seconds that a handler may take where clocks are bounded.
pub const HANDLER: u8 = 2;
/// Seconds by which a lease outlives its handler.
pub const MARGIN: u8 = 1;
/// Milliseconds of an epoch, at the end of which all that was done has expired.
pub(crate) const EPOCH: Millis = 1_000_000_000;
/// How far apart the times are that [`Clocks::Any`] shows; longer than a lease.
pub(crate) const APART: Millis = 100_000;

/// What may still happen, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Left {
    /// Deliveries by QStash, the repeated ones included.
    pub deliveries: u8,
    /// Further copies of an event: a sender or QStash that sends it again although it was taken.
    pub copies: u8,
    /// Processes that die.
    pub crashes: u8,
    /// Writes whose answer is lost; each may take effect at any later time, or never.
    pub timeouts: u8,
    /// Times that a handler fails.
    pub failures: u8,
    /// Messages that QStash gives up on, also while somebody still works on them.
    pub exhausts: u8,
    /// Entries that somebody begins to settle.
    pub settles: u8,
    /// Entries that QStash delivers again.
    pub rounds: u8,
    /// Replays that an operator asks for.
    pub replays: u8,
    /// Replays that a sweep goes on with, also while their operator is still at it.
    pub resumes: u8,
    /// Dead letters that an operator purges.
    pub purges: u8,
    /// Epochs that pass.
    pub epochs: u8,
    /// Records that a sweep finds abandoned.
    pub strands: u8,
    /// Messages and entries that QStash forgets.
    pub forgets: u8,
    /// Seconds that pass, where clocks are bounded.
    pub seconds: u8,
}
