//! Chance that can be played again: everything random follows from the seed and from what it is for, and from nothing else.

const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// What ids are for: each kind has its own.
pub(crate) mod purpose {
    pub(crate) const MESSAGE: u64 = 1;
    pub(crate) const CALLBACK: u64 = 2;
    pub(crate) const TOKEN: u64 = 3;
    pub(crate) const SCHEDULE: u64 = 4;
    pub(crate) const KEY: u64 = 5;
    pub(crate) const SPREAD: u64 = 6;
    pub(crate) const STRIKE: u64 = 7;
}

/// `prefix` and so many characters of base 58, the alphabet of QStash's ids. The id depends on nothing but the seed and what it is for, so that what
/// happens at the same time elsewhere does not change it.
pub(crate) fn id(seed: u64, purpose: &[u64], prefix: &str, length: usize) -> String {
    let mut state = number(seed, purpose);
    let mut id = String::with_capacity(prefix.len() + length);
    id.push_str(prefix);
    let mut left = 0;
    for place in 0..length {
        // Ten characters come from one number, which has bits enough for that.
        if place % 10 == 0 {
            state = mixed(state);
            left = state;
        }
        id.push(char::from(ALPHABET[(left % 58) as usize]));
        left /= 58;
    }
    id
}

/// A number that depends on nothing but the seed and what it is for.
pub(crate) fn number(seed: u64, purpose: &[u64]) -> u64 {
    purpose.iter().fold(mixed(seed), |state, part| mixed(state ^ mixed(*part)))
}

/// A draw in `[0, 1)` that depends on nothing but the seed and what it is for, so that no other draw moves it.
pub(crate) fn draw(seed: u64, purpose: &[u64]) -> f64 {
    let number = number(seed, purpose);
    // The upper 53 bits are what a double can hold.
    (number >> 11) as f64 / (1_u64 << 53) as f64
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_of_ids() {
        let ids = |seed| {
            let of = |number| id(seed, &[purpose::MESSAGE, number], "msg_", 53);
            (0..100).map(of).collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!((ids(7), ids(7).len()), (ids(7), 100));
        assert!(ids(7).is_disjoint(&ids(8)));
    }

    #[test]
    fn draws_are_even_and_keep_to_their_purpose() {
        let draws: Vec<f64> = (0..10_000).map(|purpose| draw(1, &[purpose, 3])).collect();
        let below = |limit: f64| draws.iter().filter(|drawn| **drawn < limit).count();
        assert!((2_300..2_700).contains(&below(0.25)) && (4_800..5_200).contains(&below(0.5)));
        assert_eq!(draw(1, &[5, 3]), draws[5]);
    }
}
