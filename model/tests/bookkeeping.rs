//! The model leaves out of its records what no rule reads to decide. Here it is shown that none does.

use proptest::prelude::*;
use surehook::ledger::{
    Claim, Failure, History, Lease, Record, Refused, Status,
    rules::{self, Attempted, Burial},
};
use surehook_model::rules::strip;

fn failure() -> Failure {
    Failure { class: "c".into(), text: "t".into() }
}

fn records() -> impl Strategy<Value = Record> {
    let status = prop_oneof![
        Just(Status::Running),
        Just(Status::Retryable),
        Just(Status::Done),
        Just(Status::Dead),
        Just(Status::Purged)
    ];
    let decides =
        (status, 0..2_u8, 1..4_u64, 0..40_i64, 0..2_u8, prop::option::of(0..20_i64), prop::option::of(0..2_u8));
    let bookkeeping = (0..9_u64, 0..99_i64, 0..30_usize, any::<bool>(), prop::option::of(0..99_i64));
    (decides, bookkeeping).prop_map(
        |(
            (status, owner, fence, lease, content, expires, replay),
            (attempts, updated_at, failures, failed, open_since),
        )| Record {
            version: 1,
            status,
            owner: format!("w{owner}"),
            fence,
            lease_until: lease * 1_000,
            attempts,
            first_seen: 7,
            updated_at,
            content: format!("c{content}"),
            source: String::new(),
            event_type: None,
            message_id: String::new(),
            delivered: Vec::new(),
            refused: Vec::new(),
            last_error: failed.then(failure),
            history: vec![attempt(); failures],
            open_since: open_since.filter(|_| status == Status::Retryable),
            replay: replay.map(|replay| format!("r{replay}")),
            round: u32::try_from(attempts).unwrap_or_default(),
            next_at: open_since,
            expires_at: expires,
        },
    )
}

fn attempt() -> History {
    History { at: 1, fence: 1, class: "c".into(), text: String::new(), deliveries: Vec::new() }
}

/// All that the rules say of a record.
fn verdicts(record: &Record, now: i64) -> Vec<Result<Record, Refused>> {
    let claim = |owner: &str| Claim {
        owner: owner.into(),
        content: "c0".into(),
        source: String::new(),
        event_type: None,
        message_id: String::new(),
        now,
        lease_until: now + 5_000,
    };
    let burial = Burial {
        content: "c0".into(),
        source: String::new(),
        event_type: None,
        message_id: String::new(),
        failure: failure(),
        now,
    };
    let nothing = Attempted::default();
    let lease = Lease { owner: "w0".into(), fence: 2 };
    let some = Some(record);
    vec![
        rules::claim(some, &claim("w0")),
        rules::claim(some, &claim("w1")),
        rules::renew(some, &claim("w0"), 2, 9),
        rules::complete(some, &lease, &[], now, 99),
        rules::fail(some, &lease, &nothing, &failure(), now),
        rules::bury(some, &burial),
        rules::replay(some, 2, "r0", now),
        rules::purge(some, 2, "r0", now, 99),
        rules::strand(record, now - 10_000, now),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bookkeeping_never_decides(record in records(), now in 0..40_i64) {
        let now = now * 1_000;
        let stripped = |verdicts: Vec<Result<Record, Refused>>| -> Vec<Result<Record, Refused>> {
            verdicts.into_iter().map(|verdict| verdict.map(strip)).collect()
        };
        prop_assert_eq!(stripped(verdicts(&record, now)), stripped(verdicts(&strip(record), now)));
    }
}
