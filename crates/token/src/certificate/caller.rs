//! What a certificate says of whoever is known by it alone.

use x509_parser::extensions::GeneralName;

use super::{ClientCertificate, parsed};

/// What a certificate says of whoever is known by it alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedCaller {
    /// Its `uniformResourceIdentifier`s.
    pub uris: Vec<String>,
    /// From when it counts: seconds since 1970.
    pub from: u64,
    /// Until when it counts: seconds since 1970.
    pub until: u64,
}

/// Why a certificate makes nobody known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NobodysCertificate {
    /// It is not said to be for clients.
    #[error("it does not say that it is for clients (`extendedKeyUsage`: `clientAuth`)")]
    Purpose,
    /// It names two.
    #[error("it has more than one URI: which of them its holder is, nobody can say")]
    SeveralUris,
    /// Its names cannot be read.
    #[error("its extensions stand twice, or cannot be read")]
    Malformed,
}

impl ClientCertificate {
    /// What it says of its holder, to whom would know them by it alone. That an authority answers for it is
    /// for [`Authorities`](super::Authorities) to say.
    ///
    /// It must say that it is for clients: one that says nothing of its purpose may be a server's, whose key
    /// is in other hands. It has one URI at most, as X.509-SVIDs do (SPIFFE X509-SVID §2).
    ///
    /// # Errors
    /// [`NobodysCertificate`].
    pub fn caller(&self) -> Result<CertifiedCaller, NobodysCertificate> {
        let parsed = parsed(&self.der).ok_or(NobodysCertificate::Malformed)?;
        let usage = parsed.extended_key_usage().map_err(|_| NobodysCertificate::Malformed)?;
        if !usage.is_some_and(|usage| usage.value.client_auth) {
            return Err(NobodysCertificate::Purpose);
        }
        let names = parsed.subject_alternative_name();
        let names = names.map_err(|_| NobodysCertificate::Malformed)?;
        let names = names.map(|names| names.value.general_names.as_slice()).unwrap_or_default();
        let uri = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => Some((*uri).to_owned()),
            _ => None,
        };
        let uris: Vec<String> = names.iter().filter_map(uri).collect();
        if uris.len() > 1 {
            return Err(NobodysCertificate::SeveralUris);
        }
        let secs = |time: i64| u64::try_from(time).unwrap_or_default();
        let (from, until) = self.counts;
        Ok(CertifiedCaller { uris, from: secs(from), until: secs(until) })
    }
}
