//! Networks, and the address of whoever really asks.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

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
    /// Whether `address` is in it. An IPv4 address in IPv6 clothes counts as itself.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                prefix32(own.to_bits(), self.bits) == prefix32(other.to_bits(), self.bits)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                prefix128(own.to_bits(), self.bits) == prefix128(other.to_bits(), self.bits)
            }
            _ => false,
        }
    }
}

fn prefix32(address: u32, bits: u8) -> u32 {
    address.checked_shr(32 - u32::from(bits.min(32))).unwrap_or(0)
}

fn prefix128(address: u128, bits: u8) -> u128 {
    address.checked_shr(128 - u32::from(bits.min(128))).unwrap_or(0)
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

/// Which header the proxies in front write addresses into. Only one of the two is believed: a proxy
/// that writes one passes the other on as the client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedBy {
    /// `X-Forwarded-For`.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The address of the client: the peer, or, while that is a trusted proxy, whom it names, from the
/// last name to the first. What cannot be read ends the walk, because nobody trusted wrote it.
pub(crate) fn client<'h>(
    peer: IpAddr,
    trusted: &[Network],
    by: ForwardedBy,
    lines: impl DoubleEndedIterator<Item = &'h str>,
) -> IpAddr {
    let mut address = peer.to_canonical();
    let is_trusted = |address| trusted.iter().any(|network| network.contains(address));
    let elements = lines.rev().flat_map(|line| line.rsplit(','));
    for element in elements {
        if !is_trusted(address) {
            break;
        }
        let named = match by {
            ForwardedBy::XForwardedFor => node(element.trim()),
            ForwardedBy::Forwarded => forwarded_for(element),
        };
        match named {
            Some(named) => address = named.to_canonical(),
            None => break,
        }
    }
    address
}

/// The parameter `for` of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        if !name.eq_ignore_ascii_case("for") {
            return None;
        }
        node(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
    })
}

/// An address with or without a port, as proxies write it.
fn node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return address.parse::<Ipv6Addr>().ok().filter(|_| fits).map(IpAddr::V6);
    }
    let (address, port) = text.split_once(':')?;
    address.parse().ok().filter(|_| is_port(port))
}

fn is_port(text: &str) -> bool {
    (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn walk(peer: &str, by: ForwardedBy, lines: &[&str]) -> String {
        let trusted = networks(&["10.0.0.0/8", "2001:db8::/32"]);
        client(peer.parse().unwrap(), &trusted, by, lines.iter().copied()).to_string()
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

    #[test]
    fn believes_nobody_but_trusted_proxies() {
        use ForwardedBy::XForwardedFor as X;
        for (peer, lines, client) in [
            // A stranger names anybody.
            ("203.0.113.9", &["127.0.0.1"] as &[_], "203.0.113.9"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            // The client wrote the first two, the proxy the last.
            ("10.0.0.1", &["127.0.0.1, 10.0.0.9, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["127.0.0.1", "198.51.100.7, 10.0.0.2"], "198.51.100.7"),
            ("10.0.0.1", &["127.0.0.1, garbage, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("2001:db8::1", &["[2001:db9::2]:443"], "2001:db9::2"),
            ("::ffff:10.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["10.0.0.2"], "10.0.0.2"),
        ] {
            assert_eq!(walk(peer, X, lines), client, "{peer} {lines:?}");
        }
    }

    #[test]
    fn reads_forwarded() {
        use ForwardedBy::Forwarded as F;
        for (line, client) in [
            ("for=198.51.100.7;proto=https", "198.51.100.7"),
            ("for=127.0.0.1, For=\"[2001:db9::7]:4711\"", "2001:db9::7"),
            ("for=_hidden", "10.0.0.1"),
            ("for=unknown, for=198.51.100.7", "198.51.100.7"),
            ("proto=https", "10.0.0.1"),
        ] {
            assert_eq!(walk("10.0.0.1", F, &[line]), client, "{line}");
        }
    }
}
