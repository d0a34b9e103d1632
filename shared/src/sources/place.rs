//! Where in an event a value stands: in its JSON body, or in a header.
//!
//! Written `"/type"`, a JSON pointer (RFC 6901), or `"header:X-GitHub-Event"`.

use std::fmt;

use http::HeaderName;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What stands before a header's name.
pub const HEADER: &str = "header:";

/// A place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Place {
    /// A field of the body, by its JSON pointer.
    Body(String),
    /// A header, in lower case.
    Header(String),
}

/// A text that names no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a JSON pointer such as \"/type\" (~1 stands for / and ~0 for ~ in a name), or \"header:X-Name\"")]
pub struct NoPlace;

impl Place {
    /// The pointer, of a place in the body.
    pub fn pointer(&self) -> Option<&str> {
        match self {
            Self::Body(pointer) => Some(pointer),
            Self::Header(_) => None,
        }
    }

    /// The name, of a header.
    pub fn header(&self) -> Option<&str> {
        match self {
            Self::Header(name) => Some(name),
            Self::Body(_) => None,
        }
    }
}

impl TryFrom<String> for Place {
    type Error = NoPlace;

    fn try_from(text: String) -> Result<Self, NoPlace> {
        match text.strip_prefix(HEADER) {
            Some(name) => header_name(name).map(Self::Header).ok_or(NoPlace),
            None if is_pointer(&text) => Ok(Self::Body(text)),
            None => Err(NoPlace),
        }
    }
}

impl From<Place> for String {
    fn from(place: Place) -> Self {
        place.to_string()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Body(pointer) => formatter.write_str(pointer),
            Self::Header(name) => write!(formatter, "{HEADER}{name}"),
        }
    }
}

/// A header's name in lower case; `None` where it can be none.
pub fn header_name(name: &str) -> Option<String> {
    HeaderName::from_bytes(name.trim().as_bytes()).ok().map(|name| name.as_str().to_owned())
}

/// `/` before each name, in which `~` is followed by `0` or `1`. Source: RFC 6901, section 3.
pub fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.starts_with('/') && escapes
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(Place),
    Many(Vec<Place>),
}

/// One place, several, or none.
pub fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Place>, D::Error> {
    Ok(match Option::deserialize(deserializer)? {
        None => Vec::new(),
        Some(OneOrMany::One(place)) => vec![place],
        Some(OneOrMany::Many(places)) => places,
    })
}

/// As older versions wrote it, where they could have: functions of theirs may read it.
pub fn as_before<S: Serializer>(places: &[Place], serializer: S) -> Result<S::Ok, S::Error> {
    match places {
        [] => serializer.serialize_none(),
        [Place::Body(pointer)] => serializer.serialize_str(pointer),
        several => several.serialize(serializer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_written_as_they_are_read() {
        for text in ["/a/b~1c", "header:x-github-event"] {
            assert_eq!(Place::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        assert_eq!(Place::try_from("header: X-A".to_owned()).unwrap(), Place::Header("x-a".into()));
        for bad in ["", "a", "/a~2", "header:", "header:a b", "headers:x"] {
            assert_eq!(Place::try_from(bad.to_owned()), Err(NoPlace), "{bad}");
        }
    }
}
