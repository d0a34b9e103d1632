//! Which hosts are the machine that a process runs on. What goes to any other needs TLS.

use url::{Host, Url};

/// The names by which a container reaches the machine that it runs on. Source: Docker, "Networking"; Podman, "podman-run".
pub const CONTAINER_HOSTS: [&str; 2] = ["host.docker.internal", "host.containers.internal"];

/// Returns whether a URL names the machine itself: a loopback address, `localhost`, a name below it, or a container's host.
pub fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => {
            name == "localhost" || name.ends_with(".localhost") || CONTAINER_HOSTS.contains(&name)
        }
        None => false,
    }
}

/// Returns whether a secret may be sent to a URL: by HTTPS, or within this machine.
pub fn is_safe_for_secrets(url: &Url) -> bool {
    url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_by_https_or_stay_on_this_machine() {
        for (url, expected) in [
            ("https://qstash.upstash.io", true),
            ("http://127.0.0.1:8080", true),
            ("http://127.8.9.1", true),
            ("http://[::1]:8080", true),
            ("http://localhost:8080", true),
            ("http://qstash.localhost", true),
            ("http://host.docker.internal:8080", true),
            ("http://qstash.upstash.io", false),
            ("http://localhost.example", false),
            ("http://127.0.0.1.example", false),
            ("http://0.0.0.0:8080", false),
            ("http://10.0.0.1", false),
            ("ftp://localhost", false),
        ] {
            assert_eq!(is_safe_for_secrets(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
