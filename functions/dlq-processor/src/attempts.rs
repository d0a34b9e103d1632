//! Failed attempts, as operators see them: what the record keeps, with the names and URLs of the routes of today.

use std::fmt;

use surehook::{
    ledger::{self, Record},
    routes::{Routes, said_by},
};

use crate::{
    reply::{FailedAttempt, FailedDelivery},
    why::name_of,
};

/// Returns the failed attempts of a record, the oldest first.
pub(crate) fn failed_attempts(record: &Record, routes: &Routes) -> Vec<FailedAttempt> {
    let shown = |(index, entry): (usize, &ledger::History)| {
        let said = record.said(index);
        let deliveries = entry.deliveries.iter().map(|failed| delivery(failed, said, routes)).collect();
        let (class, said) = (entry.class.clone(), said.to_owned());
        FailedAttempt { at: entry.at, fence: entry.fence, class, said, deliveries }
    };
    record.history.iter().enumerate().map(shown).collect()
}

fn delivery(failed: &ledger::FailedDelivery, said: &str, routes: &Routes) -> FailedDelivery {
    let route = routes.by_id(&failed.destination);
    let words = route.and_then(|route| said_by(said, &route.name)?.get(route.name.len() + 2..)).unwrap_or_default();
    let status = (failed.status > 0).then_some(failed.status);
    let answer = status.and_then(|status| words.strip_prefix(&status.to_string()));
    FailedDelivery {
        destination: name_of(routes, &failed.destination),
        url: route.map(|route| route.url.split('?').next().unwrap_or_default().to_owned()),
        status,
        reason: answer.unwrap_or(words).trim().to_owned(),
        duration_ms: failed.took_ms,
    }
}

impl fmt::Display for FailedDelivery {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.destination)?;
        if let Some(url) = &self.url {
            write!(formatter, " ({url})")?;
        }
        match self.status {
            Some(status) => write!(formatter, " answered {status} in {} ms", self.duration_ms)?,
            None => write!(formatter, " gave no answer in {} ms", self.duration_ms)?,
        }
        if self.reason.is_empty() { Ok(()) } else { write!(formatter, ": {}", self.reason) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes() -> Routes {
        let document = "[[route]]\nname = \"shop\"\nsource = \"strapi\"\nurl = \"https://shop.example/hook?key=1\"\n";
        Routes::compile(document, &Routes::default()).unwrap()
    }

    fn shown(status: u16, said: &str) -> String {
        let routes = routes();
        let failed = ledger::FailedDelivery { destination: routes.routes[0].id.clone(), status, took_ms: 120 };
        delivery(&failed, said, &routes).to_string()
    }

    #[test]
    fn a_delivery_says_where_it_went_what_came_back_and_how_long_it_took() {
        for (status, said, expected) in [
            (503, "shop: 503 no stock", "shop (https://shop.example/hook) answered 503 in 120 ms: no stock"),
            (503, "other: 500 x", "shop (https://shop.example/hook) answered 503 in 120 ms"),
            (0, "x: 1; shop: refused", "shop (https://shop.example/hook) gave no answer in 120 ms: refused"),
        ] {
            assert_eq!(shown(status, said), expected);
        }
    }

    #[test]
    fn a_destination_that_is_not_in_the_routes_any_more_has_no_url() {
        let failed = ledger::FailedDelivery { destination: "gone".into(), status: 410, took_ms: 5 };
        let text = delivery(&failed, "old: 410 x", &routes()).to_string();
        assert_eq!(text, "gone (no longer in the routes) answered 410 in 5 ms");
    }
}
