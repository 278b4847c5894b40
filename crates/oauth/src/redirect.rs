//! Redirect URIs: registered, compared exactly, and the answers that are carried on them.

use serde::{Deserialize, Serialize};

/// A registered redirect URI.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RedirectUri(String);

/// Why a text cannot be registered as a redirect URI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{uri}` cannot be a redirect URI: {rule}")]
pub struct InvalidRedirect {
    uri: String,
    rule: &'static str,
}

impl RedirectUri {
    /// Reads a redirect URI: absolute, without fragment (RFC 6749 §3.1.2), without user
    /// information, `https`, or `http` to a loopback address, or a private-use scheme with a dot
    /// (RFC 8252 §7).
    ///
    /// # Errors
    /// [`InvalidRedirect`] names the rule.
    pub fn new(uri: &str) -> Result<Self, InvalidRedirect> {
        let invalid = |rule| InvalidRedirect { uri: uri.chars().take(200).collect(), rule };
        if uri.len() > 2048 || !uri.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(invalid("it must be visible ASCII, at most 2048 characters"));
        }
        if uri.contains('#') {
            return Err(invalid("it must not have a fragment"));
        }
        if uri.contains(['\\', '"', '<', '>', '`', '{', '}', '|', '^', '*']) {
            return Err(invalid("it has characters that do not belong into a URI"));
        }
        let (scheme, rest) = uri.split_once(':').ok_or_else(|| invalid("it has no scheme"))?;
        match (scheme, rest.strip_prefix("//")) {
            ("https", Some(rest)) if authority_is_plain(rest) => Ok(Self(uri.to_owned())),
            ("http", Some(rest)) if loopback(rest).is_some() => Ok(Self(uri.to_owned())),
            ("https" | "http", _) => Err(invalid(
                "it must be `https://host…`, or `http://` to 127.0.0.1, [::1] or localhost",
            )),
            (scheme, _) if is_private_use(scheme) => Ok(Self(uri.to_owned())),
            _ => Err(invalid("its scheme must be `https` or one like `com.example.app`")),
        }
    }

    /// The URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `asked` is this URI: the same, character by character (RFC 9700 §2.1), except that
    /// the port of a loopback address is the client's to choose (RFC 8252 §7.3).
    #[must_use]
    pub fn allows(&self, asked: &str) -> bool {
        if asked == self.0 {
            return true;
        }
        let parts = |uri: &str| {
            uri.strip_prefix("http://")
                .and_then(loopback)
                .map(|(host, _, rest)| (host.to_owned(), rest.to_owned()))
        };
        // `localhost` can be made to resolve elsewhere, so only addresses may change their port.
        parts(&self.0).is_some_and(|(host, rest)| {
            host != "localhost" && Self::new(asked).is_ok() && parts(asked) == Some((host, rest))
        })
    }

    /// Its origin, for the page's content security policy. `None` for private-use schemes.
    #[must_use]
    pub fn origin(uri: &str) -> Option<String> {
        let (scheme, rest) = uri.split_once("://")?;
        let host = rest.split(['/', '?']).next()?;
        matches!(scheme, "https" | "http").then(|| format!("{scheme}://{host}"))
    }
}

impl TryFrom<String> for RedirectUri {
    type Error = InvalidRedirect;
    fn try_from(uri: String) -> Result<Self, InvalidRedirect> {
        Self::new(&uri)
    }
}

impl From<RedirectUri> for String {
    fn from(uri: RedirectUri) -> Self {
        uri.0
    }
}

