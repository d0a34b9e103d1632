//! Topics (URL groups).

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{Call, Reply, named, views, wrong_method};
use crate::{account::Endpoint, destination, options::Given};

#[derive(Debug, Deserialize)]
struct Endpoints {
    endpoints: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Defaults {
    headers: std::collections::BTreeMap<String, OneOrMany>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Call<'_> {
    pub(super) fn topics(self, rest: &[&str]) -> Result<Reply, Reply> {
        match (self.method, rest) {
            (&Method::GET, []) => Ok(Reply::ok(self.list_topics())),
            (&Method::GET, [name]) => self.show_topic(named(name)?),
            (&Method::DELETE, [name]) => {
                let name = named(name)?;
                // Also where there is none (documented).
                self.change(|account, _| account.topics.remove(name));
                Ok(Reply::nothing())
            }
            (&Method::PATCH, [name]) => self.set_defaults(named(name)?),
            (&Method::POST, [name, "endpoints"]) => self.put_endpoints(named(name)?),
            (&Method::DELETE, [name, "endpoints"]) => self.remove_endpoints(named(name)?),
            _ => Err(wrong_method()),
        }
    }

    fn list_topics(&self) -> Value {
        let clock = &self.server.clock;
        self.read(|account| account.topics.values().map(|topic| views::topic(topic, clock)).collect())
    }

    fn show_topic(&self, name: &str) -> Result<Reply, Reply> {
        let clock = &self.server.clock;
        let found = self.read(|account| account.topics.get(name).map(|topic| views::topic(topic, clock)));
        Reply::one(found, "topic")
    }

    fn put_endpoints(&self, name: &str) -> Result<Reply, Reply> {
        let Endpoints { mut endpoints } = self.json()?;
        for endpoint in &mut endpoints {
            let bad = |error| Reply::bad_request(format!("endpoint \"{}\": {error}", endpoint.url));
            endpoint.url = destination::url(&endpoint.url).map_err(bad)?;
        }
        if endpoints.is_empty() {
            return Err(Reply::bad_request("endpoints is empty"));
        }
        self.change(|account, moment| account.put_endpoints(name, endpoints, moment.now))
            .map_err(|refused| self.refused(&refused))?;
        Ok(Reply::nothing())
    }

    fn remove_endpoints(&self, name: &str) -> Result<Reply, Reply> {
        let Endpoints { endpoints } = self.json()?;
        if endpoints.iter().any(|endpoint| endpoint.url.is_empty() && endpoint.name.is_none()) {
            return Err(Reply::bad_request("each endpoint needs its name or its url"));
        }
        let found = self.change(|account, moment| account.remove_endpoints(name, &endpoints, moment.now));
        Ok(Reply::found(found, "topic"))
    }

    fn set_defaults(&self, name: &str) -> Result<Reply, Reply> {
        let Defaults { headers } = self.json()?;
        let pairs: Vec<(&str, &str)> = headers
            .iter()
            .flat_map(|(name, values)| match values {
                OneOrMany::One(value) => vec![(name.as_str(), value.as_str())],
                OneOrMany::Many(values) => values.iter().map(|value| (name.as_str(), value.as_str())).collect(),
            })
            .collect();
        let given = Given::of_pairs(pairs);
        Ok(Reply::found(self.change(|account, moment| account.set_defaults(name, given, moment.now)), "topic"))
    }
}
