//! Which addresses a delivery may connect to.
//!
//! A destination's URL is the operator's, but its name belongs to whoever runs its DNS. So every address is vetted at the
//! moment of connecting, and the connection goes to the vetted address: nothing is resolved twice.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// How a name becomes addresses.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// The operating system's way.
pub fn system_lookup() -> Lookup {
    Arc::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) }))
}

/// Resolves names and lets through only addresses on the public internet, unless private ones are allowed.
pub(super) struct VettingResolver {
    /// For development: loopback and private networks are destinations too.
    pub(super) allow_private: bool,
    pub(super) lookup: Lookup,
}

impl fmt::Debug for VettingResolver {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("VettingResolver").field("allow_private", &self.allow_private).finish_non_exhaustive()
    }
}

/// A name all of whose addresses are out of bounds.
#[derive(Debug, thiserror::Error)]
#[error("{0} has no public address; set ALLOW_PRIVATE_DESTINATIONS=true for development")]
pub struct NotPublic(pub String);

impl Resolve for VettingResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (allow_private, found) = (self.allow_private, (self.lookup)(name.as_str().to_owned()));
        Box::pin(async move {
            let vetted: Vec<SocketAddr> =
                found.await?.into_iter().filter(|address| allow_private || is_public(address.ip())).collect();
            if vetted.is_empty() {
                return Err(NotPublic(name.as_str().to_owned()).into());
            }
            Ok(Box::new(vetted.into_iter()) as Addrs)
        })
    }
}

/// Whether an address is on the public internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Networks that are not on the public internet. Source: IANA, IPv4 Special-Purpose Address Registry; multicast and what is
/// reserved for the future end the address space.
const SPECIAL_V4: [(Ipv4Addr, u32); 14] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];
/// What of IPv6's global unicast space is not the public internet, or carries an IPv4 address inside (Teredo, 6to4). Source:
/// IANA, IPv6 Special-Purpose Address Registry.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
/// Global unicast: all that is assigned to the public internet. IPv4-mapped and -compatible addresses, NAT64, loopback, link-local, unique
/// local and multicast addresses lie outside of it. Source: IANA, IPv6 Address Space.
const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

fn is_public_v4(address: Ipv4Addr) -> bool {
    !SPECIAL_V4.iter().any(|(network, bits)| address.to_bits() >> (32 - bits) == network.to_bits() >> (32 - bits))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let is_in =
        |(network, bits): &(Ipv6Addr, u32)| address.to_bits() >> (128 - bits) == network.to_bits() >> (128 - bits);
    is_in(&GLOBAL_UNICAST) && !SPECIAL_V6.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &[&str], expected: bool) {
        for address in addresses {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn public_addresses_pass() {
        check(&["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.32.0.1", "192.0.1.1", "198.20.0.1"], true);
        check(&["2606:4700::1111", "2a00:1450::1", "2001:4860::8888", "2001:200::1"], true);
    }

    #[test]
    fn private_networks_are_refused() {
        check(&["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fdff::1"], false);
    }

    #[test]
    fn loopback_is_refused() {
        check(&["127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "::1", "::"], false);
    }

    #[test]
    fn link_local_and_metadata_are_refused() {
        check(&["169.254.169.254", "169.254.170.2", "fe80::1", "febf::1", "fd00:ec2::254"], false);
    }

    #[test]
    fn carrier_grade_nat_is_refused() {
        check(&["100.64.0.1", "100.127.255.255"], false);
    }

    #[test]
    fn ipv4_inside_ipv6_is_refused_whatever_it_is() {
        check(&["::ffff:127.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8", "::ffff:0:8.8.8.8"], false);
    }

    #[test]
    fn six_to_four_teredo_and_nat64_are_refused() {
        check(&["2002:7f00:1::", "2002:808:808::1", "2001::1", "64:ff9b::7f00:1", "64:ff9b:1::1"], false);
    }

    #[test]
    fn multicast_broadcast_and_reserved_are_refused() {
        check(&["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "ff02::1", "100::1", "4000::1"], false);
        check(&["192.0.2.1", "192.0.0.8", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.1"], false);
        check(&["203.0.113.1", "2001:db8::1", "3fff::1", "5f00::1"], false);
    }

    #[tokio::test]
    async fn of_a_names_addresses_only_the_public_ones_are_connected_to() {
        let answers = ["10.0.0.1:0", "8.8.8.8:0", "[::ffff:8.8.4.4]:0"].map(|text| text.parse().unwrap());
        let lookup: Lookup = Arc::new(move |_| Box::pin(async move { Ok(answers.to_vec()) }));
        let resolver = VettingResolver { allow_private: false, lookup };
        let vetted: Vec<SocketAddr> = resolver.resolve("mixed.example".parse().unwrap()).await.unwrap().collect();
        assert_eq!(vetted, ["8.8.8.8:0".parse().unwrap()]);
    }
}
