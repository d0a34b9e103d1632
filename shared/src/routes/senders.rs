//! The part of the document about those who send: sources, and the topics that bring their events.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use http::HeaderValue;
use serde::Deserialize;
use toml::Spanned;

use super::{
    Source, Topic,
    document::{LONGEST_NAME, OneOrMany, Problems},
    headers::settable,
};
use crate::{
    Millis,
    identity::Identity,
    qstash::{client::is_name, duration},
    retry::{RETRIES_PER_ROUND, millis},
    sources::{
        CANARY, Place, Signature, Unmatched,
        place::header_name,
        recipe::{Recipe, Scheme},
    },
    web::EndpointUrl,
};

/// Default headers that a topic may not have otherwise: the failure path, and how long an event is retried, rest on them. What done
/// records outlive is reckoned from [`RETRIES_PER_ROUND`] with QStash's own waits.
const OURS: [&str; 4] =
    ["upstash-retries", "upstash-retry-delay", "upstash-failure-callback", "upstash-failure-callback-retries"];
/// The silences that a source may have. The sweep looks every five minutes.
const SILENCES: RangeInclusive<Duration> = Duration::from_secs(15 * 60)..=Duration::from_secs(30 * 86_400);
/// What QStash takes off a header before it delivers it.
const FORWARD: &str = "upstash-forward-";
/// Sources that nobody has to write down.
const BUILT_IN: [&str; 2] = ["payload", "strapi"];

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SourceEntry {
    name: Spanned<String>,
    recipe: Option<Spanned<String>>,
    identity: Option<Spanned<String>>,
    event_type: Option<Spanned<OneOrMany>>,
    secret: Option<Spanned<String>>,
    signature: Option<Spanned<Scheme>>,
    unmatched: Option<Spanned<String>>,
    silence: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicEntry {
    name: Spanned<String>,
    source: Spanned<String>,
    #[serde(default)]
    also: Vec<Spanned<String>>,
    retries: Option<Spanned<u32>>,
    #[serde(default)]
    headers: BTreeMap<Spanned<String>, String>,
}

/// What is wrong with a source, and where in the document.
type Told = (usize, String);

impl SourceEntry {
    /// What the entry says, over its recipe; or the first that is wrong.
    pub(super) fn compile(&self) -> Result<Source, Told> {
        let recipe = self.recipe()?;
        let recipe = recipe.as_ref();
        self.check_secret(recipe)?;
        let (identity, signature) = (self.identity(recipe)?, self.signature(recipe)?);
        Ok(Source {
            name: self.name.get_ref().clone(),
            identity: as_signed(identity, signature.as_ref()),
            event_type: self.event_type(recipe)?,
            signature,
            secret: self.secret.as_ref().map(|secret| secret.get_ref().clone()),
            unmatched: self.unmatched()?,
            silence: self.silence()?,
        })
    }

    /// All that is wrong.
    fn problems(&self) -> Vec<Told> {
        let recipe = match self.recipe() {
            Ok(recipe) => recipe,
            Err(told) => return vec![told],
        };
        let recipe = recipe.as_ref();
        let found = [
            self.check_secret(recipe).err(),
            self.identity(recipe).err(),
            self.event_type(recipe).err(),
            self.signature(recipe).err(),
            self.unmatched().err(),
            self.silence().err(),
        ];
        found.into_iter().flatten().collect()
    }

    fn unmatched(&self) -> Result<Unmatched, Told> {
        let Some(written) = &self.unmatched else { return Ok(Unmatched::default()) };
        let unmatched = Unmatched::parse(written.get_ref());
        unmatched.ok_or_else(|| {
            at(written, "unmatched is \"keep\" or \"ignore\": what becomes of events that no route takes")
        })
    }

    fn silence(&self) -> Result<Option<Millis>, Told> {
        let Some(written) = &self.silence else { return Ok(None) };
        let span = duration::parse(written.get_ref()).filter(|span| SILENCES.contains(span));
        let span = span.ok_or_else(|| {
            at(written, "silence is a span such as \"6h\", from 15m to 30d: choose more than its longest quiet night")
        })?;
        Ok(Some(millis(span)))
    }

    fn check_secret(&self, recipe: Option<&Recipe>) -> Result<(), Told> {
        match &self.secret {
            None if self.scheme(recipe).is_some() => Err(at(
                &self.name,
                "its sender signs: write secret = \"…\", a name of SOURCE_SECRETS, which has the secret itself",
            )),
            Some(secret) if !is_short_name(secret.get_ref()) => {
                Err(at(secret, "secret is a name of SOURCE_SECRETS, of up to 64 letters, digits, '-', '_' and '.'"))
            }
            _ => Ok(()),
        }
    }

    fn signature(&self, recipe: Option<&Recipe>) -> Result<Option<Signature>, Told> {
        if let (Some(place), Some(recipe)) = (&self.signature, recipe)
            && recipe.identity == Identity::Payload
        {
            return Err(at(
                place,
                "our own payload is proved by a token: the producer writes its body anew, and no signature would fit",
            ));
        }
        let compiled = self.scheme(recipe).map(Scheme::compile).transpose();
        compiled.map_err(|error| match &self.signature {
            Some(place) => at(place, error.to_string()),
            None => at(&self.name, error.to_string()),
        })
    }

    fn recipe(&self) -> Result<Option<Recipe>, Told> {
        let name = self.name.get_ref();
        let written = self.recipe.as_ref();
        if BUILT_IN.contains(&name.as_str()) && written.is_none_or(|recipe| recipe.get_ref() != name) {
            return Err(at(&self.name, format!("it is built in: write recipe = \"{name}\" to say more about it")));
        }
        let Some(written) = written else { return Ok(None) };
        let known = || Recipe::names().collect::<Vec<_>>().join(", ");
        let recipe = Recipe::named(written.get_ref());
        recipe.map(Some).ok_or_else(|| at(written, format!("recipe is one of {}", known())))
    }

    fn identity(&self, recipe: Option<&Recipe>) -> Result<Identity, Told> {
        match (&self.identity, recipe) {
            (None, Some(recipe)) => Ok(recipe.identity.clone()),
            (None, None) => Err(at(&self.name, "say how its events are told apart, with identity or recipe")),
            (Some(written), Some(recipe)) if recipe.identity.is_of_form() => {
                Err(at(written, "the recipe says how its events are told apart: leave identity out"))
            }
            (Some(written), _) => {
                let identity = Identity::parse(written.get_ref()).filter(|identity| !identity.is_of_form());
                let sentence =
                    "identity is \"body\", \"message\", a JSON pointer such as \"/id\", or \"header:X-Name\"";
                identity.ok_or_else(|| at(written, sentence))
            }
        }
    }

    fn event_type(&self, recipe: Option<&Recipe>) -> Result<Vec<Place>, Told> {
        let Some(written) = &self.event_type else {
            return Ok(recipe.map(|recipe| recipe.event_type.clone()).unwrap_or_default());
        };
        let places: Vec<String> = written.get_ref().clone().into();
        let places: Result<Vec<Place>, _> = places.into_iter().map(Place::try_from).collect();
        places.map_err(|error| at(written, format!("event_type is {error}, or a list of such, joined by dots")))
    }

    fn scheme(&self, recipe: Option<&Recipe>) -> Option<Scheme> {
        let base = recipe.and_then(|recipe| recipe.signature.clone());
        let over = self.signature.as_ref().map(Spanned::get_ref);
        match (base, over) {
            (None, None) => None,
            (base, over) => Some(base.unwrap_or_default().with(over)),
        }
    }
}

impl TopicEntry {
    pub(super) fn compile(self) -> Topic {
        Topic {
            name: self.name.into_inner(),
            source: self.source.into_inner(),
            also: self.also.into_iter().map(Spanned::into_inner).collect(),
            retries: self.retries.map(Spanned::into_inner),
            headers: self.headers.into_iter().map(|(name, value)| (name.into_inner(), value)).collect(),
        }
    }
}

impl Problems<'_> {
    /// Checks the sources, and says which there are, those that are built in included.
    pub(super) fn check_sources<'d>(&mut self, entries: &'d [SourceEntry]) -> BTreeSet<&'d str> {
        let mut names = BTreeSet::new();
        for entry in entries {
            let name = entry.name.get_ref().as_str();
            if !is_short_name(name) {
                let sentence = "a name has up to 64 letters, digits, '-', '_' and '.'";
                self.tell(&entry.name, format!("source \"{name}\": {sentence}"));
            }
            for (place, sentence) in entry.problems() {
                self.tell_at(place, format!("source \"{name}\": {sentence}"));
            }
            if name == CANARY {
                self.tell(&entry.name, format!("source \"{name}\" is the name of events that go nowhere"));
            }
            if !names.insert(name) {
                self.tell(&entry.name, format!("source \"{name}\" is defined twice"));
            }
        }
        names.into_iter().chain(BUILT_IN).collect()
    }

    pub(super) fn check_topics(&mut self, entries: &[TopicEntry], senders: &[SourceEntry], sources: &BTreeSet<&str>) {
        let mut names = BTreeSet::new();
        for entry in entries {
            let name = entry.name.get_ref().as_str();
            let about = |sentence: &str| format!("topic \"{name}\": {sentence}");
            if !is_short_name(name) {
                self.tell(&entry.name, about("a name has up to 64 letters, digits, '-', '_' and '.'"));
            }
            if !names.insert(name) {
                self.tell(&entry.name, format!("topic \"{name}\" is defined twice"));
            }
            let source = entry.source.get_ref();
            if !sources.contains(source.as_str()) {
                self.tell(&entry.source, about(&format!("source \"{source}\" is neither built in nor defined")));
            }
            for url in &entry.also {
                if let Err(error) = EndpointUrl::parse(url.get_ref()) {
                    self.tell(url, about(&format!("also: {error}")));
                }
            }
            if let Some(retries) = entry.retries.as_ref().filter(|retries| *retries.get_ref() > RETRIES_PER_ROUND) {
                let sentence = format!(
                    "retries is at most {RETRIES_PER_ROUND}: with more, QStash would try for longer than done events are remembered; the \
                     requeuer goes on for days"
                );
                self.tell(retries, about(&sentence));
            }
            self.check_topic_headers(entry, senders);
        }
    }

    fn check_topic_headers(&mut self, entry: &TopicEntry, senders: &[SourceEntry]) {
        let sender = senders.iter().find(|sender| sender.name.get_ref() == entry.source.get_ref());
        let sender = sender.and_then(|sender| sender.compile().ok());
        let is_read = |name: &str| {
            let mut naming = sender.iter().flat_map(Source::naming_headers);
            naming.any(|naming| naming.eq_ignore_ascii_case(name))
        };
        for (name, value) in &entry.headers {
            let is_header = header_name(name.get_ref()).is_some() && HeaderValue::from_str(value).is_ok();
            let (topic, header) = (entry.name.get_ref(), name.get_ref());
            if OURS.iter().any(|ours| header.eq_ignore_ascii_case(ours)) {
                self.tell(
                    name,
                    format!("topic \"{topic}\": \"{header}\" is ours to set; for fewer retries write retries = …"),
                );
            } else if forwarded_name(header).is_some_and(is_read) {
                let sentence = "names or types the events of its source: a default would make them all the same";
                self.tell(name, format!("topic \"{topic}\": {header} {sentence}"));
            } else if let Some(Err(problem)) = forwarded_name(header).map(settable) {
                self.tell(name, format!("topic \"{topic}\": {header}: {problem}"));
            } else if !is_header {
                self.tell(name, format!("topic \"{topic}\": \"{header}\" is no header, or its value can be none"));
            }
        }
    }
}

/// Where a signature covers the body and not the header that names an event, both name it.
fn as_signed(identity: Identity, signature: Option<&Signature>) -> Identity {
    match (identity, signature) {
        (Identity::Header(name), Some(signature)) if !signature.covers(&name) => Identity::HeaderAndBody(name),
        (identity, _) => identity,
    }
}

fn at<T>(place: &Spanned<T>, sentence: impl Into<String>) -> Told {
    (place.span().start, sentence.into())
}

/// The name under which a default header reaches an endpoint, if it does.
fn forwarded_name(header: &str) -> Option<&str> {
    let prefix = header.get(..FORWARD.len())?;
    prefix.eq_ignore_ascii_case(FORWARD).then(|| &header[FORWARD.len()..])
}

fn is_short_name(name: &str) -> bool {
    is_name(name) && name.len() <= LONGEST_NAME
}

#[cfg(test)]
#[path = "senders_tests.rs"]
mod tests;
