//! Webhooks captured from real Strapi servers, as they were sent.

use serde::Deserialize;
use surehook::digest::Sha256;

/// One captured request.
#[derive(Debug, Clone, Deserialize)]
pub struct Capture {
    /// The file's name, as in `v5/002-entry.create`.
    #[serde(skip)]
    pub name: String,
    /// What an editor did.
    pub action: String,
    /// The headers, in order and case.
    pub headers: Vec<(String, String)>,
    /// The exact body.
    pub body: String,
}

impl Capture {
    /// What `X-Strapi-Event` says.
    pub fn event(&self) -> &str {
        let header = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("x-strapi-event"));
        header.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// SHA-256 of the body, in hexadecimal.
    pub fn digest(&self) -> String {
        Sha256::of(self.body.as_bytes()).hex()
    }

    /// The headers that say something about the event and not about the connection that it came over.
    pub fn own_headers(&self) -> impl Iterator<Item = &(String, String)> {
        let of_connection = ["host", "connection", "content-length", "authorization", "accept-encoding"];
        self.headers.iter().filter(move |(name, _)| !of_connection.contains(&name.to_ascii_lowercase().as_str()))
    }
}

/// All captures, of Strapi 4 and then of Strapi 5. A file that can't be read would be a defect of this crate, and a test
/// says so.
pub fn captures() -> Vec<Capture> {
    let read = |(name, json): &(&str, &str)| {
        let capture: Capture = serde_json::from_str(json).ok()?;
        Some(Capture { name: (*name).to_owned(), ..capture })
    };
    FILES.iter().filter_map(read).collect()
}

const FILES: &[(&str, &str)] = &[
    ("v4/001-trigger-test", include_str!("../fixtures/strapi/v4/001-trigger-test.json")),
    ("v4/002-entry.create", include_str!("../fixtures/strapi/v4/002-entry.create.json")),
    ("v4/003-media.create", include_str!("../fixtures/strapi/v4/003-media.create.json")),
    ("v4/004-entry.create", include_str!("../fixtures/strapi/v4/004-entry.create.json")),
    ("v4/005-entry.update", include_str!("../fixtures/strapi/v4/005-entry.update.json")),
    ("v4/006-entry.update", include_str!("../fixtures/strapi/v4/006-entry.update.json")),
    ("v4/008-entry.update", include_str!("../fixtures/strapi/v4/008-entry.update.json")),
    ("v4/010-entry.delete", include_str!("../fixtures/strapi/v4/010-entry.delete.json")),
    ("v5/001-trigger-test", include_str!("../fixtures/strapi/v5/001-trigger-test.json")),
    ("v5/002-entry.create", include_str!("../fixtures/strapi/v5/002-entry.create.json")),
    ("v5/003-media.create", include_str!("../fixtures/strapi/v5/003-media.create.json")),
    ("v5/004-media.update", include_str!("../fixtures/strapi/v5/004-media.update.json")),
    ("v5/005-entry.create", include_str!("../fixtures/strapi/v5/005-entry.create.json")),
    ("v5/006-entry.update", include_str!("../fixtures/strapi/v5/006-entry.update.json")),
    ("v5/007-entry.update", include_str!("../fixtures/strapi/v5/007-entry.update.json")),
    ("v5/008-entry.publish", include_str!("../fixtures/strapi/v5/008-entry.publish.json")),
    ("v5/009-entry.update", include_str!("../fixtures/strapi/v5/009-entry.update.json")),
    ("v5/012-entry.create", include_str!("../fixtures/strapi/v5/012-entry.create.json")),
    ("v5/013-entry.publish", include_str!("../fixtures/strapi/v5/013-entry.publish.json")),
    ("v5/014-entry.create", include_str!("../fixtures/strapi/v5/014-entry.create.json")),
    ("v5/015-entry.publish", include_str!("../fixtures/strapi/v5/015-entry.publish.json")),
    ("v5/016-entry.publish", include_str!("../fixtures/strapi/v5/016-entry.publish.json")),
    ("v5/017-entry.publish", include_str!("../fixtures/strapi/v5/017-entry.publish.json")),
    ("v5/018-entry.unpublish", include_str!("../fixtures/strapi/v5/018-entry.unpublish.json")),
    ("v5/020-entry.unpublish", include_str!("../fixtures/strapi/v5/020-entry.unpublish.json")),
    ("v5/021-entry.update", include_str!("../fixtures/strapi/v5/021-entry.update.json")),
    ("v5/023-entry.create", include_str!("../fixtures/strapi/v5/023-entry.create.json")),
    ("v5/024-entry.update", include_str!("../fixtures/strapi/v5/024-entry.update.json")),
    ("v5/025-entry.publish", include_str!("../fixtures/strapi/v5/025-entry.publish.json")),
    ("v5/027-entry.update", include_str!("../fixtures/strapi/v5/027-entry.update.json")),
    ("v5/029-entry.delete", include_str!("../fixtures/strapi/v5/029-entry.delete.json")),
    ("v5/030-entry.delete", include_str!("../fixtures/strapi/v5/030-entry.delete.json")),
    ("v5/038-entry.create", include_str!("../fixtures/strapi/v5/038-entry.create.json")),
    ("v5/040-entry.create", include_str!("../fixtures/strapi/v5/040-entry.create.json")),
    ("v5/041-entry.publish", include_str!("../fixtures/strapi/v5/041-entry.publish.json")),
    ("v5/042-entry.create", include_str!("../fixtures/strapi/v5/042-entry.create.json")),
    ("v5/043-entry.update", include_str!("../fixtures/strapi/v5/043-entry.update.json")),
    ("v5/044-entry.publish", include_str!("../fixtures/strapi/v5/044-entry.publish.json")),
    ("v5/047-entry.create", include_str!("../fixtures/strapi/v5/047-entry.create.json")),
    ("v5/048-entry.create", include_str!("../fixtures/strapi/v5/048-entry.create.json")),
    ("v5/049-entry.create", include_str!("../fixtures/strapi/v5/049-entry.create.json")),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_capture_is_read_and_no_two_are_equal() {
        let captures = captures();
        assert_eq!(captures.len(), FILES.len());
        let digests: BTreeSet<String> = captures.iter().map(Capture::digest).collect();
        assert_eq!(digests.len(), FILES.len());
        assert!(captures.iter().any(|capture| capture.body.len() > 120_000));
        assert!(captures.iter().all(|capture| !capture.event().is_empty()));
    }
}
