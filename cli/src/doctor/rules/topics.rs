//! Topics at QStash: that they are there, deliver to this stack, and tell it of failures; and those of others.

use std::collections::BTreeMap;

use surehook::{
    identity::Endpoint,
    qstash::duration::backoff,
    retry::{RETRIES_PER_ROUND, longest_round, round_of},
    routes::Routes,
    sources::CANARY,
    web::EndpointUrl,
};
use surehook_local::qstash::retry_waits;

use super::unknown;
use crate::{
    doctor::{
        Facts, Finding, Report,
        facts::{Topic, is_same_function},
    },
    text::{counted, span},
};

const RETRIES: &str = "upstash-retries";
const RETRY_DELAY: &str = "upstash-retry-delay";
const CALLBACK: &str = "upstash-failure-callback";
const CALLBACK_RETRIES: &str = "upstash-failure-callback-retries";

/// What topics are compared with.
struct Stack<'a> {
    bases: Vec<EndpointUrl>,
    /// The function answers at its own URL whatever domain stands before it.
    requeuers: Vec<EndpointUrl>,
    routes: &'a Routes,
}

/// A topic, and what judges it.
struct Judged<'a> {
    name: &'a str,
    topic: &'a Topic,
    stack: &'a Stack<'a>,
}

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let before = report.count();
    let (routes, topics) = match (&facts.routes, &facts.topics) {
        (Ok(routes), Ok(topics)) => (routes, topics),
        (Err(why), _) => return unknown(report, "routes-unknown", "the routes document", why),
        (_, Err(why)) => return unknown(report, "topics-unknown", "the topics at QStash", why),
    };
    applied(routes, report);
    let own = facts.function("requeuer").url().cloned();
    let requeuers = facts.requeuer_urls().into_iter().chain(own).collect();
    let stack = Stack { bases: facts.consumer_urls(), requeuers, routes };
    let wanted = wanted(facts, routes);
    for (name, source) in &wanted {
        expected(name, source, topics, &stack, report);
    }
    let ours = each(topics, &stack, report);
    if ours == 0 && wanted.is_empty() {
        let finding = Finding::warning("no-topics", "no topic at QStash delivers to this stack")
            .happens("nothing that is published to a topic comes here")
            .mend("surehook topics connect strapi.create --source strapi");
        report.add(finding);
    }
    let ours = counted(ours, "topic");
    report.right_since(before, format!("topics: {ours} of this stack, each with its failure callback"));
}

fn applied(routes: &Routes, report: &mut Report) {
    if routes.version == 0 {
        let finding = Finding::error("no-routes", "no routes document was ever applied")
            .happens("every event is answered 503 and waits")
            .mend("surehook routes apply routes.toml");
        report.add(finding);
    }
}

/// Judges each topic of the account; says how many deliver to this stack.
fn each(topics: &[Topic], stack: &Stack<'_>, report: &mut Report) -> usize {
    let judged = topics.iter().map(|topic| Judged { name: &topic.known.name, topic, stack });
    let (ours, foreign): (Vec<_>, Vec<_>) = judged.partition(Judged::is_ours);
    ours.iter().for_each(|topic| topic.judge(report));
    foreign.iter().for_each(|topic| topic.judge_foreign(report));
    ours.len()
}

/// The topics that the document and `TOPICS` name, with the source of each.
fn wanted(facts: &Facts, routes: &Routes) -> BTreeMap<String, String> {
    let listed =
        facts.function("producer").read(|reader| reader.topics()).into_iter().map(|name| (name, "payload".to_owned()));
    listed.chain(routes.topics.iter().map(|topic| (topic.name.clone(), topic.source.clone()))).collect()
}

fn expected(name: &str, source: &str, known: &[Topic], stack: &Stack<'_>, report: &mut Report) {
    let mend = format!("surehook topics connect {name} --source {source} (or `surehook topics sync routes.toml`)");
    let Some(topic) = known.iter().find(|topic| topic.known.name == name) else {
        let finding = Finding::error("topic-missing", format!("there is no topic {name} at QStash"))
            .happens(
                "QStash rejects what senders publish to it; the producer stores its events until it has an endpoint",
            )
            .mend(mend);
        return report.add(finding);
    };
    if !topic.known.endpoints().any(|url| source_of(url, &stack.bases).as_deref() == Some(source)) {
        let finding =
            Finding::error("topic-elsewhere", format!("topic {name} does not deliver to /{source} of this stack"))
                .happens("its events go elsewhere, and never come here")
                .mend(mend);
        report.add(finding);
    }
}

/// The source of an endpoint that lies below one of our consumer's URLs.
fn source_of(url: &str, bases: &[EndpointUrl]) -> Option<String> {
    let url = EndpointUrl::parse(url).ok()?;
    Endpoint::of(&url, bases).source().map(str::to_owned)
}

