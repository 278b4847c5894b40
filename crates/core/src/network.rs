//! Networks, and who is counted as one of them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// The networks that belong to the machine itself.
const LOOPBACK: [Network; 2] = [
    Network { address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), bits: 8 },
    Network { address: IpAddr::V6(Ipv6Addr::LOCALHOST), bits: 128 },
];

/// As how many callers an IPv6 network of 48 bits is counted.
const CALLERS_OF_48: NonZeroU32 = NonZeroU32::MIN.saturating_add(15);

/// A network: an address and how many of its leading bits count, as in `10.0.0.0/8`. The word
/// `loopback` can be written for `127.0.0.0/8`; `::1` stands for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// A text that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a network is an address, or an address, `/` and a number of bits, such as `10.0.0.0/8`")]
pub struct InvalidNetwork;

impl Network {
    /// The network around an address: so many bits of an IPv4 address, so many of an IPv6 address.
    /// An IPv4 address in IPv6 clothes counts as itself.
    #[must_use]
    pub fn around(address: IpAddr, bits4: u8, bits6: u8) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                let bits = bits4.min(32);
                let kept = mask32(address.to_bits(), bits);
                Self { address: IpAddr::V4(kept.into()), bits }
            }
            IpAddr::V6(address) => {
                let bits = bits6.min(128);
                let kept = mask128(address.to_bits(), bits);
                Self { address: IpAddr::V6(kept.into()), bits }
            }
        }
    }

    /// Where somebody is at home: 24 bits of an IPv4 address, 64 of an IPv6 address. Homes and
    /// telephones change their address within it.
    #[must_use]
    pub fn home(address: IpAddr) -> Self {
        Self::around(address, 24, 64)
    }

    /// The networks that an address is counted in, the narrowest first, each with as how many callers
    /// it counts: an IPv4 address alone; of an IPv6 address the 64 bits that one subscriber has at
    /// least, and the 48 that one can have, which are 65,536 networks of 64.
    pub fn counted(address: IpAddr) -> impl Iterator<Item = (Self, NonZeroU32)> {
        let narrow = Self::around(address, 32, 64);
        let wide = narrow.address.is_ipv6().then(|| Self::around(address, 32, 48));
        std::iter::once((narrow, NonZeroU32::MIN)).chain(wide.map(|wide| (wide, CALLERS_OF_48)))
    }

    /// What the machine itself has: `127.0.0.0/8` and `::1`.
    #[must_use]
    pub const fn loopback() -> [Self; 2] {
        LOOPBACK
    }

    /// Its first address.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many of the leading bits of its address count.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether `address` is in it. An IPv4 address in IPv6 clothes counts as itself.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                mask32(own.to_bits(), self.bits) == mask32(other.to_bits(), self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                mask128(own.to_bits(), self.bits) == mask128(other.to_bits(), self.bits)
            }
            _ => false,
        }
    }
}

/// The leading `bits` of an address.
fn mask32(address: u32, bits: u8) -> u32 {
    address & u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0)
}

fn mask128(address: u128, bits: u8) -> u128 {
    address & u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0)
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        if text == "loopback" {
            return "127.0.0.0/8".parse();
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| InvalidNetwork)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or(InvalidNetwork)?
            }
            Some(_) => return Err(InvalidNetwork),
        };
        Ok(Self { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;
    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(address: &str) -> String {
        Network::home(address.parse().unwrap()).to_string()
    }

    #[test]
    fn a_home_is_24_bits_of_ipv4_and_64_of_ipv6() {
        assert_eq!(home("192.0.2.200"), "192.0.2.0/24");
        assert_eq!(home("192.0.2.1"), home("192.0.2.254"));
        assert_ne!(home("192.0.2.1"), home("192.0.3.1"));
        assert_eq!(home("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(home("2001:db8:1:2::1"), home("2001:db8:1:2:ffff::1"));
        assert_ne!(home("2001:db8:1:2::1"), home("2001:db8:1:3::1"));
    }

    #[test]
    fn one_address_has_one_home_however_it_is_written() {
        assert_eq!(home("::ffff:192.0.2.1"), home("192.0.2.1"));
        assert_ne!(home("::ffff:192.0.2.1"), home("::ffff:198.51.100.1"));
    }

    #[test]
    fn whoever_owns_many_networks_is_counted_in_what_holds_them() {
        let counted = |address: &str| {
            let networks = Network::counted(address.parse().unwrap());
            networks.map(|(network, callers)| format!("{network} {callers}")).collect::<Vec<_>>()
        };
        assert_eq!(counted("192.0.2.7"), ["192.0.2.7/32 1"]);
        assert_eq!(counted("::ffff:192.0.2.7"), ["192.0.2.7/32 1"]);
        let both = ["2001:db8:1:2::/64 1", "2001:db8:1::/48 16"];
        assert_eq!(counted("2001:db8:1:2:3::4"), both);
        assert_eq!(counted("2001:db8:1:3::4")[1], both[1]);
    }

    #[test]
    fn knows_the_machine_itself() {
        let own = |text: &str| {
            Network::loopback().iter().any(|network| network.contains(text.parse().unwrap()))
        };
        assert!(own("127.0.0.1") && own("127.9.9.9") && own("::1") && own("::ffff:127.0.0.1"));
        assert!(!own("128.0.0.1") && !own("::2") && !own("::") && !own("fe80::1"));
    }

    #[test]
    fn is_read_as_it_was_written() {
        for text in ["10.0.0.0/8", "2001:db8::/32", "192.0.2.7/32", "0.0.0.0/0"] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), text);
        }
        assert_eq!("loopback".parse::<Network>().unwrap(), Network::loopback()[0]);
        assert_eq!("::1".parse::<Network>().unwrap(), Network::loopback()[1]);
    }

    #[test]
    fn reads_networks_and_nothing_else() {
        let ten: Network = "10.0.0.0/8".parse().unwrap();
        for (address, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.0", false),
            ("::ffff:10.1.1.1", true),
            ("::a00:1", false),
        ] {
            assert_eq!(ten.contains(address.parse().unwrap()), inside, "{address}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains("203.0.113.9".parse().unwrap()));
        assert!(!all.contains("2001:db8::1".parse().unwrap()));
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "10.0.0.0/-1", "10.0.0.0/+8", "a/8"] {
            assert_eq!(bad.parse::<Network>(), Err(InvalidNetwork), "{bad}");
        }
    }
}
