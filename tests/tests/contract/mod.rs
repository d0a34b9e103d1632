//! One contract for the ledger in DynamoDB, held on two engines: the embedded one and Amazon's own DynamoDB Local.
//!
//! The tests of [`dynamodb_local`] need a running DynamoDB Local; `.ci/contract` fetches one, starts it and runs
//! them.

mod late;
mod random;

use std::{collections::HashMap, sync::Arc};

use futures::future::join_all;
use surehook::{
    digest::Sha256,
    identity::EventKey,
    ledger::{DeadLetter, Record, Refused, Status},
    outside,
    store::{
        CommitError, LedgerError, Store, Writes,
        dynamodb::types::{AttributeValue, Put, TransactWriteItem},
        schema::create_table,
    },
};
use surehook_local::{dynamo::Dynamo, stack::TABLE};
use tokio::net::TcpListener;

use crate::support::{
    ledger::{burial, claim, failure, nothing},
    noise,
};
use late::{
    a_late_burial_does_not_reach_into_the_next_life, a_late_burial_does_not_reach_over_a_claim,
    a_late_first_burial_does_not_reach_over_a_claim, a_late_look_does_not_strand_what_was_taken_up,
};

const START: i64 = 1_790_000_000_000;
const WORKERS: usize = 64;
/// Rounds of the race; `.ci/contract` asks for a thousand with `TEST_ROUNDS`.
const ROUNDS: u64 = 50;

/// Runs each test of the contract on each engine.
macro_rules! contract {
    ($($name:ident),* $(,)?) => {
        mod embedded {
            $(#[tokio::test]
            async fn $name() {
                let dynamo = super::embedded().await;
                super::$name(super::engine(&dynamo)).await;
            })*

            #[test]
            fn random_commands_give_the_same_answers_as_the_rules() {
                let runtime = super::runtime();
                let dynamo = runtime.block_on(super::embedded());
                super::random::play(&runtime, &super::engine(&dynamo));
            }
        }

        mod dynamodb_local {
            $(#[tokio::test]
            #[ignore = "needs Amazon's DynamoDB Local; .ci/contract runs it"]
            async fn $name() {
                super::$name(super::amazons(stringify!($name)).await).await;
            })*

            #[test]
            #[ignore = "needs Amazon's DynamoDB Local; .ci/contract runs it"]
            fn random_commands_give_the_same_answers_as_the_rules() {
                let runtime = super::runtime();
                let engine = runtime.block_on(super::amazons("random"));
                super::random::play(&runtime, &engine);
            }
        }
    };
}

contract!(
    of_64_workers_one_wins_in_each_round,
    letters_of_any_size_survive,
    a_renewal_that_lost_its_race_is_not_a_win,
    a_letter_that_was_buried_anew_survives_the_end_of_its_replay,
    a_burial_of_an_earlier_life_does_not_reach_into_the_next,
    a_commit_with_writes_is_repeated_without_effect,
    the_lost_lease_wins_over_the_handlers_own_condition,
    the_end_of_a_replay_forgets_only_its_own_record,
    the_proof_of_permissions_writes_nothing,
    a_late_burial_does_not_reach_into_the_next_life,
    a_late_burial_does_not_reach_over_a_claim,
    a_late_first_burial_does_not_reach_over_a_claim,
    a_late_look_does_not_strand_what_was_taken_up,
);

/// A table on one engine.
struct Engine {
    store: Store,
    /// Where the engine listens.
    url: String,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) async fn embedded() -> Dynamo {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    Dynamo::start(listener, None, TABLE).await.unwrap()
}

fn engine(dynamo: &Dynamo) -> Engine {
    Engine { store: dynamo.store(TABLE), url: dynamo.url.clone() }
}

/// A table of its own on the DynamoDB Local that `TEST_DYNAMODB_URL` names.
async fn amazons(test: &str) -> Engine {
    let url = outside::variable("TEST_DYNAMODB_URL").unwrap_or_else(|| panic!("set TEST_DYNAMODB_URL"));
    let client = surehook_local::dynamo::client_of(&url);
    let table = format!("{test:.40}-{}", outside::new_id());
    create_table(&client, &table).await.unwrap();
    Engine { store: Store::new(client, table), url }
}

