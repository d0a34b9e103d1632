//! Fingerprints: letters that died of one cause have the same one, so that hundreds of letters read as a few causes.
//!
//! An answer's text names orders, times and requests, which differ from letter to letter; what is left when they are taken
//! out is the cause.

use crate::digest::Sha256;

/// Words of an error that count. Texts are cut where they are stored, at a place that depends on the length of the ids in
/// them, so their ends must not count.
const MOST_WORDS: usize = 16;
/// Words longer than this are tokens or encoded data, not language.
const LONGEST_WORD: usize = 32;

/// What a failure is told apart by.
#[derive(Debug, Clone, Copy)]
pub struct Cause<'a> {
    /// What was said last.
    pub error: &'a str,
    /// The last answer's status; 0 where there was none.
    pub status: u16,
    /// The event's source.
    pub source: &'a str,
    /// Its type; empty where it is not known.
    pub event_type: &'a str,
    /// Where it was sent.
    pub endpoint: &'a str,
}

impl Cause<'_> {
    /// Twelve hexadecimal digits: equal for letters of one cause.
    pub fn fingerprint(self) -> String {
        let normal = normal(self.error);
        let status = self.status.to_be_bytes();
        let texts = [&normal, self.source, self.event_type, self.endpoint].map(str::as_bytes);
        Sha256::of_parts(&[texts[0], &status, texts[1], texts[2], texts[3]]).hex()[..12].to_owned()
    }
}

/// The error without what is different each time: words with digits, addresses and tokens.
fn normal(error: &str) -> String {
    let separates = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '@' | '.' | '+' | '%'));
    let words = error.split(separates).filter(|word| !word.is_empty());
    let mut after_name = true;
    let mut normal = Vec::new();
    for word in words.take(MOST_WORDS) {
        normal.push(if after_name && is_status(word) { word.to_owned() } else { stem(word) });
        // A destination's status stands behind its name: `shop: 422 no such field; stock: 503 …`.
        let end = word.as_ptr() as usize + word.len() - error.as_ptr() as usize;
        after_name = error[end..].starts_with(": ") || error[end..].starts_with("; ");
    }
    normal.join(" ")
}

fn stem(word: &str) -> String {
    let varies = word.contains(|c: char| c.is_ascii_digit() || c == '@') || word.chars().count() > LONGEST_WORD;
    if varies { "#".to_owned() } else { word.to_lowercase() }
}

fn is_status(word: &str) -> bool {
    word.len() == 3 && word.parse::<u16>().is_ok_and(|status| (400..600).contains(&status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(error: &str, status: u16) -> String {
        let cause = Cause { error, status, source: "strapi", event_type: "entry.create", endpoint: "/strapi" };
        cause.fingerprint()
    }

    #[test]
    fn what_differs_from_letter_to_letter_is_left_out() {
        for (one, other) in [
            ("order 17 unknown", "order 180.5 unknown"),
            (
                "request 0198c2d4-7a10-7b1e-9c7a-1f6f0a9d4e11 failed",
                "request 0198c2d4-ffff-7b1e-9c7a-1f6f0a9d4e12 failed",
            ),
            ("at 2026-11-23T10:00:00.123Z: no", "at 2025-01-02T23:59:59.9Z: no"),
            (r#"{"error":"no","id":"a17"}"#, r#"{"error":"no","id":"b18"}"#),
            ("user ann@example.com is gone", "user bob@example.org is gone"),
            ("token abcdefghijklmnopqrstuvwxyzabcdefghijk bad", "token zyxwvutsrqponmlkjihgfedcbazyxwvutsr bad"),
            ("No Such Field", "no such field"),
        ] {
            assert_eq!(print(one, 422), print(other, 422), "{one} / {other}");
        }
    }

    #[test]
    fn what_tells_causes_apart_stays() {
        assert_ne!(print("order 17 unknown", 422), print("order 17 unknown", 410));
        assert_ne!(print("no such field", 422), print("no such order", 422));
        assert_ne!(print("shop: 422 no", 489), print("shop: 410 no", 489), "a destination's own status");
        assert_ne!(print("a: 422 x; b: 503 y", 489), print("a: 422 x; b: 500 y", 489));
        let elsewhere = Cause { error: "x", status: 1, source: "a", event_type: "b", endpoint: "/c" };
        for other in [
            Cause { source: "z", ..elsewhere },
            Cause { event_type: "z", ..elsewhere },
            Cause { endpoint: "/z", ..elsewhere },
        ] {
            assert_ne!(elsewhere.fingerprint(), other.fingerprint());
        }
    }

    #[test]
    fn where_a_long_text_was_cut_makes_no_difference() {
        let tail = "word ".repeat(40);
        assert_eq!(print(&format!("id 1 {tail}"), 500), print(&format!("id 123456 {tail}")[..150], 500));
    }
}
