//! Outbox rows of several partitions in one order, by age. A page or two of each are in memory.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use futures::future::join_all;
use surehook::{
    Millis,
    store::{
        Store, StoreError,
        outbox::{Kept, Lane, OutboxPage, Position},
    },
};

use crate::reply::Sweep;

/// Rows of one partition that are read at a time. DynamoDB ends a page at 1 MB, so that larger rows take no more memory.
const ROWS: i32 = 100;
/// A partition with fewer rows in memory is read on as soon as another has none.
const FEW: usize = 50;

/// A row as it came: one that can't be read must not hide the others.
pub(crate) type Row = Result<Kept, StoreError>;

/// The rows, and what was learned on the way.
#[derive(Debug)]
pub(crate) struct Queue<'s> {
    store: &'s Store,
    now: Millis,
    lanes: Vec<Shelf>,
    /// Whether these rows are held already, because their topics had no endpoints.
    pub(crate) is_held: bool,
    /// Topics without endpoints: QStash is not asked for each of their rows.
    pub(crate) without_endpoints: BTreeSet<String>,
    /// How many rows of each topic were taken out of the table.
    pub(crate) removed: BTreeMap<String, i64>,
}

/// The rows of one partition.
#[derive(Debug)]
struct Shelf {
    lane: Lane,
    rows: VecDeque<Row>,
    /// Where the next page begins.
    from: Option<Position>,
    is_read: bool,
}

impl<'s> Queue<'s> {
    /// Creates a queue of events that wait for QStash.
    pub(crate) fn waiting(store: &'s Store, now: Millis) -> Self {
        Self::of(store, now, Lane::ordinary(), false)
    }

    /// Creates a queue of rows that were held.
    pub(crate) fn held(store: &'s Store, now: Millis, lanes: impl Iterator<Item = Lane>) -> Self {
        Self::of(store, now, lanes, true)
    }

    fn of(store: &'s Store, now: Millis, lanes: impl Iterator<Item = Lane>, is_held: bool) -> Self {
        let shelf = |lane| Shelf { lane, rows: VecDeque::new(), from: None, is_read: false };
        let lanes = lanes.map(shelf).collect();
        Self { store, now, lanes, is_held, without_endpoints: BTreeSet::new(), removed: BTreeMap::new() }
    }

    /// Counts the rows that were read and not taken.
    pub(crate) fn leave_rest(&self, report: &mut Sweep) {
        for row in self.lanes.iter().flat_map(|lane| &lane.rows) {
            report.wait(at(row), self.now);
        }
    }

    /// Takes the oldest row. The age of one that can't be read is unknown, so that it comes first.
    pub(crate) async fn next(&mut self, report: &mut Sweep) -> Option<Row> {
        self.fill(report).await;
        let next = self.lanes.iter_mut().filter(|lane| !lane.rows.is_empty()).min_by_key(|lane| lane.age())?;
        next.rows.pop_front()
    }

    /// Takes the youngest row that was read.
    pub(crate) fn youngest(&mut self) -> Option<Row> {
        self.lanes.iter_mut().max_by_key(|lane| lane.rows.back().and_then(at))?.rows.pop_back()
    }

    /// Reads the next page of each partition of which few rows are left, as soon as one has none.
    pub(crate) async fn fill(&mut self, report: &mut Sweep) {
        while self.lanes.iter().any(|lane| lane.rows.is_empty() && !lane.is_read) {
            let store = self.store;
            let short = self.lanes.iter_mut().filter(|lane| !lane.is_read && lane.rows.len() < FEW);
            let pages = short.map(|lane| async move {
                let page = store.outbox(&lane.lane, ROWS, lane.from.take()).await;
                lane.add(page).err()
            });
            for error in join_all(pages).await.into_iter().flatten() {
                report.fail(format!("a part of the outbox: {error}"));
            }
        }
    }
}

impl Shelf {
    fn add(&mut self, page: Result<OutboxPage, StoreError>) -> Result<(), StoreError> {
        // A part that can't be read now is left to the next sweep.
        self.is_read = true;
        let page = page?;
        self.is_read = page.next.is_none();
        self.rows.extend(page.rows);
        self.from = page.next;
        Ok(())
    }

    fn age(&self) -> Option<Millis> {
        self.rows.front().and_then(at)
    }
}

/// Returns when a row was accepted, if it can be read.
pub(crate) fn at(row: &Row) -> Option<Millis> {
    row.as_ref().ok().map(|kept| kept.row.at)
}
