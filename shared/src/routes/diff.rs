//! What another document would change, in the words of its effect.

use std::{collections::BTreeSet, fmt};

use serde::Serialize;

use super::{Route, Routes, Source};
use crate::{Millis, sources::Unmatched};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum Change {
    /// A new source.
    SourceAdded {
        /// Its name.
        name: String,
    },
    /// A source is gone: its events are answered 503 until it is back.
    SourceRemoved {
        /// Its name.
        name: String,
    },
    /// Something of a source.
    SourceChanged {
        /// Its name.
        name: String,
        /// What, and what follows.
        what: String,
    },
    /// A topic brings another source's events.
    Topic {
        /// Its name.
        name: String,
        /// Whose events it brought.
        from: Option<String>,
        /// Whose events it brings now.
        to: Option<String>,
    },
    /// A new route.
    Added {
        /// Its name.
        name: String,
        /// Where it sends.
        url: String,
    },
    /// A route is gone.
    Removed {
        /// Its name.
        name: String,
        /// Where it sent.
        url: String,
    },
    /// Another name for the same destination.
    Renamed {
        /// What it was called.
        from: String,
        /// What it is called now.
        to: String,
    },
    /// A route sends elsewhere.
    Moved {
        /// Its name.
        name: String,
        /// Where it sent.
        from: String,
        /// Where it sends now.
        to: String,
    },
    /// Something else of a route.
    Changed {
        /// Its name.
        name: String,
        /// What, with the old value and the new one.
        what: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SourceAdded { name } => write!(formatter, "+ source {name}"),
            Self::SourceRemoved { name } => {
                write!(formatter, "- source {name}: its events are answered 503, and wait, until it is back")
            }
            Self::SourceChanged { name, what } => {
                write!(formatter, "~ source {name}: {what}")
            }
            Self::Topic { name, from, to } => {
                let sync = "`surehook topics sync` makes it so at QStash";
                match (from, to) {
                    (Some(from), Some(to)) => {
                        write!(formatter, "~ topic {name}: takes events of source {to}, no longer of {from}; {sync}")
                    }
                    (_, Some(to)) => write!(formatter, "+ topic {name}: takes events of source {to}; {sync}"),
                    (_, None) => {
                        write!(formatter, "- topic {name}: the producer takes nothing for it, unless it is in TOPICS")
                    }
                }
            }
            Self::Added { name, url } => write!(formatter, "+ route {name} to {url}: gets events from now on"),
            Self::Removed { name, url } => {
                write!(formatter, "- route {name} to {url}: what it has not accepted yet will not reach it")
            }
            Self::Renamed { from, to } => write!(formatter, "~ route {from} is called {to}: the same destination"),
            Self::Moved { name, from, to } => {
                write!(formatter, "~ route {name} from {from} to {to}: another destination, waiting events go there")
            }
            Self::Changed { name, what } => write!(formatter, "~ route {name}: {what}"),
        }
    }
}

/// What `new` changes in `old`, sources first.
pub fn changes(old: &Routes, new: &Routes) -> Vec<Change> {
    let mut changes = source_changes(old, new);
    changes.extend(topic_changes(old, new));
    let mut gone: Vec<&Route> = old.routes.iter().collect();
    let mut take = |fits: &dyn Fn(&Route) -> bool| gone.iter().position(|route| fits(route)).map(|at| gone.remove(at));
    // The same name first, so that a route that was moved to where another had been is not taken for that one renamed.
    let named: Vec<Option<&Route>> = new.routes.iter().map(|route| take(&|old| old.name == route.name)).collect();
    for (route, same_name) in new.routes.iter().zip(named) {
        let before = same_name.or_else(|| take(&|old| old.id == route.id));
        changes.extend(before.map_or_else(
            || vec![Change::Added { name: route.name.clone(), url: route.url.clone() }],
            |before| route_changes(before, route),
        ));
    }
    changes.extend(gone.iter().map(|route| Change::Removed { name: route.name.clone(), url: route.url.clone() }));
    changes
}

fn source_changes(old: &Routes, new: &Routes) -> Vec<Change> {
    let named = |source: &Source| source.name.clone();
    let added = new.sources.iter().filter_map(|source| match old.source(&source.name) {
        None => Some(Change::SourceAdded { name: named(source) }),
        Some(before) => source_change(before, source),
    });
    let removed = old.sources.iter().filter(|source| new.source(&source.name).is_none());
    added.chain(removed.map(|source| Change::SourceRemoved { name: named(source) })).collect()
}

/// What of a source is another, and what follows for its events.
fn source_change(old: &Source, new: &Source) -> Option<Change> {
    let parts = [
        (old.identity != new.identity, "its events are told apart otherwise; what comes again may be a new event"),
        (old.event_type != new.event_type, "its events have other types; do its routes still take them?"),
        (
            old.signature != new.signature,
            "its sender must sign otherwise; what is signed as before, or waits unsealed, is refused",
        ),
        (old.secret != new.secret, "another secret of SOURCE_SECRETS proves its sender"),
        (old.unmatched != new.unmatched, unmatched_change(new.unmatched)),
        (old.silence != new.silence, silence_change(new.silence)),
    ];
    let told: Vec<&str> = parts.into_iter().filter(|(is_other, _)| *is_other).map(|(_, what)| what).collect();
    (!told.is_empty()).then(|| Change::SourceChanged { name: new.name.clone(), what: told.join("; ") })
}

