//! The ledger: what may happen to an event, as pure rules.
//!
//! ```text
//!             claim               complete
//!  (none) ───────────▶ running ───────────▶ done ── (expired) ── renew ─▶ running
//!                       │   ▲
//!                  fail │   │ claim again (a retry, or the lease ran out)
//!                       ▼   │
//!                    retryable ◀── replay ── dead ── purge ─▶ purged
//!                       └──────── bury ───────▲
//! ```
//!
//! A record that is `running` long after its lease, because its worker died and QStash forgot the message, is *stranded*: it
//! becomes `retryable`, so that it is listed; an operator who has seen to it *dismisses* it, and it is `purged`.
//!
//! [`rules`] goes from a record, a command and `now` to a new record or a refusal, and does no I/O. The DynamoDB adapter
//! ([`crate::store`]) turns each rule into one conditional write. Correctness rests on status, owner and fence; clocks
//! only decide when a lease may be taken over.

mod command;
pub mod fingerprint;
pub mod letter;
pub mod record;
pub mod rules;

pub use fingerprint::Cause;
pub use letter::{DeadLetter, Response};
pub use record::{FailedDelivery, Failure, History, Record, Status};
pub use rules::{Claim, Lease, Refused};
