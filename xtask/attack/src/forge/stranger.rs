//! A key that nobody trusts, and a certificate that it signed for itself.

use anyhow::Result;

use super::IssuerKey;

/// Whoever brings a key of their own.
pub(super) struct Stranger {
    pub(super) key: IssuerKey,
    /// In DER.
    pub(super) certificate: Vec<u8>,
}

impl Stranger {
    /// One who was never seen before.
    pub(super) fn new() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(vec!["stranger.example".to_owned()])?;
        let key = IssuerKey::of(&made.signing_key.serialize_der())?;
        Ok(Self { key, certificate: made.cert.der().to_vec() })
    }
}
