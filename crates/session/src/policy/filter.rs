//! Which cookies go further: those of categories that need consent and lack it do not.

use std::{fmt, sync::Arc};

use tegata_core::{Realm, Timestamp};

use super::{Agreed, CookiePolicy, pattern::plain};
use crate::{cookie::Cookie, cookie_consent::ConsentSeal};

/// Stands between browsers and services.
#[derive(Clone)]
pub struct CookieFilter {
    policy: Arc<CookiePolicy>,
    seal: ConsentSeal,
    realm: Realm,
    consent: String,
    consent_plain: Vec<u8>,
}

impl CookieFilter {
    /// A filter by this policy. What people agreed to stands in `consent`.
    #[must_use]
    pub fn new(
        policy: Arc<CookiePolicy>,
        seal: ConsentSeal,
        realm: Realm,
        consent: &Cookie,
    ) -> Self {
        let consent = consent.name().to_owned();
        let consent_plain = plain(consent.as_bytes());
        Self { policy, seal, realm, consent, consent_plain }
    }

    /// What the person agreed to whose browser sent these cookies, each as its name and value. Two
    /// choices are none: one of them was planted.
    pub fn agreed<'c>(
        &self,
        cookies: impl Iterator<Item = (&'c [u8], &'c [u8])>,
        now: Timestamp,
    ) -> Agreed {
        let mut choices = cookies.filter(|(name, _)| *name == self.consent.as_bytes());
        let (Some((_, value)), None) = (choices.next(), choices.next()) else {
            return Agreed::NOTHING;
        };
        let Ok(value) = std::str::from_utf8(value) else { return Agreed::NOTHING };
        let opened = self.seal.open(&self.realm, value, self.policy.version(), now);
        opened.map_or(Agreed::NOTHING, |consent| consent.agreed)
    }

    /// Whether a cookie of this name may reach a service. The choice itself reaches none: services that
    /// compare what they get could tell people apart by it.
    #[must_use]
    pub fn may_be_sent(&self, name: &[u8], agreed: Agreed) -> bool {
        self.passes(name, agreed)
    }

    /// Whether a service may set a cookie of this name. The choice itself is no service's to set: it
    /// could give one person's to another.
    #[must_use]
    pub fn may_be_set(&self, name: &[u8], agreed: Agreed) -> bool {
        self.passes(name, agreed)
    }

    /// Whether a service may take away a cookie of this name: what nobody agreed to, above all.
    #[must_use]
    pub fn may_be_deleted(&self, name: &[u8]) -> bool {
        !self.is_choice(name)
    }

    fn passes(&self, name: &[u8], agreed: Agreed) -> bool {
        let plain = plain(name);
        plain != self.consent_plain && self.policy.passes_plain(&plain, agreed)
    }

    fn is_choice(&self, name: &[u8]) -> bool {
        plain(name) == self.consent_plain
    }
}

impl fmt::Debug for CookieFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CookieFilter(version {})", self.policy.version())
    }
}