async fn of_64_workers_one_wins_in_each_round(Engine { store, .. }: Engine) {
    let (store, key) = (Arc::new(store), fresh_key());
    let rounds = outside::variable("TEST_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().unwrap());
    for round in 1..=rounds {
        let now = START + i64::try_from(round).unwrap();
        let claims = (0..WORKERS).map(|worker| {
            let (store, key) = (Arc::clone(&store), key.clone());
            async move { store.claim(&key, &claim(&format!("{round}.{worker}"), now)).await }
        });
        let (won, lost): (Vec<_>, Vec<_>) = join_all(claims).await.into_iter().partition(Result::is_ok);
        let [Ok(won)] = won.as_slice() else { panic!("{} winners in round {round}", won.len()) };
        assert_eq!(won.fence, round, "nobody else's claim had an effect");
        let in_progress =
            |answer: &Result<Record, LedgerError>| matches!(answer, Err(LedgerError::Refused(Refused::InProgress(_))));
        assert!(lost.iter().all(in_progress), "round {round}: {lost:?}");
        store.fail(&key, won, &nothing(), &failure(), now).await.unwrap();
    }
    println!("{WORKERS} workers, {rounds} rounds, one winner in each");
}

async fn letters_of_any_size_survive(Engine { store, .. }: Engine) {
    for (number, size) in [0_usize, 1, 100_000, 3_000_000].into_iter().enumerate() {
        let key = EventKey::parse(&format!("{number:064x}")).unwrap();
        let body = noise(size);
        let written = store.bury(&burial(START), letter(&key, START), &body).await.unwrap();
        let (read, read_body) = store.letter(&key, written.fence).await.unwrap().unwrap();
        assert_eq!((read, read_body == body), (written, true), "{size} bytes");
    }
}

async fn a_renewal_that_lost_its_race_is_not_a_win(Engine { store, .. }: Engine) {
    let key = fresh_key();
    let first = store.claim(&key, &claim("a", START)).await.unwrap();
    let expires_at = START / 1_000 + 1;
    store.complete(&key, &first, &[], START, expires_at).await.unwrap();
    let later = START + 2_000;
    let renewed = store.renew(&key, &claim("b", later), 1, expires_at).await.unwrap();
    store.fail(&key, &renewed, &nothing(), &failure(), later).await.unwrap();
    let lost = store.renew(&key, &claim("c", later), 1, expires_at).await.unwrap_err();
    assert!(matches!(lost, LedgerError::Refused(Refused::Changed(_))), "{lost:?}");
    let repeated = store.renew(&key, &claim("b", later), 1, expires_at).await;
    assert!(repeated.is_err(), "its lease was given back");
}

/// Found by the model: a record that was forgotten begins its fences anew, so two burials may have the same name.
async fn a_letter_that_was_buried_anew_survives_the_end_of_its_replay(Engine { store, .. }: Engine) {
    let key = fresh_key();
    let first = store.bury(&burial(START), letter(&key, START), b"body").await.unwrap();
    store.begin_replay(&first, START).await.unwrap();
    store.forget_replayed(&first).await.unwrap();
    let again = store.bury(&burial(START + 1), letter(&key, START + 1), b"body").await.unwrap();
    assert_eq!(again.id(), first.id(), "the record was forgotten, so its fence begins anew");
    store.end_replay(&first, START).await.unwrap();
    assert!(store.letter(&key, again.fence).await.unwrap().is_some());
    assert!(store.begin_replay(&first, START + 2).await.is_err(), "whoever chose the first does not replay the second");
    store.begin_replay(&again, START + 2).await.unwrap();
    store.end_replay(&first, START).await.unwrap();
    assert!(store.letter(&key, again.fence).await.unwrap().is_some(), "it is being replayed in its turn");
    assert_eq!(store.pending_replays(10).await.unwrap().len(), 1, "and that replay is still known");
}

/// Found by the model: status and fence alone do not tell two lives of a record apart.
async fn a_burial_of_an_earlier_life_does_not_reach_into_the_next(Engine { store, .. }: Engine) {
    let key = fresh_key();
    let first = store.bury(&burial(START), letter(&key, START), b"body").await.unwrap();
    store.begin_replay(&first, START + 1).await.unwrap();
    store.forget_replayed(&first).await.unwrap();
    let second = store.bury(&burial(START + 2), letter(&key, START + 2), b"body").await.unwrap();
    let expires_at = START / 1_000 + 60;
    assert!(store.purge(&first, START + 3, expires_at).await.is_err(), "the letter of the first life is gone");
    let record = store.record(&key).await.unwrap().unwrap();
    assert_eq!((record.status, record.fence), (Status::Dead, second.fence));
}

async fn a_commit_with_writes_is_repeated_without_effect(Engine { store, .. }: Engine) {
    let key = fresh_key();
    let held = store.claim(&key, &claim("a", START)).await.unwrap();
    for _ in 0..3 {
        let writes = Writes::from(vec![touch(&store, &key)]);
        let done = store.complete_with(&key, &held, &[], &writes, START + 1, START / 1_000 + 60).await.unwrap();
        assert_eq!(done.status, Status::Done);
    }
}

async fn the_lost_lease_wins_over_the_handlers_own_condition(Engine { store, .. }: Engine) {
    let key = fresh_key();
    let held = store.claim(&key, &claim("a", START)).await.unwrap();
    let commit = async || {
        let writes = Writes::from(vec![touch(&store, &key), impossible(&store)]);
        store.complete_with(&key, &held, &[], &writes, START + 1, START / 1_000 + 60).await.unwrap_err()
    };
    let own = commit().await;
    assert!(matches!(&own, CommitError::Condition(failed) if failed.write == 1), "{own:?}");
    store.claim(&key, &claim("b", START + 60_000)).await.unwrap();
    let lost = commit().await;
    assert!(matches!(lost, CommitError::Refused(Refused::Changed(Some(Status::Running)))), "{lost:?}");
}

async fn the_end_of_a_replay_forgets_only_its_own_record(Engine { store, .. }: Engine) {
    let key = fresh_key();
    let first = store.bury(&burial(START), letter(&key, START), b"body").await.unwrap();
    store.begin_replay(&first, START + 1).await.unwrap();
    let held = store.claim(&key, &claim("a", START + 2)).await.unwrap();
    store.forget_replayed(&first).await.unwrap();
    assert_eq!(store.record(&key).await.unwrap().as_ref(), Some(&held), "a worker has it");
    store.fail(&key, &held, &nothing(), &failure(), START + 3).await.unwrap();
    let second = store.bury(&burial(START + 4), letter(&key, START + 4), b"body").await.unwrap();
    store.forget_replayed(&first).await.unwrap();
    assert_eq!(store.record(&key).await.unwrap().unwrap().status, Status::Dead, "it was buried again");
    let open = store.begin_replay(&second, START + 5).await.unwrap();
    store.forget_replayed(&first).await.unwrap();
    assert_eq!(store.record(&key).await.unwrap(), Some(open), "it is replayed in its turn");
}

async fn the_proof_of_permissions_writes_nothing(Engine { store, url }: Engine) {
    store.prove_transactions().await.unwrap();
    store.prove_transactions().await.unwrap();
    let items = surehook_local::dynamo::client_of(&url).scan().table_name(store.table()).send().await.unwrap();
    assert_eq!(items.items(), []);
    let nowhere = Store::new(surehook_local::dynamo::client_of(&url), "nowhere");
    assert!(nowhere.prove_transactions().await.is_err(), "only a failed condition is a proof");
}

/// A key that no other run had: a DynamoDB that serves many runs remembers their request tokens.
fn fresh_key() -> EventKey {
    EventKey::parse(&Sha256::of(outside::new_id().as_bytes()).hex()).unwrap()
}

fn item(pk: &str) -> HashMap<String, AttributeValue> {
    ["pk", "sk"].into_iter().map(|name| (name.to_owned(), AttributeValue::S(pk.to_owned()))).collect()
}

fn put(table: &str, pk: &str, condition: Option<&str>) -> TransactWriteItem {
    let put = Put::builder().table_name(table).set_item(Some(item(pk)));
    TransactWriteItem::builder()
        .put(put.set_condition_expression(condition.map(str::to_owned)).build().unwrap())
        .build()
}

/// A write of a handler's own, beside the ledger's keys.
fn touch(store: &Store, key: &EventKey) -> TransactWriteItem {
    put(store.table(), &format!("mine#{key}"), None)
}

/// A write whose condition never holds.
fn impossible(store: &Store) -> TransactWriteItem {
    put(store.table(), "nowhere", Some("attribute_exists(pk)"))
}

/// A letter of an event, as the failure path would make it.
pub(crate) fn letter(key: &EventKey, now: i64) -> DeadLetter {
    DeadLetter {
        key: key.clone(),
        fence: 0,
        at: now,
        first_failed: now,
        reason: "permanent".into(),
        status: 489,
        error: "x".into(),
        fingerprint: "f".into(),
        url: "https://h.example/strapi".into(),
        path: Some("/strapi".into()),
        source: "strapi".into(),
        event_type: None,
        method: "POST".into(),
        headers: Default::default(),
        message_id: "m".into(),
        first_message_id: "m".into(),
        rounds: 0,
        size: 4,
        body_sha256: String::new(),
        redacted: false,
        about: None,
        dlq_id: String::new(),
        region: None,
        replaying: None,
        response: Default::default(),
    }
}
