//! Where signals may be sent. A client names the address, so it is the address of an attacker until
//! it is shown to be none: whoever could name any would make this machine ask what only this machine
//! can reach.
//!
//! Here is what can be said without asking anybody. What a name resolves to is looked at each time
//! that it is called, by whoever calls.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use tegata_core::Outward;
use url::{Host, Url};

/// An address that signals are sent to: `https`, or `http` on this machine where that is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint(String);

/// The longest address.
const LONGEST: usize = 2048;

impl Endpoint {
    /// Reads an address as those read it who call it.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn new(text: &str, outward: &Outward) -> Result<Self, &'static str> {
        if text.len() > LONGEST || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("`endpoint_url` must be visible ASCII, at most 2048 characters");
        }
        let url = Url::parse(text).map_err(|_| "`endpoint_url` is not an address")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("`endpoint_url` must name no user; use `authorization_header`");
        }
        if url.fragment().is_some() {
            return Err("`endpoint_url` must have no fragment");
        }
        let host = url.host().ok_or("`endpoint_url` names no host")?;
        let (here, admitted) = judged(&host, outward);
        match url.scheme() {
            "https" if admitted => {}
            "http" if admitted && here => {}
            "https" => return Err("`endpoint_url` is an address that is not called from here"),
            _ => return Err("`endpoint_url` must begin with `https://`"),
        }
        if url.as_str().len() > LONGEST {
            return Err("`endpoint_url` must be at most 2048 characters");
        }
        // What was judged is what is called, and not another reading of the same text.
        Ok(Self(url.into()))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a host is this machine, and whether it may be called as far as its name tells.
fn judged(host: &Host<&str>, outward: &Outward) -> (bool, bool) {
    let address = match host {
        Host::Ipv4(four) => IpAddr::V4(*four),
        Host::Ipv6(six) => IpAddr::V6(*six),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            let here = name == "localhost" || name.ends_with(".localhost");
            let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return (here, !here || loopback.iter().any(|it| outward.admits(*it)));
        }
    };
    (address.to_canonical().is_loopback(), outward.admits(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_addresses_of_the_internet_over_tls() {
        let outward = Outward::default();
        for (text, called) in [
            ("https://receiver.example/events", "https://receiver.example/events"),
            ("https://RECEIVER.example:8443?x=1", "https://receiver.example:8443/?x=1"),
            ("https://93.184.216.34/", "https://93.184.216.34/"),
            ("https://[2606:4700::1111]/", "https://[2606:4700::1111]/"),
        ] {
            assert_eq!(Endpoint::new(text, &outward).unwrap().as_str(), called);
        }
    }

    #[test]
    fn refuses_whatever_leads_back_to_us_however_it_is_written() {
        let outward = Outward::default();
        for bad in [
            "http://receiver.example/",
            "https://localhost/",
            "https://LOCALHOST./",
            "https://x.localhost/",
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://0/",
            "https://[::1]/",
            "https://[::]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[64:ff9b::7f00:1]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://2852039166/",
            "https://10.0.0.1/",
            "https://192.168.0.1/",
            "https://[fd00:ec2::254]/",
            "https://[fe80::1]/",
            "https://user@receiver.example/",
            "https://user:pass@receiver.example/",
            "https://receiver.example/#x",
            "https://",
            "ftp://receiver.example/",
            "file:///etc/passwd",
            "gopher://receiver.example/",
            "javascript:alert(1)",
            "receiver.example",
            "https://receiver.example/\r\nX: y",
            "https://receiver.example/ x",
            "https://\u{2488}27.0.0.1/",
            &format!("https://receiver.example/{}", "x".repeat(2048)),
        ] {
            assert!(Endpoint::new(bad, &outward).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_is_called_only_where_it_is_allowed_and_then_in_the_clear_too() {
        let outward = Outward::new(tegata_core::Network::loopback().to_vec());
        for good in ["http://127.0.0.1:1/x", "http://localhost:1/", "https://[::1]/"] {
            assert!(Endpoint::new(good, &outward).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1/", "https://10.0.0.1/", "http://receiver.example/"] {
            assert!(Endpoint::new(bad, &outward).is_err(), "{bad}");
        }
        let outward = Outward::new(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(Endpoint::new("https://10.0.0.1/", &outward).is_ok());
        assert!(Endpoint::new("http://10.0.0.1/", &outward).is_err());
        assert!(Endpoint::new("https://127.0.0.1/", &outward).is_err());
    }
}
