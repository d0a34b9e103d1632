//! Strapi's webhook, of version 4 and 5: `{event, createdAt, model, uid, entry}`, `{event, createdAt, media}`, or
//! `{event, createdAt}` for the trigger test. The set of events is open.

use serde::Deserialize;

/// What we read of a Strapi webhook. Identity is the raw body: no choice of fields tells all real events apart.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StrapiEvent {
    /// For example `entry.create`.
    pub event: String,
    /// When Strapi sent it.
    pub created_at: String,
    /// The content type's name, as in `article`; absent for media and the trigger test.
    #[serde(default)]
    pub model: Option<String>,
    /// The content type's unique id, as in `api::article.article`.
    #[serde(default)]
    pub uid: Option<String>,
}

impl StrapiEvent {
    /// Reads a webhook's body.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(body)
    }
}
