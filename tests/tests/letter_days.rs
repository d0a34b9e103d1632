//! The days that have letters are listed before their letters stand, and each process writes a day once an hour.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use surehook::{
    identity::EventKey,
    ledger::DeadLetter,
    store::{
        LedgerError, Store,
        dynamodb::types::AttributeValue,
        shelves::{Order, Walk},
    },
};
use surehook_local::dynamo::Dynamo;

use crate::{
    contract::{embedded, letter},
    support::{
        fuse::store_at,
        ledger::burial,
        proxy::{Proxy, Verdict, calls},
    },
};

const DAY: i64 = 86_400_000;
const HOUR: i64 = DAY / 24;
const TODAY: i64 = 20_000;

/// A table behind a proxy, which counts what a burial updates: the list of days and nothing else.
struct Table {
    dynamo: Dynamo,
    proxy: Proxy,
    updates: Arc<AtomicUsize>,
    /// Whether these updates take effect and are not answered.
    is_unkind: Arc<AtomicBool>,
}

impl Table {
    async fn start() -> Self {
        let dynamo = embedded().await;
        let (updates, is_unkind) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (count, unkind) = (Arc::clone(&updates), Arc::clone(&is_unkind));
        let proxy = Proxy::start(&dynamo.url, move |request| match calls(request, "UpdateItem") {
            true => {
                count.fetch_add(1, Ordering::SeqCst);
                if unkind.load(Ordering::SeqCst) { Verdict::CutAfter } else { Verdict::Pass }
            }
            false => Verdict::Pass,
        });
        Self { dynamo, proxy, updates, is_unkind }
    }

    /// The store of a process.
    fn process(&self) -> Store {
        store_at(&self.proxy.url)
    }

    fn updates(&self) -> usize {
        self.updates.load(Ordering::SeqCst)
    }

    async fn listed(&self) -> usize {
        let store = self.process();
        let mut shelves = store.shelves(Walk::all(Order::OldestFirst)).await.unwrap();
        let mut count = 0;
        while shelves.next().await.unwrap().is_some() {
            count += 1;
        }
        count
    }
}

async fn bury(store: &Store, number: u32, at: i64) -> Result<DeadLetter, LedgerError> {
    let key = EventKey::parse(&format!("{number:064x}")).unwrap();
    store.bury(&burial(at), letter(&key, at), b"body").await
}

#[tokio::test]
async fn a_process_writes_a_day_once_an_hour_and_every_letter_is_listed() {
    let table = Table::start().await;
    let store = table.process();
    for number in 0..3 {
        bury(&store.clone(), number, TODAY * DAY + i64::from(number)).await.unwrap();
    }
    assert_eq!(table.updates(), 1, "all clones of a process know what one of them wrote");
    bury(&store, 3, (TODAY + 1) * DAY).await.unwrap();
    assert_eq!(table.updates(), 2, "another day");
    bury(&table.process(), 4, (TODAY + 1) * DAY).await.unwrap();
    assert_eq!(table.updates(), 3, "another process");
    assert_eq!(table.dynamo.store(surehook_local::stack::TABLE).letter_days().await.unwrap(), [TODAY + 1, TODAY]);
    assert_eq!(table.listed().await, 5);
}

#[tokio::test]
async fn a_day_that_a_restored_table_does_not_list_is_listed_within_the_hour() {
    let restored = Table::start().await;
    let store = restored.process();
    bury(&store, 0, TODAY * DAY).await.unwrap();
    let client = restored.dynamo.client();
    let days = client.delete_item().table_name(surehook_local::stack::TABLE);
    let (pk, sk) = ("config#dead-letter-days", "days");
    days.key("pk", AttributeValue::S(pk.into())).key("sk", AttributeValue::S(sk.into())).send().await.unwrap();
    bury(&store, 1, TODAY * DAY + 1).await.unwrap();
    assert_eq!(restored.listed().await, 0, "the process believes that it is listed");
    bury(&store, 2, TODAY * DAY + HOUR).await.unwrap();
    assert_eq!(restored.listed().await, 3);
}

#[tokio::test]
async fn a_day_of_which_nobody_knows_whether_it_was_written_is_written_again_and_no_letter_stands_before() {
    let table = Table::start().await;
    let store = table.process();
    table.is_unkind.store(true, Ordering::SeqCst);
    for attempt in 1..=2 {
        assert!(matches!(bury(&store, 0, TODAY * DAY).await, Err(LedgerError::Store(_))));
        assert_eq!((table.updates(), table.listed().await), (attempt, 0));
    }
    table.is_unkind.store(false, Ordering::SeqCst);
    bury(&store, 0, TODAY * DAY).await.unwrap();
    assert_eq!((table.updates(), table.listed().await), (3, 1));
}
