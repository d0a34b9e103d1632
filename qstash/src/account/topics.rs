//! Topics (URL groups): names for several destinations.

use serde::{Deserialize, Serialize};
use surehook::Millis;

use super::{Account, Refused};
use crate::options::Given;

/// A topic.
#[derive(Debug, Clone, Default)]
pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) created_at: Millis,
    pub(crate) updated_at: Millis,
    pub(crate) endpoints: Vec<Endpoint>,
    /// Headers of every publish call that does not say otherwise.
    pub(super) defaults: Given,
}

/// A destination of a topic.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Endpoint {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default)]
    pub(crate) url: String,
}

impl Endpoint {
    fn is(&self, other: &Self) -> bool {
        let same_url = !other.url.is_empty() && self.url == other.url;
        same_url || (other.name.is_some() && self.name == other.name)
    }
}

impl Account {
    /// Adds endpoints or replaces those of the same name or URL; makes the topic if it is new.
    pub(crate) fn put_endpoints(&mut self, name: &str, given: Vec<Endpoint>, now: Millis) -> Result<(), Refused> {
        let (topics, endpoints) = self.common.plan.topics;
        let known = self.topics.get(name);
        if known.is_none() && self.topics.len() >= topics {
            return Err(Refused::quota("maxTopics", topics));
        }
        let mut topic = known.cloned().unwrap_or_else(|| Topic::new(name, now));
        for endpoint in given {
            topic.endpoints.retain(|known| !known.is(&endpoint));
            topic.endpoints.push(endpoint);
        }
        if topic.endpoints.len() > endpoints {
            return Err(Refused::quota("maxEndpointsPerTopic", endpoints));
        }
        topic.updated_at = now;
        self.topics.insert(name.to_owned(), topic);
        Ok(())
    }

    /// Removes endpoints; the topic goes with its last one. `false` where there is no such topic.
    pub(crate) fn remove_endpoints(&mut self, name: &str, given: &[Endpoint], now: Millis) -> bool {
        let Some(topic) = self.topics.get_mut(name) else {
            return false;
        };
        topic.endpoints.retain(|known| !given.iter().any(|endpoint| known.is(endpoint)));
        topic.updated_at = now;
        if topic.endpoints.is_empty() {
            self.topics.remove(name);
        }
        true
    }

    /// Sets the default headers. `false` where there is no such topic.
    pub(crate) fn set_defaults(&mut self, name: &str, defaults: Given, now: Millis) -> bool {
        let Some(topic) = self.topics.get_mut(name) else {
            return false;
        };
        topic.defaults = defaults;
        topic.updated_at = now;
        true
    }
}

impl Topic {
    fn new(name: &str, now: Millis) -> Self {
        Self { name: name.to_owned(), created_at: now, ..Self::default() }
    }
}
