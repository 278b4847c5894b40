//! The addresses that clients are called by, and the hosts at which they may be.

use std::{fmt, str::FromStr};

use serde::Deserialize;
use tegata_core::ClientId;
use url::Url;

use super::{NotDescribed, Rules};
use crate::remote::is_local;

/// The name of a client that describes itself: an address where its document is (draft-ietf-oauth-client-
/// id-metadata-document §3).
///
/// It is in the one form that [`Url`] writes: so it has a path, a host in lower case, no segments of dots
/// and no port that goes without saying, and whoever reads it otherwise than we do cannot be led
/// elsewhere by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    id: ClientId,
    host: String,
}

impl Address {
    /// Whether a name is to be taken for an address, good or bad.
    #[must_use]
    pub fn is_like(id: &ClientId) -> bool {
        ["https:", "http:"].iter().any(|scheme| id.as_str().starts_with(scheme))
    }

    /// Reads a name.
    ///
    /// # Errors
    /// [`NotDescribed::Address`] says which rule it breaks; [`NotDescribed::Host`].
    pub fn read(id: &ClientId, rules: &Rules) -> Result<Self, NotDescribed> {
        let invalid = NotDescribed::Address;
        let url = Url::parse(id.as_str()).map_err(|_| invalid("must be an absolute URL"))?;
        match url.scheme() {
            "https" => {}
            "http" if rules.local && is_local(&url) => {}
            "http" if rules.local => {
                return Err(invalid("must begin with `https:`, or name this machine"));
            }
            _ => return Err(invalid("must begin with `https:`")),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("must have no user and no password"));
        }
        if url.fragment().is_some() {
            return Err(invalid("must have no fragment"));
        }
        if url.as_str() != id.as_str() {
            return Err(invalid(
                "must be written as browsers write it: with a path, a host in lower case, no `.` or \
                 `..` as a segment, and no default port",
            ));
        }
        let host = url.host_str().ok_or(invalid("must have a host"))?;
        if rules.hosts.is_empty() || rules.hosts.iter().any(|pattern| pattern.admits(host)) {
            Ok(Self { id: id.clone(), host: host.to_owned() })
        } else {
            Err(NotDescribed::Host(host.to_owned()))
        }
    }

    /// The whole of it: the name of the client.
    #[must_use]
    pub const fn id(&self) -> &ClientId {
        &self.id
    }

    /// Its host, without the port.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// The host of an address that was read before, with its port.
pub(super) fn host_of(id: &ClientId) -> Option<String> {
    let url = Url::parse(id.as_str()).ok()?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    Some(format!("{}{port}", url.host_str()?))
}

/// Hosts: one, or with `*.` before it all that lie beneath it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostPattern {
    name: String,
    beneath: bool,
}

/// A text that names no hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` names no host: write one in lower case, without scheme and port, such as `app.example`, or \
     `*.example` for all beneath it"
)]
pub struct InvalidPattern(String);

impl HostPattern {
    /// Whether a host is one of these.
    #[must_use]
    pub fn admits(&self, host: &str) -> bool {
        if !self.beneath {
            return host == self.name;
        }
        let before = host.strip_suffix(&self.name).and_then(|before| before.strip_suffix('.'));
        before.is_some_and(|before| !before.is_empty())
    }
}

impl FromStr for HostPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let (name, beneath) = text.strip_prefix("*.").map_or((text, false), |rest| (rest, true));
        // As browsers write it, or no address would ever have it.
        let url = Url::parse(&format!("https://{name}/")).ok();
        let is_one = url.is_some_and(|url| {
            url.host_str() == Some(name) && url.as_str() == format!("https://{name}/")
        });
        // Nothing lies beneath an address of a machine.
        let is_name = name.bytes().any(|byte| byte.is_ascii_alphabetic()) && !name.contains(':');
        if is_one && !name.contains('*') && (is_name || !beneath) {
            Ok(Self { name: name.to_owned(), beneath })
        } else {
            Err(InvalidPattern(text.chars().take(100).collect()))
        }
    }
}

