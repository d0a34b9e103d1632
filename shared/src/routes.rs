//! Sources and destinations, as the operator writes them in one TOML document.
//!
//! `surehook routes apply` compiles the document against what stands in the table, so that destinations keep their ids;
//! the compiled form is what the functions read.

use std::{collections::BTreeSet, time::Duration};

use serde::{Deserialize, Serialize};
use wildmatch::WildMatch;

use crate::{
    identity::{Delivered, Endpoint, Identified, Recipe, at_pointer, cut, identify},
    qstash::{client::is_name, duration},
    web::EndpointUrl,
};

/// How long a destination may take where its route does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(8);

/// The document as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "source")]
    sources: Vec<SourceEntry>,
    #[serde(default, rename = "route")]
    routes: Vec<RouteEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceEntry {
    name: String,
    identity: String,
    event_type: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteEntry {
    name: String,
    source: String,
    #[serde(default = "everything")]
    events: Vec<String>,
    url: String,
    timeout: Option<String>,
}

fn everything() -> Vec<String> {
    vec!["*".to_owned()]
}

/// A source that the operator configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The first segment of the path that its events come to.
    pub name: String,
    /// How its events are told apart.
    pub recipe: Recipe,
    /// JSON pointer to the event type in the body.
    pub event_type: Option<String>,
}

/// One destination and what it gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Names the destination. Never reused for another URL, because records remember who accepted an event by it.
    pub id: String,
    /// The operator's name for it.
    pub name: String,
    /// Whose events it gets.
    pub source: String,
    /// Which of them: patterns in which `*` stands for anything.
    pub events: Vec<String>,
    /// Where they are sent.
    pub url: String,
    /// How long one delivery may take, in milliseconds.
    pub timeout_ms: u64,
}

/// The compiled document.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routes {
    /// Counts what was applied; a write that did not see the last version is refused.
    pub version: u64,
    /// The number of the next destination.
    pub next_id: u64,
    /// The configured sources.
    pub sources: Vec<Source>,
    /// The routes.
    pub routes: Vec<Route>,
    /// The document as it was written, for `surehook routes show`.
    pub document: String,
}

