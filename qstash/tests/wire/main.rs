//! The protocol over HTTP, row by row of its description: a client, a server whose clock is stepped, a destination.
//! Tables in the tests have a row for each row of the description; nothing here waits for time to pass but one time-out.
//!
//! | module | what must hold |
//! |---|---|
//! | [`destinations`] | who may call, and how a destination is written |
//! | [`options`], [`refusals`], [`copies`] | every header of a publish call, its query parameter, and what is refused |
//! | [`answers`] | what publish calls and batches are answered with |
//! | [`delivery`], [`retries`], [`states`] | what the destination gets, what its answer means, and when it is called again |
//! | [`tokens`] | what a delivery is signed with |
//! | [`callbacks`] | who is told what became of an attempt |
//! | [`messages`], [`dead`], [`logs`], [`topics`], [`queues`], [`schedules`], [`flow`] | the management calls, every filter and every field |
//! | [`plans`] | the limits of the plans |
//! | [`rows`] | the rows of the page |
//! | [`users`] | four accounts that share nothing |
//! | [`clock`], [`chaos`] | `/_surehook`, which is ours |

#![allow(clippy::unwrap_used, reason = "in a test, a panic is the report")]

mod answers;
mod callbacks;
mod chaos;
mod clock;
mod copies;
mod dead;
mod delivery;
mod destinations;
mod flow;
mod logs;
mod messages;
mod options;
mod plans;
mod queues;
mod refusals;
mod retries;
mod rows;
mod schedules;
mod states;
mod support;
mod tokens;
mod topics;
mod users;
