//! `Vault`: private keys that sign where they were made, and never leave it.

use std::time::Duration;

use super::BoxFuture;

/// How a key of a vault signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// RSASSA-PKCS1-v1_5 with SHA-256, with a key of 2048 bits.
    RsaPkcs1,
    /// RSASSA-PSS with SHA-256 and a salt of 32 bytes, with a key of 2048 bits.
    RsaPss,
    /// ECDSA on P-256 with SHA-256. Signatures are both halves in full length, one after the other.
    P256,
    /// Ed25519.
    Ed25519,
}

/// The public half of a key of a vault. Numbers are big-endian, without leading zeros for RSA and in
/// full length for curves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicHalf {
    /// An RSA key.
    Rsa {
        /// The modulus.
        modulus: Vec<u8>,
        /// The exponent.
        exponent: Vec<u8>,
    },
    /// A point on P-256.
    P256 {
        /// Its first coordinate.
        x: Vec<u8>,
        /// Its second coordinate.
        y: Vec<u8>,
    },
    /// An Ed25519 key.
    Ed25519(Vec<u8>),
}

/// A key that a vault made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInVault {
    /// How the vault finds it again.
    pub handle: Vec<u8>,
    /// Its public half.
    pub public: PublicHalf,
}

/// Why a vault did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultRefused {
    /// There is no such key, or none that may be used.
    #[error("the vault does not have the key: {detail}")]
    NoKey {
        /// Which one, and what is wrong with it.
        detail: String,
    },
    /// It makes no keys of this kind.
    #[error("the vault makes no such keys: {detail}")]
    Unsupported {
        /// Which ones, and what it said.
        detail: String,
    },
    /// It cannot be reached, does not answer in time, or has too much to do.
    #[error("the vault cannot be used: {detail}")]
    Unavailable {
        /// What is wrong, and with what.
        detail: String,
    },
}

/// Makes keys that sign, and signs with them. No private half ever comes out of it.
pub trait Vault: Send + Sync {
    /// Makes a key. Until the answer is kept somewhere, nobody else knows of it.
    fn make(&self, scheme: Scheme) -> BoxFuture<'_, Result<KeyInVault, VaultRefused>>;

    /// Signs `message` with the key of that handle. Waits for a bounded time, and keeps no thread
    /// waiting that others need.
    fn sign<'a>(
        &'a self,
        handle: &'a [u8],
        scheme: Scheme,
        message: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, VaultRefused>>;

    /// The same, for a thread of its own that may wait.
    ///
    /// # Errors
    /// As [`Self::sign`].
    fn sign_waiting(
        &self,
        handle: &[u8],
        scheme: Scheme,
        message: &[u8],
    ) -> Result<Vec<u8>, VaultRefused>;

    /// Destroys a key. One that is not there is no error.
    fn destroy<'a>(&'a self, handle: &'a [u8]) -> BoxFuture<'a, Result<(), VaultRefused>>;

    /// Why it did not sign with the key of that handle, or with any, when it was last asked, if that was
    /// not long ago: whoever would use something up for a signature asks this first.
    fn trouble(&self, handle: &[u8]) -> Option<String>;

    /// Whether it has signed something within this span: then one that does not answer now has only too
    /// much to do.
    fn signed_within(&self, span: Duration) -> bool;
}
