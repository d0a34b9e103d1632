//! Delivering to destinations: `docs/destinations.md`, rule by rule.
//!
//! | module | what must hold |
//! |---|---|
//! | [`outcomes`] | every destination has its own outcome, whatever becomes of the others and of its route |
//! | [`commands`] | the operator's `surehook routes …` |
//! | [`signed`] | the official Standard Webhooks libraries verify what is sent |
//! | [`safety`] | what a destination's URL, name or answer can't do to us |
//! | [`left_alone`] | the circuit breaker, shared through the table |
//! | [`connections`] | pools, dead connections |
//! | [`over_tls`] | certificates, HTTP/2 |

mod commands;
mod connections;
mod left_alone;
mod outcomes;
mod over_tls;
mod safety;
mod signed;
