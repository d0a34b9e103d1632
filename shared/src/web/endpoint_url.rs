//! URLs as a signature sees them.
//!
//! QStash signs the URL that it calls (`sub`). Scheme and host compare without case and the default port may be left out;
//! an empty path is `/`; all else compares byte for byte, because checking less would let a message that was captured at
//! one path be played again at another.

use std::fmt;

use url::Url;

/// An absolute http(s) URL: a normalised origin, and path and query exactly as written.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EndpointUrl {
    origin: String,
    path: String,
    query: Option<String>,
}

/// Why a text is not such a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It does not parse, or is not `http` or `https`.
    #[error("not an absolute http:// or https:// URL")]
    NotHttp,
    /// It carries a user name or password.
    #[error("a URL with a user name or password is not accepted")]
    UserInfo,
    /// It carries a fragment, which no server ever sees.
    #[error("a URL with a #fragment is not accepted")]
    Fragment,
}

impl EndpointUrl {
    /// Parses an absolute URL.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let url = Url::parse(text).map_err(|_refused| UrlError::NotHttp)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(UrlError::NotHttp);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlError::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(UrlError::Fragment);
        }
        let (path, query) = path_and_query(text).ok_or(UrlError::NotHttp)?;
        Ok(Self { origin: url.origin().ascii_serialization(), path, query })
    }

    /// Scheme, host and port if it is not the default one.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The path as written; `/` where it was empty.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query as written, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// This URL with a request's raw path and query behind it: how the URL of a request below a base is rebuilt.
    pub fn below(&self, raw_path: &str, raw_query: &str) -> Self {
        let prefix = self.path.trim_end_matches('/');
        let path = if raw_path.is_empty() { "/" } else { raw_path };
        let query = (!raw_query.is_empty()).then(|| raw_query.to_owned());
        // A base with a prefix and a request for its root: `https://host/prefix`, not `https://host/prefix/`.
        let joined = if path == "/" && !prefix.is_empty() { prefix.to_owned() } else { format!("{prefix}{path}") };
        Self { origin: self.origin.clone(), path: joined, query }
    }

    /// The path of `self` below `base`, beginning with `/`; `None` if it does not lie below it.
    pub fn path_below(&self, base: &Self) -> Option<&str> {
        let rest = self.path.strip_prefix(base.path.trim_end_matches('/'))?;
        let inside = self.origin == base.origin && (rest.is_empty() || rest.starts_with('/'));
        inside.then_some(if rest.is_empty() { "/" } else { rest })
    }

    /// This URL with another query.
    pub fn with_query(&self, query: &str) -> Self {
        Self { query: Some(query.to_owned()), ..self.clone() }
    }

    /// One parameter of the query, decoded.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let pairs = url::form_urlencoded::parse(self.query()?.as_bytes());
        pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// Path and query of an absolute URL exactly as written: `Url` would normalise dots and percent signs away.
fn path_and_query(text: &str) -> Option<(String, Option<String>)> {
    let rest = text.split_once("://")?.1;
    let tail = rest.find(['/', '?', '\\']).map_or("", |at| &rest[at..]);
    let (path, query) = match tail.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (tail, None),
    };
    Some((if path.is_empty() { "/".to_owned() } else { path.to_owned() }, query))
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.origin, self.path)?;
        self.query.as_ref().map_or(Ok(()), |query| write!(formatter, "?{query}"))
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> EndpointUrl {
        EndpointUrl::parse(text).unwrap()
    }

    #[test]
    fn scheme_host_and_default_port_are_compared_loosely() {
        assert_eq!(url("HTTPS://API.Example.com:443/a"), url("https://api.example.com/a"));
        assert_eq!(url("https://api.example.com"), url("https://api.example.com/"));
    }

    #[test]
    fn beyond_the_root_every_byte_counts() {
        for other in
            ["https://h/a/", "https://h/A", "https://h/a?", "https://h/%61", "https://h/b/../a", "https://h//a"]
        {
            assert_ne!(url("https://h/a"), url(other), "{other}");
        }
    }

    #[test]
    fn bad_urls_are_refused_with_their_reason() {
        for (text, reason) in [
            ("ftp://h/", UrlError::NotHttp),
            ("nonsense", UrlError::NotHttp),
            ("https://user@h/", UrlError::UserInfo),
            ("https://:pw@h/", UrlError::UserInfo),
            ("https://h/#x", UrlError::Fragment),
        ] {
            assert_eq!(EndpointUrl::parse(text).unwrap_err(), reason, "{text}");
        }
    }

    #[test]
    fn requests_are_rebuilt_below_their_base() {
        let base = url("http://127.0.0.1:9000/lambda-url/consumer");
        assert_eq!(base.below("/strapi", "a=1"), url("http://127.0.0.1:9000/lambda-url/consumer/strapi?a=1"));
        assert_eq!(base.below("/", ""), url("http://127.0.0.1:9000/lambda-url/consumer"));
        assert_eq!(url("https://h").below("", ""), url("https://h/"));
    }

    #[test]
    fn a_path_lies_below_its_base_only_at_a_slash() {
        let base = url("https://h/prefix");
        assert_eq!(url("https://h/prefix/strapi").path_below(&base), Some("/strapi"));
        assert_eq!(url("https://h/prefix").path_below(&base), Some("/"));
        assert_eq!(url("https://h/prefixed/strapi").path_below(&base), None);
        assert_eq!(url("https://other/prefix/strapi").path_below(&base), None);
        assert_eq!(url("https://h/strapi").path_below(&url("https://h")), Some("/strapi"));
    }
}
