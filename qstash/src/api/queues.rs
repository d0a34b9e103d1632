//! Queues.

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Reply, named, views, wrong_method};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Upsert {
    queue_name: String,
    parallelism: Option<usize>,
    paused: Option<bool>,
}

impl Call<'_> {
    pub(super) fn queues(self, rest: &[&str]) -> Result<Reply, Reply> {
        match (self.method, rest) {
            (&Method::POST, []) => self.put_queue(),
            (&Method::GET, []) => Ok(Reply::ok(self.list_queues())),
            (&Method::GET, [name]) => self.show_queue(named(name)?),
            (&Method::DELETE, [name]) => {
                let name = named(name)?;
                let found = self.change(|account, moment| account.remove_queue(name, moment));
                Ok(Reply::found(found.is_some(), "queue"))
            }
            (&Method::POST, [name, action @ ("pause" | "resume")]) => {
                self.pause_queue(named(name)?, *action == "pause")
            }
            _ => Err(wrong_method()),
        }
    }

    fn put_queue(&self) -> Result<Reply, Reply> {
        let Upsert { queue_name, parallelism, paused } = self.json()?;
        if parallelism == Some(0) {
            return Err(Reply::bad_request("parallelism must be at least 1: pause the queue to stop it"));
        }
        self.change(|account, moment| account.put_queue(&queue_name, parallelism, paused, moment.now))
            .map_err(|refused| self.refused(&refused))?;
        Ok(Reply::nothing())
    }

    fn pause_queue(&self, name: &str, paused: bool) -> Result<Reply, Reply> {
        let done = self.change(|account, moment| {
            let is_known = account.queues.contains_key(name);
            is_known.then(|| account.put_queue(name, None, Some(paused), moment.now))
        });
        done.ok_or_else(|| Reply::not_found("queue"))?.map_err(|refused| self.refused(&refused))?;
        Ok(Reply::nothing())
    }

    fn show_queue(&self, name: &str) -> Result<Reply, Reply> {
        let clock = &self.server.clock;
        let found = self.read(|account| {
            let lag = account.lags().get(name).copied().unwrap_or_default();
            account.queues.get(name).map(|queue| views::queue(queue, lag, clock))
        });
        Reply::one(found, "queue")
    }

    fn list_queues(&self) -> Value {
        self.read(|account| views::queues(account, &self.server.clock))
    }
}
