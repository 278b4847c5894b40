//! Userinfo (OpenID Connect Core §5.3).

use serde_json::{Map, Value};
use tegata_core::StoreError;

use crate::provider::Provider;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoUserinfo {
    /// `invalid_token` (RFC 6750 §3.1).
    #[error("the access token is not valid, has expired or has been revoked")]
    InvalidToken,
    /// `insufficient_scope` (RFC 6750 §3.1).
    #[error("the access token's scope does not include `openid`")]
    InsufficientScope,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Provider {
    /// What the scope of an access token lets its client know about the person.
    ///
    /// # Errors
    /// [`NoUserinfo`].
    pub async fn userinfo(&self, access_token: &str) -> Result<Map<String, Value>, NoUserinfo> {
        let verified =
            self.verifier().verify(access_token).map_err(|_| NoUserinfo::InvalidToken)?;
        self.revoker().know_enough().await?;
        let view = self.revoker().view().realm(self.realm());
        if view.check(&verified).is_some() {
            return Err(NoUserinfo::InvalidToken);
        }
        let claims = verified.claims();
        if !claims.scope.contains("openid") {
            return Err(NoUserinfo::InsufficientScope);
        }
        let user = self.active_user(self.realm(), &claims.sub).await?;
        let user = user.ok_or(NoUserinfo::InvalidToken)?.value;
        let mut info = Map::new();
        info.insert("sub".to_owned(), claims.sub.as_str().into());
        if claims.scope.contains("profile") {
            info.insert("preferred_username".to_owned(), user.username.as_str().into());
            if let Some(locale) = &user.locale {
                info.insert("locale".to_owned(), locale.as_str().into());
            }
        }
        if claims.scope.contains("email")
            && let Some(email) = &user.email
        {
            info.insert("email".to_owned(), email.as_str().into());
            // Nobody has been asked to prove it yet.
            info.insert("email_verified".to_owned(), false.into());
        }
        if claims.scope.contains("roles") {
            let roles: Vec<_> = user.roles.iter().map(|role| role.as_str()).collect();
            info.insert("roles".to_owned(), roles.into());
        }
        Ok(info)
    }
}
