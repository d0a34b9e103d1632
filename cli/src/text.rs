//! Text for people.

use std::time::Duration;

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

/// Text from outside, safe for a terminal: control characters, escapes above all, are shown and not obeyed.
pub(crate) fn harmless(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// A body as it may be printed: line breaks and tabs stay.
pub(crate) fn harmless_lines(text: &str) -> String {
    text.lines()
        .map(|line| line.split('\t').map(harmless).collect::<Vec<_>>().join("\t"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// At most so many characters; what is cut shows.
pub(crate) fn short(text: &str, most: usize) -> String {
    let text = harmless(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A span in its two largest units: `1h 12m`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = Duration::from_secs(span.as_secs());
    let text = humantime::format_duration(seconds).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Milliseconds since the epoch as a date that sorts.
pub(crate) fn date(at: surehook::Millis) -> String {
    let since = Duration::from_millis(u64::try_from(at).unwrap_or_default());
    humantime::format_rfc3339_seconds(std::time::UNIX_EPOCH + since).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_are_shown_and_not_obeyed() {
        assert_eq!(harmless("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(harmless_lines("a\tb\n\u{7}"), "a\tb\n\\u{7}");
    }

    #[test]
    fn long_texts_are_cut_visibly() {
        assert_eq!(short("abcdef", 4), "abc…");
        assert_eq!(short("äöü", 3), "äöü");
    }
}
