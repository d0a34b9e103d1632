//! Limits that must lie inside each other: of time (destination < handler < lease < function < QStash) and of size.

use std::time::Duration;

use surehook::config::{LARGEST_BODY, LEASE_MARGIN};

use crate::{
    doctor::{Facts, Finding, Report},
    text::span,
};

/// The shortest time after which QStash tries again. Source: QStash, "Retry": e^(2.5 n) seconds.
const FIRST_RETRY: Duration = Duration::from_secs(12);
/// The least that QStash waits for an answer, whatever the plan. Source: QStash, "Pricing", max HTTP response duration.
const QSTASH_WAITS: Duration = Duration::from_secs(15 * 60);
/// The time limits of `template.yaml`, for functions that are not deployed yet.
const OF_TEMPLATE: [(&str, u64); 4] = [("consumer", 20), ("requeuer", 30), ("producer", 10), ("dlq-processor", 900)];

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let before = report.count();
    let handler = facts.function("consumer").read(|reader| reader.handler_timeout());
    let (lease, function) = (handler + LEASE_MARGIN, timeout(facts, "consumer"));
    destinations(facts, handler, report);
    leases(lease, function, report);
    producer(facts, report);
    let is_known = ["consumer", "producer"].iter().all(|name| facts.function(name).is_known());
    if is_known {
        let chain = [handler, lease, function].map(span).join(" < ");
        report.right_since(before, format!("time: destinations < handler, lease, function: {chain} < QStash"));
    }
    let before = report.count();
    sizes(facts, report);
    if is_known {
        let most = facts.function("consumer").read(|reader| reader.max_body_bytes());
        report.right_since(before, format!("size: bodies of up to {most} bytes < 6 MB of a function URL < QStash"));
    }
}

fn timeout(facts: &Facts, name: &str) -> Duration {
    let of_template = OF_TEMPLATE.iter().find(|(known, _)| *known == name).map(|(_, seconds)| *seconds);
    let known = facts.function(name).lambda().map(|lambda| lambda.timeout);
    known.unwrap_or(Duration::from_secs(of_template.unwrap_or_default()))
}

fn destinations(facts: &Facts, handler: Duration, report: &mut Report) {
    for route in facts.routes.iter().flat_map(|routes| &routes.routes).filter(|route| route.timeout() > handler) {
        let problem = format!(
            "route \"{}\" may take {}, HANDLER_TIMEOUT is {}",
            route.name,
            span(route.timeout()),
            span(handler)
        );
        let finding = Finding::warning("destination-timeout", problem)
            .happens("a destination that needs that long is cut off by the handler's end, and the attempt fails")
            .mend(format!(
                "timeout = \"{}\" or less in the routes document, or have the destination answer sooner",
                span(handler)
            ));
        report.add(finding);
    }
}

fn leases(lease: Duration, function: Duration, report: &mut Report) {
    if function <= lease {
        let problem = format!("the consumer ends after {}, its lease lasts {}", span(function), span(lease));
        let finding = Finding::error("function-timeout", problem)
            .happens("Lambda kills workers before they can write down how their event ended; it is delivered again")
            .mend(format!(
                "Timeout of {} s or more for the consumer, or a shorter HANDLER_TIMEOUT",
                lease.as_secs() + 5
            ));
        report.add(finding);
    }
    if lease >= FIRST_RETRY {
        let problem = format!("the lease lasts {}, QStash first tries again after {}", span(lease), span(FIRST_RETRY));
        let finding = Finding::warning("lease-long", problem)
            .happens("after a crash the first retry finds the event held, and only the second, minutes later, heals it")
            .mend("HANDLER_TIMEOUT of 8s or less");
        report.add(finding);
    }
    if function > QSTASH_WAITS {
        let finding = Finding::error("qstash-timeout", format!("the consumer may take {}", span(function)))
            .happens("QStash gives up before it, and delivers the event a second time")
            .mend("a Timeout below 15 minutes");
        report.add(finding);
    }
}

fn producer(facts: &Facts, report: &mut Report) {
    let (within, function) =
        (facts.function("producer").read(|reader| reader.answer_within()), timeout(facts, "producer"));
    if within >= function {
        let problem = format!("ANSWER_WITHIN is {}, the producer ends after {}", span(within), span(function));
        let finding = Finding::error("producer-timeout", problem)
            .happens(
                "while QStash is away Lambda kills the producer before the outbox has the event; its sender gets a 502",
            )
            .mend(format!("ANSWER_WITHIN below {}", span(function)));
        report.add(finding);
    }
}

fn sizes(facts: &Facts, report: &mut Report) {
    let [taken, delivered] =
        ["producer", "consumer"].map(|name| facts.function(name).read(|reader| reader.max_body_bytes()));
    if delivered > LARGEST_BODY {
        let finding = Finding::warning(
            "body-limit",
            format!("MAX_BODY_BYTES is {delivered}, a function URL carries {LARGEST_BODY}"),
        )
        .happens(
            "larger bodies are turned away by Lambda itself with 413, and become dead letters without a word of ours",
        )
        .mend(format!("MAX_BODY_BYTES={LARGEST_BODY} or less"));
        report.add(finding);
    }
    if taken > delivered {
        let finding =
            Finding::error("body-limits", format!("the producer takes {taken} bytes, the consumer {delivered}"))
                .happens("what lies between is accepted from its sender and then becomes a dead letter")
                .mend("the same MAX_BODY_BYTES for both");
        report.add(finding);
    }
}
