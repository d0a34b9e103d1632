//! The TOML document, as the operator writes it: read, checked as a whole, compiled.
//!
//! A problem names its line. What TOML itself can't read, and fields that we do not know, are told alone and first; all else is
//! told at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use http::HeaderValue;
use serde::Deserialize;
use serde_json::Number;
use toml::Spanned;

use super::{
    Condition, Route, Routes, RoutesError, Test,
    condition::Scalar,
    destination_id,
    headers::{HeaderProblem, forwardable, settable},
    secrets,
    senders::{SourceEntry, TopicEntry},
};
use crate::{
    qstash::{client::is_name, duration},
    sources::place::is_pointer,
    web::EndpointUrl,
};

/// How long a destination may take where its route does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(8);
/// No destination answers sooner than this over the internet.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);
/// The longest that a function may run (AWS, Lambda quotas).
pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(900);
/// A document and its compiled form are one item of the table, which holds 400 KB (AWS, service quotas of DynamoDB).
const MOST_BYTES: usize = 380_000;
/// All destinations of an event are reached within one time limit, and their ids stand in its record.
const MOST_ROUTES_OF_A_SOURCE: usize = 100;
/// Names stand in records and in errors of 256 bytes.
pub(super) const LONGEST_NAME: usize = 64;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "source")]
    sources: Vec<SourceEntry>,
    #[serde(default, rename = "route")]
    routes: Vec<RouteEntry>,
    #[serde(default, rename = "topic")]
    topics: Vec<TopicEntry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteEntry {
    name: Spanned<String>,
    source: Spanned<String>,
    events: Option<Spanned<Vec<String>>>,
    #[serde(default)]
    when: Vec<Spanned<ConditionEntry>>,
    url: Spanned<String>,
    timeout: Option<Spanned<String>>,
    #[serde(default)]
    headers: BTreeMap<Spanned<String>, String>,
    #[serde(default)]
    forward: Vec<Spanned<String>>,
    secret: Option<Spanned<OneOrMany>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConditionEntry {
    field: String,
    equals: Option<Scalar>,
    one_of: Option<Vec<Scalar>>,
    exists: Option<bool>,
    prefix: Option<String>,
    above: Option<Number>,
    at_least: Option<Number>,
    below: Option<Number>,
    at_most: Option<Number>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Compiles a document against the routes that stand, from which secrets keep their names.
pub(super) fn compile(text: &str, previous: &Routes) -> Result<Routes, RoutesError> {
    let document: Document = toml::from_str(text)?;
    let mut problems = Problems { text, found: Vec::new() };
    problems.check(&document);
    let lines: Vec<usize> = document.routes.iter().map(|route| problems.line(&route.name)).collect();
    let routes = document.routes.into_iter().map(RouteEntry::compile).collect();
    let sources = document.sources.into_iter().filter_map(|source| source.compile().ok()).collect();
    let topics = document.topics.into_iter().map(TopicEntry::compile).collect();
    let mut compiled = Routes { version: previous.version + 1, sources, routes, topics, ..Routes::default() };
    compiled.credentials = compiled.credentials_since(previous);
    // What follows from other problems is not worth telling.
    if problems.found.is_empty() {
        let undecided = secrets::assign(&mut compiled.routes, &previous.routes);
        problems.found = undecided.into_iter().map(|(route, sentence)| (lines[route], sentence)).collect();
        problems.check_size(&compiled);
    }
    if problems.found.is_empty() { Ok(compiled) } else { Err(RoutesError::Invalid(problems.by_line())) }
}

impl RouteEntry {
    fn compile(self) -> Route {
        let timeout = self.timeout.and_then(|text| duration::parse(text.get_ref())).unwrap_or(DEFAULT_TIMEOUT);
        let (source, url) = (self.source.into_inner(), self.url.into_inner());
        let lower = |name: &str| name.to_ascii_lowercase();
        Route {
            id: destination_id(&source, &url),
            name: self.name.into_inner(),
            source,
            events: self.events.map_or_else(|| vec!["*".to_owned()], Spanned::into_inner),
            when: self.when.into_iter().map(|entry| entry.into_inner().compile()).collect(),
            url,
            timeout_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
            headers: self.headers.into_iter().map(|(name, value)| (lower(name.get_ref()), value)).collect(),
            forward: self.forward.iter().map(|name| lower(name.get_ref())).collect(),
            secrets: self.secret.map(|secret| secret.into_inner().into()).unwrap_or_default(),
        }
    }
}

impl ConditionEntry {
    fn compile(self) -> Condition {
        Condition { tests: self.tests().collect(), field: self.field }
    }

    fn tests(&self) -> impl Iterator<Item = Test> {
        let tests = [
            self.exists.map(Test::Exists),
            self.equals.clone().map(Test::Equals),
            self.one_of.clone().map(Test::OneOf),
            self.prefix.clone().map(Test::Prefix),
            self.above.clone().map(Test::Above),
            self.at_least.clone().map(Test::AtLeast),
            self.below.clone().map(Test::Below),
            self.at_most.clone().map(Test::AtMost),
        ];
        tests.into_iter().flatten()
    }

    fn problem(&self) -> Option<&'static str> {
        if !is_pointer(&self.field) {
            return Some("field is a JSON pointer such as \"/entry/price\" (~1 stands for / and ~0 for ~ in a name)");
        }
        if self.tests().next().is_none() {
            return Some("it asks nothing: give equals, one_of, exists, prefix, above, at_least, below or at_most");
        }
        self.one_of.as_ref().is_some_and(Vec::is_empty).then_some("one_of needs at least one value")
    }

    /// What no value can be, of all that a route asks of this field.
    fn contradiction(&self, asked: &[(&str, Test)]) -> Option<String> {
        let rival = |test: &Test| asked.iter().find(|(field, other)| *field == self.field && test.excludes(other));
        let (test, (_, other)) = self.tests().find_map(|test| rival(&test).map(|rival| (test, rival)))?;
        Some(format!("nothing is {test} and {other}: the route would never be taken"))
    }
}

impl From<OneOrMany> for Vec<String> {
    fn from(names: OneOrMany) -> Self {
        match names {
            OneOrMany::One(name) => vec![name],
            OneOrMany::Many(names) => names,
        }
    }
}

/// What is wrong with a document, each with its line.
pub(super) struct Problems<'a> {
    text: &'a str,
    /// Lines and sentences; 0 is the document as a whole.
    found: Vec<(usize, String)>,
}

