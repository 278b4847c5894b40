//! X.509-SVIDs: certificates by which workloads show who they are (X509-SVID §2 to §4).

use x509_parser::extensions::GeneralName;

use super::{ClientCertificate, parsed};
use crate::spiffe::{InvalidSpiffeId, SpiffeId};

/// Why a certificate is not the X.509-SVID of a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSvid {
    /// Its extensions cannot be read.
    #[error("its extensions stand twice, or cannot be read")]
    Malformed,
    /// It names nobody, or two.
    #[error("it must have exactly one URI")]
    Uris,
    /// What it names is no SPIFFE ID.
    #[error("its URI is none of a workload: {0}")]
    Id(#[from] InvalidSpiffeId),
    /// It is that of an authority.
    #[error("it is that of an authority, which signs others")]
    Authority,
    /// It is not said to be for signing.
    #[error(
        "it must have a critical `keyUsage` with `digitalSignature`, and without `keyCertSign` and `cRLSign`"
    )]
    Usage,
}

impl ClientCertificate {
    /// Whose X.509-SVID it says it is. That its trust domain answers for it is for the bundle to say.
    ///
    /// # Errors
    /// [`NoSvid`].
    pub fn svid(&self) -> Result<SpiffeId, NoSvid> {
        let parsed = parsed(&self.der).ok_or(NoSvid::Malformed)?;
        let constraints = parsed.basic_constraints().map_err(|_| NoSvid::Malformed)?;
        if constraints.is_some_and(|it| it.value.ca) {
            return Err(NoSvid::Authority);
        }
        let usage = parsed.key_usage().map_err(|_| NoSvid::Malformed)?.ok_or(NoSvid::Usage)?;
        let signs_others = usage.value.key_cert_sign() || usage.value.crl_sign();
        if !usage.critical || !usage.value.digital_signature() || signs_others {
            return Err(NoSvid::Usage);
        }
        let names = parsed.subject_alternative_name().map_err(|_| NoSvid::Malformed)?;
        let names = &names.ok_or(NoSvid::Uris)?.value.general_names;
        // A name that cannot be read may be a second URI.
        if names.iter().any(|name| matches!(name, GeneralName::Invalid(..))) {
            return Err(NoSvid::Malformed);
        }
        let mut uris = names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
        match (uris.next(), uris.next()) {
            (Some(only), None) => Ok(SpiffeId::new(only)?),
            _ => Err(NoSvid::Uris),
        }
    }
}
