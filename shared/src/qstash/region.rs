//! QStash's regions. Each is an account of its own, with tokens, keys, messages and a dead-letter queue that the other does not know.
//!
//! Names and hosts are those of Upstash's SDKs. Source: qstash-js, `src/client/multi-region/utils.ts`.

use std::fmt;

use url::Url;

/// The header by which QStash names the region that a delivery comes from. No signature covers it.
pub const REGION_HEADER: &str = "upstash-region";

/// A region of QStash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// Europe, which a client without a region calls.
    EuCentral1,
    /// The United States.
    UsEast1,
}

impl Region {
    /// All regions.
    pub const ALL: [Self; 2] = [Self::EuCentral1, Self::UsEast1];

    /// Reads a region as the SDKs do: `us-east-1`, `US-EAST-1` and `US_EAST_1` are the same.
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.trim().replace('-', "_").to_ascii_uppercase();
        Self::ALL.into_iter().find(|region| region.as_str() == name)
    }

    /// Returns the name with which the variables of the region begin.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EuCentral1 => "EU_CENTRAL_1",
            Self::UsEast1 => "US_EAST_1",
        }
    }

    /// Returns the region as a delivery names it.
    pub fn header_value(self) -> &'static str {
        match self {
            Self::EuCentral1 => "EU-CENTRAL-1",
            Self::UsEast1 => "US-EAST-1",
        }
    }

    /// Returns the host of the region at Upstash.
    pub fn url(self) -> &'static str {
        match self {
            Self::EuCentral1 => "https://qstash-eu-central-1.upstash.io",
            Self::UsEast1 => "https://qstash-us-east-1.upstash.io",
        }
    }

    /// Returns whether a URL is one of the region's at Upstash. Europe has two names.
    pub fn has_host(self, url: &Url) -> bool {
        let plain = (self == Self::EuCentral1).then_some("qstash.upstash.io");
        let host = url.host_str();
        host.is_some() && (host == plain || host == self.url().strip_prefix("https://"))
    }
}

impl fmt::Display for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_read_as_the_sdks_read_them() {
        for region in Region::ALL {
            let lower = region.header_value().to_ascii_lowercase();
            for text in [region.as_str(), region.header_value(), &lower, &format!(" {lower} ")] {
                assert_eq!(Region::parse(text), Some(region), "{text}");
            }
        }
        for text in ["", "eu", "EU_WEST_1", "us_east_1_"] {
            assert_eq!(Region::parse(text), None, "{text}");
        }
    }
}
