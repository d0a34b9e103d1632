//! Flow control.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use surehook::Millis;

use super::{Call, Reply, parameter, views, wrong_method};
use crate::{
    account::Flow,
    options::{period, positive},
};

/// A key as it stands in a path: any text, percent-encoded.
fn decoded(key: &str) -> Result<String, Reply> {
    let text = percent_encoding::percent_decode_str(key).decode_utf8_lossy().into_owned();
    if text.is_empty() { Err(Reply::bad_request("the flow-control key is empty")) } else { Ok(text) }
}

impl Call<'_> {
    pub(super) fn flow_control(self, rest: &[&str]) -> Result<Reply, Reply> {
        match (self.method, rest) {
            (&Method::GET, []) => Ok(Reply::ok(self.list_flows())),
            (&Method::GET, [key]) => self.show_flow(&decoded(key)?),
            (&Method::POST, [key, action]) => self.act_on_flow(&decoded(key)?, action),
            _ => Err(wrong_method()),
        }
    }

    /// All keys, or those that have the text that is searched for.
    fn list_flows(&self) -> Value {
        let (clock, search) = (&self.server.clock, parameter(self.query, "search").unwrap_or_default());
        self.read(|account| {
            let wanted = account.flows.iter().filter(|(key, _)| key.contains(&search));
            wanted.map(|(key, flow)| views::flow(account, key, flow, clock)).collect()
        })
    }

    fn show_flow(&self, key: &str) -> Result<Reply, Reply> {
        let clock = &self.server.clock;
        let found = self.read(|account| account.flows.get(key).map(|flow| views::flow(account, key, flow, clock)));
        Reply::one(found, "flow control key")
    }

    fn act_on_flow(&self, key: &str, action: &str) -> Result<Reply, Reply> {
        match action {
            "pause" | "resume" => self.change_flow(key, |flow, _| flow.paused = action == "pause"),
            "pin" => self.pin(key)?,
            "unpin" => self.unpin(key),
            // The changelog has the second name.
            "resetRate" | "reset" => self.change_flow(key, Flow::reset_rate),
            _ => return Err(Reply::not_found("endpoint")),
        }
        Ok(Reply::nothing())
    }

    fn pin(&self, key: &str) -> Result<(), Reply> {
        let number = |name: &str| parameter(self.query, name).map(|value| positive(name, &value)).transpose();
        let parallelism = number("parallelism").map_err(Reply::bad_request)?;
        let rate = number("rate").map_err(Reply::bad_request)?;
        let span =
            parameter(self.query, "period").map(|value| period(&value)).transpose().map_err(Reply::bad_request)?;
        if parallelism.is_none() && rate.is_none() {
            return Err(Reply::bad_request("parallelism or rate is needed"));
        }
        self.change_flow(key, |flow, now| {
            flow.reset_rate(now);
            flow.pinned_parallelism = parallelism.or(flow.pinned_parallelism);
            let pinned = rate.map(|rate| (rate, span.unwrap_or(Duration::from_secs(1))));
            flow.pinned_rate = pinned.or(flow.pinned_rate);
        });
        Ok(())
    }

    fn unpin(&self, key: &str) {
        let is_true = |name: &str| parameter(self.query, name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let (parallelism, rate) = (is_true("parallelism"), is_true("rate"));
        self.change_flow(key, |flow, _| flow.unpin(parallelism, rate));
    }

    fn change_flow(&self, key: &str, change: impl FnOnce(&mut Flow, Millis)) {
        self.change(|account, moment| account.change_flow(key, moment.now, |flow| change(flow, moment.now)));
    }
}
