//! What the tests share with `.ci/deploy`: the template's policies, and a guard that judges by them.

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

pub mod account;
pub mod policy;
pub mod relay;
pub mod served;
pub mod template;
