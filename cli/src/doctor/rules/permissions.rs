//! The permissions for transactions: AWS grants them per action and key, and only a call proves them.

use super::unknown;
use crate::doctor::{Facts, Finding, Report};

pub(super) fn judge(facts: &Facts, report: &mut Report) {
    let is_deployed = facts.function("dlq-processor").deployed.is_some();
    match &facts.permissions {
        // The rule of what waits reports a DLQ processor that can't be asked.
        Err(_) if facts.waiting.is_err() => {}
        Err(why) => unknown(report, "permissions-unknown", "the permissions for transactions", why),
        Ok(proved) => match &proved.denied {
            Some(why) if is_deployed => report.add(of_role(why)),
            Some(why) => report.add(of_shell(why)),
            None => {
                report.right.push(format!("permissions: {} transactions of replays and purges", holder(is_deployed)))
            }
        },
    }
}

fn holder(is_deployed: bool) -> &'static str {
    if is_deployed { "the DLQ processor's role grants the" } else { "your AWS credentials grant the" }
}

fn of_role(why: &str) -> Finding {
    Finding::error("transactions-denied", format!("the DLQ processor's role denies a transaction: {why}"))
        .happens("no dead letter can be replayed, and replays that were cut short stay unfinished")
        .mend(
            "deploy template.yaml of this version. In a role of your own, one statement grants dynamodb:PutItem, UpdateItem and \
             DeleteItem on e#* and replay#*, because all keys of a transaction may be compared for each action",
        )
}

fn of_shell(why: &str) -> Finding {
    Finding::warning("transactions-denied", format!("your AWS credentials deny a transaction: {why}"))
        .happens("replays from this shell fail; the deployed functions have roles of their own")
        .mend("use --function NAME, or get dynamodb:PutItem, UpdateItem and DeleteItem on the table")
}
