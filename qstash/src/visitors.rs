//! Which requests a server on a developer's machine answers.
//!
//! A browser lets every page that it shows send requests to this machine. [`Visitors`] rejects the requests of other sites' pages by
//! their `Origin`, by `Sec-Fetch-Site`, and by `Host`, because a name of the attacker's may resolve to this machine (DNS rebinding).
//! Each listener of the development stack has one.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use serde_json::json;
use surehook::web::CONTAINER_HOSTS;

/// The names by which a server may be called.
#[derive(Debug, Clone, Default)]
pub struct Visitors {
    /// Whether other containers or machines reach the server. Other containers call it by its bare name.
    pub is_open: bool,
    /// Names besides `localhost` and addresses.
    pub host_names: Vec<String>,
    /// The flag that adds a name, if the server's command has one.
    pub flag: Option<&'static str>,
    /// Whether the server shows a page, to which other sites may link.
    pub has_page: bool,
}

/// The header of a delivery's signature. A page can't send it to another origin without a preflight, which is rejected.
const SIGNATURE: &str = "upstash-signature";

/// Why a request is rejected.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// A header that decides is no text.
    #[error("the header {0} can't be read")]
    Unreadable(&'static str),
    /// A page of another origin sent it.
    #[error("web pages of another origin may not call this server")]
    OtherOrigin,
    /// The server has another name.
    #[error("this server does not answer to the name {name}{}", advice(.name, *.flag))]
    OtherName {
        /// The name that the request has.
        name: String,
        /// The flag that adds a name.
        flag: Option<&'static str>,
    },
}

fn advice(name: &str, flag: Option<&str>) -> String {
    flag.map_or_else(
        || ": call it as 127.0.0.1 or localhost".to_owned(),
        |flag| format!(": start it with {flag} {name}"),
    )
}

