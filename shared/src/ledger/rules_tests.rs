use super::*;

const NOW: Millis = 1_790_000_000_000;
const LATER: Millis = NOW + 11_000;

fn command(owner: &str, now: Millis) -> Claim {
    Claim {
        owner: owner.into(),
        content: "content".into(),
        source: "strapi".into(),
        event_type: Some("entry.create".into()),
        message_id: "msg_1".into(),
        now,
        lease_until: now + 11_000,
    }
}

fn lease(record: &Record) -> Lease {
    Lease { owner: record.owner.clone(), fence: record.fence }
}

fn failure() -> Failure {
    Failure { class: "transient".into(), text: "503".into() }
}

fn nothing() -> Attempted {
    Attempted::default()
}

fn burial(now: Millis) -> Burial {
    Burial {
        content: "content".into(),
        source: "strapi".into(),
        event_type: None,
        message_id: "msg_1".into(),
        failure: failure(),
        now,
    }
}

fn running() -> Record {
    claim(None, &command("a", NOW)).unwrap()
}

fn done() -> Record {
    let record = running();
    complete(Some(&record), &lease(&record), &["d1".into()], NOW + 5, NOW / 1_000 + 100).unwrap()
}

fn retryable() -> Record {
    let record = running();
    fail(Some(&record), &lease(&record), &nothing(), &failure(), NOW + 5).unwrap()
}

fn dead() -> Record {
    bury(Some(&retryable()), &burial(NOW + 10)).unwrap()
}

#[test]
fn a_first_claim_wins_with_fence_one() {
    let record = running();
    assert_eq!((record.status, record.fence, record.attempts, record.lease_until), (Status::Running, 1, 1, LATER));
}

#[test]
fn a_second_worker_waits_for_the_lease() {
    let refused = claim(Some(&running()), &command("b", NOW + 1)).unwrap_err();
    assert_eq!(refused, Refused::InProgress(LATER));
}

#[test]
fn a_lease_that_ran_out_is_taken_over_with_a_new_fence() {
    let record = claim(Some(&running()), &command("b", LATER)).unwrap();
    assert_eq!((record.owner.as_str(), record.fence, record.attempts, record.first_seen), ("b", 2, 2, NOW));
}

#[test]
fn a_claim_that_finds_itself_has_won() {
    let record = running();
    assert_eq!(claim(Some(&record), &command("a", NOW + 1)).unwrap(), record);
}

#[test]
fn the_worker_that_lost_its_lease_writes_nothing() {
    let first = running();
    let second = claim(Some(&first), &command("b", LATER)).unwrap();
    let late = complete(Some(&second), &lease(&first), &[], LATER, 0).unwrap_err();
    assert_eq!(late, Refused::Changed(Some(Status::Running)));
    assert!(fail(Some(&second), &lease(&first), &nothing(), &failure(), LATER).is_err());
}

#[test]
fn the_same_owner_with_an_old_fence_writes_nothing() {
    let mut record = running();
    record.fence = 2;
    let old = Lease { owner: "a".into(), fence: 1 };
    assert!(complete(Some(&record), &old, &[], NOW, 0).is_err());
}

#[test]
fn completing_twice_is_a_success_and_changes_nothing() {
    let record = done();
    assert_eq!(complete(Some(&record), &lease(&record), &[], NOW + 9, 1).unwrap(), record);
}

#[test]
fn what_is_done_is_refused_until_it_expires() {
    let record = done();
    assert_eq!(claim(Some(&record), &command("b", NOW + 9)).unwrap_err(), Refused::Done);
    let expiry = record.expires_at.unwrap();
    let refused = claim(Some(&record), &command("b", expiry * 1_000)).unwrap_err();
    assert_eq!(refused, Refused::Expired { fence: 1, expires_at: expiry });
}

#[test]
fn renewing_begins_a_life_that_remembers_nothing_but_the_fence() {
    let record = done();
    let expiry = record.expires_at.unwrap();
    let fresh = renew(Some(&record), &command("b", expiry * 1_000), 1, expiry).unwrap();
    assert_eq!((fresh.fence, fresh.attempts, fresh.delivered.len(), fresh.expires_at), (2, 1, 0, None));
    assert!(renew(Some(&fresh), &command("c", expiry * 1_000), 1, expiry).is_err(), "only one renews");
    let repeated = renew(Some(&fresh), &command("b", expiry * 1_000), 1, expiry).unwrap();
    assert_eq!(repeated, fresh, "a lost answer is recognised as one's own");
}

#[test]
fn other_content_under_the_same_key_is_a_conflict() {
    let mut other = command("b", NOW + 1);
    other.content = "other".into();
    for record in [running(), done(), retryable(), dead()] {
        assert_eq!(claim(Some(&record), &other).unwrap_err(), Refused::Conflict);
    }
}

#[test]
fn failing_opens_the_record_and_claiming_closes_it() {
    let record = retryable();
    assert_eq!((record.status, record.open_since), (Status::Retryable, Some(NOW + 5)));
    assert_eq!(record.history.len(), 1);
    let again = claim(Some(&record), &command("b", NOW + 6)).unwrap();
    assert_eq!((again.status, again.open_since, again.fence), (Status::Running, None, 2));
}