impl Judged<'_> {
    fn is_ours(&self) -> bool {
        self.topic.known.endpoints().any(|url| source_of(url, &self.stack.bases).is_some())
    }

    fn judge(&self, report: &mut Report) {
        let name = self.name;
        for source in self.topic.known.endpoints().filter_map(|url| source_of(url, &self.stack.bases)) {
            self.judge_source(&source, report);
        }
        match self.headers() {
            None => {
                let finding = Finding::note(
                    "topic-unseen",
                    format!("QStash shows neither default headers nor a message of topic {name}"),
                )
                .happens("nobody can see whether failures are told to this stack")
                .mend("publish one event to it and run the doctor again");
                report.add(finding);
            }
            Some(headers) => {
                self.judge_headers(&headers, report);
                self.judge_round(&headers, report);
            }
        }
    }

    fn judge_source(&self, source: &str, report: &mut Report) {
        let name = self.name;
        if source == CANARY {
            let finding =
                Finding::error("topic-canary", format!("topic {name} delivers to /{CANARY}, the doctor's own path"))
                    .happens("its events are answered 200 and go nowhere")
                    .mend(format!(
                        "surehook topics connect {name} --source …, and remove this endpoint in the QStash console"
                    ));
            report.add(finding);
        } else if self.stack.routes.known(source).is_none() {
            let finding = Finding::error(
                "source-unconfigured",
                format!("topic {name} delivers to /{source}, which is no source"),
            )
            .happens("its events are answered 503 until they are dead letters")
            .mend(format!("add a [[source]] \"{source}\" to the routes document, or connect the topic to another"));
            report.add(finding);
        }
    }

    /// The default headers that QStash shows, or those that its last message was given.
    fn headers(&self) -> Option<BTreeMap<String, String>> {
        if let Some(shown) = self.topic.known.headers() {
            return Some(shown);
        }
        let last = self.topic.last.as_ref()?;
        let callback = last.failure_callback.clone().map(|url| (CALLBACK.to_owned(), url));
        let retries = last.max_retries.map(|retries| (RETRIES.to_owned(), retries.to_string()));
        let delay = last.retry_delay().map(|expression| (RETRY_DELAY.to_owned(), expression.to_owned()));
        Some(callback.into_iter().chain(retries).chain(delay).collect())
    }

    fn judge_headers(&self, headers: &BTreeMap<String, String>, report: &mut Report) {
        let (name, mend) = (self.name, format!("surehook topics connect {} --source …", self.name));
        let callback = headers.get(CALLBACK).and_then(|url| EndpointUrl::parse(url).ok());
        // Later rounds of an event have a query behind it.
        let is_ours = |callback: &EndpointUrl| self.stack.requeuers.iter().any(|own| is_same_function(own, callback));
        let problem = match &callback {
            None => Some(("no-failure-callback", format!("topic {name} has no failure callback"))),
            Some(callback) if !self.stack.requeuers.is_empty() && !is_ours(callback) => Some((
                "callback-elsewhere",
                format!("the failure callback of topic {name} is {callback}, not this stack's"),
            )),
            _ => None,
        };
        let happens = "what QStash gives up is taken up again by the sweep alone, minutes later, or by nobody";
        if let Some((code, problem)) = problem {
            // A message may be older than what was mended since.
            let finding = match self.topic.known.headers() {
                Some(_) => Finding::error(code, problem),
                None => Finding::warning(code, format!("{problem}, as its last message in QStash's log shows")),
            };
            report.add(finding.happens(happens).mend(&mend));
        }
        // Of the callback's retries a message says nothing; without any it has those of its message.
        for (header, what) in [(RETRIES, "no retries"), (CALLBACK_RETRIES, "a failure callback without retries")] {
            if headers.get(header).is_some_and(|retries| retries.trim().parse::<u32>().unwrap_or_default() == 0) {
                let problem = format!("topic {name} has {what} ({header})");
                let happens =
                    "one hiccup, and the event or the notice of its failure is left to the slower path behind it";
                report.add(Finding::warning("topic-retries", problem).happens(happens).mend(&mend));
            }
        }
    }

    /// The stack's deadlines and the memory of its records are computed from the longest round.
    fn judge_round(&self, headers: &BTreeMap<String, String>, report: &mut Report) {
        let retries = headers.get(RETRIES).and_then(|retries| retries.trim().parse().ok()).unwrap_or(RETRIES_PER_ROUND);
        let waits = match headers.get(RETRY_DELAY) {
            // More than a hundred retries are beyond every plan of QStash, and a header may name any number.
            Some(expression) => retry_waits(expression, retries.min(100)),
            None => Ok((1..=retries.min(100)).map(backoff).collect()),
        };
        let name = self.name;
        let problem = match waits.map(round_of) {
            Ok(round) if round <= longest_round() => return,
            Ok(round) => format!(
                "QStash can retry an event of topic {name} for {} ({retries} retries); the stack expects {} at most",
                span(round),
                span(longest_round())
            ),
            Err(why) => format!("the retry delay of topic {name} can't be computed: {why}"),
        };
        let finding = Finding::warning("topic-round", problem)
            .happens("events are reported as stranded while QStash still retries them, and a late retry of an event whose record has expired is processed again");
        report.add(finding.mend(format!(
            "set {RETRIES_PER_ROUND} retries and no Upstash-Retry-Delay: surehook topics connect {name} --source …; the rounds of the stack come after these retries"
        )));
    }

    /// Other stacks share the account. One that was deleted leaves topics behind that deliver to nobody.
    fn judge_foreign(&self, report: &mut Report) {
        for url in self.topic.known.endpoints().filter(|url| url.contains(".lambda-url.")) {
            let finding =
                Finding::note("foreign-topic", format!("topic {} delivers to another stack: {url}", self.name))
                    .happens("if that stack is gone, its events fail, and fill the dead-letter queue of the account")
                    .mend("if it is yours and gone: remove the endpoint in the QStash console");
            report.add(finding);
        }
    }
}
