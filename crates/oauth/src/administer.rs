//! Who may administer: people with the role for it, and clients that were declared to.
//!
//! Whoever asks shows an access token that is for the administration of this issuer and for nobody
//! else, so that no service that is shown a token can show it here. Its scope counts as far as the
//! registration of its client has it still, and a person's role as their record has it at the moment.

use tegata_core::{ClientId, StoreError, UserId};
use tegata_token::Scope;

use crate::{
    dpop::{Credential, NotHolder, ProvenKey},
    provider::Provider,
};

/// The scope that reads.
pub const READ: &str = "admin.read";
/// The scope that changes, and reads.
pub const WRITE: &str = "admin.write";
/// The role that people need besides.
pub const ROLE: &str = "admin";
/// Where administration is, from the issuer on: tokens for it are for this address.
pub const PATH: &str = "/admin/v1";

/// What scopes of administration begin with: also those that are to come.
const PREFIX: &str = "admin.";

/// What a token is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To look at something.
    Read,
    /// To change something.
    Write,
}

impl Need {
    /// The least scope that is enough.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Read => READ,
            Self::Write => WRITE,
        }
    }

    const fn enough(self) -> &'static [&'static str] {
        match self {
            Self::Read => &[READ, WRITE],
            Self::Write => &[WRITE],
        }
    }
}

/// Who administers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Administrator {
    /// The person, or the client that speaks for itself.
    pub who: Who,
    /// How strongly a person was authenticated.
    pub acr: Option<String>,
    /// The key that the token is bound to, where it is.
    pub key: Option<ProvenKey>,
}

/// A person, or a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A person with the role.
    Person(UserId),
    /// A client in its own name.
    Client(ClientId),
}

impl Who {
    /// The name in the journal.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Person(user) => user.as_str(),
            Self::Client(client) => client.as_str(),
        }
    }
}

/// Why somebody may not administer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdministrator {
    /// `invalid_token` (RFC 6750 §3.1).
    #[error(
        "the access token is not valid, has expired, has been revoked, or is not for \
         administration alone"
    )]
    InvalidToken,
    /// Whoever shows it is not its holder.
    #[error(transparent)]
    NotHolder(#[from] NotHolder),
    /// `insufficient_scope` (RFC 6750 §3.1).
    #[error("the access token, or the registration of its client, has not the scope for this")]
    InsufficientScope(Need),
    /// The person has not the role.
    #[error("the person has not the role `{ROLE}`")]
    WithoutRole,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether a scope lets its bearer administer.
#[must_use]
pub fn is_administrative(scope: &Scope) -> bool {
    scope.values().any(|value| value.starts_with(PREFIX))
}

impl Provider {
    /// Whom tokens for administration are for.
    #[must_use]
    pub fn administration(&self) -> String {
        format!("{}{PATH}", self.issuer())
    }

    /// Who shows this token, if they may do this.
    ///
    /// # Errors
    /// [`NotAdministrator`].
    pub async fn administrator(
        &self,
        credential: &Credential<'_>,
        need: Need,
    ) -> Result<Administrator, NotAdministrator> {
        let invalid = || NotAdministrator::InvalidToken;
        let token = self.resolved(credential.token()).await?;
        let verified = self.verifier().verify(&token).map_err(|_| invalid())?;
        self.revoker().know_enough().await?;
        if self.revoker().view().realm(self.realm()).check(&verified).is_some() {
            return Err(invalid());
        }
        let claims = verified.claims();
        let key = self.holder(claims, credential).await?;
        // What was made from another token speaks through somebody else.
        let is_original = claims.act.is_none() && claims.original_jti.is_none();
        if claims.aud.0.as_slice() != [self.administration()] || !is_original {
            return Err(invalid());
        }
        let id = claims.client_id.as_deref().and_then(|id| ClientId::new(id).ok());
        let id = id.ok_or_else(invalid)?;
        let client = self.clients().load(self.realm(), &id).await?.ok_or_else(invalid)?.value;
        // Whatever a client says that registered or described itself, and whoever was one.
        if !client.is_declared() || client.disabled {
            return Err(invalid());
        }
        let who = if claims.sub == id.as_str() {
            Who::Client(id)
        } else {
            let user = self.active_user(self.realm(), &claims.sub).await?;
            let user = user.ok_or_else(invalid)?.value;
            if !user.roles.iter().any(|role| role.as_str() == ROLE) {
                return Err(NotAdministrator::WithoutRole);
            }
            Who::Person(user.id)
        };
        let may = |scope: &&str| claims.scope.contains(scope) && client.scope.contains(scope);
        if !need.enough().iter().any(may) {
            return Err(NotAdministrator::InsufficientScope(need));
        }
        Ok(Administrator { who, acr: claims.acr.clone(), key })
    }
}