#[test]
fn history_and_error_text_are_bounded() {
    let mut record = running();
    let delivery = FailedDelivery { destination: "d".into(), status: 503, took_ms: 7 };
    for fence in 0..100 {
        let failure = Failure { class: "transient".into(), text: format!("{fence} {}", "é".repeat(1_000)) };
        record.fence = fence;
        record.history = remember(&record, NOW, &failure, &vec![delivery.clone(); 20]);
        record.last_error = Some(short(&failure));
    }
    assert_eq!(record.history.len(), MOST_HISTORY);
    assert_eq!(record.history.last().unwrap().fence, 99);
    assert!(record.history.iter().all(|entry| entry.text.len() <= MAX_EARLIER_TEXT));
    assert!(record.history.iter().all(|entry| entry.deliveries.len() == MAX_DELIVERIES));
    let long = Failure { class: "x".into(), text: "é".repeat(1_000) };
    assert!(short(&long).text.len() <= MOST_ERROR_TEXT);
}

#[test]
fn only_what_waits_is_buried() {
    assert_eq!(bury(Some(&done()), &burial(NOW)).unwrap_err(), Refused::Done);
    assert_eq!(bury(Some(&dead()), &burial(NOW)).unwrap_err(), Refused::Dead);
    assert_eq!(bury(Some(&running()), &burial(NOW)).unwrap_err(), Refused::InProgress(LATER));
    assert_eq!(bury(Some(&running()), &burial(LATER)).unwrap().status, Status::Dead);
    assert_eq!(bury(None, &burial(NOW)).unwrap().fence, 1);
}

#[test]
fn the_dead_are_not_claimed_until_they_are_replayed() {
    let record = dead();
    assert_eq!(claim(Some(&record), &command("b", LATER)).unwrap_err(), Refused::Dead);
    let open = replay(Some(&record), record.fence, "r", NOW + 20).unwrap();
    assert_eq!((open.status, open.fence), (Status::Retryable, record.fence + 1));
    assert!(claim(Some(&open), &command("b", LATER)).is_ok());
}

#[test]
fn a_replay_may_be_repeated_but_a_stale_one_has_no_effect() {
    let record = dead();
    let open = replay(Some(&record), record.fence, "r", NOW + 20).unwrap();
    assert_eq!(replay(Some(&open), record.fence, "r", NOW + 30).unwrap(), open);
    assert!(replay(Some(&open), record.fence, "other", NOW + 30).is_err());
    assert!(replay(Some(&done()), 1, "r", NOW).is_err());
}

#[test]
fn a_replay_gives_those_that_refused_another_chance() {
    let record = running();
    let attempted = Attempted { delivered: vec!["d1".into()], refused: vec!["d2".into()], ..nothing() };
    let failed = fail(Some(&record), &lease(&record), &attempted, &failure(), NOW).unwrap();
    let dead = bury(Some(&failed), &burial(NOW)).unwrap();
    let open = replay(Some(&dead), dead.fence, "r", NOW).unwrap();
    assert_eq!((open.delivered, open.refused), (vec!["d1".to_owned()], vec![]));
}

#[test]
fn purging_leaves_a_record_that_refuses_late_deliveries() {
    let record = dead();
    let purged = purge(Some(&record), record.fence, "r", NOW, NOW / 1_000 + 50).unwrap();
    assert_eq!(claim(Some(&purged), &command("b", NOW + 1)).unwrap_err(), Refused::Dead);
    assert!(purge(Some(&retryable()), 1, "r", NOW, 1).is_err());
}

#[test]
fn a_replay_that_qstash_refuses_can_be_purged() {
    let record = dead();
    let open = replay(Some(&record), record.fence, "r", NOW).unwrap();
    assert!(purge(Some(&open), record.fence, "another", NOW, 1).is_err());
    let purged = purge(Some(&open), record.fence, "r", NOW, NOW / 1_000 + 50).unwrap();
    assert_eq!((purged.status, purged.open_since, purged.fence), (Status::Purged, None, open.fence + 1));
}

#[test]
fn an_expired_record_never_settles_a_new_event() {
    let record = done();
    let later = record.expires_at.unwrap() * 1_000;
    let buried = bury(Some(&record), &burial(later)).unwrap();
    assert_eq!((buried.status, buried.fence, buried.delivered.len()), (Status::Dead, record.fence + 1, 0));
}

#[test]
fn a_note_about_the_next_round_decides_nothing() {
    let record = retryable();
    let noted = note_round(&record, 2, NOW + 9, "msg_2").unwrap();
    assert_eq!((noted.round, noted.next_at, noted.message_id.as_str()), (2, Some(NOW + 9), "msg_2"));
    assert_eq!((noted.fence, noted.updated_at, noted.status), (record.fence, record.updated_at, record.status));
    for moved_on in [running(), done(), dead()] {
        assert!(note_round(&moved_on, 2, NOW, "m").is_err());
    }
    let replayed = replay(Some(&bury(Some(&noted), &burial(NOW)).unwrap()), noted.fence + 1, "r", NOW).unwrap();
    assert_eq!((replayed.round, replayed.next_at), (0, None), "a replay begins anew");
}

