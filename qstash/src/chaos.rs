//! Unkindness on request: what real queues and networks do now and then, done on purpose, and the same again with the same seed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use surehook::qstash::duration;

use crate::{
    chance::{draw, purpose},
    message::{Kind, Message},
};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The attempt is made twice at the same time.
    Duplicate,
    /// The attempt waits a random part of `span`, so that messages overtake one another.
    Reorder,
    /// The attempt waits for `span`.
    Delay,
    /// The connection is cut before the request arrives.
    CutBefore,
    /// The request arrives, and its answer is lost.
    CutAfter,
    /// The call is aborted, counts as failed, and arrives all the same after `span`.
    Late,
    /// The token is signed with the next key.
    NextKey,
    /// The token has expired.
    ExpiredToken,
    /// The body is filled up with spaces to `size` bytes.
    Oversized,
    /// The body is compressed with gzip and says so.
    Gzip,
    /// Callbacks of either kind are never sent.
    LoseCallback,
    /// Callbacks of either kind are sent twice.
    RepeatCallback,
    /// Every call to the API is answered with 503.
    Away,
}

/// When something goes wrong: a fault, and what it strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// Only where the destination's URL begins so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Only messages of this topic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// How often it strikes, from 0 to 1.
    #[serde(default = "always")]
    pub share: f64,
    /// It strikes so often and then no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// How long, for `delay`, `reorder` and `late`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
    /// How many bytes, for `oversized`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<usize>,
}

fn always() -> f64 {
    1.0
}

/// A wait where a rule does not say: ten seconds.
const SPAN: Duration = Duration::from_secs(10);
/// The longest wait that a rule may ask for: a year.
const LONGEST_SPAN: Duration = Duration::from_secs(365 * 86_400);
/// A size where a rule does not say: more than Lambda takes (6 MB).
const SIZE: usize = 7 * 1024 * 1024;
/// The largest size that a rule may ask for: the largest message of any plan, doubled.
const MOST_SIZE: usize = 100 * 1024 * 1024;

/// A rule that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A part is not `name=value`.
    #[error("\"{0}\" is not <name>=<value>: write <fault>,url=…,topic=…,share=0.5,times=3,span=10s,size=7340032")]
    Shape(String),
    /// The fault or a name is unknown, or a value can't be read.
    #[error("{0}")]
    Unreadable(String),
    /// The share is not between 0 and 1.
    #[error("share must be between 0 and 1, not {0}")]
    Share(String),
    /// The span can't be read.
    #[error("span must be like 10s or 5m, a year at most, not \"{0}\"")]
    Span(String),
    /// It says nothing about this fault.
    #[error("{0} means nothing for this fault")]
    Meaningless(&'static str),
    /// The API is no destination.
    #[error("away is about the API and takes neither url nor topic")]
    Away,
    /// The size is too large.
    #[error("size can't be more than {MOST_SIZE} bytes")]
    Size,
}

impl Rule {
    /// A fault that strikes everything.
    pub fn of(fault: Fault) -> Self {
        Self { fault, url: None, topic: None, share: 1.0, times: None, span: None, size: None }
    }

