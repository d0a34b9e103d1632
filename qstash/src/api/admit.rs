//! Who may call at all. A browser lends our address to every page that it shows, so web pages of others are kept out: by their origin,
//! by what the browser says of them, and by the name that they call us by, which may have been made to point at us.

use http::{HeaderMap, StatusCode};

use super::Reply;
use crate::server::Server;

/// Names that only this machine, or a container on it, means it by.
const LOCAL_NAMES: [&str; 3] = ["localhost", "host.docker.internal", "host.containers.internal"];

/// Refuses what a web page of another origin may have sent.
pub(super) fn admit(headers: &HeaderMap, server: &Server) -> Result<(), Reply> {
    let host = header(headers, "host")?.unwrap_or_default();
    let origin = header(headers, "origin")?.map(|origin| origin.split_once("://").map_or(origin, |(_, host)| host));
    let site = header(headers, "sec-fetch-site")?.unwrap_or("none");
    // A link to the page may stand anywhere.
    let is_link = header(headers, "sec-fetch-mode")? == Some("navigate");
    let is_own = ["none", "same-origin"].contains(&site) || is_link;
    if !is_own || origin.is_some_and(|origin| origin != host) {
        return Err(forbidden("web pages of another origin may not call this server"));
    }
    let name = name_of(host).to_ascii_lowercase();
    if is_known(&name, server) {
        return Ok(());
    }
    Err(forbidden(&format!("this server does not answer to the name {name}: start it with --host-name {name}")))
}

fn forbidden(text: &str) -> Reply {
    Reply::error(StatusCode::FORBIDDEN, text)
}

/// A header, if it is there. One that can't be read is not as good as none.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Reply> {
    let read = headers.get(name).map(|value| value.to_str()).transpose();
    read.map_err(|_bytes| Reply::bad_request(format!("the header {name} can't be read")))
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name)
}

fn is_known(name: &str, server: &Server) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_local = address.parse::<std::net::IpAddr>().is_ok()
        || LOCAL_NAMES.contains(&name)
        || name.ends_with(".localhost")
        // Without a name there is no browser.
        || name.is_empty();
    // Other containers call a container by its bare name; to this machine's own address a bare name is anybody's.
    let is_neighbour = !server.is_local && !name.contains('.');
    is_local || is_neighbour || server.settings.host_names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Settings;

    fn server(is_local: bool) -> Arc<Server> {
        let settings = Settings { host_names: vec!["Tunnel.example".to_owned()], ..Settings::default() };
        Server::new(settings, is_local).unwrap()
    }

    fn admits(server: &Server, given: &[(&'static str, &'static [u8])]) -> bool {
        let value = |bytes: &'static [u8]| http::HeaderValue::from_bytes(bytes).unwrap();
        let headers = given.iter().map(|(name, bytes)| (http::HeaderName::from_static(name), value(bytes))).collect();
        admit(&headers, server).is_ok()
    }

    #[tokio::test]
    async fn it_answers_to_names_that_nobody_else_can_give_it() {
        let (local, open) = (server(true), server(false));
        for host in [
            "localhost:8080",
            "127.0.0.1:8080",
            "[::1]:8080",
            "[::1]",
            "LOCALHOST",
            "app.localhost",
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

    #[tokio::test]
    async fn pages_of_others_may_not_call_it_whatever_they_leave_out() {
        let server = server(true);
        let host: (&str, &[u8]) = ("host", b"localhost:8080");
        assert!(admits(&server, &[host, ("origin", b"http://localhost:8080"), ("sec-fetch-site", b"same-origin")]));
        assert!(admits(&server, &[host, ("sec-fetch-site", b"cross-site"), ("sec-fetch-mode", b"navigate")]), "a link");
        for page in [
            [host, ("origin", b"http://localhost:3000")].as_slice(),
            &[host, ("origin", b"null")],
            &[host, ("sec-fetch-site", b"cross-site"), ("sec-fetch-mode", b"no-cors")],
            &[host, ("sec-fetch-site", b"same-site")],
        ] {
            assert!(!admits(&server, page), "{page:?}");
        }
    }
}
