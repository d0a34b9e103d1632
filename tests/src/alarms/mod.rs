//! The template's alarms, evaluated over simulated stacks in virtual time.
//!
//! | module | what it is for |
//! |---|---|
//! | [`definition`] | reads the alarms from the template |
//! | [`data`] | data points of metrics |
//! | [`evaluator`] | evaluates an alarm minute by minute, as CloudWatch does |
//! | [`stack`] | a stack whose functions and sweeps write data points |
//! | [`delivery`] | what QStash, the consumer and the requeuer do about one event |
//! | [`senders`] | requests of senders and of strangers, judged by the rules of the producer |
//! | [`faults`] | the faults, and runs of a stack with each |
//! | [`random`] | random numbers that follow from a seed |

pub mod data;
pub mod definition;
pub mod delivery;
pub mod evaluator;
pub mod faults;
pub mod random;
pub mod senders;
pub mod stack;

use surehook::Millis;

/// A minute.
pub const MINUTE: Millis = 60_000;
/// An hour.
pub const HOUR: Millis = 60 * MINUTE;