impl Problems<'_> {
    fn line<T>(&self, place: &Spanned<T>) -> usize {
        self.line_at(place.span().start)
    }

    fn line_at(&self, place: usize) -> usize {
        let before = &self.text.as_bytes()[..place.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn tell<T>(&mut self, place: &Spanned<T>, sentence: impl AsRef<str>) {
        self.tell_at(place.span().start, sentence);
    }

    pub(super) fn tell_at(&mut self, place: usize, sentence: impl AsRef<str>) {
        self.found.push((self.line_at(place), sentence.as_ref().to_owned()));
    }

    fn by_line(mut self) -> Vec<String> {
        self.found.sort();
        let told = |(line, sentence)| if line == 0 { sentence } else { format!("line {line}: {sentence}") };
        self.found.into_iter().map(told).collect()
    }

    fn check_size(&mut self, compiled: &Routes) {
        let bytes = self.text.len() + serde_json::to_string(compiled).map_or(0, |json| json.len());
        if bytes > MOST_BYTES {
            let sentence =
                format!("the document and what it compiles to take {bytes} bytes; {MOST_BYTES} are the most");
            self.found.push((0, sentence));
        }
    }

    fn check(&mut self, document: &Document) {
        let sources = self.check_sources(&document.sources);
        self.check_topics(&document.topics, &document.sources, &sources);
        let mut names = BTreeSet::new();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for route in &document.routes {
            self.check_route(route, &sources);
            if !names.insert(route.name.get_ref()) {
                self.tell(&route.name, format!("two routes are named \"{}\"", route.name.get_ref()));
            }
            let count = counts.entry(route.source.get_ref()).or_default();
            *count += 1;
            if *count == MOST_ROUTES_OF_A_SOURCE + 1 {
                let source = route.source.get_ref();
                self.tell(&route.source, format!("source \"{source}\" has more than {MOST_ROUTES_OF_A_SOURCE} routes"));
            }
        }
    }

    fn check_route(&mut self, route: &RouteEntry, sources: &BTreeSet<&str>) {
        let name = route.name.get_ref();
        let about = |sentence: &str| format!("route \"{name}\": {sentence}");
        if !is_name(name) || name.len() > LONGEST_NAME {
            self.tell(&route.name, about("a name has up to 64 letters, digits, '-', '_' and '.'"));
        }
        if !sources.contains(route.source.get_ref().as_str()) {
            let source = route.source.get_ref();
            self.tell(&route.source, about(&format!("source \"{source}\" is neither built in nor defined")));
        }
        if let Err(error) = EndpointUrl::parse(route.url.get_ref()) {
            self.tell(&route.url, about(&format!("url: {error}")));
        }
        if let Some(events) = route.events.as_ref().filter(|events| has_empty(events.get_ref())) {
            self.tell(events, about("events needs at least one pattern, none of them empty"));
        }
        if let Some(text) = &route.timeout
            && duration::parse(text.get_ref()).is_none_or(|span| !(SHORTEST_TIMEOUT..=LONGEST_TIMEOUT).contains(&span))
        {
            let sentence = format!("timeout \"{}\" is not a span such as \"5s\", from 100ms to 15m", text.get_ref());
            self.tell(text, about(&sentence));
        }
        self.check_conditions(route);
        self.check_headers(route);
        if let Some(secret) = route.secret.as_ref().filter(|secret| !secret.get_ref().is_named()) {
            self.tell(secret, about("secret is a name, or a list of names, of letters, digits, '-', '_' and '.'"));
        }
    }

    fn check_conditions(&mut self, route: &RouteEntry) {
        let mut asked = Vec::new();
        for condition in &route.when {
            let entry = condition.get_ref();
            asked.extend(entry.tests().map(|test| (entry.field.as_str(), test)));
            if let Some(sentence) = entry.problem().map(str::to_owned).or_else(|| entry.contradiction(&asked)) {
                let (name, field) = (route.name.get_ref(), &entry.field);
                self.tell(condition, format!("route \"{name}\": condition on \"{field}\": {sentence}"));
            }
        }
    }

    fn check_headers(&mut self, route: &RouteEntry) {
        let about = |name: &str, problem: HeaderProblem| {
            format!("route \"{}\": header {name}: {problem}", route.name.get_ref())
        };
        for (name, value) in &route.headers {
            let is_value = HeaderValue::from_str(value).is_ok();
            let problem = settable(name.get_ref()).err().or((!is_value).then_some(HeaderProblem::Value));
            if let Some(problem) = problem {
                self.tell(name, about(name.get_ref(), problem));
            }
        }
        for name in &route.forward {
            if let Err(problem) = forwardable(name.get_ref()) {
                self.tell(name, about(name.get_ref(), problem));
            }
        }
    }
}

impl OneOrMany {
    fn is_named(&self) -> bool {
        let names = match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names.as_slice(),
        };
        !names.is_empty() && names.iter().all(|name| is_name(name) && name.len() <= LONGEST_NAME)
    }
}

fn has_empty(patterns: &[String]) -> bool {
    patterns.is_empty() || patterns.iter().any(String::is_empty)
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
