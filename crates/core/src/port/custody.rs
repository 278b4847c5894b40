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
    /// What was to be unwrapped was wrapped by a root key that is kept in another way.
    #[error(
        "the root key that is set is {ours}, and the data keys were wrapped by one {theirs}: set that \
         one in `[keys]`, or wrap them anew with `tegata key rewrap`"
    )]
    KeptElsewhere {
        /// Where the root key is that was asked.
        ours: &'static str,
        /// Where the one is that it belongs to.
        theirs: &'static str,
    },
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
