//! What workloads are called: `spiffe://TRUST-DOMAIN/PATH` (SPIFFE-ID §2).

use std::fmt;

use serde::{Deserialize, Serialize};

const SCHEME: &str = "spiffe://";

/// The longest SPIFFE ID, and the longest name of a trust domain, in bytes (SPIFFE-ID §2.3).
const LONGEST: usize = 2048;
const LONGEST_DOMAIN: usize = 255;

/// What stands at the end of the name of many.
const ANY: &str = "/*";

/// A text that is no SPIFFE ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpiffeId {
    /// It is too long.
    #[error("a SPIFFE ID has 2048 bytes at most, and its trust domain 255")]
    TooLong,
    /// It does not begin as one does.
    #[error("a SPIFFE ID begins with `spiffe://`")]
    Scheme,
    /// Its trust domain is none.
    #[error(
        "a trust domain has the characters `a-z`, `0-9`, `.`, `-` and `_` alone: no port, no user"
    )]
    Domain,
    /// Its path is none of a workload.
    #[error(
        "the path of a workload has one segment at least, none of them empty, `.` or `..`, of the \
         characters `a-z`, `A-Z`, `0-9`, `.`, `-` and `_` alone"
    )]
    Path,
}

/// The name of a trust domain: who signs the documents of its workloads.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrustDomain(Box<str>);

/// The name of a workload.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId {
    text: Box<str>,
    domain: TrustDomain,
}

/// The name of a workload, or of all beneath a path: `spiffe://example.org/batch/*`.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffePattern {
    text: Box<str>,
    domain: TrustDomain,
}

impl TrustDomain {
    /// Reads the name of a trust domain.
    ///
    /// # Errors
    /// [`InvalidSpiffeId`].
    pub fn new(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > LONGEST_DOMAIN {
            return Err(InvalidSpiffeId::TooLong);
        }
        let may_be =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        let fits = !text.is_empty() && text.bytes().all(may_be);
        fits.then(|| Self(text.into())).ok_or(InvalidSpiffeId::Domain)
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.0
    }
}

impl SpiffeId {
    /// Reads the name of a workload. Nothing is made of what could be meant: another spelling is another name.
    ///
    /// # Errors
    /// [`InvalidSpiffeId`].
    pub fn new(text: &str) -> Result<Self, InvalidSpiffeId> {
        if text.len() > LONGEST {
            return Err(InvalidSpiffeId::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidSpiffeId::Scheme)?;
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (TrustDomain::new(domain)?, path),
            // The trust domain itself is no workload.
            None => return Err(TrustDomain::new(rest).err().unwrap_or(InvalidSpiffeId::Path)),
        };
        if !path.split('/').all(is_segment) {
            return Err(InvalidSpiffeId::Path);
        }
        Ok(Self { text: text.into(), domain })
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose it is.
    #[must_use]
    pub const fn domain(&self) -> &TrustDomain {
        &self.domain
    }
}

fn is_segment(segment: &str) -> bool {
    let may_be = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !["", ".", ".."].contains(&segment) && segment.bytes().all(may_be)
}

impl SpiffePattern {
    /// Reads the name of a workload, or with `/*` at its end that of all beneath.
    ///
    /// # Errors
    /// [`InvalidSpiffeId`].
    pub fn new(text: &str) -> Result<Self, InvalidSpiffeId> {
        let domain = match text.strip_suffix(ANY) {
            // What stands before is a name, or the trust domain alone.
            Some(before) => match before.strip_prefix(SCHEME).map(TrustDomain::new) {
                Some(Ok(domain)) => domain,
                _ => SpiffeId::new(before)?.domain,
            },
            None => SpiffeId::new(text)?.domain,
        };
        if text.len() > LONGEST {
            return Err(InvalidSpiffeId::TooLong);
        }
        Ok(Self { text: text.into(), domain })
    }

