//! The relying party: for whom passkeys are made, and which pages may use them.

use std::{fmt, net::IpAddr};

use aws_lc_rs::digest;
use tegata_core::{Entropy, Realm, Secret, Timestamp, secret};

use super::{
    Flaw,
    authenticator::AuthenticatorData,
    challenge::{Challenges, Purpose},
    client::{Ceremony, ClientData},
};

/// The longest name of a domain.
const LONGEST: usize = 253;

/// A relying party (WebAuthn §4).
#[derive(Clone)]
pub struct RelyingParty {
    id: String,
    digest: [u8; 32],
    origins: Vec<String>,
    challenges: Challenges,
}

/// Passkeys cannot be had under this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAParty {
    /// It is no name of a domain.
    #[error(
        "passkeys belong to a domain, and `{0}` is none: write a name in lower case, such as \
         `example.com` or `localhost`, and no address"
    )]
    Name(String),
    /// A page of this origin may not use the passkeys of that domain.
    #[error(
        "a page at `{origin}` may not use passkeys of `{id}`: write its host, or a domain that the \
         host is in"
    )]
    Origin {
        /// The page.
        origin: String,
        /// The domain.
        id: String,
    },
}

impl RelyingParty {
    /// The party of this domain, whose passkeys the pages of these origins make and use. Challenges
    /// are made under `secret`, which all nodes have.
    ///
    /// # Errors
    /// [`NotAParty`].
    pub fn new(id: &str, origins: &[&str], secret: &Secret<[u8; 32]>) -> Result<Self, NotAParty> {
        if !is_domain(id) {
            return Err(NotAParty::Name(id.to_owned()));
        }
        if let Some(origin) = origins.iter().find(|origin| !Self::reaches(id, origin)) {
            return Err(NotAParty::Origin { origin: (*origin).to_owned(), id: id.to_owned() });
        }
        Ok(Self {
            id: id.to_owned(),
            digest: sha256(id.as_bytes()),
            origins: origins.iter().map(|origin| (*origin).to_owned()).collect(),
            challenges: Challenges::under(secret),
        })
    }

    /// Whether a page of this origin may use passkeys of this domain: its host is the domain, or
    /// within it (WebAuthn §5.1.3).
    #[must_use]
    pub fn reaches(id: &str, origin: &str) -> bool {
        let host = Self::host(origin);
        let within = host.strip_suffix(id).is_some_and(|rest| rest.ends_with('.'));
        is_domain(host) && (host == id || within)
    }

    /// The host of an origin, without its port.
    #[must_use]
    pub fn host(origin: &str) -> &str {
        let host = origin.split_once("://").map_or(origin, |(_, rest)| rest);
        match host.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => name,
            _ => host,
        }
    }

    /// The domain.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn challenge(
        &self,
        realm: &Realm,
        purpose: &Purpose<'_>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Vec<u8> {
        self.challenges.make(realm, purpose, now, entropy)
    }

    /// Whether a browser answers a challenge that was given out for this.
    pub(super) fn asked(
        &self,
        client: &ClientData,
        realm: &Realm,
        purpose: &Purpose<'_>,
        now: Timestamp,
    ) -> bool {
        self.challenges.knows(&client.challenge, realm, purpose, now)
    }

    /// What is the same of making and using a passkey (WebAuthn §7.1, §7.2): by which page, for whom,
    /// and that somebody was there.
    pub(super) fn check(
        &self,
        ceremony: Ceremony,
        client: &ClientData,
        data: &AuthenticatorData,
    ) -> Result<(), Flaw> {
        if !client.is_of(ceremony) {
            return Err(Flaw::Ceremony);
        }
        // Byte by byte: what begins or ends alike is somebody else's.
        if !self.origins.contains(&client.origin) {
            return Err(Flaw::Origin);
        }
        if client.within_another {
            return Err(Flaw::WithinAnother);
        }
        if !secret::matches(&self.digest, &data.party) {
            return Err(Flaw::Party);
        }
        if !data.present {
            return Err(Flaw::Absent);
        }
        // What may not be copied is not copied (§6.1.3).
        if data.backed_up && !data.backup_eligible {
            return Err(Flaw::Backup);
        }
        Ok(())
    }
}

/// Whether this is the name of a domain, as browsers write it, and no address.
fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    // A last label of digits is read as an address (URL Standard, "ends in a number").
    let ends_in_number = name.rsplit('.').next().is_some_and(|last| {
        last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x")
    });
    name.len() <= LONGEST
        && name.split('.').all(label)
        && !ends_in_number
        && name.parse::<IpAddr>().is_err()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

impl fmt::Debug for RelyingParty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelyingParty({})", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(id: &str, origin: &str) -> Result<RelyingParty, NotAParty> {
        RelyingParty::new(id, &[origin], &Secret::new([0; 32]))
    }

    #[test]
    fn belongs_to_the_host_of_its_pages_or_a_domain_around_it() {
        for (id, origin) in [
            ("localhost", "http://localhost:8000"),
            ("auth.example.com", "https://auth.example.com"),
            ("example.com", "https://auth.example.com:8443"),
        ] {
            assert!(party(id, origin).is_ok(), "{id} {origin}");
        }
        for (id, origin) in [
            ("example.com", "https://evilexample.com"),
            ("example.com", "https://example.com.evil.example"),
            ("auth.example.com", "https://example.com"),
            ("localhost", "http://127.0.0.1:8000"),
        ] {
            let refused = party(id, origin).unwrap_err();
            assert!(matches!(refused, NotAParty::Origin { .. }), "{id} {origin}");
        }
    }

    #[test]
    fn an_address_has_no_passkeys() {
        for id in [
            "",
            "127.0.0.1",
            "::1",
            "[::1]",
            "1",
            "example.1",
            "Example.com",
            "example.com.",
            "https://example.com",
            "example.com:8443",
            "a..b",
            "-a.example",
            "例え.jp",
            "a b",
        ] {
            let origin = format!("https://{id}");
            assert_eq!(party(id, &origin).unwrap_err(), NotAParty::Name(id.to_owned()), "{id}");
        }
    }
}