impl Rejected {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::OtherOrigin | Self::OtherName { .. } => StatusCode::FORBIDDEN,
        }
    }

    fn response(&self) -> Response {
        let mut response = Response::new(Body::from(json!({ "error": self.to_string() }).to_string()));
        *response.status_mut() = self.status();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

impl Visitors {
    /// Returns the visitors of a server whose command adds names with `--host-name`.
    pub fn named(host_names: &[String]) -> Self {
        Self { host_names: host_names.to_vec(), flag: Some("--host-name"), ..Self::default() }
    }

    /// Checks every request before the router sees it.
    pub fn guard(self, router: Router) -> Router {
        router.layer(middleware::from_fn_with_state(Arc::new(self), only_admitted))
    }

    /// Checks the method and the headers of a request.
    ///
    /// # Errors
    ///
    /// If a web page of another origin may have sent it.
    pub fn check(&self, method: &Method, headers: &HeaderMap) -> Result<(), Rejected> {
        let host = header(headers, "host")?.unwrap_or_default();
        let origin = header(headers, "origin")?.map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
        let site = header(headers, "sec-fetch-site")?.unwrap_or("none");
        // Any site may link to a page of this server. A form's POST is rejected.
        let is_get = self.has_page && *method == Method::GET;
        let is_link = is_get && header(headers, "sec-fetch-mode")? == Some("navigate");
        let is_own = ["none", "same-origin"].contains(&site) || is_link;
        let is_other = !is_own || origin.is_some_and(|origin| origin != host);
        // A message may forward the headers of the page that published it.
        if is_other && !headers.contains_key(SIGNATURE) {
            return Err(Rejected::OtherOrigin);
        }
        let name = name_of(host).to_ascii_lowercase();
        if self.knows(&name) { Ok(()) } else { Err(Rejected::OtherName { name, flag: self.flag }) }
    }

    fn knows(&self, name: &str) -> bool {
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let is_local = address.parse::<std::net::IpAddr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || CONTAINER_HOSTS.contains(&name)
            // A browser always sends a name.
            || name.is_empty();
        // Any host on the network can have a bare name, so only an open server accepts it.
        let is_neighbour = self.is_open && !name.contains('.');
        is_local || is_neighbour || self.host_names.iter().any(|known| known.eq_ignore_ascii_case(name))
    }
}

async fn only_admitted(State(visitors): State<Arc<Visitors>>, request: Request, next: Next) -> Response {
    match visitors.check(request.method(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(rejected) => rejected.response(),
    }
}

/// Returns a header. One that is no text does not count as missing.
fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<Option<&'a str>, Rejected> {
    let read = headers.get(name).map(|value| value.to_str()).transpose();
    read.map_err(|_bytes| Rejected::Unreadable(name))
}

/// Returns a host without its port.
fn name_of(host: &str) -> &str {
    host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitors(is_open: bool) -> Visitors {
        Visitors { is_open, host_names: vec!["Tunnel.example".to_owned()], flag: None, has_page: true }
    }

    fn admits(visitors: &Visitors, given: &[(&'static str, &'static [u8])]) -> bool {
        admits_by(&Method::GET, visitors, given)
    }

    fn admits_by(method: &Method, visitors: &Visitors, given: &[(&'static str, &'static [u8])]) -> bool {
        let value = |bytes: &'static [u8]| http::HeaderValue::from_bytes(bytes).unwrap();
        let headers = given.iter().map(|(name, bytes)| (http::HeaderName::from_static(name), value(bytes))).collect();
        visitors.check(method, &headers).is_ok()
    }

    #[test]
    fn rejects_names_that_a_page_can_resolve_to_this_machine() {
        let (local, open) = (visitors(false), visitors(true));
        for host in [
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "LOCALHOST",
            "app.localhost",
            "host.docker.internal:9000",
            "tunnel.example",
            "",
        ] {
            assert!(admits(&local, &[("host", host.as_bytes())]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.local:8080",
            "evil.internal",
            "evil.test",
            "evil",
            "localhost.evil.example",
            "\u{e9}",
        ] {
            assert!(!admits(&local, &[("host", host.as_bytes())]), "{host}");
        }
        assert!(admits(&open, &[("host", b"qstash:8080")]), "other containers call it by its bare name");
        assert!(!admits(&open, &[("host", b"evil.example")]));
    }

    #[test]
    fn pages_of_others_may_not_call_it_whatever_they_leave_out() {
        let visitors = visitors(false);
        let host: (&str, &[u8]) = ("host", b"localhost:8080");
        assert!(admits(&visitors, &[host, ("origin", b"http://localhost:8080"), ("sec-fetch-site", b"same-origin")]));
        assert!(
            admits(&visitors, &[host, ("sec-fetch-site", b"cross-site"), ("sec-fetch-mode", b"navigate")]),
            "a link"
        );
        for page in [
            [host, ("origin", b"http://localhost:3000")].as_slice(),
            &[host, ("origin", b"null")],
            &[host, ("sec-fetch-site", b"cross-site"), ("sec-fetch-mode", b"no-cors")],
            &[host, ("sec-fetch-site", b"same-site")],
        ] {
            assert!(!admits(&visitors, page), "{page:?}");
        }
        let form = [host, ("sec-fetch-site", b"cross-site"), ("sec-fetch-mode", b"navigate")];
        assert!(!admits_by(&Method::POST, &visitors, &form), "a form");
        let no_page = Visitors { has_page: false, ..visitors };
        assert!(!admits(&no_page, &form), "a frame or a link to a server that shows no page");
    }

    #[test]
    fn a_delivery_may_carry_the_headers_of_the_page_that_published_it() {
        let delivery: [(&str, &[u8]); 4] = [
            ("host", b"127.0.0.1:9000"),
            ("origin", b"http://localhost:3000"),
            ("sec-fetch-site", b"cross-site"),
            ("upstash-signature", b"e30.e30.e30"),
        ];
        assert!(admits_by(&Method::POST, &visitors(false), &delivery));
        assert!(!admits_by(&Method::POST, &visitors(false), &delivery[..3]));
        let renamed: Vec<_> =
            [("host", &b"evil.example"[..])].into_iter().chain(delivery[1..].iter().copied()).collect();
        assert!(
            !admits_by(&Method::POST, &visitors(false), &renamed),
            "a page whose own name leads here sends any header"
        );
    }
}
