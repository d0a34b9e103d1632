//! `surehook routes unmatched`: event types that no route took.

use std::collections::BTreeSet;

use serde::Serialize;
use surehook::{
    Millis, outside,
    routes::Routes,
    store::{Store, unmatched::UnmatchedType},
};

use super::store;
use crate::{
    Failure,
    operator::{print_json, table::table},
    text::{counted, date, short},
};

/// Sources that no document has to name.
const BUILT_IN: [&str; 2] = ["payload", "strapi"];

/// An event type, and what these routes say of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    source: String,
    event_type: String,
    events: u64,
    first: Millis,
    last: Millis,
    routes: Verdict,
}

/// What routes say of an event type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Verdict {
    /// No route takes it.
    None,
    /// Routes take it whose conditions hold.
    Conditional,
    /// A route takes all events of it.
    Taken,
}

impl Verdict {
    fn of(routes: &Routes, found: &UnmatchedType) -> Self {
        let event_type = Some(found.event_type.as_str()).filter(|text| !text.is_empty());
        let taking = routes.for_type(&found.source, event_type);
        match taking.iter().any(|route| route.when.is_empty()) {
            true => Self::Taken,
            false if taking.is_empty() => Self::None,
            false => Self::Conditional,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::None => "no route",
            Self::Conditional => "only if conditions hold",
            Self::Taken => "a route takes it now",
        }
    }
}

pub(super) async fn run(json: bool) -> Result<(), Failure> {
    let store = store()?.await;
    let routes = store.routes(true).await?;
    let shown = list(&store, &routes).await?;
    if json {
        return print_json(&shown);
    }
    if shown.is_empty() {
        println!("Routes took all events of the last 7 days.");
        return Ok(());
    }
    println!("{}", table_of(&shown));
    println!(
        "\nNo route took these events. To keep those that come from now on, write unmatched = \"keep\" into their source."
    );
    Ok(())
}

/// Says which event types of the last days a document that was applied does not take.
pub(super) async fn tell(store: &Store, routes: &Routes) -> Result<(), Failure> {
    let mut shown = match list(store, routes).await {
        Ok(shown) => shown,
        Err(error) => {
            eprintln!("warning: the event types that no route took can't be read: {error}");
            return Ok(());
        }
    };
    shown.retain(|one| one.routes != Verdict::Taken);
    if !shown.is_empty() {
        println!("\n{} of the last 7 days not taken by this document:", counted(shown.len(), "event type"));
        println!("{}", table_of(&shown));
    }
    Ok(())
}

async fn list(store: &Store, routes: &Routes) -> Result<Vec<Shown>, Failure> {
    let configured = routes.sources.iter().map(|source| source.name.clone());
    let sources: BTreeSet<String> = configured.chain(BUILT_IN.map(str::to_owned)).collect();
    let found = store.unmatched(&Vec::from_iter(sources), outside::now()).await?;
    let shown = |found: UnmatchedType| Shown {
        routes: Verdict::of(routes, &found),
        source: found.source,
        event_type: found.event_type,
        events: found.count,
        first: found.first,
        last: found.last,
    };
    Ok(found.into_iter().map(shown).collect())
}

fn table_of(shown: &[Shown]) -> String {
    let rows = shown.iter().map(|one| {
        let event_type = if one.event_type.is_empty() { "(none)" } else { one.event_type.as_str() };
        let (source, event_type) = (short(&one.source, 20), short(event_type, 40));
        vec![source, event_type, one.events.to_string(), date(one.last), one.routes.sentence().to_owned()]
    });
    table(&["SOURCE", "TYPE", "EVENTS", "LAST", "ROUTES NOW"], rows)
}
