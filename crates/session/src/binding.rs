//! Which browser presents a cookie, as far as one can tell: its network and its kind.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use tegata_core::Network;

use crate::agent::Agent;

/// What a session is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Binding {
    /// Where from: [`Network::home`].
    #[serde(with = "home")]
    pub network: Network,
    /// What kind of browser.
    pub agent: Agent,
}

/// How the network is stored: the bytes that it has in common.
mod home {
    use std::net::IpAddr;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use tegata_core::Network;

    #[derive(Serialize, Deserialize)]
    enum Home {
        V4([u8; 3]),
        V6([u16; 4]),
    }

    pub(super) fn serialize<S: Serializer>(network: &Network, to: S) -> Result<S::Ok, S::Error> {
        let home = match network.address() {
            IpAddr::V4(address) => {
                let [a, b, c, _] = address.octets();
                Home::V4([a, b, c])
            }
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Home::V6([a, b, c, d])
            }
        };
        home.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Network, D::Error> {
        let address = match Home::deserialize(from)? {
            Home::V4([a, b, c]) => IpAddr::from([a, b, c, 0]),
            Home::V6([a, b, c, d]) => IpAddr::from([a, b, c, d, 0, 0, 0, 0]),
        };
        Ok(Network::home(address))
    }
}

/// What differed between who signed in and who presents the cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The network.
    Network,
    /// Family or system of the user agent.
    UserAgent,
    /// The language that is liked best.
    AcceptLanguage,
    /// The codings that are understood.
    AcceptEncoding,
    /// The size of the screen.
    Screen,
    /// The time zone.
    TimeZone,
    /// The plug-ins.
    Plugins,
    /// The generation of the cookie's value: it has been replaced.
    Generation,
}

impl Binding {
    /// The binding of a browser at this address that sends this `User-Agent`.
    ///
    /// The address must be the true one of the client: behind a proxy that is not the peer's.
    #[must_use]
    pub fn of(address: IpAddr, user_agent: Option<&[u8]>) -> Self {
        Self { network: Network::home(address), agent: Agent::of(user_agent) }
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

impl Part {
    /// The part in a word, as in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::UserAgent => "user_agent",
            Self::AcceptLanguage => "accept_language",
            Self::AcceptEncoding => "accept_encoding",
            Self::Screen => "screen",
            Self::TimeZone => "time_zone",
            Self::Plugins => "plugins",
            Self::Generation => "generation",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sessions outlive the program that began them.
    #[test]
    fn is_stored_as_it_always_was() {
        for (address, stored) in
            [("192.0.2.7", r#"{"V4":[192,0,2]}"#), ("2001:db8:1:2::7", r#"{"V6":[8193,3512,1,2]}"#)]
        {
            let binding = Binding::of(address.parse().unwrap(), None);
            let json = serde_json::to_value(binding).unwrap();
            assert_eq!(json["network"].to_string(), stored);
            assert_eq!(serde_json::from_value::<Binding>(json).unwrap(), binding);
        }
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
