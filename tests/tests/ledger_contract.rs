//! The table answers what the pure rules answer: random sequences of commands go to both.

use proptest::{prelude::*, test_runner::TestRunner};
use surehook::{
    identity::EventKey,
    ledger::{
        Claim, DeadLetter, Failure, Lease, Record, Refused,
        rules::{self, Attempted, Burial},
    },
    store::{LedgerError, Store},
};
use surehook_local::{dynamo::Dynamo, stack::TABLE};
use tokio::net::TcpListener;

const START: i64 = 1_790_000_000_000;

#[derive(Debug, Clone)]
enum Command {
    Claim { owner: u8, content: u8 },
    Complete { stale: bool },
    Fail { stale: bool },
    Bury,
    Replay,
    Purge,
    Wait { seconds: i64 },
}

fn commands() -> impl Strategy<Value = Vec<Command>> {
    let command = prop_oneof![
        4 => (0..3_u8, 0..8_u8).prop_map(|(owner, content)| Command::Claim { owner, content: content / 7 }),
        2 => any::<bool>().prop_map(|stale| Command::Complete { stale }),
        2 => any::<bool>().prop_map(|stale| Command::Fail { stale }),
        1 => Just(Command::Bury),
        1 => Just(Command::Replay),
        1 => Just(Command::Purge),
        2 => (1..400_i64).prop_map(|seconds| Command::Wait { seconds }),
    ];
    proptest::collection::vec(command, 1..14)
}

/// The pure side, and what the last winner of a claim knows.
struct World {
    store: Store,
    key: EventKey,
    record: Option<Record>,
    held: Option<Record>,
    letters: Vec<DeadLetter>,
    now: i64,
}

#[test]
fn random_commands_give_the_same_answers_on_rules_and_table() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dynamo = runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        Dynamo::start(listener, None, TABLE).await.unwrap()
    });
    let mut runner =
        TestRunner::new(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() });
    let number = std::cell::Cell::new(0_u64);
    runner
        .run(&commands(), |commands| {
            number.set(number.get() + 1);
            let key = EventKey::parse(&format!("{:064x}", number.get())).unwrap();
            runtime.block_on(World::new(dynamo.store(TABLE), key).play(&commands));
            Ok(())
        })
        .unwrap();
}

impl World {
    fn new(store: Store, key: EventKey) -> Self {
        Self { store, key, record: None, held: None, letters: Vec::new(), now: START }
    }

    async fn play(mut self, commands: &[Command]) {
        for (index, command) in commands.iter().enumerate() {
            self.now += 1;
            self.step(command).await;
            let stored = self.store.record(&self.key).await.unwrap();
            assert_eq!(stored, self.record, "after {command:?}, step {index} of {commands:?}");
        }
    }

    async fn step(&mut self, command: &Command) {
        match command {
            Command::Wait { seconds } => self.now += seconds * 1_000,
            Command::Claim { owner, content } => self.claim(*owner, *content).await,
            Command::Complete { stale } => self.complete(*stale).await,
            Command::Fail { stale } => self.fail(*stale).await,
            Command::Bury => self.bury().await,
            Command::Replay => self.replay().await,
            Command::Purge => self.purge().await,
        }
    }

    async fn claim(&mut self, owner: u8, content: u8) {
        let claim = Claim {
            owner: format!("worker {owner}"),
            content: format!("content {content}"),
            source: "strapi".into(),
            event_type: (content == 0).then(|| "entry.create".into()),
            message_id: "m".into(),
            now: self.now,
            lease_until: self.now + 11_000,
        };
        let expected = rules::claim(self.record.as_ref(), &claim);
        let answer = self.store.claim(&self.key, &claim).await;
        self.compare(expected.clone(), answer);
        if let Err(Refused::Expired { fence, expires_at }) = expected {
            let expected = rules::renew(self.record.as_ref().unwrap(), &claim, fence, expires_at);
            let answer = self.store.renew(&self.key, &claim, fence, expires_at).await;
            self.compare(expected, answer);
        }
        if self.record.as_ref().is_some_and(|record| record.owner == claim.owner) {
            self.held = self.record.clone();
        }
    }

