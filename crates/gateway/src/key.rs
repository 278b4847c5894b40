//! What the gateway asks about an API key. Whoever knows keys implements [`KeyCheck`].

use std::sync::Arc;

use tegata_core::BoxFuture;
use tegata_token::{ApiGrant, ApiKeyId, Claims};

/// Knows what an API key stands for.
pub trait KeyCheck: Send + Sync {
    /// Whom a key stands for, as it was shown.
    ///
    /// Asked for every request with a key, so it should answer from memory where it can. What is no key of
    /// this installation it should refuse without asking anybody. Whether a key was taken back a moment ago
    /// it need not know: the gateway looks that up afterwards, by `jti` and the other claims.
    fn check<'a>(&'a self, text: &'a str) -> BoxFuture<'a, Result<Arc<KeyIdentity>, KeyUnfit>>;
}

/// Whom a key stands for. As long as this does not change, the gateway keeps what it made of it.
#[derive(Debug)]
pub struct KeyIdentity {
    /// The id of the key, which is no secret.
    pub id: ApiKeyId,
    /// What an access token of it would say. `jti` is the name by which it is taken back.
    pub claims: Claims,
    /// What it may be used for: the services and the routes.
    pub grant: ApiGrant,
}

/// Why a key is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyUnfit {
    /// It is no key, or it was mistyped.
    Malformed,
    /// There is no such key, its secret is another, or it was taken back.
    Unknown,
    /// Its time is over.
    Expired,
    /// The keys cannot be reached.
    Unavailable,
}
