//! Proxies in front of a listener, and the address of whoever really asks.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::network::Network;

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

impl ForwardedBy {
    /// The name of the header, in lower case.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }
}

/// By which way a listener learns which certificate a client shows. No other is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Not at all.
    #[default]
    Off,
    /// Its own TLS asks for one, and goes on without.
    Tls,
    /// Trusted proxies tell of it in `Client-Cert` (RFC 9440). They must take out what clients write
    /// there themselves.
    Header,
}

/// The proxies in front of a listener, and how they say who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// Their networks. Nobody else is believed.
    pub trusted: Vec<Network>,
    /// Which header they write.
    pub forwarded_by: ForwardedBy,
}

impl Proxies {
    /// Whether an address is that of one of them.
    #[must_use]
    pub fn are_at(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// The address of the client: the peer, or, while that is a trusted proxy, whom it names, from
    /// the last name to the first. `lines` are those of [`ForwardedBy::header`]. What cannot be read
    /// ends the walk, because nobody trusted wrote it.
    pub fn client<'h>(
        &self,
        peer: IpAddr,
        lines: impl DoubleEndedIterator<Item = &'h [u8]>,
    ) -> IpAddr {
        self.say(peer, lines).client
    }

    /// What they say of a request, on the same walk as [`Self::client`].
    pub fn say<'h>(&self, peer: IpAddr, lines: impl DoubleEndedIterator<Item = &'h [u8]>) -> Said {
        let mut said = Said { client: peer.to_canonical(), proto: None, host: None };
        let elements = |line| Elements { rest: Some(line), by: self.forwarded_by };
        for element in lines.rev().flat_map(elements) {
            if !self.are_at(said.client) {
                break;
            }
            // What is no text cannot be read either.
            let Ok(element) = std::str::from_utf8(element) else { break };
            let named = match self.forwarded_by {
                ForwardedBy::XForwardedFor => node(element.trim()),
                ForwardedBy::Forwarded => {
                    let Some(element) = Element::read(element) else { break };
                    (said.proto, said.host) = (element.proto, element.host);
                    element.node.as_deref().and_then(node)
                }
            };
            match named {
                Some(named) => said.client = named.to_canonical(),
                None => break,
            }
        }
        said
    }
}

/// What trusted proxies say of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Who sent it; the peer, where they do not say.
    pub client: IpAddr,
    /// How it came to the proxy that says who sent it: `http` or `https`. In `Forwarded` alone.
    pub proto: Option<String>,
    /// Which host it asked that proxy for. In `Forwarded` alone.
    pub host: Option<String>,
}

/// The elements of a line, from the last to the first: the end is what a proxy added, and from there
/// it reads the same whatever a client wrote before it.
struct Elements<'h> {
    rest: Option<&'h [u8]>,
    by: ForwardedBy,
}

impl<'h> Iterator for Elements<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        let rest = self.rest.take()?;
        let comma = match self.by {
            ForwardedBy::XForwardedFor => rest.iter().rposition(|byte| *byte == b','),
            ForwardedBy::Forwarded => last_comma(rest),
        };
        let Some(comma) = comma else { return Some(rest) };
        self.rest = rest.get(..comma);
        rest.get(comma + 1..)
    }
}

