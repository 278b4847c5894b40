//! Addresses of services: `http://host:port` and nothing more.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where requests for a service go.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Upstream {
    scheme: Scheme,
    host: String,
    port: u16,
    /// Not part of the text: it is declared beside the addresses.
    protocol: Protocol,
}

/// Which version of HTTP a service speaks.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 over TLS, where the service agrees to it in the handshake; else HTTP/1.1.
    H2,
    /// HTTP/2 without TLS, from the first byte (RFC 9113 §3.3).
    H2c,
}

impl Protocol {
    /// Whether it is HTTP/1.1.
    #[must_use]
    pub const fn is_http1(&self) -> bool {
        matches!(self, Self::Http1)
    }

    /// The scheme that addresses need for it, where they need one.
    #[must_use]
    pub const fn needs(self) -> Option<Scheme> {
        match self {
            Self::Http1 => None,
            Self::H2 => Some(Scheme::Https),
            Self::H2c => Some(Scheme::Http),
        }
    }

    /// As it is declared.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::H2 => "h2",
            Self::H2c => "h2c",
        }
    }
}

/// How a service is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// Without TLS.
    Http,
    /// With TLS.
    Https,
}

/// Why a text is not the address of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUpstream {
    /// It does not begin with a scheme that is spoken here.
    #[error("it must begin with `http://` or `https://`")]
    Scheme,
    /// It holds a user name or a password, which would be a secret in a public place.
    #[error("it must not hold credentials")]
    Credentials,
    /// It has a path, a query or a fragment.
    #[error("it must end after the port: the path comes from the route")]
    Path,
    /// The host is no name and no address.
    #[error("its host must be a name, an IPv4 address, or an IPv6 address in brackets")]
    Host,
    /// The port is not one.
    #[error("its port must be a number from 1 to 65535")]
    Port,
}

impl Upstream {
    /// How it is spoken to.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host: a name in lower case, or an address (IPv6 without brackets).
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; the scheme's own where none was given.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Which version of HTTP is spoken there.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The same address, where this version is spoken.
    #[must_use]
    pub fn speaking(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// `host:port`, with brackets around IPv6 addresses.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl FromStr for Upstream {
    type Err = InvalidUpstream;

    fn from_str(text: &str) -> Result<Self, InvalidUpstream> {
        let (scheme, rest) = if let Some(rest) = text.strip_prefix("http://") {
            (Scheme::Http, rest)
        } else if let Some(rest) = text.strip_prefix("https://") {
            (Scheme::Https, rest)
        } else {
            return Err(InvalidUpstream::Scheme);
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(InvalidUpstream::Credentials);
        }
        if authority.contains(['/', '?', '#', '\\']) {
            return Err(InvalidUpstream::Path);
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']').ok_or(InvalidUpstream::Host)?;
                let address: Ipv6Addr = address.parse().map_err(|_| InvalidUpstream::Host)?;
                let port = match port {
                    "" => None,
                    port => Some(port.strip_prefix(':').ok_or(InvalidUpstream::Port)?),
                };
                (address.to_string(), port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
                None => (authority.to_ascii_lowercase(), None),
            },
        };
        if !host.contains(':') && !is_host(&host) {
            return Err(InvalidUpstream::Host);
        }
        let port = match port {
            None => scheme.default_port(),
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port != 0).ok_or(InvalidUpstream::Port)?
            }
            Some(_) => return Err(InvalidUpstream::Port),
        };
        Ok(Self { scheme, host, port, protocol: Protocol::default() })
    }
}

/// Whether this is a name of DNS (underscores allowed, as container networks use them) or an IPv4
/// address in its usual form. Names that end in a number must be such an address, or readers
/// disagree about them: `127.1`, `0x7f.1`.
fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with(|c: char| c.is_ascii_digit());
    host.len() <= 253
        && host.split('.').all(label)
        && (!numeric || host.parse::<std::net::Ipv4Addr>().is_ok())
}

impl Scheme {
    /// 80 or 443.
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// `http` or `https`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.authority())
    }
}

impl TryFrom<String> for Upstream {
    type Error = InvalidUpstream;
    fn try_from(text: String) -> Result<Self, InvalidUpstream> {
        text.parse()
    }
}

impl From<Upstream> for String {
    fn from(upstream: Upstream) -> String {
        upstream.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hosts_and_addresses() {
        for (text, shown) in [
            ("http://127.0.0.1:9900", "http://127.0.0.1:9900"),
            ("http://Orders.internal/", "http://orders.internal:80"),
            ("https://orders", "https://orders:443"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("https://[2001:DB8::0:1]", "https://[2001:db8::1]:443"),
            ("http://orders_1.shop:80", "http://orders_1.shop:80"),
        ] {
            assert_eq!(text.parse::<Upstream>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn refuses_what_readers_could_take_for_another_address() {
        use InvalidUpstream::*;
        for (text, reason) in [
            ("", Scheme),
            ("orders:80", Scheme),
            ("HTTP://orders", Scheme),
            ("file:///etc/passwd", Scheme),
            ("http://user:secret@orders", Credentials),
            ("http://orders@evil.example", Credentials),
            ("http://orders/base", Path),
            ("http://orders?x", Path),
            ("http://orders#x", Path),
            ("http://orders\\@evil.example", Credentials),
            ("http://orders\\x", Path),
            ("http://", Host),
            ("http://:80", Host),
            ("http://a..b", Host),
            ("http://-a", Host),
            ("http://a b", Host),
            ("http://é", Host),
            ("http://127.1", Host),
            ("http://2130706433", Host),
            ("http://0x7f.0.0.1", Host),
            ("http://127.0.0.01", Host),
            ("http://0x7f000001", Host),
            ("http://a.%31", Host),
            ("http://[::1", Host),
            ("http://[fe80::1%eth0]", Host),
            ("http://::1", Host),
            ("http://[::1]80", Port),
            ("http://orders:", Port),
            ("http://orders:0", Port),
            ("http://orders:65536", Port),
            ("http://orders:+80", Port),
            ("http://orders:80:80", Port),
        ] {
            assert_eq!(text.parse::<Upstream>(), Err(reason), "{text}");
        }
    }
}
