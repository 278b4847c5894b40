//! Certificates that clients show: what tokens are bound to (RFC 8705 §3), and what a client proves
//! itself with (§2).
//!
//! That whoever shows a certificate holds its key was proven in a handshake, by who ended it: one of
//! our own listeners, or a proxy that is trusted to say so ([`header`]). What follows from it is
//! decided here, whenever it is used: who signed it, for how long it counts, whom it names.

use std::fmt;

use aws_lc_rs::digest;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tegata_core::Timestamp;
use x509_parser::{
    certificate::X509Certificate, oid_registry, prelude::FromDer as _, public_key::PublicKey,
    x509::SubjectPublicKeyInfo,
};

use crate::{Confirmation, key::Jwk};

mod authorities;
mod caller;
pub mod header;
mod name;
mod spans;
mod subject;
mod svid;

pub use authorities::{Authorities, NoAuthority, NotVouched};
pub use caller::{CertifiedCaller, NobodysCertificate};
pub use name::{DistinguishedName, InvalidName};
pub use spans::ends;
pub use subject::SubjectName;
pub use svid::NoSvid;

/// The largest certificate, in bytes.
pub const LARGEST: usize = 8 * 1024;
/// How many certificates stand between one and whoever is trusted.
const LONGEST_CHAIN: usize = 4;

/// The thumbprint of a certificate, as base64url of SHA-256 over its DER: `x5t#S256`.
#[must_use]
pub fn thumbprint(der: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, der);
    URL_SAFE_NO_PAD.encode(hash.as_ref())
}

/// A certificate whose key a client has proven to hold.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    der: CertificateDer<'static>,
    /// Those that came with it, which may say who signed it.
    chain: Vec<CertificateDer<'static>>,
    thumbprint: String,
    /// The thumbprint of its key (RFC 7638), if it is of a kind that keys of clients are of.
    key: Option<String>,
    /// From when to when it counts, in seconds since 1970.
    counts: (i64, i64),
}

/// Why something is not a certificate of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// It is none, or there is something behind it.
    #[error("the client certificate cannot be read")]
    Malformed,
    /// It is larger than certificates are.
    #[error("the client certificate has more than 8192 bytes")]
    TooLarge,
    /// More came with it than there can be between it and an authority.
    #[error("more than 4 certificates came with that of the client")]
    TooMany,
}

impl ClientCertificate {
    /// Reads a certificate and those that came with it, the client's own first.
    ///
    /// # Errors
    /// [`CertificateRefused`].
    pub fn read(shown: &[CertificateDer<'_>]) -> Result<Self, CertificateRefused> {
        let (own, chain) = shown.split_first().ok_or(CertificateRefused::Malformed)?;
        if chain.len() > LONGEST_CHAIN {
            return Err(CertificateRefused::TooMany);
        }
        if shown.iter().any(|der| der.len() > LARGEST) {
            return Err(CertificateRefused::TooLarge);
        }
        let parsed = parsed(own).ok_or(CertificateRefused::Malformed)?;
        let validity = parsed.validity();
        Ok(Self {
            key: key_of(parsed.public_key()).map(|jwk| jwk.thumbprint()),
            counts: (validity.not_before.timestamp(), validity.not_after.timestamp()),
            thumbprint: thumbprint(own),
            der: own.clone().into_owned(),
            chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
        })
    }

    /// Reads the first certificate of a PEM file.
    ///
    /// # Errors
    /// [`CertificateRefused`].
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateRefused> {
        let der = CertificateDer::from_pem_slice(pem);
        Self::read(&[der.map_err(|_| CertificateRefused::Malformed)?])
    }

    /// The key with which this certificate alone is registered: it names the certificate in `x5c`.
    #[must_use]
    pub fn jwk(&self) -> Option<Jwk> {
        let key = key_of(parsed(&self.der)?.public_key())?;
        Some(Jwk { x5c: vec![STANDARD.encode(&self.der)], ..key })
    }

    /// The value of `x5t#S256`.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The certificate itself.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Those that came with it.
    pub fn chain(&self) -> impl Iterator<Item = &[u8]> {
        self.chain.iter().map(AsRef::as_ref)
    }

    /// Whether it has begun to count and not expired.
    #[must_use]
    pub fn counts_at(&self, now: Timestamp) -> bool {
        let now = i64::try_from(now.secs()).unwrap_or(i64::MAX);
        let (from, until) = self.counts;
        (from..=until).contains(&now)
    }

    /// Whether a token that says this is of use to who shows it at `now`: the token is bound to this
    /// certificate, and to nothing beside it.
    #[must_use]
    pub fn confirms(&self, bound: &Confirmation, now: Timestamp) -> bool {
        bound.certificate_alone() == Some(&self.thumbprint) && self.counts_at(now)
    }

    /// The thumbprint of its key, as that of a JWK (RFC 7638). `None`: it is none of RSA, P-256 and
    /// Ed25519.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Whether it names its subject so.
    #[must_use]
    pub fn is_of(&self, subject: &SubjectName) -> bool {
        parsed(&self.der).is_some_and(|certificate| subject.is_in(&certificate))
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCertificate({})", self.thumbprint)
    }
}

/// The thumbprint of the certificate that a key is registered with, the first of `x5c` (RFC 7517
/// §4.7). One that cannot be read has a thumbprint that no certificate has.
pub(crate) fn registered(x5c: &[String]) -> Option<String> {
    let first = x5c.first()?;
    Some(STANDARD.decode(first).map(|der| thumbprint(&der)).unwrap_or_default())
}

/// Whether the certificate that a key is registered with is one of that key (RFC 7517 §4.7).
#[must_use]
pub fn fits(jwk: &Jwk) -> bool {
    let Some(first) = jwk.x5c.first() else { return true };
    let der = STANDARD.decode(first).unwrap_or_default();
    let key = parsed(&der).and_then(|certificate| key_of(certificate.public_key()));
    key.is_some_and(|key| key.thumbprint() == jwk.thumbprint())
}

fn parsed(der: &[u8]) -> Option<X509Certificate<'_>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

/// The key of a certificate as a JWK, without any name or purpose.
fn key_of(spki: &SubjectPublicKeyInfo<'_>) -> Option<Jwk> {
    let encode = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes));
    let bytes = spki.subject_public_key.data.as_ref();
    if spki.algorithm.algorithm == oid_registry::OID_SIG_ED25519 {
        let (kty, crv) = ("OKP".to_owned(), Some("Ed25519".to_owned()));
        return Some(Jwk { kty, crv, x: encode(bytes), ..Jwk::default() });
    }
    match spki.parsed().ok()? {
        PublicKey::RSA(key) => {
            // A number, without the sign that DER gives it.
            let number = |bytes: &[u8]| {
                let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
                bytes.get(zeros..).and_then(encode)
            };
            let (n, e) = (number(key.modulus), number(key.exponent));
            Some(Jwk { kty: "RSA".to_owned(), n, e, ..Jwk::default() })
        }
        PublicKey::EC(point) => {
            let curve = spki.algorithm.parameters.as_ref()?.as_oid().ok()?;
            let (x, y) = match (curve == oid_registry::OID_EC_P256, point.data()) {
                (true, [4, both @ ..]) if both.len() == 64 => both.split_at_checked(32)?,
                _ => return None,
            };
            let (kty, crv) = ("EC".to_owned(), Some("P-256".to_owned()));
            Some(Jwk { kty, crv, x: encode(x), y: encode(y), ..Jwk::default() })
        }
        _ => None,
    }
}

#[cfg(test)]
pub(crate) mod tests;
