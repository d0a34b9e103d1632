//! A verdict must find whatever is planted.

use surehook::ledger::Status;

use super::*;

const EVENTS: u64 = 4;

fn body(number: u64) -> String {
    format!("{{\"number\":{number},\"text\":\"x\"}}")
}

fn digest(number: u64) -> Sha256 {
    Sha256::of(body(number).as_bytes())
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Events of which number 1 fails once, all taken by QStash; number 2 was published twice.
fn account() -> Account {
    let mut account = Account::new(EVENTS).unwrap();
    for number in 0..EVENTS {
        account.publish(digest(number), millis(number), u8::from(number == 1));
        account.take(number);
    }
    account.take(2);
    account
}

fn request(account: &mut Account, number: u64) -> u16 {
    account.receive(body(number).as_bytes(), &digest(number).hex(), millis(100)).status
}

/// All requests of a load without fault.
fn deliver(account: &mut Account) {
    let answers: Vec<u16> = [0, 1, 1, 2, 3].iter().map(|number| request(account, *number)).collect();
    assert_eq!(answers, [200, 503, 200, 200, 200]);
}

/// What is found after a load without fault.
fn found() -> Found {
    let done = |attempts| Recorded { status: Status::Done, attempts, failed: attempts as usize - 1 };
    Found { records: [(0, done(1)), (1, done(2)), (2, done(1)), (3, done(1))].into(), ..Found::default() }
}

fn sentences(verdict: &Verdict, held: bool) -> Vec<&str> {
    verdict.points.iter().filter(|point| point.held == held).map(|point| point.sentence.as_str()).collect()
}

#[test]
fn a_load_without_fault_is_proven() {
    let mut account = account();
    deliver(&mut account);
    let verdict = account.judge(&found());
    assert!(verdict.held() && verdict.offenders.is_empty(), "{verdict:?}");
    assert_eq!((account.arrived, account.copies, account.last_arrival), (4, 1, millis(100)));
    assert_eq!((account.at_once.len(), account.after_failures.len()), (3, 1));
    // From the moment at which it was to be published: number 3 was due at 3 ms and accepted at 100.
    assert_eq!((account.at_once.min() + 50) / 100, 970);
}

/// What is planted, and the fault that must be listed.
#[test]
fn every_violation_is_found_and_listed() {
    type Plant = fn(&mut Account, &mut Found);
    let plants: [(&str, Plant, Fault); 7] = [
        (
            "lost",
            |account, _| account.events[0] = Event { requests: 0, accepted: 0, ..account.events[0].clone() },
            Fault::Lost,
        ),
        ("sent again", |account, _| assert_eq!(request(account, 0), 200), Fault::SentAgain(1)),
        ("altered", |account, _| account.events[0].digest = Sha256::of(b"something else"), Fault::Altered(1)),
        ("not recorded", |_, found| found.records.retain(|number, _| *number != 0), Fault::NotRecorded),
        ("running", |_, found| status(found, Status::Running), Fault::NotDone(Status::Running)),
        ("dead", |_, found| status(found, Status::Dead), Fault::NotDone(Status::Dead)),
        (
            "an attempt that ended without a word",
            |_, found| found.records.get_mut(&0).unwrap().attempts = 2,
            Fault::Attempts { recorded: 2, requests: 1, failed: 0 },
        ),
    ];
    for (what, plant, fault) in plants {
        let (mut account, mut found) = (account(), found());
        if what == "altered" {
            plant(&mut account, &mut found);
            deliver(&mut account);
        } else {
            deliver(&mut account);
            plant(&mut account, &mut found);
        }
        let verdict = account.judge(&found);
        assert!(!verdict.held(), "{what}");
        let offender = Offender { number: 0, faults: vec![fault] };
        // The request that came again belongs to no attempt of the ledger, which is listed too.
        assert_eq!(verdict.offenders[0].faults[0], offender.faults[0], "{what}");
        assert_eq!((verdict.offenders[0].number, verdict.offending), (0, 1), "{what}");
    }
}

fn status(found: &mut Found, status: Status) {
    found.records.get_mut(&0).unwrap().status = status;
}

#[test]
fn what_is_left_over_is_found() {
    type Plant = fn(&mut Account, &mut Found);
    let plants: [(Plant, &str); 8] = [
        (|_, found| found.strangers = 1, "5 records for 4 events, 0 of them unreadable"),
        (|_, found| found.unreadable = 1, "5 records for 4 events, 1 of them unreadable"),
        (|_, found| found.dead = 1, "1 entries in the dead-letter queue, 0 messages wait"),
        (|_, found| found.waiting = 2, "0 entries in the dead-letter queue, 2 messages wait"),
        (
            |account, _| assert_eq!(account.receive(b"{}", "", millis(1)).status, 400),
            "1 requests had a body that nobody published",
        ),
        (|account, _| assert!(!account.refuse(0, "away".to_owned())), "1 messages were not taken by QStash: away"),
        (|account, _| account.fail("a panic".to_owned()), "1 messages were not taken by QStash: a panic"),
        (|account, _| account.publish(digest(4), millis(4), 0), "1 events were published without an answer of QStash"),
    ];
    for (plant, sentence) in plants {
        let (mut account, mut found) = (account(), found());
        deliver(&mut account);
        plant(&mut account, &mut found);
        assert_eq!(sentences(&account.judge(&found), false), [sentence]);
    }
}

#[test]
fn a_load_of_nothing_proves_nothing() {
    assert!(!Account::new(0).unwrap().judge(&Found::default()).held());
}

/// Its sender knows that QStash may not have it, so it may be anywhere.
#[test]
fn nothing_is_promised_of_an_event_that_qstash_did_not_take_for_sure() {
    for has_arrived in [false, true] {
        let (mut account, mut found) = (account(), found());
        deliver(&mut account);
        account.publish(digest(4), millis(4), 0);
        account.refuse(4, "no answer".to_owned());
        if has_arrived {
            request(&mut account, 4);
            found.records.insert(4, found.records[&0]);
        }
        let verdict = account.judge(&found);
        assert_eq!(sentences(&verdict, false), ["1 messages were not taken by QStash: no answer"]);
        assert!(verdict.offenders.is_empty());
    }
}

/// Events on their way would grow in number if one gave its room back twice, and the load would stand still if it never did.
#[test]
fn each_event_gives_its_room_back_once() {
    let room = |steps: &[&str]| {
        let mut account = Account::new(1).unwrap();
        account.publish(digest(0), millis(0), 0);
        let steps = steps.iter().map(|step| match *step {
            "taken" => {
                account.take(0);
                false
            }
            "refused" => account.refuse(0, String::new()),
            _ => account.receive(body(0).as_bytes(), &digest(0).hex(), millis(1)).makes_room,
        });
        steps.collect::<Vec<_>>()
    };
    assert_eq!(room(&["taken", "arrived", "arrived"]), [false, true, false]);
    assert_eq!(room(&["taken", "refused", "arrived"]), [false, false, true], "its copy was refused");
    assert_eq!(room(&["refused", "taken", "arrived"]), [true, false, false], "only its copy was taken");
    assert_eq!(room(&["refused", "refused", "arrived"]), [true, false, false], "QStash had it all the same");
}

#[test]
fn an_absurd_number_of_events_takes_no_memory_at_once() {
    assert!(Account::new(u64::MAX).unwrap().events.capacity() <= 2 * 65_536);
}

#[test]
fn ten_events_are_listed_and_all_are_counted() {
    let mut account = Account::new(20).unwrap();
    for number in 0..20 {
        account.publish(digest(number), millis(number), 0);
        account.take(number);
    }
    let verdict = account.judge(&Found::default());
    assert_eq!((verdict.offenders.len(), verdict.offending), (10, 20));
    assert_eq!(verdict.offenders[0].faults, [Fault::Lost, Fault::NotRecorded]);
}

#[test]
fn attempts_that_a_breaker_held_back_are_no_fault() {
    let recorded = |status, attempts, failed| Recorded { status, attempts, failed };
    assert!(!is_attempt_missing(2, &recorded(Status::Done, 3, 2)));
    assert!(is_attempt_missing(3, &recorded(Status::Done, 2, 1)), "a request that belongs to no attempt");
    assert!(is_attempt_missing(1, &recorded(Status::Done, 2, 0)), "an attempt that ended without a word");
    assert!(!is_attempt_missing(1, &recorded(Status::Done, 40, MOST_HISTORY)), "a history forgets its oldest");
    assert!(!is_attempt_missing(2, &recorded(Status::Retryable, 2, 2)));
}

/// Late is not lost, as long as somebody has the event.
#[test]
fn what_somebody_still_has_is_not_lost() {
    let recorded = |status| Recorded { status, attempts: 1, failed: 1 };
    for (status, is_kept, fault) in [
        (Some(Status::Retryable), true, Fault::NotDelivered),
        (Some(Status::Running), true, Fault::NotDelivered),
        (None, true, Fault::NotDelivered),
        (Some(Status::Dead), false, Fault::NotDelivered),
        (Some(Status::Retryable), false, Fault::Lost),
        (None, false, Fault::Lost),
        (Some(Status::Done), true, Fault::Lost),
        (Some(Status::Purged), true, Fault::Lost),
    ] {
        assert_eq!(not_accepted(status.map(recorded).as_ref(), is_kept), fault, "{status:?} {is_kept}");
    }
}
