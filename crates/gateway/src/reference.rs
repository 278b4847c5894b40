//! What the gateway asks about an opaque access token: for which token it stands. That one is then verified
//! and looked up among the revocations like any other.

use std::sync::Arc;

use tegata_core::BoxFuture;

/// Knows what opaque access tokens stand for.
pub trait References: Send + Sync {
    /// The token that a reference stands for. `Ok(None)`: for none, any more or ever.
    ///
    /// Asked for every request with a reference, so it should answer from memory where it can.
    ///
    /// # Errors
    /// [`Unresolved`]: whoever knows does not answer.
    fn resolve<'a>(
        &'a self,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, Unresolved>>;
}

/// Nobody says at present what a reference stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unresolved;
