//! Which destinations an event goes to, and why.

use std::{borrow::Cow, collections::BTreeSet, sync::OnceLock};

use wildmatch::WildMatchPattern;

use super::{Route, Routes, Source};
use crate::{identity::Delivered, json::Fields};

/// Returns whether a pattern of event types matches one. `*` stands for anything; there is no other wildcard, so that `?` and all
/// else stand for themselves.
pub fn matches_type(pattern: &str, event_type: &str) -> bool {
    WildMatchPattern::<'*', '\0'>::new(pattern).matches(event_type)
}

/// What a route looks at in an event.
#[derive(Debug)]
pub struct Subject<'a> {
    source: &'a str,
    event_type: Option<Cow<'a, str>>,
    /// What may hide its type, or a part of it.
    hidden: Hidden,
    body: &'a [u8],
    /// Where its type stands, and what the conditions of its routes ask for.
    pointers: BTreeSet<&'a str>,
    /// Read once, and only where a condition asks for it; `None` inside where the body is not JSON.
    fields: OnceLock<Option<Fields>>,
}

/// Why the type of an event may be another than what was found of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hidden {
    /// It is not.
    Nowhere,
    /// A part stands in the body, if that can be read.
    InBody,
    /// A header is missing that says a part: who sent the event, or published it by other routes, left it out.
    InHeader,
}

impl Hidden {
    fn of(lacks_header: bool, lacks_field: bool) -> Self {
        match (lacks_header, lacks_field) {
            (true, _) => Self::InHeader,
            (false, true) => Self::InBody,
            (false, false) => Self::Nowhere,
        }
    }
}

/// What one route says of an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Match {
    /// It takes the event.
    Takes,
    /// It does not, and why.
    Leaves(String),
    /// It asks for a type or for fields, and the body can't be read. The event must not be ignored for that.
    Undecided,
}

/// A destination of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Destination<'a> {
    /// The first of its routes that takes the event.
    pub route: &'a Route,
    /// Whether it can't be told that the route takes it, because the body is not JSON.
    pub undecided: bool,
}

impl<'a> Subject<'a> {
    /// The event's type, as the routes see it that the subject was made by.
    pub fn event_type(&self) -> Option<&str> {
        self.event_type.as_deref()
    }

    /// Whether nobody can tell its type.
    fn hides_type(&self) -> bool {
        match self.hidden {
            Hidden::Nowhere => false,
            Hidden::InBody => self.fields().is_none(),
            Hidden::InHeader => true,
        }
    }

    fn fields(&self) -> Option<&Fields> {
        self.fields.get_or_init(|| Fields::read(self.body, self.pointers.iter().copied())).as_ref()
    }
}

impl Route {
    /// Whether the route takes events of this source and type; its conditions may refuse them all the same. An event without a
    /// type is taken by those that take everything.
    pub fn is_for(&self, source: &str, event_type: Option<&str>) -> bool {
        let event_type = event_type.unwrap_or_default();
        self.source == source && self.events.iter().any(|pattern| matches_type(pattern, event_type))
    }

    /// What the route says of an event.
    pub fn judge(&self, subject: &Subject<'_>) -> Match {
        if self.source != subject.source {
            return Match::Leaves(format!("it takes events of source \"{}\"", self.source));
        }
        if !self.is_for(subject.source, subject.event_type()) {
            if subject.hides_type() {
                return Match::Undecided;
            }
            let event_type = subject.event_type().map_or("nothing".to_owned(), |text| format!("\"{text}\""));
            return Match::Leaves(format!("its events are {:?}, the event's type is {event_type}", self.events));
        }
        if self.when.is_empty() {
            return Match::Takes;
        }
        let Some(fields) = subject.fields() else {
            return Match::Undecided;
        };
        let refused = self.when.iter().find_map(|condition| condition.why_not(fields));
        refused.map_or(Match::Takes, Match::Leaves)
    }
}

impl Routes {
    /// An event as these routes see it. Where the type of a configured source stands is theirs to say: routes of another version may
    /// have `named` the event, and to judge one version's type by another's patterns could ignore an event that is wanted. The body
    /// is read only where type or conditions ask for it.
    pub fn subject<'a>(&'a self, source: &'a str, named: Option<&'a str>, event: Delivered<'a>) -> Subject<'a> {
        let configured = self.source(source).filter(|source| source.says_type());
        let (event_type, hidden) = match configured.map(|source| source.type_of(&event)) {
            Some(found) => (found.text.map(Cow::Owned), Hidden::of(found.lacks_header, found.lacks_field)),
            None => (named.map(Cow::Borrowed), Hidden::of(false, named.is_none())),
        };
        let asking = self.routes.iter().filter(|route| route.source == source).flat_map(|route| &route.when);
        // The type too: a body whose type can't be read is not one that has none.
        let of_type = configured.into_iter().flat_map(Source::type_pointers);
        let pointers = asking.map(|condition| condition.field.as_str()).chain(of_type).collect();
        Subject { source, event_type, hidden, body: event.body, pointers, fields: OnceLock::new() }
    }