    /// Reads `duplicate,topic=orders,share=0.2`.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut parts = text.split(',');
        let mut json = serde_json::Map::new();
        json.insert("fault".to_owned(), parts.next().unwrap_or_default().trim().into());
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(|| RuleError::Shape(part.to_owned()))?;
            let is_number = ["share", "times", "size"].contains(&name.trim());
            let number = serde_json::from_str(value.trim()).ok().filter(|_| is_number);
            json.insert(name.trim().to_owned(), number.unwrap_or_else(|| value.trim().into()));
        }
        Self::read(json.into())
    }

    /// Reads a rule from JSON.
    pub(crate) fn read(json: serde_json::Value) -> Result<Self, RuleError> {
        let rule: Self = serde_json::from_value(json).map_err(|error| RuleError::Unreadable(error.to_string()))?;
        rule.checked()
    }

    /// The rule, if its values make sense.
    fn checked(self) -> Result<Self, RuleError> {
        let takes_span = [Fault::Delay, Fault::Reorder, Fault::Late].contains(&self.fault);
        for (name, means_nothing) in [
            ("span", self.span.is_some() && !takes_span),
            ("size", self.size.is_some() && self.fault != Fault::Oversized),
            ("times=0", self.times == Some(0)),
        ] {
            if means_nothing {
                return Err(RuleError::Meaningless(name));
            }
        }
        if !(0.0..=1.0).contains(&self.share) {
            return Err(RuleError::Share(self.share.to_string()));
        }
        let is_span = |text: &str| duration::parse(text).is_some_and(|span| span <= LONGEST_SPAN);
        if let Some(span) = self.span.as_ref().filter(|span| !is_span(span)) {
            return Err(RuleError::Span(span.clone()));
        }
        if self.fault == Fault::Away && (self.url.is_some() || self.topic.is_some()) {
            return Err(RuleError::Away);
        }
        if self.size.is_some_and(|size| size > MOST_SIZE) { Err(RuleError::Size) } else { Ok(self) }
    }

    fn span(&self) -> Duration {
        self.span.as_deref().and_then(duration::parse).unwrap_or(SPAN)
    }

    fn is_about(&self, message: &Message) -> bool {
        let url = self.url.as_ref().is_none_or(|prefix| message.url.starts_with(prefix.as_str()));
        let topic = self.topic.as_ref().is_none_or(|topic| message.origin.topic.as_ref() == Some(topic));
        url && topic
    }
}

/// What goes wrong with one attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Mischief {
    pub(crate) twice: bool,
    pub(crate) cut_before: bool,
    pub(crate) cut_after: bool,
    pub(crate) late: Option<Duration>,
    pub(crate) next_key: bool,
    pub(crate) expired: bool,
    pub(crate) oversized: Option<usize>,
    pub(crate) gzip: bool,
}

impl Mischief {
    /// Whether something else is sent than was published.
    pub(crate) fn changes_body(&self) -> bool {
        self.gzip || self.oversized.is_some()
    }
}

/// The rules in force, and how often each has struck.
#[derive(Debug)]
pub(crate) struct Chaos {
    seed: u64,
    rules: Vec<(Rule, u32)>,
    /// Calls to the API since the rules were given.
    calls: u64,
}

impl Chaos {
    pub(crate) fn new(seed: u64, rules: Vec<Rule>) -> Self {
        Self { seed, rules: rules.into_iter().map(|rule| (rule, 0)).collect(), calls: 0 }
    }

    pub(crate) fn rules(&self) -> Vec<&Rule> {
        self.rules.iter().map(|(rule, _)| rule).collect()
    }

    pub(crate) fn replace(&mut self, rules: Vec<Rule>) {
        *self = Self::new(self.seed, rules);
    }

    pub(crate) fn add(&mut self, rule: Rule) {
        self.rules.push((rule, 0));
    }

    /// The rule of that fault that strikes an attempt, if one does. The draw depends on message, attempt and rule alone, so that neither the
    /// order of events nor another rule changes it.
    fn strikes(&mut self, fault: Fault, message: &Message, attempt: u32) -> Option<&Rule> {
        self.strike(fault, |rule| rule.is_about(message), &[message.key, attempt.into()])
    }

    /// Whether a call to the API is answered with 503.
    pub(crate) fn is_away(&mut self) -> bool {
        self.calls += 1;
        self.strike(Fault::Away, |_any| true, &[self.calls]).is_some()
    }

    /// The first rule of that fault that is about it and not used up, and whose share the draw for `what` falls into.
    fn strike(&mut self, fault: Fault, is_about: impl Fn(&Rule) -> bool, what: &[u64]) -> Option<&Rule> {
        let seed = self.seed;
        let mut numbered = self.rules.iter_mut().enumerate();
        let (_, (rule, struck)) = numbered.find(|(index, (rule, struck))| {
            rule.fault == fault
                && is_about(rule)
                && rule.times.is_none_or(|times| *struck < times)
                && draw(seed, &[&[purpose::STRIKE, *index as u64], what].concat()) < rule.share
        })?;
        *struck += 1;
        Some(rule)
    }