/// The last comma that does not stand in quotes (RFC 9110 §5.6.4).
fn last_comma(text: &[u8]) -> Option<usize> {
    let is_escaped = |at| {
        let before = text.get(..at).unwrap_or_default();
        before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
    };
    let mut quoted = false;
    for (at, byte) in text.iter().enumerate().rev() {
        match byte {
            b'"' if !is_escaped(at) => quoted = !quoted,
            b',' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// What is read of an element of `Forwarded` (RFC 7239 §4).
#[derive(Default)]
struct Element {
    node: Option<String>,
    proto: Option<String>,
    host: Option<String>,
}

impl Element {
    /// Reads an element; `None`: it is not well-formed, or says something twice.
    fn read(text: &str) -> Option<Self> {
        let mut element = Self::default();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=')?;
            let is_token =
                |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
            if name.is_empty() || !name.bytes().all(is_token) {
                return None;
            }
            let (value, after) = value(after)?;
            let place = match name.to_ascii_lowercase().as_str() {
                "for" => Some(&mut element.node),
                "proto" => Some(&mut element.proto),
                "host" => Some(&mut element.host),
                _ => None,
            };
            if place.is_some_and(|place| place.replace(value).is_some()) {
                return None;
            }
            rest = after;
        }
        (!text.trim().is_empty()).then_some(element)
    }
}

/// The value at the beginning of a text, and what follows the `;` behind it. An address with a port
/// would have to stand in quotes; not all proxies know.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        let value = value.trim_end();
        let illegal = |letter: char| matches!(letter, '"' | '\\') || letter.is_whitespace();
        return (!value.is_empty() && !value.contains(illegal))
            .then(|| (value.to_owned(), rest.trim_start()));
    };
    let mut value = String::new();
    let mut letters = quoted.chars();
    loop {
        match letters.next()? {
            '"' => break,
            '\\' => value.push(letters.next()?),
            letter => value.push(letter),
        }
    }
    let rest = letters.as_str().trim_start();
    if rest.is_empty() {
        return Some((value, rest));
    }
    Some((value, rest.strip_prefix(';')?.trim_start()))
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

    fn walk(peer: &str, forwarded_by: ForwardedBy, lines: &[&str]) -> String {
        let trusted = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().unwrap()).to_vec();
        let proxies = Proxies { trusted, forwarded_by };
        let lines = lines.iter().map(|line| line.as_bytes());
        proxies.client(peer.parse().unwrap(), lines).to_string()
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
            (" for=198.51.100.7 ; proto=https ;", "198.51.100.7"),
            ("for=198.51.100.7:4711;by=_x", "198.51.100.7"),
            ("for=\"198.51.100\\.7\"", "198.51.100.7"),
        ] {
            assert_eq!(walk("10.0.0.1", F, &[line]), client, "{line}");
        }
    }

    #[test]
    fn what_a_client_has_put_into_quotes_is_no_element() {
        use ForwardedBy::Forwarded as F;
        for (line, client) in [
            (r#"for=198.51.100.7;host="a,for=9.9.9.9;x=";proto=https"#, "198.51.100.7"),
            (r#"for=198.51.100.7;host="a;for=9.9.9.9""#, "198.51.100.7"),
            (r#"host="a;for=9.9.9.9";for=198.51.100.7"#, "198.51.100.7"),
            (r#"for=198.51.100.7;host="a\",for=9.9.9.9;x=\"""#, "198.51.100.7"),
            (r#"for=198.51.100.7;host="a\\",for=192.0.2.1"#, "192.0.2.1"),
            // What stands before the proxy's element does not reach into it.
            (r#"for="9.9.9.9, for=198.51.100.7"#, "198.51.100.7"),
            (r#"for=9.9.9.9;x=", for="198.51.100.7""#, "198.51.100.7"),
            (r#"for=9.9.9.9;x="\, for=198.51.100.7"#, "198.51.100.7"),
            (r#"", for=198.51.100.7;host="a""#, "198.51.100.7"),
        ] {
            assert_eq!(walk("10.0.0.1", F, &[line]), client, "{line}");
        }
    }

    #[test]
    fn what_is_no_text_hides_nobody() {
        for (forwarded_by, line) in [
            (ForwardedBy::XForwardedFor, &b"9.9.9.9, \xff, 198.51.100.7"[..]),
            (ForwardedBy::Forwarded, b"for=\"\xff, for=198.51.100.7"),
        ] {
            let proxies = Proxies { trusted: vec!["10.0.0.0/8".parse().unwrap()], forwarded_by };
            let client = proxies.client("10.0.0.1".parse().unwrap(), [line].into_iter());
            assert_eq!(client.to_string(), "198.51.100.7");
            let end = line.len() - ", xxx=198.51.100.7".len();
            let client = proxies.client("10.0.0.1".parse().unwrap(), [&line[..end]].into_iter());
            assert_eq!(client.to_string(), "10.0.0.1");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_a_proxy_adds_reads_the_same_behind_anything(line in r#"[a-z1.,;="\\ \xff]*"#) {
            let trusted = vec!["10.0.0.0/8".parse().unwrap()];
            let proxies = Proxies { trusted, forwarded_by: ForwardedBy::Forwarded };
            let added = r#"for=198.51.100.7;proto=https;host="a,b\",c""#;
            let line = format!("{line}, {added}");
            let said = proxies.say("10.0.0.1".parse().unwrap(), [line.as_bytes()].into_iter());
            let host = said.host.as_deref();
            assert_eq!((said.client.to_string().as_str(), host), ("198.51.100.7", Some("a,b\",c")));
        }
    }

    #[test]
    fn an_element_that_is_not_well_formed_ends_the_walk() {
        use ForwardedBy::Forwarded as F;
        for bad in [
            "",
            "for",
            "for=",
            "=198.51.100.7",
            "for =198.51.100.7",
            "for=198.51.100.7 proto=https",
            "for=198.51.100.7;for=9.9.9.9",
            "for=198.51.100.7;proto=http;proto=https",
            r#"for="198.51.100.7"x"#,
            r#"for="198.51.100.7"#,
            r#"for="198.51.100.7\""#,
            r#"for=198.51.100.7""#,
            r#"for=198.51.100.7;host=a"b"#,
            r#"for=198.51.100.7;host="a"b;c=d"#,
        ] {
            let line = format!("for=9.9.9.9, {bad}");
            assert_eq!(walk("10.0.0.1", F, &[&line]), "10.0.0.1", "{line}");
            assert_eq!(walk("10.0.0.1", F, &["for=9.9.9.9", bad]), "10.0.0.1", "{bad}");
        }
    }

    #[test]
    fn how_a_request_came_is_said_by_the_proxy_that_names_its_client() {
        let trusted = vec!["10.0.0.0/8".parse().unwrap()];
        let said = |forwarded_by, line: &str| {
            let proxies = Proxies { trusted: trusted.clone(), forwarded_by };
            let said = proxies.say("10.0.0.1".parse().unwrap(), [line.as_bytes()].into_iter());
            (said.client.to_string(), said.proto, said.host)
        };
        let text = |text: &str| Some(text.to_owned());
        let client = || "198.51.100.7".to_owned();
        let line = r#"for=9.9.9.9;proto=ftp;host=evil, for=198.51.100.7;PROTO=https;host="a:1""#;
        let forwarded = |line| said(ForwardedBy::Forwarded, line);
        assert_eq!(forwarded(line), (client(), text("https"), text("a:1")));
        // Through two of them: the first knows how it came.
        let two = format!("{line}, for=10.0.0.2;proto=http;host=inner");
        assert_eq!(forwarded(&two), (client(), text("https"), text("a:1")));
        assert_eq!(
            forwarded("for=9.9.9.9;proto=https;host=evil, for=198.51.100.7"),
            (client(), None, None)
        );
        assert_eq!(said(ForwardedBy::XForwardedFor, &client()), (client(), None, None));
    }
}
