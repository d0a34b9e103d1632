//! Text for people.

use std::time::Duration;

use surehook::Millis;
pub(crate) use surehook::causes::with_causes;

/// Text from outside, safe for a terminal: control characters, escapes above all, are shown and not obeyed, and so are the
/// invisible ones that turn text around or hide it.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().flat_map(|c| if is_harmful(c) { c.escape_unicode().collect() } else { vec![c] }).collect()
}

/// Control characters, and those of Unicode that change the direction of text or take no room (UAX #9, Unicode category Cf).
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// JSON, printed so that no terminal obeys what stands in its strings.
pub(crate) fn harmless_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if c != '\n' && is_harmful(c) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A body as it may be printed: line breaks and tabs stay.
pub(crate) fn harmless_lines(text: &str) -> String {
    text.lines()
        .map(|line| line.split('\t').map(harmless).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", harmless(word).replace('\'', "'\\''")) }
}

/// At most so many columns of a terminal; what is cut shows.
pub(crate) fn short(text: &str, most: usize) -> String {
    console::truncate_str(&harmless(text), most, "…").into_owned()
}

/// A number of things: `1 route`, `2 routes`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A line of a verdict; says whether it held.
pub(crate) fn check(held: bool, sentence: &str) -> bool {
    println!("  {} {sentence}", if held { "✓" } else { "✗" });
    held
}

/// A span in its two largest units: `1h 12m`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = Duration::from_secs(span.as_secs());
    let text = humantime::format_duration(seconds).to_string();
    let text = text.replace("days", "d").replace("day", "d").replace("months", "mo").replace("month", "mo");
    let text = text.replace("years", "y").replace("year", "y");
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Milliseconds since the epoch as a date that sorts.
pub(crate) fn date(at: Millis) -> String {
    humantime::format_rfc3339_seconds(time_of(at)).to_string()
}

/// The same to the millisecond, as a filter takes it.
pub(crate) fn exact_date(at: Millis) -> String {
    humantime::format_rfc3339_millis(time_of(at)).to_string()
}

fn time_of(at: Millis) -> std::time::SystemTime {
    // The last moment that can be written with four digits for the year.
    const LAST: u64 = 253_402_300_799_999;
    std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap_or_default().min(LAST))
}

/// How long ago, in one unit: `3h`.
pub(crate) fn age(at: Millis, now: Millis) -> String {
    let text = span(Duration::from_millis(now.saturating_sub(at).unsigned_abs()));
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// A date and how far it is from now: `2026-11-23T10:00:00Z, 3h 12m ago`.
pub(crate) fn date_and_distance(at: Millis, now: Millis) -> String {
    let distance = span(Duration::from_millis(at.abs_diff(now)));
    let distance = if at > now { format!("in {distance}") } else { format!("{distance} ago") };
    format!("{}, {distance}", date(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_are_shown_and_not_obeyed() {
        assert_eq!(harmless("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(harmless_lines("a\tb\n\u{7}"), "a\tb\n\\u{7}");
        assert_eq!(harmless("a\u{202e}b\u{9b}1m"), "a\\u{202e}b\\u{9b}1m");
    }

    #[test]
    fn json_stays_the_same_json() {
        let value = serde_json::json!({"a": "\u{1b}[2J\u{9b}1m\u{202e}\n", "b": [1]});
        let printed = harmless_json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(printed.chars().all(|c| c == '\n' || !is_harmful(c)), "{printed}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), value);
    }

    #[test]
    fn long_texts_are_cut_visibly() {
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("äöü", 3), "äöü");
    }
}
