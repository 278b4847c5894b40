//! The trust domains whose documents count here, each with its own bundle.

use std::{collections::BTreeMap, fmt, sync::Arc};

use arc_swap::ArcSwapOption;
use tegata_core::Timestamp;

use super::{Bundle, BundleRefused, JwtRefused, JwtSvid, SpiffeId, TrustDomain};
use crate::{
    ClientCertificate,
    certificate::{NoSvid, NotVouched},
};

/// The trust domains whose documents count. Their bundles can be replaced while they are asked.
#[derive(Default)]
pub struct TrustDomains(BTreeMap<TrustDomain, ArcSwapOption<Kept>>);

/// What is known of one of them.
struct Kept {
    bundle: Arc<Bundle>,
    /// Until when it counts, unless it is had again. One that an operator put there has no end.
    until: Option<Timestamp>,
}

/// Why a document shows nobody: in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SvidRefused {
    /// Nobody knows its trust domain.
    #[error("its trust domain is none of those that are configured")]
    Domain,
    /// The bundle of its trust domain has not been had yet.
    #[error("the trust bundle of its domain has not been had yet")]
    NoBundle,
    /// It was had too long ago to go by.
    #[error("the trust bundle of its domain could not be had for too long")]
    Stale,
    /// It is no X.509-SVID.
    #[error("it is no X.509-SVID: {0}")]
    X509(#[from] NoSvid),
    /// No authority of its trust domain signed it.
    #[error(transparent)]
    NotVouched(#[from] NotVouched),
    /// It is no JWT-SVID that counts.
    #[error("it is no JWT-SVID that counts: {0}")]
    Jwt(#[from] JwtRefused),
}

impl TrustDomains {
    /// These, of none of which a bundle is known.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = TrustDomain>) -> Self {
        Self(names.into_iter().map(|name| (name, ArcSwapOption::empty())).collect())
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes over the bundle of a domain, whichever was there before: somebody here says that it is the one.
    pub fn trust(&self, domain: &TrustDomain, bundle: Bundle) {
        self.keep(domain, Kept { bundle: Arc::new(bundle), until: None });
    }

    /// Takes over the bundle that a domain has just published, which counts until then. An older one than is
    /// known is not taken: what was taken out of the newer would count again.
    ///
    /// # Errors
    /// [`BundleRefused::Older`].
    pub fn renew(
        &self,
        domain: &TrustDomain,
        bundle: Bundle,
        until: Timestamp,
    ) -> Result<(), BundleRefused> {
        let before = self.kept(domain).and_then(|before| before.bundle.sequence);
        // Nothing is less than a number, too.
        if bundle.sequence < before {
            return Err(BundleRefused::Older);
        }
        self.keep(domain, Kept { bundle: Arc::new(bundle), until: Some(until) });
        Ok(())
    }

    /// What a domain publishes is what it was: that counts until then.
    pub fn confirm(&self, domain: &TrustDomain, until: Timestamp) {
        if let Some(kept) = self.kept(domain) {
            self.keep(domain, Kept { bundle: Arc::clone(&kept.bundle), until: Some(until) });
        }
    }

    /// Until when the bundles count that domains publish. One of which none was had has none.
    pub fn until(&self) -> impl Iterator<Item = (&TrustDomain, Timestamp)> {
        let until = |kept: &ArcSwapOption<Kept>| kept.load().as_ref().and_then(|it| it.until);
        self.0.iter().filter_map(move |(name, kept)| Some((name, until(kept)?)))
    }

    /// Whose X.509-SVID a certificate is, which its holder has proven to hold (X509-SVID §5).
    ///
    /// # Errors
    /// [`SvidRefused`].
    pub fn certified(
        &self,
        shown: &ClientCertificate,
        now: Timestamp,
    ) -> Result<SpiffeId, SvidRefused> {
        let id = shown.svid()?;
        self.bundle(id.domain(), now)?.authorities.vouch(shown, now)?;
        Ok(id)
    }

    /// The JWT-SVID that somebody showed, for this issuer.
    ///
    /// # Errors
    /// [`SvidRefused`].
    pub fn asserted(
        &self,
        svid: &str,
        issuer: &str,
        now: Timestamp,
    ) -> Result<JwtSvid, SvidRefused> {
        let bundle = self.bundle(JwtSvid::claimed(svid)?.domain(), now)?;
        Ok(JwtSvid::verify(svid, &bundle, issuer, now)?)
    }

    fn bundle(&self, domain: &TrustDomain, now: Timestamp) -> Result<Arc<Bundle>, SvidRefused> {
        let kept = self.0.get(domain).ok_or(SvidRefused::Domain)?.load_full();
        let kept = kept.ok_or(SvidRefused::NoBundle)?;
        if kept.until.is_some_and(|until| until <= now) {
            return Err(SvidRefused::Stale);
        }
        Ok(Arc::clone(&kept.bundle))
    }

    fn kept(&self, domain: &TrustDomain) -> Option<Arc<Kept>> {
        self.0.get(domain)?.load_full()
    }

    fn keep(&self, domain: &TrustDomain, now: Kept) {
        if let Some(kept) = self.0.get(domain) {
            kept.store(Some(Arc::new(now)));
        }
    }
}

impl fmt::Debug for TrustDomains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests;
