//! `Custody`: the root key, which wraps the keys that data is encrypted with.

use super::BoxFuture;
use crate::secret::Secret;

/// A key that data is encrypted with: 256 bits.
pub type DataKey = Secret<[u8; 32]>;

/// Why the root key did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CustodyRefused {
    /// What was to be unwrapped was not wrapped with this root key, or was altered.
    #[error("this root key does not open the data: it is another key, or the data was altered")]
    NotOurs,
    /// The root key cannot be reached or read.
    #[error("the root key cannot be used: {detail}")]
    Unavailable {
        /// What is wrong, and with what.
        detail: String,
    },
}

/// Holds the root key. Only wrapped keys leave it, so whoever has the store and not the root key
/// has nothing.
pub trait Custody: Send + Sync {
    /// Encrypts a data key. `context` says what it is for; it must be the same to unwrap.
    fn wrap<'a>(
        &'a self,
        key: &'a DataKey,
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, CustodyRefused>>;

    /// Decrypts what [`Custody::wrap`] answered.
    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<DataKey, CustodyRefused>>;
}