    /// How long an attempt is held back.
    pub(crate) fn hold(&mut self, message: &Message, attempt: u32) -> Option<Duration> {
        if self.rules.is_empty() {
            return None;
        }
        let delay = self.strikes(Fault::Delay, message, attempt).map(Rule::span);
        // A draw of its own: the one that decides whether the rule strikes is below its share.
        let part = draw(self.seed, &[purpose::SPREAD, message.key, attempt.into()]);
        let spread = self.strikes(Fault::Reorder, message, attempt).map(|rule| rule.span().mul_f64(part));
        match (delay, spread) {
            (None, None) => None,
            (delay, spread) => Some(delay.unwrap_or_default() + spread.unwrap_or_default()),
        }
    }

    /// What goes wrong with an attempt.
    pub(crate) fn mischief(&mut self, message: &Message, attempt: u32) -> Mischief {
        if self.rules.is_empty() {
            return Mischief::default();
        }
        Mischief {
            twice: self.strikes(Fault::Duplicate, message, attempt).is_some(),
            cut_before: self.strikes(Fault::CutBefore, message, attempt).is_some(),
            cut_after: self.strikes(Fault::CutAfter, message, attempt).is_some(),
            late: self.strikes(Fault::Late, message, attempt).map(Rule::span),
            next_key: self.strikes(Fault::NextKey, message, attempt).is_some(),
            expired: self.strikes(Fault::ExpiredToken, message, attempt).is_some(),
            oversized: self.strikes(Fault::Oversized, message, attempt).map(|rule| rule.size.unwrap_or(SIZE)),
            gzip: self.strikes(Fault::Gzip, message, attempt).is_some(),
        }
    }

    /// How many callbacks are sent instead of one. The rule is about the message that they tell of.
    pub(crate) fn callbacks(&mut self, source: &Message, attempt: u32, kind: Kind) -> usize {
        // The two kinds of one attempt are drawn for apart.
        let attempt = attempt * 2 + u32::from(kind == Kind::FailureCallback);
        if self.strikes(Fault::LoseCallback, source, attempt).is_some() {
            return 0;
        }
        1 + usize::from(self.strikes(Fault::RepeatCallback, source, attempt).is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::account::tests::message;

    #[test]
    fn rules_are_written_in_one_line() {
        let rule = Rule::parse("late, topic=orders, share=0.5, times=3, span=5m").unwrap();
        assert_eq!((rule.fault, rule.topic.as_deref(), rule.share), (Fault::Late, Some("orders"), 0.5));
        assert_eq!((rule.times, rule.span()), (Some(3), Duration::from_secs(300)));
        for bad in [
            "",
            "unknown",
            "late,share=2",
            "late,span=soon",
            "late,span=18446744073709551615",
            "late,topic",
            "away,topic=t",
            "duplicate,span=3s",
            "late,size=5",
            "gzip,times=0",
            "late,color=red",
            "oversized,size=1e12",
        ] {
            assert!(Rule::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_rule_strikes_its_share_of_its_own_messages_and_the_same_ones_again() {
        let struck = |seed| {
            let mut chaos = Chaos::new(seed, vec![Rule::parse("duplicate,url=https://a/,share=0.3").unwrap()]);
            let of = |url: &str, number| Message { key: number, ..message(url) };
            assert_eq!(chaos.mischief(&of("https://b/", 1), 0), Mischief::default());
            (0..1_000).map(|number| chaos.mischief(&of("https://a/x", number), 0).twice).collect::<Vec<_>>()
        };
        let count = struck(1).iter().filter(|twice| **twice).count();
        assert!((250..350).contains(&count), "{count}");
        assert_eq!(struck(1), struck(1));
        assert_ne!(struck(1), struck(2));
    }

    #[test]
    fn a_rule_may_strike_a_number_of_times_only() {
        let mut chaos = Chaos::new(1, vec![Rule::parse("cut-after,times=2").unwrap()]);
        let message = Arc::new(message("https://a/"));
        let cuts: Vec<bool> = (0..4).map(|attempt| chaos.mischief(&message, attempt).cut_after).collect();
        assert_eq!(cuts, [true, true, false, false]);
    }
}