impl TryFrom<String> for HostPattern {
    type Error = InvalidPattern;
    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        text.parse()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.beneath { "*." } else { "" }, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, rules: &Rules) -> Result<Address, NotDescribed> {
        Address::read(&ClientId::new(text).unwrap(), rules)
    }

    #[test]
    fn an_address_is_written_in_one_way_alone() {
        let rules = Rules::default();
        for good in [
            "https://app.example/client.json",
            "https://app.example/",
            "https://app.example:8443/oauth/client?tenant=1",
            "https://xn--bcher-kva.example/c",
            "https://[2001:db8::1]/c",
            "https://app.example/a%2e%2ejson",
        ] {
            assert!(read(good, &rules).is_ok(), "{good}");
        }
        for bad in [
            "https://app.example",
            "https:app.example/c",
            "https:///app.example/c",
            "https://APP.example/c",
            "HTTPS://app.example/c",
            "https://app.example:443/c",
            "https://app.example:/c",
            "https://app.example:99999/c",
            "https://app.example/../c",
            "https://app.example/./c",
            "https://app.example/a/%2e%2E/c",
            "https://app.example/a/.%2e/c",
            "https://app.example/c#x",
            "https://app.example/c#",
            "https://a@app.example/c",
            "https://a:b@app.example/c",
            "https://@app.example/c",
            "https://app.example\\@evil.example/c",
            "https://2130706433/c",
            "https://0x7f.1/c",
            "https://127.1/c",
            "https://app.example/\"c\"",
            "http://app.example/c",
            "http://127.0.0.1/c",
            "http://localhost:8000/c",
            "ftp://app.example/c",
        ] {
            assert!(read(bad, &rules).is_err(), "{bad}");
        }
    }

    #[test]
    fn in_development_this_machine_may_be_asked_in_the_clear_and_no_other() {
        let rules = Rules { local: true, ..Rules::default() };
        for good in ["http://127.0.0.1:1/c", "http://localhost:3000/c", "http://[::1]:1/c"] {
            assert!(read(good, &rules).is_ok(), "{good}");
        }
        for bad in ["http://app.example/c", "http://localhost.evil.example/c", "http://10.0.0.1/c"]
        {
            assert!(read(bad, &rules).is_err(), "{bad}");
        }
    }

    #[test]
    fn hosts_that_are_named_are_the_only_ones() {
        let hosts = ["app.example", "*.example.com"].map(|it| it.parse().unwrap());
        let rules = Rules { hosts: hosts.to_vec(), local: false };
        for good in
            ["https://app.example/c", "https://app.example:1/c", "https://a.b.example.com/c"]
        {
            assert!(read(good, &rules).is_ok(), "{good}");
        }
        for bad in [
            "https://example.com/c",
            "https://evilexample.com/c",
            "https://example.com.evil.example/c",
            "https://a.app.example/c",
            "https://app.example./c",
        ] {
            let refused = read(bad, &rules).unwrap_err();
            assert!(matches!(refused, NotDescribed::Host(_)), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_pattern_is_a_host_and_nothing_more() {
        for good in ["app.example", "*.example", "localhost", "127.0.0.1", "[::1]"] {
            assert_eq!(good.parse::<HostPattern>().unwrap().to_string(), good);
        }
        for bad in
            ["", "*", "*.", "a.*", "App.example", "https://a.example", "a.example:1", "a/b", "a b"]
        {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad}");
        }
        assert!("*.127.0.0.1".parse::<HostPattern>().is_err());
    }

    #[test]
    fn a_host_is_shown_with_its_port() {
        for (id, host) in [
            ("https://app.example/c", "app.example"),
            ("https://app.example:8443/c", "app.example:8443"),
            ("http://[::1]:80/c", "[::1]"),
        ] {
            assert_eq!(host_of(&ClientId::new(id).unwrap()).as_deref(), Some(host));
        }
    }
}
