//! Keys and secrets: there, different, not public, and QStash's own; and the clock that tokens go by.

use surehook::{
    qstash::{Region, client::KeyPair, is_development_key},
    signing::DEVELOPMENT_MASTER,
    sources::{Source, seal::SEAL_SECRET},
};

use super::unknown;
use crate::doctor::{Facts, Finding, Report, facts::Unknown};

/// The difference of two clocks at which tokens begin to be refused, in milliseconds: the verifier bears 5 s, and the head of
/// an answer tells whole seconds.
const SKEW: i64 = 4_000;

/// The functions that verify QStash's signature.
const SIGNED: [&str; 2] = ["consumer", "requeuer"];

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let before = report.count();
    signing_keys(facts, report);
    if facts.keys.is_ok() && SIGNED.iter().all(|name| facts.function(name).is_known()) {
        report.right_since(before, "signing keys: two, and those of the QStash account");
    }
    let before = report.count();
    masters(facts, report);
    senders(facts, report);
    if facts.routes.is_ok() && ["producer", "consumer"].iter().all(|name| facts.function(name).is_known()) {
        report.right_since(before, "secrets: of destinations and of senders, as the routes need them");
    }
    clock(facts, report);
}

fn signing_keys(facts: &Facts, report: &mut Report) {
    for name in SIGNED {
        let function = facts.function(name);
        for account in function.accounts() {
            let [current, next] = account.keys.map(|variable| function.text(variable));
            // A missing one is reported by the rule of settings.
            if !current.is_empty() && !next.is_empty() {
                let pair = Pair { function: name, region: account.region, current, next };
                pair.judge(facts, report);
            }
        }
    }
}

/// The two keys of one region, as a function has them.
struct Pair {
    function: &'static str,
    region: Option<Region>,
    current: String,
    next: String,
}

impl Pair {
    /// The function, and the region where the stack names one.
    fn owner(&self) -> String {
        match self.region {
            Some(region) => format!("{} for {region}", self.function),
            None => self.function.to_owned(),
        }
    }

    fn judge(&self, facts: &Facts, report: &mut Report) {
        let (current, next) = (&self.current, &self.next);
        if current == next {
            let finding =
                Finding::warning("keys-equal", format!("both signing keys of the {} are the same", self.owner()))
                    .happens("with the next rotation at QStash every delivery is refused")
                    .mend("copy both keys from the QStash console: the next one differs from the current one");
            report.add(finding);
        }
        if !facts.is_local() && [current, next].iter().any(|key| is_development_key(key)) {
            let problem = format!("the {} has a published key of a development server", self.owner());
            let finding = Finding::error("keys-public", problem)
                .happens("everybody can sign deliveries; on Lambda the function refuses to start")
                .mend("copy the keys from the QStash console");
            report.add(finding);
        }
        self.judge_by_account(facts, report);
    }

    fn judge_by_account(&self, facts: &Facts, report: &mut Report) {
        let other = facts.other_regions.iter().find(|other| Some(other.region) == self.region);
        let mend = "put both keys of the QStash console where they are kept; docs/operations.md, \"Secrets\"";
        let at = self.region.map(|region| format!(" in {region}")).unwrap_or_default();
        match other.map_or(&facts.keys, |other| &other.keys) {
            Err(why) if self.function == "consumer" => {
                unknown(report, "keys-unknown", &format!("QStash's own signing keys{at}"), why);
            }
            Ok(keys) if !self.has_current(keys) => {
                let problem = format!("QStash signs{at} with a key that the {} does not have", self.function);
                let finding = Finding::error("keys-foreign", problem)
                    .happens("every delivery is refused with 401, and ends in QStash's dead-letter queue")
                    .mend(mend);
                report.add(finding);
            }
            Ok(keys) if keys.current != self.current || keys.next != self.next => {
                let problem = format!("the keys of the {} are not both QStash's", self.owner());
                let finding = Finding::warning("keys-rotated", problem)
                    .happens("deliveries are accepted, until the keys are rotated once more")
                    .mend(mend);
                report.add(finding);
            }
            _ => {}
        }
    }

    fn has_current(&self, keys: &KeyPair) -> bool {
        keys.current == self.current || keys.current == self.next
    }
}

fn masters(facts: &Facts, report: &mut Report) {
    if !facts.is_local() && facts.function("consumer").text("SIGNING_SECRETS").contains(DEVELOPMENT_MASTER) {
        let finding =
            Finding::error("master-public", "SIGNING_SECRETS has the published secret of the development stack")
                .happens("everybody can sign what your destinations believe; on Lambda the consumer refuses to start")
                .mend("make your own: echo whsec_$(openssl rand -base64 32)");
        report.add(finding);
    }
}

/// Senders that sign need their secret at the producer, which judges them, and at the consumer, and a seal between the two.
fn senders(facts: &Facts, report: &mut Report) {
    let Ok(routes) = &facts.routes else { return };
    let can_read = |name: &&str| facts.function(name).unread("SOURCE_SECRETS").is_none();
    for name in ["producer", "consumer"].into_iter().filter(can_read) {
        let secrets = facts.function(name).read(|reader| reader.source_secrets());
        let lacks = |source: &&Source| {
            let own = source.secret.as_ref();
            own.is_some_and(|own| !source.usable(secrets.named(own)))
                || (source.signature.is_some() && secrets.named(SEAL_SECRET).is_empty())
        };
        for source in routes.sources.iter().filter(lacks) {
            let own = source.secret.as_deref().unwrap_or_default();
            let problem = format!(
                "SOURCE_SECRETS of the {name} lacks \"{own}\" in a form that source \"{}\" can use, or \"{SEAL_SECRET}\"",
                source.name
            );
            let finding = Finding::error("source-secret", problem)
                .happens("events of this sender are turned away with 503")
                .mend(format!("put {{\"{own}\": \"…\", \"{SEAL_SECRET}\": \"…\"}} where the secret is kept, and set SourceSecrets=yes"));
            report.add(finding);
        }
    }
}

fn clock(facts: &Facts, report: &mut Report) {
    match &facts.qstash_clock {
        Ok(Some(theirs)) => {
            // An answer's head tells whole seconds, the middle of which is the best guess.
            let skew = facts.now - (theirs + 500);
            if skew.abs() < SKEW {
                report.right.push("clock: this machine's agrees with QStash's".to_owned());
                return;
            }
            let way = if skew > 0 { "ahead of" } else { "behind" };
            let problem = format!("this machine's clock is {} s {way} QStash's", skew.abs() / 1_000);
            let finding = Finding::warning("clock-skew", problem)
                .happens("tokens that are checked by such a clock are refused as expired or not valid yet")
                .mend("set the clock by NTP (Lambda's are); other findings of this run may come from it");
            report.add(finding);
        }
        Ok(None) => {
            let why = Unknown::Unanswered("its answer has no date".to_owned());
            unknown(report, "clock-unknown", "QStash's clock", &why);
        }
        // The same call failed for the keys, and was told there.
        Err(_) => {}
    }
}