    /// What a worker believes to hold: the truth, or what was true one fence ago.
    fn belief(&self, stale: bool) -> Option<Record> {
        self.held.clone().map(|held| Record { fence: held.fence - u64::from(stale), ..held })
    }

    async fn complete(&mut self, stale: bool) {
        let Some(held) = self.belief(stale) else { return };
        let expires_at = self.now / 1_000 + 300;
        let delivered = vec!["d1".to_owned()];
        let expected = rules::complete(self.record.as_ref(), &lease(&held), &delivered, self.now, expires_at);
        let answer = self.store.complete(&self.key, &held, &delivered, self.now, expires_at).await;
        self.compare(expected, answer);
    }

    async fn fail(&mut self, stale: bool) {
        let Some(held) = self.belief(stale) else { return };
        let attempted = Attempted { delivered: vec![], refused: vec!["d2".into()] };
        let expected = rules::fail(self.record.as_ref(), &lease(&held), &attempted, &failure(), self.now);
        let answer = self.store.fail(&self.key, &held, &attempted, &failure(), self.now).await;
        self.compare(expected, answer);
    }

    async fn bury(&mut self) {
        let burial = Burial {
            content: "content 0".into(),
            source: "strapi".into(),
            event_type: None,
            message_id: "m".into(),
            failure: failure(),
            now: self.now,
        };
        let expected = rules::bury(self.record.as_ref(), &burial);
        let answer = self.store.bury(&burial, letter(&self.key, self.now), b"body").await;
        if let Ok(letter) = &answer {
            self.letters.push(letter.clone());
        }
        self.compare_refusal(expected, answer.map(drop));
    }

    async fn replay(&mut self) {
        let Some(letter) = self.letters.last().cloned() else {
            return;
        };
        let expected = rules::replay(self.record.as_ref(), letter.fence, &letter.replay_id(), self.now);
        let answer = self.store.begin_replay(&letter, self.now).await;
        self.compare(expected, answer);
    }

    async fn purge(&mut self) {
        let Some(letter) = self.letters.last().cloned() else {
            return;
        };
        let expires_at = self.now / 1_000 + 300;
        let expected = rules::purge(self.record.as_ref(), letter.fence, &letter.replay_id(), self.now, expires_at);
        let answer = self.store.purge(&letter, self.now, expires_at).await;
        self.compare_refusal(expected, answer);
    }

    fn compare(&mut self, expected: Result<Record, Refused>, answer: Result<Record, LedgerError>) {
        match (&expected, &answer) {
            (Ok(expected), Ok(answer)) => assert_eq!(expected, answer),
            (Err(expected), Err(LedgerError::Refused(answer))) => assert_eq!(expected, answer),
            _ => panic!("the rules say {expected:?}, the table {answer:?}"),
        }
        self.record = expected.ok().or(self.record.take());
    }

    fn compare_refusal(&mut self, expected: Result<Record, Refused>, answer: Result<(), LedgerError>) {
        match (&expected, &answer) {
            (Ok(_), Ok(())) => {}
            (Err(expected), Err(LedgerError::Refused(answer))) => assert_eq!(expected, answer),
            _ => panic!("the rules say {expected:?}, the table {answer:?}"),
        }
        self.record = expected.ok().or(self.record.take());
    }
}

fn lease(record: &Record) -> Lease {
    Lease { owner: record.owner.clone(), fence: record.fence }
}

fn failure() -> Failure {
    Failure { class: "transient".into(), text: "503".into() }
}

