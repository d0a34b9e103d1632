//! Which dead letters are meant: by id, by filter, or all.

use std::time::Duration;

use clap::Args;
use surehook::{Millis, outside, retry::millis};
use surehook_dlq_processor::{Filter, Selection};

use crate::Failure;

/// Letters for which everything that is given holds.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilterArguments {
    /// Of this source
    #[arg(long, value_parser = clap::builder::NonEmptyStringValueParser::new())]
    source: Option<String>,
    /// Of this event type; * stands for anything, as in routes
    #[arg(long, value_name = "TYPE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    event_type: Option<String>,
    /// Buried for this reason
    #[arg(long, value_parser = ["permanent", "rounds-used-up", "too-old", "redacted", "refused-by-qstash", "no-endpoints", "unmatched"])]
    reason: Option<String>,
    /// Of this cause, as `surehook dead-letters` names it, or the beginning of its name
    #[arg(long, value_name = "CAUSE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    fingerprint: Option<String>,
    /// That this destination refused or was not ready for; its name in the routes
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    destination: Option<String>,
    /// With this text in the URL that QStash sent them to, which is the consumer's for your own sources
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    endpoint: Option<String>,
    /// Buried since: a span until now (2h, 3d) or a time (2026-11-23T10:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<When>,
    /// Buried before: a span until now, or a time
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<When>,
}

/// Which letters, by name, by filter, or all.
#[derive(Debug, Clone, Args)]
pub(crate) struct SelectionArguments {
    /// These ids; the beginning of one is enough where no other begins so
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: FilterArguments,
    /// Every one
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    /// Only say which
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A time, or a span until now.
#[derive(Debug, Clone, Copy)]
pub(crate) enum When {
    Ago(Duration),
    At(Millis),
}

fn when(text: &str) -> Result<When, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return Ok(When::Ago(span));
    }
    if let Some(at) = text.parse().ok().filter(|_| text.len() > 9) {
        // Milliseconds, as our own JSON has them.
        return Ok(When::At(at));
    }
    let is_day = text.len() == "2026-11-23".len();
    let time = humantime::parse_rfc3339_weak(&if is_day { format!("{text}T00:00:00Z") } else { text.to_owned() });
    let since_epoch = time.ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    since_epoch
        .map(|since| When::At(millis(since)))
        .ok_or_else(|| "write a span such as 2h or 3d, or a time such as 2026-11-23T10:00:00Z".to_owned())
}

impl When {
    fn at(self, now: Millis) -> Millis {
        match self {
            Self::Ago(span) => now - millis(span),
            Self::At(at) => at,
        }
    }
}

impl FilterArguments {
    pub(crate) fn filter(self) -> Filter {
        let now = outside::now();
        Filter {
            source: self.source,
            event_type: self.event_type,
            reason: self.reason,
            fingerprint: self.fingerprint,
            endpoint: self.endpoint,
            destination: self.destination,
            since: self.since.map(|when| when.at(now)),
            until: self.until.map(|when| when.at(now)),
        }
    }
}

impl SelectionArguments {
    /// The selection.
    pub(crate) fn selection(self) -> Result<Selection, Failure> {
        let filter = self.filter.filter();
        if !self.ids.is_empty() && !filter.is_empty() {
            return Err("choose letters by ids or by a filter, not both".into());
        }
        if self.ids.is_empty() && filter.is_empty() && !self.all {
            return Err("choose letters by their ids or a filter (`--fingerprint`, `--source`, …), or say --all".into());
        }
        Ok(Selection { all: self.all, ids: self.ids, filter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_times_are_read() {
        assert!(matches!(when("2h"), Ok(When::Ago(span)) if span.as_secs() == 7_200));
        assert!(matches!(when("2026-11-23T10:00:00Z"), Ok(When::At(1_795_428_000_000))));
        assert!(matches!(when("1970-01-01 00:00:01.5"), Ok(When::At(1_500))));
        assert!(matches!(when("2026-11-23"), Ok(When::At(1_795_392_000_000))));
        assert!(matches!(when("1795428000000"), Ok(When::At(1_795_428_000_000))));
        assert!(when("yesterday").is_err());
    }
}
