//! What the functions of Surehook share.
//!
//! | module | what it is for |
//! |---|---|
//! | [`identity`] | which event is this? from verified bytes to an event key |
//! | [`payload`], [`strapi`] | the bodies we understand |
//! | [`json`] | single fields of a JSON text, without the rest of it in memory |
//! | [`qstash`] | the wire: signatures, client, callbacks, dead-letter-queue entries |
//! | [`ledger`] | what may happen to an event: pure rules, no I/O |
//! | [`store`] | the ledger, dead letters, routes and outbox in DynamoDB |
//! | [`retry`] | when a failed event is delivered again, and when it is given up |
//! | [`failure`] | what becomes of an entry of QStash's dead-letter queue |
//! | [`routes`] | sources and destinations, as the operator writes them |
//! | [`breaker`] | when a destination that keeps failing is left alone |
//! | [`sources`] | senders: how their events are told apart, and how they prove who they are |
//! | [`signing`] | signatures and secrets for what we send |
//! | [`web`] | requests in, answers out: the only place that names an HTTP status for our callers |
//! | [`config`] | environment variables and the secrets that they name, all problems at once |
//! | [`aws`] | how our calls to AWS behave |
//! | [`causes`] | an error and what caused it, in one line |
//! | [`tls`] | whom our connections trust |
//! | [`age`] | ages that count by the monotonic and the wall clock |
//! | [`environment`] | Lambda's execution environment: tasks in the background, pools of connections, freezes |
//! | [`outside`] | the clock, the environment, ids and chance: the only place that touches them |
//! | [`telemetry`] | one line per invocation, and the metrics |
//!
//! This crate imports no function, and nothing in it but [`outside`] reads the clock or the environment.

pub mod age;
pub mod aws;
pub mod breaker;
pub mod causes;
pub mod config;
pub mod digest;
pub mod environment;
pub mod failure;
pub mod identity;
pub mod json;
pub mod ledger;
pub mod outside;
pub mod payload;
pub mod qstash;
pub mod retry;
pub mod routes;
pub mod secret;
pub mod signing;
pub mod sources;
pub mod store;
pub mod strapi;
pub mod telemetry;
pub mod tls;
pub mod web;

/// Milliseconds since the Unix epoch.
pub type Millis = i64;
