//! The committed corpus, and mutations of it, through every target: what the fuzzer once found stays found.

use std::{fs, path::PathBuf};

use proptest::{prelude::*, sample::Index, test_runner::TestRunner};
use surehook_fuzz::{TARGETS, Target};

/// Mutations per target; `TEST_FUZZ_CASES` asks for more.
const CASES: u32 = 400;

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

/// One change to an input.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Splice(Index, Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let bytes = prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..8),
        Just(b"\"".to_vec()),
        Just(b"\\u0000".to_vec()),
        Just(b"-9223372036854775809".to_vec()),
        Just(b"\0".to_vec()),
        Just(b"[[[[[[[[".to_vec()),
        Just(b"null".to_vec()),
    ];
    let change = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, to)| Change::Set(at, to)),
        (any::<Index>(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (any::<Index>(), 1..40_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), any::<Index>()).prop_map(|(at, other)| Change::Splice(at, other)),
    ];
    proptest::collection::vec(change, 0..6)
}

fn apply(input: &mut Vec<u8>, change: &Change, corpus: &[Vec<u8>]) {
    let place = |at: &Index, length: usize| if length == 0 { 0 } else { at.index(length) };
    match change {
        Change::Set(at, to) => {
            let at = place(at, input.len());
            if let Some(byte) = input.get_mut(at) {
                *byte = *to;
            }
        }
        Change::Insert(at, bytes) => {
            let at = place(at, input.len());
            input.splice(at..at, bytes.iter().copied());
        }
        Change::Remove(at, length) => {
            let at = place(at, input.len());
            input.drain(at..(at + length).min(input.len()));
        }
        Change::Splice(at, other) => {
            let at = place(at, input.len());
            input.truncate(at);
            input.extend_from_slice(&corpus[other.index(corpus.len())]);
        }
    }
}

fn replay(name: &str, target: Target) {
    let corpus = corpus(name);
    assert!(corpus.len() >= 3, "the corpus of {name} is committed");
    corpus.iter().for_each(|input| target(input));
    let cases = surehook::outside::variable("TEST_FUZZ_CASES").map_or(CASES, |cases| cases.parse().unwrap());
    let mut runner = TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() });
    let result = runner.run(&(any::<Index>(), changes()), |(seed, changes)| {
        let mut input = corpus[seed.index(corpus.len())].clone();
        changes.iter().for_each(|change| apply(&mut input, change, &corpus));
        target(&input);
        Ok(())
    });
    if let Err(error) = result {
        panic!("{name}: {error}");
    }
    println!("{name}: {} inputs and {cases} mutations", corpus.len());
}

#[test]
fn every_target_takes_its_corpus_and_mutations_of_it() {
    for (name, target) in TARGETS {
        replay(name, target);
    }
}
