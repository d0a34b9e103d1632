//! The transition rules. The DynamoDB adapter states each of them as a condition expression; a contract test holds the
//! two together.

pub use super::command::{Attempted, Burial, Claim, Lease, Refused};
use super::record::{
    FailedDelivery, Failure, History, MAX_DELIVERIES, MAX_EARLIER_TEXT, MOST_ERROR_TEXT, MOST_HISTORY, Record, Status,
    UNCONFIRMED, VERSION,
};
use crate::{Millis, identity::cut};

/// Takes the lease, or says why not. A live lease of the claim's own owner is a win: its first answer was lost.
pub fn claim(record: Option<&Record>, command: &Claim) -> Result<Record, Refused> {
    let Some(record) = record else {
        return Ok(command.fresh(1));
    };
    refuse_claim(record, command)?;
    if record.is_leased(command.now) && record.owner == command.owner {
        return Ok(record.clone());
    }
    Ok(Record {
        version: VERSION,
        status: Status::Running,
        owner: command.owner.clone(),
        fence: record.fence + 1,
        lease_until: command.lease_until,
        attempts: record.attempts + 1,
        updated_at: command.now,
        source: command.source.clone(),
        event_type: command.event_type.clone().or_else(|| record.event_type.clone()),
        message_id: command.message_id.clone(),
        open_since: None,
        ..record.clone()
    })
}

fn refuse_claim(record: &Record, command: &Claim) -> Result<(), Refused> {
    if record.is_expired(command.now) {
        let expires_at = record.expires_at.unwrap_or_default();
        return Err(Refused::Expired { fence: record.fence, expires_at });
    }
    if record.content != command.content {
        return Err(Refused::Conflict);
    }
    match record.status {
        Status::Done => Err(Refused::Done),
        Status::Dead | Status::Purged => Err(Refused::Dead),
        Status::Running if record.owner != command.owner && record.is_leased(command.now) => {
            Err(Refused::InProgress(record.lease_until))
        }
        Status::Running | Status::Retryable => Ok(()),
    }
}

/// Begins a new life over an expired record that is still as it was read. Repeating it after a lost answer is a success:
/// the live lease that it finds is the claim's own.
pub fn renew(record: Option<&Record>, command: &Claim, fence: u64, expires_at: i64) -> Result<Record, Refused> {
    let record = record.ok_or(Refused::Changed(None))?;
    if record.fence == fence && record.expires_at == Some(expires_at) && record.is_expired(command.now) {
        return Ok(command.fresh(fence + 1));
    }
    match claim(Some(record), command)? {
        own if own == *record => Ok(own),
        _not_taken => Err(Refused::Changed(Some(record.status))),
    }
}

/// Commits the attempt. `expires_at` is in seconds. Repeating it after a lost answer is a success.
pub fn complete(
    record: Option<&Record>,
    lease: &Lease,
    delivered: &[String],
    now: Millis,
    expires_at: i64,
) -> Result<Record, Refused> {
    let record = held(record, lease, Status::Done)?;
    if record.status == Status::Done {
        return Ok(record.clone());
    }
    Ok(Record {
        status: Status::Done,
        updated_at: now,
        delivered: delivered.to_vec(),
        expires_at: Some(expires_at),
        ..record.clone()
    })
}

/// Gives the lease back after a failure. Repeating it after a lost answer is a success. It never deletes.
pub fn fail(
    record: Option<&Record>,
    lease: &Lease,
    attempted: &Attempted,
    failure: &Failure,
    now: Millis,
) -> Result<Record, Refused> {
    let record = held(record, lease, Status::Retryable)?;
    if record.status == Status::Retryable {
        return Ok(record.clone());
    }
    Ok(Record {
        status: Status::Retryable,
        updated_at: now,
        delivered: attempted.delivered.clone(),
        refused: attempted.refused.clone(),
        last_error: Some(short(failure)),
        history: remember(record, now, failure, &attempted.failed),
        open_since: Some(now),
        ..record.clone()
    })
}

/// Shows an event that a worker left behind without a word, and that nobody claimed again since before `before`: it
/// becomes `retryable`, and so stands in the list of those that wait. Whoever brings it after all claims it as usual.
pub fn strand(record: &Record, before: Millis, now: Millis) -> Result<Record, Refused> {
    if record.status != Status::Running || record.lease_until >= before {
        return Err(Refused::Changed(Some(record.status)));
    }
    Ok(left(record, "abandoned", "its worker ended without a word; it may have been delivered", now))
}

