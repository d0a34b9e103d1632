//! Dead letters by the time of their burial: heads, as lists show them.
//!
//! The index spreads each day's letters over shards. Here the shards of a day are merged into one order, a page of each at a
//! time, so that ten million letters take no more memory than ten.

use std::collections::VecDeque;

use futures::future::try_join_all;

use super::{
    SHARDS, Store, StoreError,
    item::{Item, Reading, number, text},
    letter_item::{DAY, to_letter},
    schema::LETTER_INDEX,
};
use crate::{Millis, ledger::DeadLetter};

/// Heads that are read from one shard at a time.
const PAGE: i32 = 50;

/// Which end comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// For people who look.
    NewestFirst,
    /// For replays: what has waited longest goes first.
    OldestFirst,
}

/// A place between two letters: behind the one that was buried at this time and has this id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When it was buried.
    pub at: Millis,
    /// Its id.
    pub id: String,
}

/// Which letters are walked through.
#[derive(Debug, Clone)]
pub struct Walk {
    /// Which end comes first.
    pub order: Order,
    /// Buried at or after.
    pub since: Millis,
    /// Buried before.
    pub until: Millis,
    /// Behind this letter, in the walk's order.
    pub after: Option<Place>,
}

impl Place {
    /// The place behind a letter.
    pub fn behind(letter: &DeadLetter) -> Self {
        Self { at: letter.at, id: letter.id() }
    }
}

impl Walk {
    /// Through all letters.
    pub fn all(order: Order) -> Self {
        Self { order, since: Millis::MIN, until: Millis::MAX, after: None }
    }

    /// The times that are left to walk through, both ends included.
    fn span(&self) -> (Millis, Millis) {
        let (since, until) = (self.since, self.until.saturating_sub(1));
        match (&self.after, self.order) {
            (Some(place), Order::NewestFirst) => (since, until.min(place.at)),
            (Some(place), Order::OldestFirst) => (since.max(place.at), until),
            (None, _) => (since, until),
        }
    }

    /// Whether a letter lies behind the place from which the walk goes on.
    fn reaches(&self, letter: &DeadLetter) -> bool {
        self.after.as_ref().is_none_or(|place| self.comes_first(place, &Place::behind(letter)))
    }

    fn comes_first(&self, one: &Place, other: &Place) -> bool {
        match self.order {
            Order::NewestFirst => one > other,
            Order::OldestFirst => one < other,
        }
    }
}

/// A walk under way.
#[derive(Debug)]
pub struct Shelves<'a> {
    store: &'a Store,
    walk: Walk,
    days: VecDeque<i64>,
    shards: Vec<Shard>,
    /// Heads that can't be read, and why: they are passed over, not allowed to hide the others.
    pub unreadable: Vec<String>,
}

/// One shard of the day that is being walked through.
#[derive(Debug, Default)]
struct Shard {
    key: String,
    heads: VecDeque<DeadLetter>,
    from: Option<Item>,
    is_read: bool,
}

impl Shard {
    /// Whether the first head can be taken. Heads of one millisecond come in no order of ours, so they must all be there.
    fn is_ready(&self) -> bool {
        let differs = |last: &DeadLetter| self.heads.front().is_some_and(|first| first.at != last.at);
        self.is_read || self.heads.back().is_some_and(differs)
    }
}

impl Store {
    /// Begins a walk.
    pub async fn shelves(&self, walk: Walk) -> Result<Shelves<'_>, StoreError> {
        let (first, last) = walk.span();
        let mut days = self.letter_days().await?;
        days.retain(|day| (first.div_euclid(DAY)..=last.div_euclid(DAY)).contains(day));
        if walk.order == Order::OldestFirst {
            days.reverse();
        }
        Ok(Shelves { store: self, walk, days: days.into(), shards: Vec::new(), unreadable: Vec::new() })
    }
}

impl Shelves<'_> {
    /// The next letter; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<DeadLetter>, StoreError> {
        loop {
            self.fill().await?;
            if let Some(letter) = self.take_first() {
                return Ok(Some(letter));
            }
            let Some(day) = self.days.pop_front() else { return Ok(None) };
            let shard = |number| Shard { key: format!("dl#{day}#{number}"), ..Shard::default() };
            self.shards = (0..SHARDS).map(shard).collect();
        }
    }

    fn take_first(&mut self) -> Option<DeadLetter> {
        let places = self.shards.iter().enumerate().filter_map(|(index, shard)| Some((index, shard.heads.front()?)));
        let first = places.map(|(index, head)| (index, Place::behind(head)));
        let (index, _) =
            first.reduce(|one, other| if self.walk.comes_first(&other.1, &one.1) { other } else { one })?;
        self.shards[index].heads.pop_front()
    }

    /// Reads on where a shard's first head is not known yet, in all such shards at once.
    async fn fill(&mut self) -> Result<(), StoreError> {
        loop {
            let this = &*self;
            let open = this.shards.iter().enumerate().filter(|(_, shard)| !shard.is_ready());
            let reads = open.map(|(index, shard)| async move { Ok::<_, StoreError>((index, this.page(shard).await?)) });
            let pages = try_join_all(reads).await?;
            if pages.is_empty() {
                return Ok(());
            }
            for (index, (items, from)) in pages {
                self.add(index, &items, from);
            }
        }
    }

    fn add(&mut self, index: usize, items: &[Item], from: Option<Item>) {
        let (heads, unreadable) = self.heads(items);
        self.unreadable.extend(unreadable);
        let (order, shard) = (self.walk.order, &mut self.shards[index]);
        shard.heads.extend(heads);
        // Only heads of the same millisecond change places.
        shard.heads.make_contiguous().sort_by(|a, b| in_order(order, a, b));
        shard.is_read = from.is_none();
        shard.from = from;
    }

    fn heads(&self, items: &[Item]) -> (Vec<DeadLetter>, Vec<String>) {
        let (mut heads, mut unreadable) = (Vec::new(), Vec::new());
        for item in items {
            let key = Reading(item).event_key();
            match key
                .ok_or_else(|| StoreError::unreadable(&Reading(item).key(), "pk"))
                .and_then(|key| to_letter(&key, item))
            {
                Ok(letter) if self.walk.reaches(&letter) => heads.push(letter),
                Ok(_behind_us) => {}
                Err(error) => unreadable.push(error.to_string()),
            }
        }
        (heads, unreadable)
    }

    async fn page(&self, shard: &Shard) -> Result<(Vec<Item>, Option<Item>), StoreError> {
        let (first, last) = self.walk.span();
        if first > last {
            return Ok((Vec::new(), None));
        }
        let output = self
            .store
            .client
            .query()
            .table_name(&self.store.table)
            .index_name(LETTER_INDEX)
            .key_condition_expression("dl = :dl AND dl_at BETWEEN :first AND :last")
            .expression_attribute_values(":dl", text(&shard.key))
            .expression_attribute_values(":first", number(first))
            .expression_attribute_values(":last", number(last))
            .scan_index_forward(self.walk.order == Order::OldestFirst)
            .limit(PAGE)
            .set_exclusive_start_key(shard.from.clone())
            .send()
            .await?;
        Ok((output.items.unwrap_or_default(), output.last_evaluated_key))
    }
}

fn in_order(order: Order, one: &DeadLetter, other: &DeadLetter) -> std::cmp::Ordering {
    let ascending = one.at.cmp(&other.at).then_with(|| one.id().cmp(&other.id()));
    if order == Order::OldestFirst { ascending } else { ascending.reverse() }
}