    /// Whether a workload is meant: by whole segments of its path.
    #[must_use]
    pub fn covers(&self, id: &SpiffeId) -> bool {
        match self.text.strip_suffix('*') {
            Some(before) => id.text.strip_prefix(before).is_some_and(|rest| !rest.is_empty()),
            None => self.text == id.text,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        &self.text
    }

    /// Whose it is.
    #[must_use]
    pub const fn domain(&self) -> &TrustDomain {
        &self.domain
    }
}

impl TryFrom<String> for TrustDomain {
    type Error = InvalidSpiffeId;
    fn try_from(text: String) -> Result<Self, InvalidSpiffeId> {
        Self::new(&text)
    }
}

impl From<TrustDomain> for String {
    fn from(domain: TrustDomain) -> Self {
        domain.0.into()
    }
}

impl TryFrom<String> for SpiffePattern {
    type Error = InvalidSpiffeId;
    fn try_from(text: String) -> Result<Self, InvalidSpiffeId> {
        Self::new(&text)
    }
}

impl From<SpiffePattern> for String {
    fn from(pattern: SpiffePattern) -> Self {
        pattern.text.into()
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustDomain({})", self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffeId({})", self.text)
    }
}

impl fmt::Debug for SpiffePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpiffePattern({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_trust_domain_and_a_path_and_nothing_else() {
        for good in
            ["spiffe://example.org/a", "spiffe://a_b-9/ns/Shop/sa/b.il-l_1", "spiffe://1/..."]
        {
            assert_eq!(SpiffeId::new(good).unwrap().as_str(), good);
        }
        assert_eq!(
            SpiffeId::new("spiffe://example.org/a/b").unwrap().domain().as_str(),
            "example.org"
        );
        let long = format!("spiffe://example.org/{}", "a".repeat(LONGEST - 21));
        assert_eq!(long.len(), LONGEST);
        assert!(SpiffeId::new(&long).is_ok());
        assert_eq!(SpiffeId::new(&format!("{long}a")), Err(InvalidSpiffeId::TooLong));
        let domain = format!("spiffe://{}/a", "a".repeat(256));
        assert_eq!(SpiffeId::new(&domain), Err(InvalidSpiffeId::TooLong));
        for bad in [
            "",
            "https://example.org/a",
            "SPIFFE://example.org/a",
            "spiffe:/example.org/a",
            "spiffe://Example.org/a",
            "spiffe://example.org:443/a",
            "spiffe://user@example.org/a",
            "spiffe://ex%61mple.org/a",
            "spiffe:///a",
            "spiffe://",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/a/",
            "spiffe://example.org//a",
            "spiffe://example.org/a//b",
            "spiffe://example.org/./a",
            "spiffe://example.org/a/..",
            "spiffe://example.org/a%2fb",
            "spiffe://example.org/a?b",
            "spiffe://example.org/a#b",
            "spiffe://example.org/*",
            "spiffe://example.org/a b",
            "spiffe://example.org/ä",
            " spiffe://example.org/a",
            "spiffe://example.org/a\n",
        ] {
            assert!(SpiffeId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_are_meant_by_whole_segments() {
        let covers = |pattern: &str, id: &str| {
            SpiffePattern::new(pattern).unwrap().covers(&SpiffeId::new(id).unwrap())
        };
        assert!(covers("spiffe://example.org/client", "spiffe://example.org/client"));
        assert!(covers("spiffe://example.org/client/*", "spiffe://example.org/client/123"));
        assert!(covers("spiffe://example.org/client/*", "spiffe://example.org/client/a/b"));
        assert!(covers("spiffe://example.org/*", "spiffe://example.org/client"));
        for (pattern, id) in [
            ("spiffe://example.org/client", "spiffe://example.org/Client"),
            ("spiffe://example.org/client", "spiffe://example.org/client/123"),
            ("spiffe://example.org/client/*", "spiffe://example.org/client"),
            ("spiffe://example.org/client/*", "spiffe://example.org/client123"),
            ("spiffe://example.org/*", "spiffe://example.org.evil/a"),
            ("spiffe://example.org/*", "spiffe://other.org/a"),
        ] {
            assert!(!covers(pattern, id), "{pattern} {id}");
        }
        for bad in [
            "*",
            "/*",
            "spiffe://*",
            "spiffe://*/a",
            "spiffe:///*",
            "spiffe://example.org*",
            "spiffe://example.org/a*",
            "spiffe://example.org/*/a",
            "spiffe://example.org/a/*/*",
            "spiffe://example.org//*",
            "spiffe://example.org/../*",
        ] {
            assert!(SpiffePattern::new(bad).is_err(), "{bad}");
        }
    }
}
