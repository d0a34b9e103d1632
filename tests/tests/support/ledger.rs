//! Commands to the ledger, as tests give them directly.

use surehook::ledger::{
    Claim, Failure,
    rules::{Attempted, Burial},
};

/// A claim by this worker; its lease holds for 11 s.
pub(crate) fn claim(owner: &str, now: i64) -> Claim {
    Claim {
        owner: owner.into(),
        content: "c".into(),
        source: "strapi".into(),
        event_type: None,
        message_id: "m".into(),
        now,
        lease_until: now + 11_000,
    }
}

/// An attempt that reached nobody.
pub(crate) fn nothing() -> Attempted {
    Attempted::default()
}

/// A transient failure.
pub(crate) fn failure() -> Failure {
    Failure { class: "transient".into(), text: "503".into() }
}

/// A burial of the event of [`claim`].
pub(crate) fn burial(now: i64) -> Burial {
    Burial {
        content: "c".into(),
        source: String::new(),
        event_type: None,
        message_id: "m".into(),
        failure: failure(),
        now,
    }
}
