//! The path itself: functions' URLs, signed calls of them, the canary, and what waits.

use surehook::web::EndpointUrl;

use super::unknown;
use crate::{
    doctor::{
        Facts, Finding, Report,
        facts::{Answer, Canary, Probe, is_same_function},
    },
    text::counted,
};

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let before = report.count();
    urls(facts, report);
    if facts.function("consumer").url().is_some() && facts.function("requeuer").url().is_some() {
        report.right_since(before, "URLs: CONSUMER_URL and REQUEUER_URL are those of the deployed functions");
    }
    for probe in &facts.probes {
        judge_probe(probe, report);
    }
    match &facts.canary {
        Some(Ok(canary)) => report.right.push(told(canary)),
        Some(Err(why)) => report.add(
            Finding::error("canary", format!("the signed event did not come through: {why}"))
                .happens("neither do others: they wait in QStash, then in its dead-letter queue")
                .mend(
                    "the other findings say why; without any, read the consumer's log for the source surehook-canary",
                ),
        ),
        None => {}
    }
    waiting(facts, report);
}

fn told(canary: &Canary) -> String {
    let [published, delivered, handled] =
        [canary.published, canary.delivered, canary.handled].map(|span| span.as_millis());
    let whole = published + delivered + handled;
    format!(
        "canary: published, delivered, verified, claimed and done in {whole} ms (QStash took it in {published}, brought it in {delivered}, the consumer needed {handled})"
    )
}

/// Lambda's word against the settings.
fn urls(facts: &Facts, report: &mut Report) {
    for name in ["consumer", "requeuer", "producer"] {
        match facts.function(name).lambda().map(|lambda| &lambda.url) {
            Some(Err(why)) => unknown(report, "url-unknown", &format!("the URL of the {name}"), why),
            Some(Ok(url)) => callable(name, url.as_ref(), report),
            None => {}
        }
    }
    compare(facts.function("consumer").url(), "CONSUMER_URL", &facts.consumer_urls(), report);
    compare(facts.function("requeuer").url(), "REQUEUER_URL", &facts.requeuer_urls(), report);
}

/// Whether a function has a URL that everybody may call.
fn callable(name: &str, url: Option<&(EndpointUrl, bool)>, report: &mut Report) {
    match url {
        None => report.add(
            Finding::error("no-url", format!("the {name} has no function URL"))
                .happens("nobody can call it")
                .mend("deploy the template; with other tools: aws lambda create-function-url-config --auth-type NONE"),
        ),
        Some((url, false)) => report.add(
            Finding::error("url-auth", format!("{url} asks its callers for AWS credentials"))
                .happens("QStash and senders have none: each call is answered 403")
                .mend("AuthType NONE; whoever calls is judged by his signature"),
        ),
        Some((_, true)) => {}
    }
}

/// Whether the other functions know a function's URL. A domain of one's own stands before it; then only a call shows whether it
/// leads there.
fn compare(url: Option<&EndpointUrl>, variable: &str, known: &[EndpointUrl], report: &mut Report) {
    let Some(url) = url else { return };
    let is_known = known.iter().any(|known| is_same_function(known, url));
    let is_domain = |known: &EndpointUrl| !known.origin().contains(".lambda-url.") && known.origin() != url.origin();
    if !is_known && !known.iter().any(is_domain) {
        let finding = Finding::error("url-elsewhere", format!("{variable} is not the URL of this stack: {url}"))
            .happens("events are taken for somebody else's: replays and callbacks go to another stack")
            .mend(format!("{variable}={url}"));
        report.add(finding);
    }
}

fn judge_probe(probe: &Probe, report: &mut Report) {
    let Probe { function, url, answer } = probe;
    let about = |code, problem: String| Finding::error(code, format!("{url} (the {function}) {problem}"));
    let finding = match answer {
        Err(why) => about("unreachable", format!("can't be reached: {why}"))
            .happens("QStash can't reach it either")
            .mend("look at the URL: scheme, host and path as in the stack's outputs"),
        Ok(answer) => match judge_answer(answer) {
            None => return report.right.push(format!("call: {url} answers as the {function} should")),
            Some((code, problem, mend)) => {
                about(code, problem).happens("so are QStash's deliveries answered").mend(mend)
            }
        },
    };
    report.add(finding);
}

/// What is wrong with an answer, and how to mend it.
fn judge_answer(answer: &Answer) -> Option<(&'static str, String, &'static str)> {
    let Answer { status, word } = answer;
    let problem = format!("answers {status} {word}");
    match (status, word.as_str()) {
        (200, word) if !word.is_empty() => None,
        // The producer was called without a token.
        (401, "unauthorized") => None,
        (401, "signature-refused") => Some((
            "signature-refused",
            problem,
            "its keys are others than those here, or the URL is not the one by which it knows itself (CONSUMER_URL, REQUEUER_URL); its log says which: reason",
        )),
        (403, _) => Some((
            "forbidden",
            problem,
            "the function URL lacks a permission: everybody needs lambda:InvokeFunctionUrl and lambda:InvokeFunction; FunctionUrlConfig of SAM makes both",
        )),
        (503, "store-away") => Some((
            "store-away",
            problem,
            "the function can't use its table: compare its role and TABLE_NAME with the template",
        )),
        (503, "qstash-away") => Some((
            "qstash-away",
            problem,
            "the function can't use QStash: compare its token and QSTASH_URL with the console, and try again",
        )),
        (503, "source-unconfigured") => {
            Some(("old-version", problem, "it is an older version than this command line: deploy it again"))
        }
        (500..=599, "") => Some(("crashes", problem, "the function does not start or crashes: read its log")),
        _ => Some(("not-ours", problem, "somebody else answers at this URL: compare it with the stack's outputs")),
    }
}

fn waiting(facts: &Facts, report: &mut Report) {
    let waiting = match &facts.waiting {
        Ok(waiting) => waiting,
        Err(why) => return unknown(report, "processor", "what the DLQ processor has", why),
    };
    if waiting.stranded > 0 {
        let finding = Finding::warning("stranded", format!("stranded: {}", counted(waiting.stranded, "event")))
            .happens("nobody brings them again, and they stay undelivered")
            .mend("surehook stranded");
        report.add(finding);
    }
    if waiting.letters > 0 {
        let letters = counted(usize::try_from(waiting.letters).unwrap_or(usize::MAX), "dead letter");
        report.add(Finding::note("dead-letters", format!("to be looked at: {letters}")).mend("surehook dead-letters"));
    }
}
