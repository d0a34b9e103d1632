//! Topics (URL groups): what one is at QStash, what it should be, and what lies between.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::lenient;

/// A topic as QStash shows it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct KnownTopic {
    /// Its name, where QStash lists several.
    pub name: String,
    endpoints: Vec<KnownEndpoint>,
    /// Its default headers. The documentation does not say that QStash shows them: where it does not, nobody knows what they are.
    #[serde(deserialize_with = "lenient::headers")]
    headers: lenient::Headers,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct KnownEndpoint {
    url: String,
}

/// A topic as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedTopic {
    /// Its name.
    pub name: String,
    /// Its endpoints.
    pub endpoints: Vec<String>,
    /// Headers that every message of it gets.
    pub headers: BTreeMap<String, String>,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum TopicChange {
    /// There is no such topic yet.
    Created {
        /// Its name.
        topic: String,
    },
    /// An endpoint that it lacks.
    EndpointAdded {
        /// The topic.
        topic: String,
        /// The endpoint.
        url: String,
    },
    /// An endpoint that it should not have.
    EndpointRemoved {
        /// The topic.
        topic: String,
        /// The endpoint.
        url: String,
    },
    /// Default headers that differ.
    Headers {
        /// The topic.
        topic: String,
        /// What they are; empty for a new topic.
        from: BTreeMap<String, String>,
        /// What they shall be.
        to: BTreeMap<String, String>,
    },
    /// Default headers that can't be compared, because QStash does not show them. They are set again.
    HeadersUnseen {
        /// The topic.
        topic: String,
        /// What they shall be.
        to: BTreeMap<String, String>,
    },
}

impl WantedTopic {
    /// What must be done to a topic, `known` as QStash shows it, to make it this one.
    pub fn changes(&self, known: Option<&KnownTopic>) -> Vec<TopicChange> {
        let topic = || self.name.clone();
        let wanted: BTreeSet<&str> = self.endpoints.iter().map(String::as_str).collect();
        let endpoints = known.map(|known| known.endpoints.as_slice()).unwrap_or_default();
        let found: BTreeSet<&str> = endpoints.iter().map(|endpoint| endpoint.url.as_str()).collect();
        let created = known.is_none().then(|| TopicChange::Created { topic: topic() });
        let added =
            wanted.difference(&found).map(|url| TopicChange::EndpointAdded { topic: topic(), url: (*url).to_owned() });
        let removed = found
            .difference(&wanted)
            .map(|url| TopicChange::EndpointRemoved { topic: topic(), url: (*url).to_owned() });
        let to: BTreeMap<String, String> =
            self.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
        let headers = match known.map(KnownTopic::headers) {
            Some(None) => Some(TopicChange::HeadersUnseen { topic: topic(), to }),
            Some(Some(from)) if from == to => None,
            from => Some(TopicChange::Headers { topic: topic(), from: from.flatten().unwrap_or_default(), to }),
        };
        created.into_iter().chain(added).chain(removed).chain(headers).collect()
    }
}

impl TopicChange {
    /// Returns whether the topic is known to differ.
    pub fn is_difference(&self) -> bool {
        !matches!(self, Self::HeadersUnseen { .. })
    }
}

impl KnownTopic {
    /// Where it delivers to.
    pub fn endpoints(&self) -> impl Iterator<Item = &str> {
        self.endpoints.iter().map(|endpoint| endpoint.url.as_str())
    }

    /// Its default headers, in lower case; `None` where QStash does not show them.
    pub fn headers(&self) -> Option<BTreeMap<String, String>> {
        let first = |(name, values): (&String, &Vec<String>)| Some((name.to_lowercase(), values.first()?.clone()));
        (!self.headers.is_empty()).then(|| self.headers.iter().filter_map(first).collect())
    }
}

impl fmt::Display for TopicChange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created { topic } => write!(formatter, "+ topic {topic}"),
            Self::EndpointAdded { topic, url } => write!(formatter, "+ {topic}: delivers to {url}"),
            Self::EndpointRemoved { topic, url } => write!(formatter, "- {topic}: delivers no longer to {url}"),
            Self::HeadersUnseen { topic, to } => {
                write!(
                    formatter,
                    "? {topic}: default headers can't be compared, because QStash does not show them; they are set again{}",
                    listed(to)
                )
            }
            Self::Headers { topic, from, to } => {
                write!(formatter, "~ {topic}: default headers change")?;
                let gone = from.iter().filter(|(name, value)| to.get(*name) != Some(value));
                gone.into_iter().try_for_each(|(name, value)| write!(formatter, "\n    - {name}: {value}"))?;
                let new = to.iter().filter(|(name, value)| from.get(*name) != Some(value));
                new.into_iter().try_for_each(|(name, value)| write!(formatter, "\n    + {name}: {value}"))
            }
        }
    }
}

fn listed(headers: &BTreeMap<String, String>) -> String {
    headers.iter().map(|(name, value)| format!("\n    {name}: {value}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(json: &str) -> KnownTopic {
        serde_json::from_str(json).unwrap()
    }

    fn wanted() -> WantedTopic {
        WantedTopic {
            name: "t".into(),
            endpoints: vec!["https://a/".into(), "https://b/".into()],
            headers: [("Upstash-Retries".to_owned(), "3".to_owned())].into(),
        }
    }

    fn told(known: Option<&KnownTopic>) -> Vec<String> {
        wanted().changes(known).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_topic_that_is_as_it_should_be_changes_nothing() {
        for headers in [r#"{"upstash-retries":["3"]}"#, r#"{"Upstash-Retries":"3"}"#] {
            let json = format!(
                r#"{{"name":"t","endpoints":[{{"url":"https://b/"}},{{"url":"https://a/"}}],"headers":{headers}}}"#
            );
            assert!(told(Some(&known(&json))).is_empty(), "{headers}");
        }
    }

    #[test]
    fn each_difference_is_told() {
        assert_eq!(told(None).len(), 4);
        let json =
            r#"{"endpoints":[{"url":"https://a/"},{"url":"https://c/"}],"headers":{"upstash-retries":"1","x":"y"}}"#;
        assert_eq!(
            told(Some(&known(json))),
            [
                "+ t: delivers to https://b/",
                "- t: delivers no longer to https://c/",
                "~ t: default headers change\n    - upstash-retries: 1\n    - x: y\n    + upstash-retries: 3",
            ]
        );
    }

    #[test]
    fn headers_that_qstash_does_not_show_are_set_and_that_is_said() {
        let json = r#"{"endpoints":[{"url":"https://a/"},{"url":"https://b/"}]}"#;
        assert!(wanted().changes(Some(&known(json))).iter().all(|change| !change.is_difference()));
        let told = told(Some(&known(json)));
        assert!(told.len() == 1 && told[0].starts_with("? t: default headers can't be compared"), "{told:?}");
    }
}
