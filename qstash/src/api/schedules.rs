//! Schedules.

use http::Method;
use serde_json::{Value, json};

use super::{Call, Reply, named, views, wrong_method};
use crate::options::Given;

impl Call<'_> {
    /// `<destination>` with POST; `<id>`, `<id>/pause`, `<id>/resume`.
    pub(super) fn schedules(self, rest: &str) -> Result<Reply, Reply> {
        let action = rest.split_once('/').filter(|(_, action)| ["pause", "resume"].contains(action));
        match (self.method, action) {
            // POST in the API description, PATCH in the SDKs.
            (&Method::POST | &Method::PATCH, Some((id, action))) => {
                let id = named(id)?;
                let found = self.change(|account, _| account.pause_schedule(id, action == "pause"));
                Ok(Reply::found(found, "schedule"))
            }
            (&Method::POST, None) => self.put_schedule(rest),
            (&Method::GET, None) => self.show_schedule(named(rest)?),
            (&Method::DELETE, None) => {
                let id = named(rest)?;
                Ok(Reply::found(self.change(|account, _| account.remove_schedule(id)), "schedule"))
            }
            _ => Err(wrong_method()),
        }
    }

    fn put_schedule(&self, destination: &str) -> Result<Reply, Reply> {
        let given = Given::of_call(&self.parts.headers, self.query);
        let order = self.order_with(destination, given, None).map_err(|refused| self.refused(&refused))?;
        let id = self.change(|account, moment| account.put_schedule(order, moment));
        let id = id.map_err(|refused| self.refused(&refused))?;
        Ok(Reply::with(http::StatusCode::CREATED, json!({ "scheduleId": id })))
    }

    fn show_schedule(&self, id: &str) -> Result<Reply, Reply> {
        let (clock, wait) = (&self.server.clock, self.server.settings.plan.response_wait);
        let found = self.read(|account| account.schedules.get(id).map(|one| views::schedule(one, wait, clock)));
        Reply::one(found, "schedule")
    }

    pub(super) fn list_schedules(self) -> Result<Reply, Reply> {
        if self.method != Method::GET {
            return Err(wrong_method());
        }
        let (clock, wait) = (&self.server.clock, self.server.settings.plan.response_wait);
        let all: Value =
            self.read(|account| account.schedules.values().map(|one| views::schedule(one, wait, clock)).collect());
        Ok(Reply::ok(all))
    }
}