/// What is wrong with a document.
#[derive(Debug, thiserror::Error)]
pub enum RoutesError {
    /// It is not TOML, or has fields that we do not know. The message names line and column.
    #[error("{0}")]
    Syntax(#[from] toml::de::Error),
    /// It is TOML, but does not make sense; all problems, a sentence each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

impl Routes {
    /// Compiles a document. Destinations that keep source and URL keep their ids, whatever they are called now; all others
    /// get fresh ones.
    pub fn compile(document: &str, previous: &Self) -> Result<Self, RoutesError> {
        let parsed: Document = toml::from_str(document)?;
        let problems = problems(&parsed);
        if !problems.is_empty() {
            return Err(RoutesError::Invalid(problems));
        }
        let mut next_id = previous.next_id.max(1);
        let mut routes: Vec<Route> = Vec::new();
        for entry in parsed.routes {
            let route = previous.assign(entry, &routes, &mut next_id);
            routes.push(route);
        }
        let sources = parsed.sources.into_iter().map(SourceEntry::compile).collect();
        Ok(Self { version: previous.version + 1, next_id, sources, routes, document: document.to_owned() })
    }

    /// A destination is a source and a URL: renaming it must not send to it again what it has accepted. Where several
    /// routes share both, the one of the same name comes first.
    fn assign(&self, entry: RouteEntry, assigned: &[Route], next_id: &mut u64) -> Route {
        let is_free = |route: &&Route| assigned.iter().all(|other| other.id != route.id);
        let is_same = |route: &&Route| route.source == entry.source && route.url == entry.url;
        let mut known = self.routes.iter().filter(is_same).filter(is_free).collect::<Vec<_>>();
        known.sort_by_key(|route| route.name != entry.name);
        let id = known.first().map(|route| route.id.clone()).unwrap_or_else(|| {
            *next_id += 1;
            format!("d{}", *next_id - 1)
        });
        let timeout = entry.timeout.as_deref().and_then(duration::parse).unwrap_or(DEFAULT_TIMEOUT);
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        Route { id, name: entry.name, source: entry.source, events: entry.events, url: entry.url, timeout_ms }
    }

    /// How events of a source are told apart; `None` for a source that nobody configured.
    pub fn recipe(&self, source: &str) -> Option<Recipe> {
        match source {
            "payload" => Some(Recipe::Payload),
            "strapi" => Some(Recipe::Strapi),
            _ => self.source(source).map(|source| source.recipe.clone()),
        }
    }

    /// Names an event of one of our endpoints; `None` where nobody configured its source. Consumer, requeuer, sweep and
    /// replay all come here, so that they mean the same record.
    pub fn identify(&self, endpoint: &Endpoint, event: Delivered<'_>) -> Option<Identified> {
        let source = endpoint.source()?;
        let mut identified = identify(endpoint, &self.recipe(source)?, event);
        if let Some(pointer) = self.source(source).and_then(|source| source.event_type.as_deref()) {
            identified.event_type = at_pointer(event.body, pointer).map(|text| cut(text, 128));
        }
        Some(identified)
    }

    /// A configured source by name.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// The route of a destination, by the id that stands in records.
    pub fn by_id(&self, id: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.id == id)
    }

    /// The routes that an event takes. An event without a type takes those that take everything.
    pub fn matching(&self, source: &str, event_type: Option<&str>) -> Vec<&Route> {
        let event_type = event_type.unwrap_or_default();
        let takes = |route: &&Route| {
            route.source == source && route.events.iter().any(|pattern| WildMatch::new(pattern).matches(event_type))
        };
        self.routes.iter().filter(takes).collect()
    }
}

/// What a destination said, in an error that names all that failed: `shop: 422 no such field; warehouse: 503 …`.
pub fn said_by<'a>(error: &'a str, name: &str) -> Option<&'a str> {
    error.split("; ").find(|said| said.strip_prefix(name).is_some_and(|rest| rest.starts_with(": ")))
}

impl SourceEntry {
    fn compile(self) -> Source {
        let recipe = match self.identity.as_str() {
            "body" => Recipe::Body,
            "message" => Recipe::Message,
            pointer => Recipe::Pointer(pointer.to_owned()),
        };
        Source { name: self.name, recipe, event_type: self.event_type }
    }
}

fn problems(document: &Document) -> Vec<String> {
    let mut problems = Vec::new();
    let mut known: BTreeSet<&str> = ["payload", "strapi"].into();
    for source in &document.sources {
        source_problems(source, &mut problems);
        if !known.insert(&source.name) {
            problems.push(format!("source \"{}\" is defined twice, or is built in", source.name));
        }
    }
    let mut names = BTreeSet::new();
    for route in &document.routes {
        route_problems(route, &known, &mut problems);
        if !names.insert(&route.name) {
            problems.push(format!("two routes are named \"{}\"", route.name));
        }
    }
    problems
}

fn source_problems(source: &SourceEntry, problems: &mut Vec<String>) {
    let name = &source.name;
    if !is_name(name) {
        problems.push(format!("source \"{name}\": a name has letters, digits, '-', '_' and '.'"));
    }
    if !matches!(source.identity.as_str(), "body" | "message") && !source.identity.starts_with('/') {
        problems
            .push(format!("source \"{name}\": identity is \"body\", \"message\", or a JSON pointer such as \"/id\""));
    }
    if source.event_type.as_ref().is_some_and(|pointer| !pointer.starts_with('/')) {
        problems.push(format!("source \"{name}\": event_type is a JSON pointer such as \"/type\""));
    }
}

