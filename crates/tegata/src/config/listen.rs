//! Where something listens: one address, or several.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::Deserialize;

/// One address, or several.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "an address such as \"127.0.0.1:8000\", or a list of them")]
pub(crate) enum Listen {
    One(SocketAddr),
    Several(Vec<SocketAddr>),
}

impl Listen {
    /// A port of this machine.
    pub(crate) const fn loopback(port: u16) -> Self {
        Self::One(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port))
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Several(addresses) => addresses,
        }
    }

    /// The port of the first address.
    pub(crate) fn port(&self) -> u16 {
        self.addresses().first().map_or(0, SocketAddr::port)
    }
}