/// Shows an event that was handled, but of which `done` could not be written: QStash's log says that our consumer answered 2xx. If it
/// is sent again, it is claimed as usual.
pub fn unconfirmed(record: &Record, now: Millis) -> Result<Record, Refused> {
    if record.status != Status::Running || record.is_leased(now) {
        return Err(Refused::Changed(Some(record.status)));
    }
    Ok(left(record, UNCONFIRMED, "it was handled, and QStash was told so, but done could not be written", now))
}

/// The record of an event that its worker left running.
fn left(record: &Record, class: &str, text: &str, now: Millis) -> Record {
    let failure = Failure { class: class.to_owned(), text: text.to_owned() };
    Record {
        status: Status::Retryable,
        fence: record.fence + 1,
        updated_at: now,
        history: remember(record, now, &failure, &[]),
        last_error: Some(failure),
        open_since: Some(record.lease_until),
        ..record.clone()
    }
}

/// Notes that QStash will deliver a waiting event again: in which round, when, and as which message. It changes nothing that
/// decides, so that it may be lost.
pub fn note_round(record: &Record, round: u32, next_at: Millis, message_id: &str) -> Result<Record, Refused> {
    if record.status != Status::Retryable {
        return Err(Refused::Changed(Some(record.status)));
    }
    Ok(Record { round, next_at: Some(next_at), message_id: message_id.to_owned(), ..record.clone() })
}

/// Gives destinations that refused a waiting event for good another chance: its body is redacted, and so its letter stands apart
/// from its record, which a replay of that letter would otherwise not reach.
/// `due` is when QStash is expected to deliver it, which a slow replay puts off.
pub fn reopen(record: Option<&Record>, now: Millis, due: Millis) -> Result<Record, Refused> {
    let record = record.ok_or(Refused::Changed(None))?;
    if record.status != Status::Retryable {
        return Err(Refused::Changed(Some(record.status)));
    }
    if record.refused.is_empty() && record.open_since >= Some(due) {
        return Ok(record.clone());
    }
    let open_since = record.open_since.max(Some(due));
    Ok(Record { fence: record.fence + 1, updated_at: now, refused: Vec::new(), open_since, ..record.clone() })
}

/// Ends an event that has waited since before `before`, or is not confirmed, because an operator has seen to it elsewhere. The record stays until
/// `expires_at` (seconds), so that late deliveries find it. Repeating it is a success.
pub fn dismiss(record: Option<&Record>, before: Millis, now: Millis, expires_at: i64) -> Result<Record, Refused> {
    let record = record.ok_or(Refused::Changed(None))?;
    if record.status == Status::Purged {
        return Ok(record.clone());
    }
    let is_stranded = record.open_since.is_some_and(|since| since < before) || record.is_unconfirmed();
    if record.status != Status::Retryable || !is_stranded {
        return Err(Refused::Changed(Some(record.status)));
    }
    Ok(purged(record, now, expires_at))
}

/// The record if this lease runs it, or if it already stands where this lease would put it.
fn held<'a>(record: Option<&'a Record>, lease: &Lease, target: Status) -> Result<&'a Record, Refused> {
    let record = record.ok_or(Refused::Changed(None))?;
    let mine = record.is_held_by(&lease.owner, lease.fence);
    if mine && (record.status == Status::Running || record.status == target) {
        Ok(record)
    } else {
        Err(Refused::Changed(Some(record.status)))
    }
}

/// A failure as the record keeps it.
pub fn short(failure: &Failure) -> Failure {
    Failure { class: failure.class.clone(), text: cut(failure.text.clone(), MOST_ERROR_TEXT) }
}

/// The history with one more failed attempt: the oldest entry makes room. The words of the attempt before it move from the last error
/// into the history, unless they are said again.
pub fn remember(record: &Record, at: Millis, failure: &Failure, failed: &[FailedDelivery]) -> Vec<History> {
    let skipped = (record.history.len() + 1).saturating_sub(MOST_HISTORY);
    let mut kept: Vec<History> = record.history.iter().skip(skipped).cloned().collect();
    let before = record.last_error.as_ref().filter(|error| **error != short(failure));
    if let Some((last, error)) = kept.last_mut().zip(before).filter(|(last, error)| last.class == error.class) {
        last.text = cut(error.text.clone(), MAX_EARLIER_TEXT);
    }
    kept.push(History {
        at,
        fence: record.fence,
        class: failure.class.clone(),
        text: String::new(),
        deliveries: failed.iter().take(MAX_DELIVERIES).cloned().collect(),
    });
    kept
}

/// Gives an event up. Only what waits may be buried: nothing that is done, and nothing that a worker may be handling.
pub fn bury(record: Option<&Record>, burial: &Burial) -> Result<Record, Refused> {
    bury_until(record, burial, None)
}