fn route_problems(route: &RouteEntry, sources: &BTreeSet<&str>, problems: &mut Vec<String>) {
    let name = &route.name;
    if name.trim().is_empty() {
        problems.push(format!("the route to {} has no name", route.url));
    }
    if !sources.contains(route.source.as_str()) {
        problems.push(format!("route \"{name}\": source \"{}\" is neither built in nor defined", route.source));
    }
    if let Err(error) = EndpointUrl::parse(&route.url) {
        problems.push(format!("route \"{name}\": url: {error}"));
    }
    if route.events.is_empty() || route.events.iter().any(String::is_empty) {
        problems.push(format!("route \"{name}\": events needs at least one pattern, none of them empty"));
    }
    if let Some(timeout) = &route.timeout
        && duration::parse(timeout).is_none_or(|span| span.is_zero())
    {
        problems.push(format!("route \"{name}\": timeout \"{timeout}\" is not a span such as \"5s\""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
        [[source]]
        name = "github"
        identity = "/delivery"
        event_type = "/action"

        [[route]]
        name = "shop"
        source = "strapi"
        events = ["entry.*", "media.create"]
        url = "https://shop.example/hook"
        timeout = "5s"

        [[route]]
        name = "all"
        source = "github"
        url = "https://all.example/"
    "#;

    fn compiled() -> Routes {
        Routes::compile(DOCUMENT, &Routes::default()).unwrap()
    }

    fn names(routes: &Routes, source: &str, event_type: Option<&str>) -> Vec<String> {
        routes.matching(source, event_type).iter().map(|route| route.name.clone()).collect()
    }

    #[test]
    fn events_take_the_routes_whose_patterns_match() {
        let routes = compiled();
        assert_eq!(names(&routes, "strapi", Some("entry.create")), ["shop"]);
        assert_eq!(names(&routes, "strapi", Some("media.create")), ["shop"]);
        assert!(names(&routes, "strapi", Some("media.update")).is_empty());
        assert!(names(&routes, "strapi", None).is_empty());
        assert_eq!(names(&routes, "github", None), ["all"]);
    }

    #[test]
    fn sources_are_known_only_when_somebody_configured_them() {
        let routes = compiled();
        assert_eq!(routes.recipe("strapi"), Some(Recipe::Strapi));
        assert_eq!(routes.recipe("github"), Some(Recipe::Pointer("/delivery".into())));
        assert_eq!(routes.recipe("stripe"), None);
    }

    #[test]
    fn a_destination_keeps_its_id_only_with_its_url() {
        let first = compiled();
        let same = Routes::compile(DOCUMENT, &first).unwrap();
        assert_eq!((same.routes[0].id.as_str(), same.version), ("d1", 2));
        let moved = Routes::compile(&DOCUMENT.replace("shop.example", "new.example"), &same).unwrap();
        assert_eq!(moved.routes[0].id, "d3");
        let back = Routes::compile(DOCUMENT, &moved).unwrap();
        assert_eq!(back.routes[0].id, "d4", "an id is never given again");
    }

    #[test]
    fn a_renamed_destination_is_the_same_destination() {
        let first = compiled();
        let renamed = Routes::compile(&DOCUMENT.replace("name = \"shop\"", "name = \"store\""), &first).unwrap();
        assert_eq!((renamed.routes[0].id.as_str(), renamed.routes[0].name.as_str()), ("d1", "store"));
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let bad = r#"
            [[source]]
            name = "a/b"
            identity = "id"
            [[route]]
            name = "x"
            source = "nowhere"
            url = "ftp://x"
            timeout = "soon"
            events = []
            [[route]]
            name = "x"
            source = "strapi"
            url = "https://ok.example"
        "#;
        let Err(RoutesError::Invalid(problems)) = Routes::compile(bad, &Routes::default()) else { panic!("accepted") };
        assert_eq!(problems.len(), 7, "{problems:#?}");
    }

    #[test]
    fn unknown_fields_are_errors_with_their_line() {
        let error = Routes::compile("[[route]]\nnmae = \"x\"", &Routes::default()).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
