//! Random sequences of commands go to the pure rules and to a table, which must answer alike.

use proptest::{prelude::*, test_runner::TestRunner};
use surehook::{
    digest::Sha256,
    identity::EventKey,
    ledger::{
        Claim, DeadLetter, Lease, Record, Refused, Status,
        rules::{self, Attempted, Burial},
    },
    outside,
    store::{
        CommitError, LedgerError, Store, Writes,
        dynamodb::{Client, types::AttributeValue},
        stranded::Segment,
    },
};

use super::{Engine, START, impossible, letter, touch};
use crate::support::ledger::failure;

/// Sequences that are tried.
const CASES: u32 = 96;

#[derive(Debug, Clone)]
enum Command {
    Claim { owner: u8, content: u8 },
    Complete { stale: bool },
    CompleteWith { stale: bool },
    Fail { stale: bool },
    Bury,
    Replay,
    Purge,
    Strand,
    NoteRound { stale: bool },
    Reopen,
    Dismiss,
    Delete,
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
        1 => Just(Command::Strand),
        1 => any::<bool>().prop_map(|stale| Command::NoteRound { stale }),
        1 => Just(Command::Reopen),
        1 => Just(Command::Dismiss),
        1 => Just(Command::Delete),
        2 => any::<bool>().prop_map(|stale| Command::CompleteWith { stale }),
        2 => (1..400_i64).prop_map(|seconds| Command::Wait { seconds }),
    ];
    proptest::collection::vec(command, 1..14)
}

/// The pure side, and what the last winner of a claim knows.
struct World {
    store: Store,
    client: Client,
    key: EventKey,
    record: Option<Record>,
    held: Option<Record>,
    letters: Vec<DeadLetter>,
    committed: Vec<Lease>,
    /// Lives of the record so far. Fences begin anew with each; request ids, which are the owners, never come again.
    lives: u32,
    now: i64,
}

/// Plays random sequences, each on an event of its own.
pub(super) fn play(runtime: &tokio::runtime::Runtime, engine: &Engine) {
    let mut runner =
        TestRunner::new(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() });
    // Keys of this run alone: a DynamoDB that serves many runs remembers their request tokens.
    let run = Sha256::of(outside::new_id().as_bytes()).hex();
    let number = std::cell::Cell::new(0_u64);
    let client = surehook_local::dynamo::client_of(&engine.url);
    runner
        .run(&commands(), |commands| {
            number.set(number.get() + 1);
            let key = EventKey::parse(&format!("{}{:016x}", &run[..48], number.get())).unwrap();
            runtime.block_on(World::new(engine.store.clone(), client.clone(), key).play(&commands));
            Ok(())
        })
        .unwrap();
}

impl World {
    fn new(store: Store, client: Client, key: EventKey) -> Self {
        let (letters, committed) = (Vec::new(), Vec::new());
        Self { store, client, key, record: None, held: None, letters, committed, lives: 1, now: START }
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
            Command::Strand => self.strand().await,
            Command::NoteRound { stale } => self.note_round(*stale).await,
            Command::Reopen => self.reopen().await,
            Command::Dismiss => self.dismiss().await,
            Command::Delete => self.delete().await,
            Command::CompleteWith { stale } => self.complete_with(*stale).await,
        }
    }

    async fn claim(&mut self, owner: u8, content: u8) {
        let claim = Claim {
            owner: format!("worker {owner}.{}", self.lives),
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
            let expected = rules::renew(self.record.as_ref(), &claim, fence, expires_at);
            let answer = self.store.renew(&self.key, &claim, fence, expires_at).await;
            self.compare(expected, answer);
        }
        let won = |record: &&Record| record.status == Status::Running && record.owner == claim.owner;
        if let Some(record) = self.record.as_ref().filter(won) {
            self.held = Some(record.clone());
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

    /// What is committed follows from the lease alone: a repetition must be the same request. Every other lease has writes
    /// whose own condition fails.
    async fn complete_with(&mut self, stale: bool) {
        let Some(held) = self.belief(stale) else { return };
        let (now, expires_at) = (held.updated_at + 1, held.updated_at / 1_000 + 300);
        let expected = rules::complete(self.record.as_ref(), &lease(&held), &[], now, expires_at);
        let is_repeated = self.committed.contains(&lease(&held));
        if is_repeated && expected.is_err() {
            // DynamoDB would recall its success of before, which the record of today does not show.
            return;
        }
        let fails = held.fence % 2 == 0;
        let writes =
            Writes::from(if fails { vec![impossible(&self.store)] } else { vec![touch(&self.store, &self.key)] });
        let answer = self.store.complete_with(&self.key, &held, &[], &writes, now, expires_at).await;
        let stood = self.record.as_ref().is_some_and(|record| record.status == Status::Done);
        match (expected, answer) {
            (Ok(_), Err(CommitError::Condition(failed))) if fails && !stood => assert_eq!(failed.write, 0),
            (Ok(expected), Ok(answer)) if !fails || stood => {
                assert_eq!((expected.status, expected.fence), (answer.status, answer.fence));
                self.committed.push(lease(&held));
                self.record = Some(expected);
            }
            (Err(expected), Err(CommitError::Refused(answer))) => assert_eq!(expected, answer),
            (expected, answer) => panic!("the rules say {expected:?}, the table {answer:?}"),
        }
    }

    /// DynamoDB deletes the record; whoever believes to hold it goes on believing so.
    async fn delete(&mut self) {
        let request = self.client.delete_item().table_name(self.store.table());
        let request = request.key("pk", AttributeValue::S(format!("e#{}", self.key)));
        request.key("sk", AttributeValue::S("ledger".into())).send().await.unwrap();
        self.record = None;
        self.lives += 1;
    }

    async fn strand(&mut self) {
        let before = self.now - 60_000;
        let expected = self.record.as_ref().and_then(|record| rules::strand(record, before, self.now).ok());
        // Other events of the table may be raised too; what became of this one is compared after each command.
        let (mut raised, mut after) = (0, None);
        loop {
            let looked = self.store.strand(Segment::WHOLE, after, before, self.now).await.unwrap();
            (raised, after) = (raised + looked.raised, looked.next);
            if after.is_none() {
                break;
            }
        }
        assert!(raised > 0 || expected.is_none());
        self.record = expected.or(self.record.take());
    }

    /// A note about a record that has moved on since it was read changes nothing.
    async fn note_round(&mut self, stale: bool) {
        let Some(record) = self.record.clone() else { return };
        let seen = Record { fence: record.fence - u64::from(stale), ..record.clone() };
        self.store.note_round(&self.key, &seen, 3, self.now + 9, "m2").await.unwrap();
        let noted = rules::note_round(&record, 3, self.now + 9, "m2").ok().filter(|_| !stale);
        self.record = Some(noted.unwrap_or(record));
    }

    async fn reopen(&mut self) {
        let expected = rules::reopen(self.record.as_ref(), self.now, self.now);
        self.store.reopen(&self.key, self.now, self.now).await.unwrap();
        self.record = expected.ok().or(self.record.take());
    }

    async fn dismiss(&mut self) {
        let (before, expires_at) = (self.now - 60_000, self.now / 1_000 + 300);
        let expected = rules::dismiss(self.record.as_ref(), before, self.now, expires_at);
        let answer = self.store.dismiss(&self.key, before, self.now, expires_at).await;
        self.compare_refusal(expected, answer);
    }

    async fn fail(&mut self, stale: bool) {
        let Some(held) = self.belief(stale) else { return };
        let attempted = Attempted { refused: vec!["d2".into()], ..Attempted::default() };
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