#[test]
fn only_what_is_stranded_is_dismissed() {
    let record = retryable();
    let since = record.open_since.unwrap();
    assert!(dismiss(Some(&record), since, NOW, 1).is_err(), "it has not waited for long enough");
    let gone = dismiss(Some(&record), since + 1, NOW, NOW / 1_000 + 9).unwrap();
    assert_eq!((gone.status, gone.open_since, gone.expires_at), (Status::Purged, None, Some(NOW / 1_000 + 9)));
    assert_eq!(dismiss(Some(&gone), 0, NOW, 1).unwrap(), gone, "again is no error");
    for other in [running(), done(), dead()] {
        assert!(dismiss(Some(&other), NOW * 2, NOW, 1).is_err());
    }
    assert!(dismiss(None, NOW, NOW, 1).is_err());
}

#[test]
fn reopening_forgets_refusals_and_takes_nothing_from_a_worker() {
    let record = running();
    let attempted = Attempted { delivered: vec!["d1".into()], refused: vec!["d2".into()], ..nothing() };
    let failed = fail(Some(&record), &lease(&record), &attempted, &failure(), NOW).unwrap();
    let open = reopen(Some(&failed), NOW, NOW).unwrap();
    assert_eq!((open.fence, open.delivered, open.refused), (failed.fence + 1, vec!["d1".to_owned()], vec![]));
    let since = retryable().open_since.unwrap();
    assert_eq!(reopen(Some(&retryable()), NOW + 99, since).unwrap(), retryable(), "nothing to forget");
    let slow = reopen(Some(&retryable()), NOW + 99, NOW + 9_999).unwrap();
    assert_eq!((slow.open_since, slow.updated_at), (Some(NOW + 9_999), NOW + 99), "its turn comes later");
    for other in [running(), done(), dead()] {
        assert!(reopen(Some(&other), NOW, NOW).is_err());
    }
}

#[test]
fn an_unconfirmed_event_is_shown_and_may_be_dismissed_at_once() {
    let record = running();
    let after = record.lease_until + 1;
    assert!(unconfirmed(&record, record.lease_until - 1).is_err(), "its worker may still write done");
    let shown = unconfirmed(&record, after).unwrap();
    assert!(shown.is_unconfirmed() && !record.is_unconfirmed());
    assert_eq!((shown.fence, shown.open_since), (record.fence + 1, Some(record.lease_until)));
    assert_eq!(dismiss(Some(&shown), 0, after, 9).unwrap().status, Status::Purged);
    for other in [retryable(), done(), dead()] {
        assert!(unconfirmed(&other, after).is_err());
    }
}

#[test]
fn a_slow_replay_waits_from_its_turn_on() {
    let record = dead();
    let open = replay_due(Some(&record), record.fence, "r", NOW, NOW + 9_999).unwrap();
    assert_eq!((open.status, open.updated_at, open.open_since), (Status::Retryable, NOW, Some(NOW + 9_999)));
    assert_eq!(replay_due(Some(&open), record.fence, "r", NOW + 1, NOW + 1).unwrap(), open, "again is no error");
    assert!(dismiss(Some(&open), NOW + 9_999, NOW, 9).is_err(), "it is not stranded before its turn");
}

#[test]
fn a_dead_letter_that_expires_does_so_with_its_record_unless_it_is_replayed() {
    let dead = bury_until(Some(&retryable()), &burial(NOW), Some(NOW / 1_000 + 9)).unwrap();
    assert_eq!((dead.status, dead.expires_at), (Status::Dead, Some(NOW / 1_000 + 9)));
    assert_eq!(bury(Some(&retryable()), &burial(NOW)).unwrap().expires_at, None);
    let open = replay(Some(&dead), dead.fence, "r", NOW + 1).unwrap();
    assert_eq!((open.status, open.expires_at), (Status::Retryable, None), "a waiting record does not expire");
}

#[test]
fn every_attempt_keeps_its_own_words_and_says_the_same_words_once() {
    let mut record = running();
    for (fence, (class, text)) in
        [("transient", "shop: 503"), ("transient", "shop: 503"), ("transient", "shop: 500"), ("abandoned", "nothing")]
            .into_iter()
            .enumerate()
    {
        let failure = Failure { class: class.into(), text: text.into() };
        record.fence = fence as u64;
        record.history = remember(&record, NOW, &failure, &[]);
        record.last_error = Some(failure);
    }
    let kept: Vec<&str> = record.history.iter().map(|entry| entry.text.as_str()).collect();
    assert_eq!(kept, ["", "shop: 503", "shop: 500", ""]);
    let said: Vec<&str> = (0..4).map(|index| record.said(index)).collect();
    assert_eq!(said, ["shop: 503", "shop: 503", "shop: 500", "nothing"]);
    record.last_error = None;
    assert_eq!((record.said(2), record.said(3), record.said(4)), ("shop: 500", "", ""));
}
