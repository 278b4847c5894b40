//! Where the keys of cookies and CSRF tokens come from.

use std::{fmt, sync::Arc};

use aws_lc_rs::hmac;
use tegata_core::{Secret, StoreError};

type Derive = dyn Fn(u16, &[&[u8]]) -> Option<hmac::Key> + Send + Sync;

/// Numbered root secrets, as their owner derives keys from them: the newest makes, the older ones
/// still check. The secrets themselves stay with the owner.
#[derive(Clone)]
pub struct Keys {
    newest: u16,
    derive: Arc<Derive>,
}

impl Keys {
    /// Keys that `derive` derives from the root secret with the given number and from the given
    /// parts; no two lists of parts may give the same key. `None`: there is no such root secret.
    pub fn new(
        newest: u16,
        derive: impl Fn(u16, &[&[u8]]) -> Option<hmac::Key> + Send + Sync + 'static,
    ) -> Self {
        Self { newest, derive: Arc::new(derive) }
    }

    /// Keys derived from one root secret, which has the number 1: HMAC-SHA-256 over the parts, each
    /// preceded by its length.
    #[must_use]
    pub fn of_root(root: Secret<[u8; 32]>) -> Self {
        Self::new(1, move |number, parts| {
            let mut context =
                hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, root.expose()));
            for part in parts {
                context.update(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
                context.update(part);
            }
            (number == 1).then(|| hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref()))
        })
    }

    /// The number of the root secret that makes.
    pub(crate) const fn newest(&self) -> u16 {
        self.newest
    }

    /// The key of a root secret and a purpose. `None`: there is no such root secret.
    pub(crate) fn key(&self, number: u16, parts: &[&[u8]]) -> Option<hmac::Key> {
        (self.derive)(number, parts)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys(newest {})", self.newest)
    }
}

/// The error of a caller that gave no root secret to make something with.
pub(crate) fn missing(what: &str) -> StoreError {
    StoreError::Misused { detail: format!("there is no root secret for {what}") }
}
