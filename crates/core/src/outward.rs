//! Which addresses are called that somebody else names.
//!
//! Whoever may say where something is sent can otherwise make this machine ask what only this
//! machine can reach: its own services, those of its network, the metadata of a cloud.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::network::Network;

/// The addresses that may be called: those of the internet, and networks that were allowed.
#[derive(Debug, Clone, Default)]
pub struct Outward {
    allowed: Vec<Network>,
}

impl Outward {
    /// The internet, and these networks.
    #[must_use]
    pub const fn new(allowed: Vec<Network>) -> Self {
        Self { allowed }
    }

    /// Whether an address may be called. An IPv4 address in IPv6 clothes counts as itself, whichever
    /// clothes those are.
    #[must_use]
    pub fn admits(&self, address: IpAddr) -> bool {
        let inner = undressed(address);
        self.allowed.iter().any(|network| network.contains(inner)) || is_of_the_internet(inner)
    }
}

/// The IPv4 address that an IPv6 address leads to, where it leads to one: mapped and compatible
/// (RFC 4291 §2.5.5), translated (RFC 6052, RFC 8215), 6to4 (RFC 3056). What lies in the last 32
/// bits of a network of one's own choosing cannot be told.
fn undressed(address: IpAddr) -> IpAddr {
    let IpAddr::V6(six) = address else { return address };
    let four = match six.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
            if !matches!(six, Ipv6Addr::LOCALHOST | Ipv6Addr::UNSPECIFIED) =>
        {
            (high, low)
        }
        [0x2002, high, low, ..] => (high, low),
        _ => return address,
    };
    Ipv4Addr::from_bits((u32::from(four.0) << 16) | u32::from(four.1)).into()
}

/// Whether an address is one that anybody could reach (IANA special-purpose address registries).
fn is_of_the_internet(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            let [first, second, third, _] = four.octets();
            !matches!(
                (first, second, third),
                (0 | 10 | 127 | 224..=255, ..)
                    | (100, 64..=127, _)
                    | (169, 254, _)
                    | (172, 16..=31, _)
                    | (192, 168, _)
                    | (192, 0, 0 | 2)
                    | (192, 88, 99)
                    | (198, 18..=19, _)
                    | (198, 51, 100)
                    | (203, 0, 113)
            )
        }
        IpAddr::V6(six) => {
            // Global unicast is 2000::/3; the rest is ours, nobody's or everybody's.
            let [first, second, ..] = six.segments();
            (0x2000..0x4000).contains(&first)
                && !(first == 0x2001 && second < 0x0200)
                && !(first == 0x2001 && second == 0x0db8)
                && !(first == 0x3fff && second < 0x1000)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_the_internet_and_nothing_that_only_we_can_reach() {
        let outward = Outward::default();
        for good in ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700::1111", "100.128.0.1"] {
            assert!(outward.admits(good.parse().unwrap()), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "fec0::1",
        ] {
            assert!(!outward.admits(bad.parse().unwrap()), "{bad}");
        }
    }

    #[test]
    fn an_address_in_other_clothes_is_still_the_same() {
        let outward = Outward::default();
        for bad in [
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!outward.admits(bad.parse().unwrap()), "{bad}");
        }
        assert!(outward.admits("::ffff:1.1.1.1".parse().unwrap()));
        assert!(outward.admits("64:ff9b::1.1.1.1".parse().unwrap()));
    }

    #[test]
    fn what_was_allowed_is_called() {
        let outward = Outward::new(vec!["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]);
        for good in ["10.1.2.3", "::ffff:10.1.2.3", "::1"] {
            assert!(outward.admits(good.parse().unwrap()), "{good}");
        }
        assert!(!outward.admits("192.168.1.1".parse().unwrap()));
        assert!(!outward.admits("127.0.0.1".parse().unwrap()));
    }
}
