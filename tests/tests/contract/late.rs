//! Writes that come late: what they read was true when they read it, and is not when they take effect.

use surehook::{
    identity::EventKey,
    ledger::{Record, Status},
    store::{Store, stranded::Segment},
};

use super::{Engine, START, fresh_key, letter};
use crate::support::{
    ledger::{burial, claim, failure, nothing},
    proxy::{Proxy, Verdict, calls},
};

/// A store whose first call of this operation is held, and whose later ones of it find nobody: what a rule would try again
/// is then not mistaken for the first.
fn slow(engine: &Engine, operation: &'static str) -> (Proxy, Store) {
    let first = std::sync::atomic::AtomicBool::new(true);
    let proxy = Proxy::start(&engine.url, move |request| match calls(request, operation) {
        false => Verdict::Pass,
        true if first.swap(false, std::sync::atomic::Ordering::SeqCst) => Verdict::Hold,
        true => Verdict::CutBefore,
    });
    let client = surehook_local::dynamo::client_of(&proxy.url);
    let store = Store::new(client, engine.store.table());
    (proxy, store)
}

/// Buries late: `meanwhile` happens between what the burial reads and its transaction, which must then have no effect.
async fn bury_late(engine: &Engine, key: &EventKey, meanwhile: impl Future<Output = Record>) {
    let (proxy, late) = slow(engine, "TransactWriteItems");
    let burial = burial(START + 100);
    let (buried, expected) = tokio::join!(late.bury(&burial, letter(key, START + 100), b"late"), async {
        proxy.gate.holds_one().await;
        let expected = meanwhile.await;
        proxy.gate.open();
        expected
    });
    assert!(buried.is_err(), "{buried:?}");
    assert_eq!(engine.store.record(key).await.unwrap(), Some(expected));
}

/// Found by the model: the next life of a record may be as far as the earlier one was, by status and fence.
pub(super) async fn a_late_burial_does_not_reach_into_the_next_life(engine: Engine) {
    let (store, key) = (engine.store.clone(), fresh_key());
    let first = store.bury(&burial(START), letter(&key, START), b"body").await.unwrap();
    let read = store.begin_replay(&first, START + 1).await.unwrap();
    bury_late(&engine, &key, async {
        store.forget_replayed(&first).await.unwrap();
        let second = store.bury(&burial(START + 2), letter(&key, START + 2), b"body").await.unwrap();
        let open = store.begin_replay(&second, START + 3).await.unwrap();
        assert_eq!((open.status, open.fence), (read.status, read.fence), "only the time of the write tells them apart");
        open
    })
    .await;
}

pub(super) async fn a_late_burial_does_not_reach_over_a_claim(engine: Engine) {
    let (store, key) = (engine.store.clone(), fresh_key());
    let held = store.claim(&key, &claim("a", START)).await.unwrap();
    store.fail(&key, &held, &nothing(), &failure(), START + 1).await.unwrap();
    bury_late(&engine, &key, async { store.claim(&key, &claim("b", START + 2)).await.unwrap() }).await;
}

pub(super) async fn a_late_first_burial_does_not_reach_over_a_claim(engine: Engine) {
    let (store, key) = (engine.store.clone(), fresh_key());
    bury_late(&engine, &key, async { store.claim(&key, &claim("a", START)).await.unwrap() }).await;
}

pub(super) async fn a_late_look_does_not_strand_what_was_taken_up(engine: Engine) {
    let (store, key) = (engine.store.clone(), fresh_key());
    store.claim(&key, &claim("a", START)).await.unwrap();
    let (proxy, late) = slow(&engine, "PutItem");
    let later = START + 60_000;
    let (looked, taken) = tokio::join!(late.strand(Segment::WHOLE, None, later, later), async {
        proxy.gate.holds_one().await;
        let taken = store.claim(&key, &claim("b", later)).await.unwrap();
        proxy.gate.open();
        taken
    });
    assert_eq!((looked.unwrap().raised, taken.status), (0, Status::Running));
    assert_eq!(store.record(&key).await.unwrap(), Some(taken));
}
