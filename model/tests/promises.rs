//! The ledger keeps its promises in every state of the quick scopes, and everything that should happen in them does.

use std::collections::BTreeSet;

use surehook_model::scopes::{Size, scopes};

#[test]
fn every_promise_is_kept_in_every_state() {
    let scopes = scopes(Size::Quick);
    let mut unreached: Vec<BTreeSet<&str>> = Vec::new();
    for scope in scopes {
        let explored = scope.ledger.explore();
        println!("{}: {} states", scope.name, explored.states);
        assert_eq!(explored.broken, [], "{}", scope.name);
        assert!(explored.states > 1_000, "{}: {} states", scope.name, explored.states);
        unreached.push(explored.unreached.into_iter().collect());
    }
    let nowhere = unreached.into_iter().reduce(|a, b| a.intersection(&b).copied().collect());
    assert_eq!(nowhere, Some(BTreeSet::new()), "a model in which this never happens proves nothing about it");
}