/// Has a record that expires live until `expires_at` (seconds) at least. `None` if it does, and if it does not expire.
pub fn kept_until(record: Option<&Record>, expires_at: i64) -> Option<Record> {
    let ends_before = record.filter(|record| record.expires_at.is_some_and(|at| at < expires_at));
    ends_before.map(|record| Record { expires_at: Some(expires_at), ..record.clone() })
}

/// The same for a dead letter that expires with its record at `expires_at` (seconds).
pub fn bury_until(record: Option<&Record>, burial: &Burial, expires_at: Option<i64>) -> Result<Record, Refused> {
    bury_for_good(record, burial).map(|dead| Record { expires_at, ..dead })
}

fn bury_for_good(record: Option<&Record>, burial: &Burial) -> Result<Record, Refused> {
    let Some(record) = record else {
        return Ok(buried_unseen(burial, 1));
    };
    if record.is_expired(burial.now) {
        return Ok(buried_unseen(burial, record.fence + 1));
    }
    if record.content != burial.content {
        return Err(Refused::Conflict);
    }
    match record.status {
        Status::Done => return Err(Refused::Done),
        Status::Dead | Status::Purged => return Err(Refused::Dead),
        Status::Running if record.is_leased(burial.now) => return Err(Refused::InProgress(record.lease_until)),
        Status::Running | Status::Retryable => {}
    }
    Ok(Record {
        status: Status::Dead,
        fence: record.fence + 1,
        updated_at: burial.now,
        last_error: record.last_error.clone().or_else(|| Some(short(&burial.failure))),
        open_since: None,
        replay: None,
        ..record.clone()
    })
}

/// The record of an event that no worker of ours ever claimed in this life.
fn buried_unseen(burial: &Burial, fence: u64) -> Record {
    let unclaimed = Claim {
        owner: String::new(),
        content: burial.content.clone(),
        source: burial.source.clone(),
        event_type: burial.event_type.clone(),
        message_id: burial.message_id.clone(),
        now: burial.now,
        lease_until: 0,
    };
    Record { status: Status::Dead, attempts: 0, last_error: Some(short(&burial.failure)), ..unclaimed.fresh(fence) }
}

/// Opens a dead event for another try. What refused it for good gets another chance; what accepted it is not asked again.
/// Repeating the same replay is a success.
pub fn replay(record: Option<&Record>, fence: u64, replay: &str, now: Millis) -> Result<Record, Refused> {
    replay_due(record, fence, replay, now, now)
}

/// The same for a replay that QStash delivers at `due`: until then the event does not count as one that waits.
pub fn replay_due(
    record: Option<&Record>,
    fence: u64,
    replay: &str,
    now: Millis,
    due: Millis,
) -> Result<Record, Refused> {
    let record = record.ok_or(Refused::Changed(None))?;
    if record.status == Status::Retryable && record.replay.as_deref() == Some(replay) {
        return Ok(record.clone());
    }
    if record.status != Status::Dead || record.fence != fence {
        return Err(Refused::Changed(Some(record.status)));
    }
    Ok(Record {
        status: Status::Retryable,
        fence: fence + 1,
        updated_at: now,
        refused: Vec::new(),
        open_since: Some(due),
        // It was handled before, and now it is to be handled again.
        last_error: record.last_error.clone().filter(|failure| failure.class != UNCONFIRMED),
        replay: Some(replay.to_owned()),
        round: 0,
        next_at: None,
        expires_at: None,
        ..record.clone()
    })
}

/// Removes a dead event for good; the record stays until `expires_at` (seconds), so that late deliveries find it. An event
/// whose replay QStash refuses is `retryable` with that replay, and is purged like a dead one.
pub fn purge(
    record: Option<&Record>,
    fence: u64,
    replay: &str,
    now: Millis,
    expires_at: i64,
) -> Result<Record, Refused> {
    let record = record.ok_or(Refused::Changed(None))?;
    if record.status == Status::Purged && record.fence > fence {
        return Ok(record.clone());
    }
    let is_dead = record.status == Status::Dead && record.fence == fence;
    let is_stuck = record.status == Status::Retryable && record.replay.as_deref() == Some(replay);
    if !is_dead && !is_stuck {
        return Err(Refused::Changed(Some(record.status)));
    }
    Ok(purged(record, now, expires_at))
}

fn purged(record: &Record, now: Millis, expires_at: i64) -> Record {
    Record {
        status: Status::Purged,
        fence: record.fence + 1,
        updated_at: now,
        open_since: None,
        expires_at: Some(expires_at),
        ..record.clone()
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
