//! The ledger keeps its promises in every state of the quick scopes, and everything that should happen in them does.

use surehook_model::{
    Explored,
    scopes::{Size, scopes},
    unreached,
};

#[test]
fn every_promise_is_kept_in_every_state() {
    let explored: Vec<Explored> = scopes(Size::Quick)
        .into_iter()
        .map(|scope| {
            let explored = scope.ledger.explore();
            println!("{}: {} states", scope.name, explored.states);
            assert_eq!(explored.broken, [], "{}", scope.name);
            assert!(explored.states > 1_000, "{}: {} states", scope.name, explored.states);
            explored
        })
        .collect();
    assert_eq!(unreached(&explored), [""; 0], "a model in which this never happens proves nothing about it");
}
