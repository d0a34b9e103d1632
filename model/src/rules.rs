//! The rules that run in production, and the holes that show that the checker would notice.

use surehook::{
    Millis,
    ledger::{
        Claim, Failure, Lease, Record, Refused, Status,
        rules::{self, Attempted, Burial},
    },
};

use crate::world::{Letter, Step};

/// A check that is left out on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hole {
    /// complete and fail do not ask whose lease it is.
    Owner,
    /// complete and fail do not ask which lease it is.
    Fence,
    /// complete does not ask whether the record is still running.
    Status,
    /// claim takes a live lease over.
    Lease,
    /// claim takes an expired record up as it is, instead of renewing it whole.
    Expired,
    /// renew does not ask whether the record is still as it was read.
    Renewal,
    /// Transactions of the failure path compare status and fence only, which begin anew with each life of a record.
    Life,
    /// bury takes what is done for expired.
    Burial,
    /// A replay is forgotten before its letter is removed.
    Order,
}

/// The rules, with a hole or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Rules {
    /// What is left out.
    pub hole: Option<Hole>,
}

impl Rules {
    fn lacks(self, hole: Hole) -> bool {
        self.hole == Some(hole)
    }

    pub(crate) fn claim(self, record: Option<&Record>, claim: &Claim) -> Result<Record, Refused> {
        match record {
            Some(record) if self.lacks(Hole::Lease) && record.status == Status::Running => {
                rules::claim(Some(&Record { lease_until: 0, ..record.clone() }), claim)
            }
            Some(record) if self.lacks(Hole::Expired) && record.is_expired(claim.now) => {
                let open = Record { status: Status::Retryable, expires_at: None, ..record.clone() };
                rules::claim(Some(&open), claim).map(|taken| Record { expires_at: record.expires_at, ..taken })
            }
            _ => rules::claim(record, claim),
        }
    }

    pub(crate) fn renew(
        self,
        record: Option<&Record>,
        claim: &Claim,
        fence: u64,
        expires_at: i64,
    ) -> Result<Record, Refused> {
        if self.lacks(Hole::Renewal) {
            Ok(claim.fresh(fence + 1))
        } else {
            rules::renew(record, claim, fence, expires_at)
        }
    }

    pub(crate) fn bury(self, record: Option<&Record>, burial: &Burial) -> Result<Record, Refused> {
        let expired = record
            .filter(|record| self.lacks(Hole::Burial) && record.status == Status::Done)
            .map(|record| Record { expires_at: Some(0), ..record.clone() });
        rules::bury(expired.as_ref().or(record), burial)
    }

    /// What is deleted first when a replay ends: a crash in between must leave something that the sweep finds.
    pub(crate) fn ends_replay_with(self, letter: Letter) -> Step {
        if self.lacks(Hole::Order) { Step::Forget(letter) } else { Step::EndReplay(letter) }
    }

    pub(crate) fn then_forgets(self, letter: Letter) -> Option<Step> {
        (!self.lacks(Hole::Order)).then_some(Step::Forget(letter))
    }

    pub(crate) fn then_ends_replay(self, letter: Letter) -> Option<Step> {
        self.lacks(Hole::Order).then_some(Step::EndReplay(letter))
    }

    /// Whether a transaction finds the record that it read.
    pub(crate) fn is_as_read(self, read: Option<&Record>, found: Option<&Record>) -> bool {
        let version = |record: &Record| (record.status, record.fence);
        read == found || (self.lacks(Hole::Life) && read.map(version) == found.map(version))
    }

    /// Whether a transaction finds the letter that it read under this name.
    pub(crate) fn is_letter(self, read: Letter, found: Letter) -> bool {
        read == found || self.lacks(Hole::Life)
    }

    /// The lease as it is compared: a check that is left out sees what it wants to see.
    fn seen(self, record: Option<&Record>, lease: &Lease) -> Lease {
        let Some(record) = record else { return lease.clone() };
        Lease {
            owner: if self.lacks(Hole::Owner) { record.owner.clone() } else { lease.owner.clone() },
            fence: if self.lacks(Hole::Fence) { record.fence } else { lease.fence },
        }
    }

    pub(crate) fn complete(
        self,
        record: Option<&Record>,
        lease: &Lease,
        now: Millis,
        expires_at: i64,
    ) -> Result<Record, Refused> {
        let lease = self.seen(record, lease);
        let running = record
            .filter(|_| self.lacks(Hole::Status))
            .map(|record| Record { status: Status::Running, ..record.clone() });
        rules::complete(running.as_ref().or(record), &lease, &[], now, expires_at)
    }

    pub(crate) fn fail(self, record: Option<&Record>, lease: &Lease, now: Millis) -> Result<Record, Refused> {
        let nothing = Attempted::default();
        let failure = Failure { class: String::new(), text: String::new() };
        rules::fail(record, &self.seen(record, lease), &nothing, &failure, now)
    }
}

/// A record without what no rule reads to decide: times of writes, counts, texts, and the end of a lease that nobody
/// holds. Worlds that differ only in these behave alike, which the test `bookkeeping_never_decides` shows.
pub fn strip(record: Record) -> Record {
    Record {
        lease_until: if record.status == Status::Running { record.lease_until } else { 0 },
        attempts: 0,
        updated_at: 0,
        last_error: None,
        history: Vec::new(),
        open_since: record.open_since.map(|_| 0),
        round: 0,
        next_at: None,
        ..record
    }
}