/// A letter of an event, as the failure path would make it.
pub(crate) fn letter(key: &EventKey, now: i64) -> DeadLetter {
    DeadLetter {
        key: key.clone(),
        fence: 0,
        at: now,
        reason: "permanent".into(),
        status: 489,
        error: "x".into(),
        fingerprint: "f".into(),
        url: "https://h.example/strapi".into(),
        path: Some("/strapi".into()),
        source: "strapi".into(),
        event_type: None,
        method: "POST".into(),
        headers: Default::default(),
        message_id: "m".into(),
        first_message_id: "m".into(),
        rounds: 0,
        size: 4,
        body_sha256: String::new(),
        redacted: false,
        dlq_id: String::new(),
        replaying: None,
    }
}

#[tokio::test]
async fn letters_of_any_size_survive_the_table() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let dynamo = Dynamo::start(listener, None, TABLE).await.unwrap();
    let store = dynamo.store(TABLE);
    for (number, size) in [0_usize, 1, 100_000, 3_000_000].into_iter().enumerate() {
        let key = EventKey::parse(&format!("{number:064x}")).unwrap();
        // Bytes that do not compress.
        let mut state = 1_u64;
        let body: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        })
        .take(size)
        .collect();
        let burial = Burial {
            content: "c".into(),
            source: "strapi".into(),
            event_type: None,
            message_id: "m".into(),
            failure: failure(),
            now: START,
        };
        let written = store.bury(&burial, letter(&key, START), &body).await.unwrap();
        let (read, read_body) = store.letter(&key, written.fence).await.unwrap().unwrap();
        assert_eq!((read, read_body == body), (written, true), "{size} bytes");
    }
}

#[tokio::test]
async fn a_renewal_that_lost_its_race_is_not_a_win() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let dynamo = Dynamo::start(listener, None, TABLE).await.unwrap();
    let store = dynamo.store(TABLE);
    let key = EventKey::parse(&"b".repeat(64)).unwrap();
    let claim = |owner: &str, now: i64| Claim {
        owner: owner.into(),
        content: "c".into(),
        source: "strapi".into(),
        event_type: None,
        message_id: "m".into(),
        now,
        lease_until: now + 11_000,
    };
    let first = store.claim(&key, &claim("a", START)).await.unwrap();
    let expires_at = START / 1_000 + 1;
    store.complete(&key, &first, &[], START, expires_at).await.unwrap();
    let later = START + 2_000;
    let renewed = store.renew(&key, &claim("b", later), 1, expires_at).await.unwrap();
    let nothing = Attempted { delivered: vec![], refused: vec![] };
    store.fail(&key, &renewed, &nothing, &failure(), later).await.unwrap();
    let lost = store.renew(&key, &claim("c", later), 1, expires_at).await.unwrap_err();
    assert!(matches!(lost, LedgerError::Refused(Refused::Changed(_))), "{lost:?}");
    let repeated = store.renew(&key, &claim("b", later), 1, expires_at).await;
    assert!(repeated.is_err(), "its lease was given back");
}

#[tokio::test]
async fn a_letter_that_was_buried_anew_survives_the_end_of_its_replay() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let dynamo = Dynamo::start(listener, None, TABLE).await.unwrap();
    let store = dynamo.store(TABLE);
    let key = EventKey::parse(&"a".repeat(64)).unwrap();
    let burial = Burial {
        content: "c".into(),
        source: String::new(),
        event_type: None,
        message_id: "m".into(),
        failure: failure(),
        now: START,
    };
    let first = store.bury(&burial, letter(&key, START), b"body").await.unwrap();
    store.begin_replay(&first, START).await.unwrap();
    store.forget_replayed(&first).await.unwrap();
    let again = store.bury(&burial, letter(&key, START), b"body").await.unwrap();
    assert_eq!(again.id(), first.id(), "the record was forgotten, so its fence begins anew");
    store.end_replay(&first, START).await.unwrap();
    assert!(store.letter(&key, again.fence).await.unwrap().is_some());
}