/// Whether what follows `https://` begins with a plain host and port.
fn authority_is_plain(rest: &str) -> bool {
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let (host, port) = split_port(authority);
    let host_is_plain = !host.is_empty()
        && (host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
            || is_ipv6(host));
    host_is_plain && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// Host, port and the rest of a loopback URI after `http://`.
fn loopback(rest: &str) -> Option<(&str, Option<&str>, &str)> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end)?;
    let (host, port) = split_port(authority);
    let loopback = matches!(host, "127.0.0.1" | "[::1]" | "localhost");
    let port_is_plain = port.is_none_or(|port| port.parse::<u16>().is_ok());
    (loopback && port_is_plain).then_some((host, port, tail))
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_ipv6(host: &str) -> bool {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

/// A reversed domain name (RFC 8252 §7.1), never a scheme that browsers run or show.
fn is_private_use(scheme: &str) -> bool {
    scheme.contains('.')
        && scheme.bytes().all(|b| {
            b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+')
        })
        && scheme.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
}

/// Adds parameters to a URI's query, each encoded.
#[must_use]
pub fn with_query(uri: &str, parameters: &[(&str, &str)]) -> String {
    let mut full = uri.to_owned();
    let mut separator = if uri.contains('?') { '&' } else { '?' };
    for (name, value) in parameters {
        full.push(separator);
        full.push_str(name);
        full.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                full.push(char::from(byte));
            } else {
                full.push_str(&format!("%{byte:02X}"));
            }
        }
        separator = '&';
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_only_what_is_safe_to_send_a_browser_to() {
        for good in [
            "https://app.example/callback",
            "https://app.example:8443/callback?tenant=1",
            "https://[2001:db8::1]/cb",
            "http://127.0.0.1:9999/callback",
            "http://[::1]/callback",
            "http://localhost:3000/cb",
            "com.example.app:/callback",
        ] {
            assert!(RedirectUri::new(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/callback",
            "app.example/callback",
            "http://app.example/callback",
            "http://127.0.0.1.evil.example/",
            "http://127.0.0.1@evil.example/",
            "http://localhost.evil.example/",
            "https://user@app.example/",
            "https://app.example#f",
            "https:///callback",
            "https://app.example:99999/",
            "https://app.example\\@evil.example/",
            "https://*.example/cb",
            "https://app.example/ cb",
            "https://app.example/\ncb",
            "javascript:alert(1)",
            "data:text/html,x",
            "file:///etc/passwd",
            "myapp:/callback",
        ] {
            assert!(RedirectUri::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn compares_to_the_letter() {
        let registered = RedirectUri::new("https://app.example/callback").unwrap();
        assert!(registered.allows("https://app.example/callback"));
        for asked in [
            "https://app.example/callback/",
            "https://app.example/callback?x=1",
            "https://app.example/Callback",
            "https://APP.example/callback",
            "https://app.example:443/callback",
            "https://app.example/./callback",
            "https://app.example/%63allback",
            "https://app.example/callback#",
            "https://app.example.evil.example/callback",
            "https://app.example@evil.example/callback",
        ] {
            assert!(!registered.allows(asked), "{asked}");
        }
    }

    #[test]
    fn a_loopback_address_may_choose_its_port_and_nothing_else() {
        let registered = RedirectUri::new("http://127.0.0.1/callback").unwrap();
        assert!(registered.allows("http://127.0.0.1:51004/callback"));
        for asked in [
            "http://127.0.0.1:51004/other",
            "http://127.0.0.1:51004/callback?x",
            "http://127.0.0.1:x/callback",
            "http://127.0.0.1:80@evil.example/callback",
            "http://localhost:51004/callback",
            "http://[::1]:51004/callback",
            "https://127.0.0.1:51004/callback",
        ] {
            assert!(!registered.allows(asked), "{asked}");
        }
        let localhost = RedirectUri::new("http://localhost:3000/cb").unwrap();
        assert!(localhost.allows("http://localhost:3000/cb"));
        assert!(!localhost.allows("http://localhost:3001/cb"));
    }

    #[test]
    fn encodes_what_it_adds() {
        let full = with_query("https://a.example/cb?x=1", &[("state", "a&b=c d\"é")]);
        assert_eq!(full, "https://a.example/cb?x=1&state=a%26b%3Dc%20d%22%C3%A9");
    }
}
