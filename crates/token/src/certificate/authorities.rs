//! Whose signature on a client's certificate counts.

use std::{collections::BTreeSet, fmt, time::Duration};

use arc_swap::ArcSwap;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject as _};
use tegata_core::Timestamp;
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{ClientCertificate, parsed};

/// How much of what is wrong with a certificate is said: its holder has written some of it.
const MOST_SAID: usize = 200;

/// The authorities that are trusted to say whom a certificate is of. They can be replaced while they
/// are asked.
#[derive(Default)]
pub struct Authorities(ArcSwap<Vec<Authority>>);

/// One of them, from when to when it is one: seconds since 1970.
struct Authority {
    anchor: TrustAnchor<'static>,
    counts: (i64, i64),
}

/// Nobody can be trusted by what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoAuthority {
    /// It holds no certificate.
    #[error("there is no certificate in PEM")]
    Pem,
    /// One of them cannot be that of an authority.
    #[error("certificate {0} of the file cannot be that of an authority")]
    Certificate(usize),
}

/// No authority answers for a certificate: in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no authority answers for the client certificate: {0}")]
pub struct NotVouched(String);

impl Authorities {
    /// Trusts those whose certificates are in a PEM file, and nobody else from now on.
    ///
    /// # Errors
    /// [`NoAuthority`]: then those from before stay.
    pub fn trust(&self, pem: &[u8]) -> Result<(), NoAuthority> {
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let read = read.ok().filter(|all| !all.is_empty()).ok_or(NoAuthority::Pem)?;
        let read_one = |(index, der)| Authority::of(der).ok_or(NoAuthority::Certificate(index + 1));
        let anchors: Result<Vec<_>, _> = read.iter().enumerate().map(read_one).collect();
        self.0.store(anchors?.into());
        Ok(())
    }

    /// Those that have these certificates, but for those that cannot be that of an authority.
    pub(crate) fn of(certificates: &[CertificateDer<'_>]) -> Self {
        let anchors: Vec<_> = certificates.iter().filter_map(Authority::of).collect();
        Self(ArcSwap::from_pointee(anchors))
    }

    /// Whether a certificate says that it is that of an authority, whose key signs certificates (X509-SVID
    /// §4.3).
    pub(crate) fn is_one(der: &CertificateDer<'_>) -> bool {
        let says_so = parsed(der).is_some_and(|certificate| certificate.is_ca());
        says_so && signs(der) == Some(true) && Authority::of(der).is_some()
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Looks whether one of them answers for a certificate: by its chain, at this time, for a client.
    ///
    /// # Errors
    /// [`NotVouched`].
    pub fn vouch(&self, shown: &ClientCertificate, now: Timestamp) -> Result<(), NotVouched> {
        let refused =
            |error: webpki::Error| NotVouched(error.to_string().chars().take(MOST_SAID).collect());
        check_names(&shown.chain)?;
        let certificate = EndEntityCert::try_from(&shown.der).map_err(refused)?;
        // Those who verify paths take an anchor for one whenever that is (RFC 5280 §6.1.1). Here, an authority
        // whose own certificate has expired answers for nobody.
        let at = i64::try_from(now.secs()).unwrap_or(i64::MAX);
        let authorities = self.0.load();
        let counting = authorities.iter().filter(|it| (it.counts.0..=it.counts.1).contains(&at));
        let anchors: Vec<_> = counting.map(|it| it.anchor.clone()).collect();
        let path = certificate
            .verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &anchors,
                &shown.chain,
                UnixTime::since_unix_epoch(Duration::from_secs(now.secs())),
                KeyUsage::client_auth(),
                None,
                None,
            )
            .map_err(refused)?;
        // RFC 5280 §6.1.4 (n), which that does not look at.
        match path.intermediate_certificates().find(|it| signs(&it.der()) == Some(false)) {
            Some(_) => Err(NotVouched(
                "its chain leads over a certificate whose `keyUsage` has no `keyCertSign`".into(),
            )),
            None => Ok(()),
        }
    }
}

/// Whether the key of a certificate may sign certificates: `None` where it does not say what it is for.
fn signs(der: &CertificateDer<'_>) -> Option<bool> {
    let usage =
        parsed(der).map(|it| it.key_usage().map(|usage| usage.map(|it| it.value.key_cert_sign())));
    // What cannot be read says nothing good.
    usage.and_then(Result::ok).unwrap_or(Some(false))
}

/// Looks whether those that came with a certificate have a name each. Where several had one, each order of
/// them would be a way that has to be tried, for whoever makes them up.
fn check_names(chain: &[CertificateDer<'_>]) -> Result<(), NotVouched> {
    let mut seen = BTreeSet::new();
    for der in chain {
        let certificate = parsed(der)
            .ok_or_else(|| NotVouched("a certificate that came with it cannot be read".into()))?;
        if !seen.insert(certificate.subject().as_raw().to_owned()) {
            return Err(NotVouched(
                "two certificates of one name came with it: show one way to the authority".into(),
            ));
        }
    }
    Ok(())
}

impl Authority {
    fn of(der: &CertificateDer<'_>) -> Option<Self> {
        let validity = parsed(der)?.validity().clone();
        let counts = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let anchor = anchor_from_trusted_cert(der).ok()?.to_owned();
        Some(Self { anchor, counts })
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.0.load().len())
    }
}