    /// Where an event goes. A destination gets it once, whichever of its routes take it.
    pub fn destinations(&self, subject: &Subject<'_>) -> Vec<Destination<'_>> {
        let judged: Vec<(&Route, Match)> = self.routes.iter().map(|route| (route, route.judge(subject))).collect();
        let taking = judged.iter().filter(|(_, verdict)| *verdict == Match::Takes);
        let undecided = judged.iter().filter(|(_, verdict)| *verdict == Match::Undecided);
        let found = taking.map(|(route, _)| (*route, false)).chain(undecided.map(|(route, _)| (*route, true)));
        let mut seen = BTreeSet::new();
        found
            .filter(|(route, _)| seen.insert(&route.id))
            .map(|(route, undecided)| Destination { route, undecided })
            .collect()
    }

    /// The routes that take events of this source and type, whatever their conditions say: for what is known without a body.
    pub fn for_type(&self, source: &str, event_type: Option<&str>) -> Vec<&Route> {
        self.routes.iter().filter(|route| route.is_for(source, event_type)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"
        [[source]]
        name = "github"
        identity = "/delivery"

        [[route]]
        name = "shop"
        source = "strapi"
        events = ["entry.*", "media.create"]
        url = "https://shop.example/hook"

        [[route]]
        name = "expensive"
        source = "strapi"
        events = ["entry.*"]
        when = [{ field = "/entry/price", above = 100 }]
        url = "https://sales.example/"

        [[route]]
        name = "German"
        source = "strapi"
        when = [{ field = "/entry/locale", one_of = ["de", "de-AT"] }]
        url = "https://sales.example/"

        [[route]]
        name = "all"
        source = "github"
        url = "https://all.example/"
    "#;

    fn of(body: &[u8]) -> Delivered<'_> {
        Delivered::bare(body, "")
    }

    fn names(source: &str, event_type: Option<&str>, body: &str) -> Vec<(String, bool)> {
        let routes = Routes::compile(DOCUMENT, &Routes::default()).unwrap();
        let subject = routes.subject(source, event_type, of(body.as_bytes()));
        let found = routes.destinations(&subject);
        found.iter().map(|destination| (destination.route.name.clone(), destination.undecided)).collect()
    }

    fn taken(source: &str, event_type: Option<&str>, body: &str) -> Vec<String> {
        names(source, event_type, body).into_iter().filter(|(_, undecided)| !undecided).map(|(name, _)| name).collect()
    }

    #[test]
    fn events_take_the_routes_whose_patterns_match() {
        assert_eq!(taken("strapi", Some("entry.create"), "{}"), ["shop"]);
        assert_eq!(taken("strapi", Some("media.create"), "{}"), ["shop"]);
        assert!(taken("strapi", Some("media.update"), "{}").is_empty());
        assert!(taken("strapi", None, "{}").is_empty());
        assert_eq!(taken("github", None, "{}"), ["all"]);
    }

    #[test]
    fn only_the_star_is_a_wildcard() {
        assert!(matches_type("a?", "a?") && !matches_type("a?", "ab"));
        assert!(matches_type("*", "") && matches_type("entry.*", "entry.") && !matches_type("entry.*", "entry"));
    }

    #[test]
    fn conditions_decide_among_the_events_that_match() {
        assert_eq!(taken("strapi", Some("entry.create"), r#"{"entry": {"price": 101}}"#), ["shop", "expensive"]);
        assert_eq!(taken("strapi", Some("entry.create"), r#"{"entry": {"price": 100}}"#), ["shop"]);
        assert_eq!(taken("strapi", Some("media.update"), r#"{"entry": {"locale": "de"}}"#), ["German"]);
    }

    #[test]
    fn a_destination_gets_an_event_once_whichever_of_its_routes_take_it() {
        let both = r#"{"entry": {"price": 101, "locale": "de"}}"#;
        assert_eq!(taken("strapi", Some("entry.create"), both), ["shop", "expensive"]);
    }

    #[test]
    fn a_body_that_is_not_json_leaves_conditions_undecided_and_not_refused() {
        let found = names("strapi", Some("entry.create"), "{");
        assert_eq!(found, [("shop".to_owned(), false), ("expensive".to_owned(), true)]);
        // Deep, but JSON all the same.
        let deep = format!(r#"{{"x": {}{}, "entry": {{"locale": "de"}}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(names("strapi", Some("media.x"), &deep), [("German".to_owned(), false)]);
    }

    #[test]
    fn a_type_that_stands_in_a_body_that_is_not_json_is_undecided() {
        assert_eq!(names("strapi", None, "action=opened"), [("shop".to_owned(), true), ("expensive".to_owned(), true)]);
    }

    /// Named after a defect: bodies that only whoever passes over what stands there takes for JSON were ignored.
    #[test]
    fn a_type_that_cannot_be_read_is_undecided_whatever_is_wrong_with_it() {
        let typed = DOCUMENT.replace("identity = \"/delivery\"", "identity = \"/delivery\"\nevent_type = \"/action\"");
        let typed = typed.replace("name = \"all\"", "name = \"all\"\nevents = [\"opened\"]");
        let routes = Routes::compile(&typed, &Routes::default()).unwrap();
        let (latin_1, surrogate) = (b"{\"gr\xf6\xdfe\":1,\"action\":\"opened\"}", br#"{"action":"\ud83d"}"#);
        for body in [latin_1.as_slice(), surrogate, b"{\"action\":\"ge\xe4ndert\"}", br#"{"action":1e999}"#] {
            let subject = routes.subject("github", None, of(body));
            let found: Vec<bool> = routes.destinations(&subject).iter().map(|to| to.undecided).collect();
            assert_eq!(found, [true], "{}", String::from_utf8_lossy(body));
        }
    }

    /// A part of the type stands in a header, and the body that has the rest can't be read: nobody knows which event it is.
    #[test]
    fn a_type_of_which_a_part_can_not_be_read_is_undecided() {
        let document = "[[source]]\nname = \"github\"\nrecipe = \"github\"\nsecret = \"github\"\n\
             [[route]]\nname = \"issues\"\nsource = \"github\"\nevents = [\"issues.opened\", \"push\"]\nurl = \"https://x.example/\"\n";
        let routes = Routes::compile(document, &Routes::default()).unwrap();
        for (event, body, expected) in [
            ("issues", r#"{"action":"opened"}"#, vec![false]),
            ("issues", r#"{"action":"closed"}"#, vec![]),
            ("push", r#"{"ref":"x"}"#, vec![false]),
            ("issues", "payload=%7B%7D", vec![true]),
            ("", r#"{"action":"opened"}"#, vec![true]),
        ] {
            let headers =
                [(http::HeaderName::from_static("x-github-event"), event.parse().unwrap())].into_iter().collect();
            let subject = routes.subject("github", None, Delivered::new(&headers, body.as_bytes(), ""));
            let found: Vec<bool> = routes.destinations(&subject).iter().map(|to| to.undecided).collect();
            assert_eq!(found, expected, "{event} {body}");
        }
    }

    #[test]
    fn a_source_without_types_has_none_that_a_body_could_hide() {
        let document = format!(
            "{DOCUMENT}\n[[route]]\nname = \"some\"\nsource = \"github\"\nevents = [\"x.*\"]\nurl = \"https://x.example/\"\n"
        );
        let routes = Routes::compile(&document, &Routes::default()).unwrap();
        let found = routes.destinations(&routes.subject("github", None, of(b"a=b")));
        assert_eq!(found.iter().map(|to| (to.route.name.as_str(), to.undecided)).collect::<Vec<_>>(), [("all", false)]);
    }

    /// A worker that remembers older routes names an event by them, and then judges it by those of this moment.
    #[test]
    fn an_event_that_older_routes_named_is_judged_by_the_type_that_the_judges_see() {
        let typed = DOCUMENT.replace("identity = \"/delivery\"", "identity = \"/delivery\"\nevent_type = \"/topic\"");
        let typed = typed.replace("name = \"all\"", "name = \"all\"\nevents = [\"orders/*\"]");
        let routes = Routes::compile(&typed, &Routes::default()).unwrap();
        for named in [None, Some("what another pointer found")] {
            let subject = routes.subject("github", named, of(br#"{"topic": "orders/create"}"#));
            assert_eq!(routes.destinations(&subject).len(), 1, "{named:?}");
        }
    }

    #[test]
    fn a_body_is_not_read_where_no_condition_asks() {
        let routes = Routes::compile(DOCUMENT, &Routes::default()).unwrap();
        let subject = routes.subject("github", None, of(b"{}"));
        assert_eq!(routes.destinations(&subject).len(), 1);
        assert!(subject.fields.get().is_none());
    }

    #[test]
    fn every_route_says_why_it_leaves_an_event() {
        let routes = Routes::compile(DOCUMENT, &Routes::default()).unwrap();
        let subject = routes.subject("strapi", Some("media.create"), of(br#"{"entry": {"locale": "fr"}}"#));
        let why: Vec<Match> = routes.routes.iter().map(|route| route.judge(&subject)).collect();
        assert_eq!(why[0], Match::Takes);
        for (verdict, part) in why[1..].iter().zip(["\"media.create\"", "/entry/locale is \"fr\"", "source \"github\""])
        {
            assert!(matches!(verdict, Match::Leaves(reason) if reason.contains(part)), "{verdict:?}");
        }
    }
}
