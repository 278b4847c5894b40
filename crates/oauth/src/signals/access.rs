//! Which client may order signals: one that shows an access token of its own with the scope for it.

use tegata_core::{ClientId, StoreError};

use crate::{
    client::Client,
    dpop::{Credential, NotHolder},
    provider::Provider,
};

/// The scope that reads streams and polls.
pub const READ: &str = "ssf.read";
/// The scope that makes and changes streams, and does what [`READ`] does.
pub const MANAGE: &str = "ssf.manage";

/// What a token is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To read, or to poll.
    Read,
    /// To change something.
    Manage,
}

/// Why a token is not enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAccess {
    /// `invalid_token` (RFC 6750 §3.1).
    #[error(
        "the access token is not valid, has expired, has been revoked, or is for another place"
    )]
    InvalidToken,
    /// Whoever shows it is not its holder.
    #[error(transparent)]
    NotHolder(#[from] NotHolder),
    /// `insufficient_scope` (RFC 6750 §3.1): this one, at least.
    #[error("the access token, or the registration of its client, has not the scope for this")]
    InsufficientScope(&'static str),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Need {
    /// The least scope that is enough.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Read => READ,
            Self::Manage => MANAGE,
        }
    }

    const fn enough(self) -> &'static [&'static str] {
        match self {
            Self::Read => &[READ, MANAGE],
            Self::Manage => &[MANAGE],
        }
    }
}

/// Whether a client may still hear of anything: what was taken from its registration since its stream
/// was made does not count any more.
pub(super) fn may_hear(client: &Client) -> bool {
    Need::Read.enough().iter().any(|scope| client.scope.contains(scope))
}

impl Provider {
    /// The client whose token this is, if it may do this. The token speaks for the client alone
    /// (RFC 6749 §4.4), and is for the gateway or for this issuer: one that a service was shown is
    /// of no use to it here.
    ///
    /// # Errors
    /// [`NoAccess`].
    pub async fn signals_client(
        &self,
        credential: &Credential<'_>,
        need: Need,
    ) -> Result<Client, NoAccess> {
        let client = self.acting_client(credential, need.enough()).await?;
        client.ok_or(NoAccess::InsufficientScope(need.scope()))
    }

    /// The client whose token this is, if it speaks for the client alone, is for us, and has one of
    /// these scopes. `None`: it has none of them.
    pub(crate) async fn acting_client(
        &self,
        credential: &Credential<'_>,
        enough: &[&str],
    ) -> Result<Option<Client>, NoAccess> {
        let verified = self.verifier().verify(&self.resolved(credential.token()).await?);
        let verified = verified.map_err(|_| NoAccess::InvalidToken)?;
        self.revoker().know_enough().await?;
        if self.revoker().view().realm(self.realm()).check(&verified).is_some() {
            return Err(NoAccess::InvalidToken);
        }
        let claims = verified.claims();
        self.holder(claims, credential).await?;
        let is_for_us = [self.issuer(), &self.config().audience]
            .into_iter()
            .any(|name| claims.aud.contains(name));
        let id = claims.client_id.as_deref().filter(|id| *id == claims.sub && is_for_us);
        let id = id.and_then(|id| ClientId::new(id).ok()).ok_or(NoAccess::InvalidToken)?;
        let client = self.clients().load(self.realm(), &id).await?;
        let client = client.map(|found| found.value).filter(|client| !client.disabled);
        let client = client.ok_or(NoAccess::InvalidToken)?;
        // What was taken from its registration since does not count any more.
        let may = |scope: &&str| claims.scope.contains(scope) && client.scope.contains(scope);
        Ok(enough.iter().any(may).then_some(client))
    }
}
