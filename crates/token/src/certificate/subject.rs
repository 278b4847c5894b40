//! By which of its names a certificate is a client's.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName};

use super::DistinguishedName;

/// What a certificate must say of its subject (RFC 8705 §2.1.2). Names are compared as they are
/// written, but for distinguished names, which have a structure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectName {
    /// Its distinguished name.
    Dn(DistinguishedName),
    /// One of its `dNSName`s.
    Dns(String),
    /// One of its `uniformResourceIdentifier`s.
    Uri(String),
    /// One of its `iPAddress`es.
    Ip(IpAddr),
    /// One of its `rfc822Name`s.
    Email(String),
}

impl SubjectName {
    pub(super) fn is_in(&self, certificate: &X509Certificate<'_>) -> bool {
        if let Self::Dn(expected) = self {
            let own = DistinguishedName::of(certificate.subject());
            return own.is_some_and(|own| own.is_same_as(expected));
        }
        // An extension that stands twice says nothing.
        let Ok(Some(names)) = certificate.subject_alternative_name() else { return false };
        names.value.general_names.iter().any(|name| match (self, name) {
            (Self::Dns(own), GeneralName::DNSName(name))
            | (Self::Uri(own), GeneralName::URI(name))
            | (Self::Email(own), GeneralName::RFC822Name(name)) => own == name,
            (Self::Ip(IpAddr::V4(own)), GeneralName::IPAddress(bytes)) => own.octets() == **bytes,
            (Self::Ip(IpAddr::V6(own)), GeneralName::IPAddress(bytes)) => own.octets() == **bytes,
            _ => false,
        })
    }
}
