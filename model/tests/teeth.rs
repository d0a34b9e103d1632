//! The checker has teeth: each check that is left out leads to a broken promise, and the shortest way there is printed.

use surehook_model::{
    Ledger,
    bounds::{Clocks, Left, MARGIN},
    rules::{Hole, Rules},
    scopes::BASE,
};

const SECOND_COMMIT: &str = "done is committed once in a life";
const STALE: &str = "a write without the lease has no effect";
const EXPIRES: &str = "only what is finished expires";
const RENEWED: &str = "a new life begins only when the old one has expired";
const REST: &str = "left in peace, every event ends done or dead, or is shown as stranded";
const ALONE: &str = "one handler at a time, where clocks differ by less than the margin";

fn with_hole(hole: Hole, ledger: Ledger) -> Ledger {
    Ledger { rules: Rules { hole: Some(hole) }, ..ledger }
}

/// The ledger breaks this promise, and the same ledger without its hole keeps all.
fn check(ledger: Ledger, promise: &str) {
    let explored = ledger.clone().explore();
    let found = explored.broken.iter().find(|(name, _)| *name == promise);
    let (_, path) = found.unwrap_or_else(|| panic!("{promise:?} is kept in {} states", explored.states));
    println!("{:?} breaks {promise:?} in {} steps:\n  {}", ledger.rules.hole, path.len(), path.join("\n  "));
    if ledger.rules.hole.is_some() {
        let whole = Ledger { rules: Rules::default(), ..ledger }.explore();
        assert_eq!(whole.broken, []);
    }
}

#[test]
fn without_the_owner_a_worker_of_an_earlier_life_commits() {
    let left = Left { deliveries: 3, copies: 1, epochs: 1, ..BASE.left };
    check(with_hole(Hole::Owner, Ledger { workers: 2, left, ..BASE }), STALE);
}

#[test]
fn without_the_fence_a_late_write_ends_another_lease_of_its_owner() {
    let left = Left { deliveries: 2, timeouts: 2, failures: 2, ..BASE.left };
    check(with_hole(Hole::Fence, Ledger { left, ..BASE }), STALE);
}

#[test]
fn without_the_status_a_repeated_commit_commits_twice() {
    let left = Left { deliveries: 1, timeouts: 1, ..BASE.left };
    check(with_hole(Hole::Status, Ledger { left, ..BASE }), SECOND_COMMIT);
}

#[test]
fn without_the_lease_two_handlers_run_at_once() {
    let left = Left { deliveries: 2, seconds: 1, ..BASE.left };
    check(with_hole(Hole::Lease, Ledger { clocks: Clocks::Ahead(MARGIN), left, ..BASE }), ALONE);
}

#[test]
fn a_claim_over_an_expired_record_can_be_deleted_under_its_worker() {
    let left = Left { deliveries: 2, copies: 1, epochs: 1, ..BASE.left };
    check(with_hole(Hole::Expired, Ledger { left, ..BASE }), EXPIRES);
}

#[test]
fn a_renewal_of_what_it_did_not_read_ends_a_life_too_early() {
    let left = Left { deliveries: 3, copies: 2, epochs: 1, ..BASE.left };
    check(with_hole(Hole::Renewal, Ledger { left, ..BASE }), RENEWED);
}

/// The hole that the model found in the failure path: a late transaction reached into the next life of its record.
#[test]
fn without_the_time_of_the_last_write_a_replay_of_an_earlier_life_is_never_finished() {
    let left = Left { deliveries: 3, timeouts: 1, settles: 2, replays: 2, resumes: 1, ..BASE.left };
    check(with_hole(Hole::Life, Ledger { ours: false, helpers: 2, left, ..BASE }), REST);
}

#[test]
fn a_burial_of_what_is_done_begins_a_life_too_early() {
    let left = Left { deliveries: 2, exhausts: 1, settles: 1, ..BASE.left };
    check(with_hole(Hole::Burial, Ledger { left, ..BASE }), RENEWED);
}

#[test]
fn a_replay_that_is_forgotten_before_its_letter_is_removed_may_leave_the_letter_for_ever() {
    let left = Left { deliveries: 1, crashes: 1, exhausts: 1, settles: 1, replays: 1, ..BASE.left };
    check(with_hole(Hole::Order, Ledger { left, ..BASE }), REST);
}

#[test]
fn with_clocks_further_apart_than_the_margin_two_handlers_run_at_once_and_still_one_commits() {
    let left = Left { deliveries: 2, seconds: 4, ..BASE.left };
    let ledger = Ledger { clocks: Clocks::Ahead(MARGIN + 2), left, ..BASE };
    check(ledger.clone(), ALONE);
    assert_eq!(ledger.explore().broken.len(), 1, "no other promise rests on clocks");
}
