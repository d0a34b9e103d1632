//! What the tests share with `.ci/deploy`: the template's policies, and a guard that judges by them. And the template's alarms, which are
//! evaluated over simulated stacks.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

pub mod account;
pub mod alarms;
pub mod policy;
pub mod relay;
pub mod served;
pub mod template;