fn silence_change(silence: Option<Millis>) -> &'static str {
    match silence {
        Some(_) => "an alarm rings where it is silent for longer",
        None => "no alarm rings where it is silent",
    }
}

fn unmatched_change(unmatched: Unmatched) -> &'static str {
    match unmatched {
        Unmatched::Keep => "its events that no route takes become dead letters (reason unmatched)",
        Unmatched::Ignore => "its events that no route takes end as ignored, and their bodies are not kept",
    }
}

fn topic_changes(old: &Routes, new: &Routes) -> Vec<Change> {
    let source_in = |routes: &Routes, name: &str| {
        routes.topics.iter().find(|topic| topic.name == name).map(|topic| topic.source.clone())
    };
    let names: BTreeSet<&String> = old.topics.iter().chain(&new.topics).map(|topic| &topic.name).collect();
    let changed = names.into_iter().filter_map(|name| {
        let (from, to) = (source_in(old, name), source_in(new, name));
        (from != to).then(|| Change::Topic { name: name.clone(), from, to })
    });
    changed.collect()
}

fn route_changes(old: &Route, new: &Route) -> Vec<Change> {
    let name = &new.name;
    let mut changes = Vec::new();
    if old.name != new.name {
        changes.push(Change::Renamed { from: old.name.clone(), to: name.clone() });
    }
    if old.url != new.url {
        changes.push(Change::Moved { name: name.clone(), from: old.url.clone(), to: new.url.clone() });
        if old.secrets == new.secrets {
            let what =
                "its secret goes along; if its receiver is another party now, write secret = \"…\" with a new name";
            changes.push(Change::Changed { name: name.clone(), what: what.to_owned() });
        }
    }
    let conditions = |route: &Route| route.when.iter().map(ToString::to_string).collect::<Vec<_>>();
    let headers =
        |route: &Route| route.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>();
    let timeout = |route: &Route| vec![format!("{} ms", route.timeout_ms)];
    let parts = [
        ("source", vec![old.source.clone()], vec![new.source.clone()]),
        ("events", old.events.clone(), new.events.clone()),
        ("when", conditions(old), conditions(new)),
        ("timeout", timeout(old), timeout(new)),
        ("headers", headers(old), headers(new)),
        ("forward", old.forward.clone(), new.forward.clone()),
        ("secret", old.secrets.clone(), new.secrets.clone()),
    ];
    for (part, before, after) in parts.into_iter().filter(|(_, before, after)| before != after) {
        let what = format!("{part} from {} to {}", listed(&before), listed(&after));
        changes.push(Change::Changed { name: name.clone(), what });
    }
    changes
}

fn listed(values: &[String]) -> String {
    if values.is_empty() { "nothing".to_owned() } else { values.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, url: &str, more: &str) -> String {
        format!("[[route]]\nname = \"{name}\"\nsource = \"strapi\"\nurl = \"https://{url}.example/\"\n{more}\n")
    }

    fn between(old: &str, new: &str) -> Vec<String> {
        let old = Routes::compile(old, &Routes::default()).unwrap();
        let new = Routes::compile(new, &old).unwrap();
        changes(&old, &new).iter().map(|change| change.to_string().split(':').next().unwrap().to_owned()).collect()
    }

    #[test]
    fn each_change_has_its_sentence() {
        let shop = route("shop", "a", "");
        assert!(between(&shop, &format!("# a comment\n{shop}")).is_empty());
        assert_eq!(between("", &shop), ["+ route shop to https"]);
        assert_eq!(between(&shop, ""), ["- route shop to https"]);
        assert_eq!(between(&shop, &route("store", "a", "")), ["~ route shop is called store"]);
        let moved = shop.replace("example/", "example/new");
        assert_eq!(between(&shop, &moved), ["~ route shop from https", "~ route shop"]);
        assert_eq!(between(&shop, &route("shop", "a", "timeout = \"2s\"")), ["~ route shop"]);
        let source = "[[source]]\nname = \"x\"\nidentity = \"body\"\n";
        assert_eq!(between("", source), ["+ source x"]);
        assert_eq!(between(source, &source.replace("body", "/id")), ["~ source x"]);
        assert_eq!(between(source, ""), ["- source x"]);
    }

    #[test]
    fn a_change_says_what_was_and_what_will_be() {
        let old = Routes::compile(&route("shop", "a", ""), &Routes::default()).unwrap();
        let text = route("shop", "a", "events = [\"entry.*\"]\nwhen = [{ field = \"/x\", exists = true }]");
        let new = Routes::compile(&text, &old).unwrap();
        let found: Vec<String> = changes(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["~ route shop: events from * to entry.*", "~ route shop: when from nothing to /x is there"]);
    }

    #[test]
    fn swapped_names_are_two_moves() {
        let old = route("a", "a", "") + &route("b", "b", "");
        let new = route("b", "a", "") + &route("a", "b", "");
        assert_eq!(between(&old, &new).iter().filter(|line| line.contains("from https")).count(), 2);
    }
}
