//! Connections to destinations: vetted, pooled, kept over invocations.
//!
//! A pooled connection that turns out to be closed before anything was sent on it is replaced without a word, which is what
//! hyper's pool does of itself; reqwest does the same where an HTTP/2 destination says that it has not processed the request
//! (`REFUSED_STREAM`, or a `GOAWAY` that leaves it out; RFC 9113, section 8.7). A connection that breaks otherwise after the request
//! was written is a failed attempt: the destination may have got the event, and only QStash's next delivery may try again.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use http::HeaderMap;
use reqwest::{Client, Response, redirect::Policy};
use surehook::{environment::Renewed, tls};
use url::{Host, Url};

use super::address::{Lookup, NotPublic, VettingResolver, is_public};
use crate::cause::innermost;

/// How long an idle connection is kept: less than the 60 s after which load balancers close them (AWS, Elastic Load Balancing,
/// "Connection idle timeout").
const KEPT: Duration = Duration::from_secs(50);
/// How long a connection may take to come about. A name's addresses share it, so that one of them may be dead.
const MOST_FOR_CONNECTION: Duration = Duration::from_secs(5);
/// After so long without a sign of life, an HTTP/2 connection on which an answer is due is asked for one, and has as long again to give it:
/// events share it, and a dead one would fail them all.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// Why a request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The URL in the table can't be read. `apply` refuses such a route.
    #[error("the route's URL can't be read")]
    Url(#[source] url::ParseError),
    /// The URL names an address that is out of bounds.
    #[error(transparent)]
    NotPublic(#[from] NotPublic),
    /// No connection, or no answer on it.
    #[error("{}", innermost(.0))]
    Http(#[source] reqwest::Error),
}

impl ConnectError {
    /// What was wrong, without anything that the other side said.
    pub fn without_words(&self) -> String {
        match self {
            Self::Http(error) if error.is_connect() => of_system(error).unwrap_or("no connection".to_owned()),
            Self::Http(_) => "the connection broke".to_owned(),
            other => other.to_string(),
        }
    }
}

/// A pool of connections to destinations.
#[derive(Debug, Clone)]
pub struct Connections {
    http: Arc<Renewed<Client>>,
    allow_private: bool,
}

impl Connections {
    /// A pool. `lookup` resolves names; what it finds is vetted unless private destinations are allowed. There are no redirects,
    /// because a destination is the URL that the operator wrote, and no proxies, because a proxy would resolve the name again.
    pub fn new(allow_private: bool, lookup: Lookup) -> Result<Self, reqwest::Error> {
        let resolver = Arc::new(VettingResolver { allow_private, lookup });
        let http = Renewed::new(move || client(Arc::clone(&resolver)))?;
        Ok(Self { http: Arc::new(http), allow_private })
    }

    /// Posts a body and returns when the answer's head is there.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: bytes::Bytes) -> Result<Response, ConnectError> {
        let url = Url::parse(url).map_err(ConnectError::Url)?;
        self.vet_literal(&url)?;
        self.http.get().post(url).headers(headers).body(body).send().await.map_err(ConnectError::Http)
    }

    /// Addresses that are written in the URL never meet the resolver.
    fn vet_literal(&self, url: &Url) -> Result<(), NotPublic> {
        match literal(url) {
            Some(address) if !self.allow_private && !is_public(address) => Err(NotPublic(address.to_string())),
            _ => Ok(()),
        }
    }
}

fn client(resolver: Arc<VettingResolver>) -> Result<Client, reqwest::Error> {
    tls::client()
        .redirect(Policy::none())
        .no_proxy()
        .dns_resolver(resolver)
        .pool_idle_timeout(KEPT)
        .connect_timeout(MOST_FOR_CONNECTION)
        .http2_keep_alive_interval(SIGN_OF_LIFE)
        .http2_keep_alive_timeout(SIGN_OF_LIFE)
        .user_agent(concat!("Surehook/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// What the operating system says of a connection that did not come about.
fn of_system(error: &reqwest::Error) -> Option<String> {
    let cause = innermost(error).downcast_ref::<io::Error>()?;
    cause.raw_os_error().map(|_| cause.to_string())
}

/// Whether a URL names an address that is not on the public internet. What a name stands for is known only when it is
/// connected to.
pub fn is_out_of_bounds(url: &str) -> bool {
    Url::parse(url).ok().and_then(|url| literal(&url)).is_some_and(|address| !is_public(address))
}

/// The address that is written in a URL. The URL parser has made plain ones of all spellings (`0x7f.1`, `127.1`, `2130706433`, a
/// dot at the end).
fn literal(url: &Url) -> Option<IpAddr> {
    match url.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}
