//! Which browser presents a cookie, as far as one can tell: its network and its kind.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use crate::agent::Agent;

/// What a session is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binding {
    /// Where from.
    pub network: Network,
    /// What kind of browser.
    pub agent: Agent,
}

/// The network of an address: `/24` of IPv4, `/64` of IPv6. Homes and telephones change their
/// address within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Network {
    /// The first three bytes.
    V4([u8; 3]),
    /// The first four groups.
    V6([u16; 4]),
}

/// What differed between who signed in and who presents the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The network.
    Network,
    /// Family or system of the user agent.
    UserAgent,
    /// The generation of the cookie's value: it has been replaced.
    Generation,
}

impl Binding {
    /// The binding of a browser at this address that sends this `User-Agent`.
    ///
    /// The address must be the true one of the client: behind a proxy that is not the peer's.
    #[must_use]
    pub fn of(address: IpAddr, user_agent: Option<&[u8]>) -> Self {
        Self { network: Network::of(address), agent: Agent::of(user_agent) }
    }

    /// The first part in which `other` differs. `None`: it is the same, as far as one can tell.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Option<Part> {
        if self.network != other.network {
            Some(Part::Network)
        } else if self.agent != other.agent {
            Some(Part::UserAgent)
        } else {
            None
        }
    }
}

impl Network {
    /// The network that an address is in. An IPv4 address written as IPv6 (`::ffff:192.0.2.1`) is
    /// in the network of the IPv4 address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

impl fmt::Display for Network {
    /// `192.0.2.0/24`, `2001:db8::/64`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4([a, b, c]) => write!(f, "{}/24", Ipv4Addr::new(a, b, c, 0)),
            Self::V6([a, b, c, d]) => {
                write!(f, "{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        }
    }
}

impl Part {
    /// The part in a word, as in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::UserAgent => "user_agent",
            Self::Generation => "generation",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> String {
        Network::of(address.parse().unwrap()).to_string()
    }

    #[test]
    fn a_network_is_24_bits_of_ipv4_and_64_of_ipv6() {
        assert_eq!(network("192.0.2.200"), "192.0.2.0/24");
        assert_eq!(network("192.0.2.1"), network("192.0.2.254"));
        assert_ne!(network("192.0.2.1"), network("192.0.3.1"));
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
    }

    #[test]
    fn one_address_has_one_network_however_it_is_written() {
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("::ffff:192.0.2.1"), network("::ffff:198.51.100.1"));
    }

    #[test]
    fn names_the_part_that_differs() {
        let firefox = Some(&b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0"[..]);
        let own = Binding::of("192.0.2.1".parse().unwrap(), firefox);
        let moved = Binding::of("198.51.100.1".parse().unwrap(), firefox);
        let other = Binding::of("192.0.2.9".parse().unwrap(), Some(b"curl/8"));
        assert_eq!(own.difference(&Binding::of("192.0.2.7".parse().unwrap(), firefox)), None);
        assert_eq!(own.difference(&moved), Some(Part::Network));
        assert_eq!(own.difference(&other), Some(Part::UserAgent));
    }
}
