//! Userinfo (OpenID Connect Core §5.3).

use serde_json::{Map, Value};
use tegata_core::{ClientId, StoreError, repository};
use tegata_token::{Claims, Family};

use crate::{
    dpop::{Credential, NotHolder, ProvenKey},
    error::Refused,
    provider::Provider,
    request::claims,
};

/// What is known about a person, in the form that the client is registered for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Userinfo {
    /// As a JSON object.
    Plain(Map<String, Value>),
    /// As a JWT (§5.3.2).
    Signed(String),
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoUserinfo {
    /// `invalid_token` (RFC 6750 §3.1).
    #[error("the access token is not valid, has expired or has been revoked")]
    InvalidToken,
    /// Whoever shows it is not its holder.
    #[error(transparent)]
    NotHolder(#[from] NotHolder),
    /// `insufficient_scope` (RFC 6750 §3.1).
    #[error("the access token's scope does not include `openid`")]
    InsufficientScope,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Provider {
    /// What the scope of an access token lets its client know about the person, and the key that the
    /// token was shown with, where it is bound to one.
    ///
    /// # Errors
    /// [`NoUserinfo`].
    pub async fn userinfo(
        &self,
        credential: &Credential<'_>,
    ) -> Result<(Userinfo, Option<ProvenKey>), NoUserinfo> {
        let verified = self.verifier().verify(&self.resolved(credential.token()).await?);
        let verified = verified.map_err(|_| NoUserinfo::InvalidToken)?;
        self.revoker().know_enough().await?;
        let view = self.revoker().view().realm(self.realm());
        if view.check(&verified).is_some() {
            return Err(NoUserinfo::InvalidToken);
        }
        let claims_of_token = verified.claims();
        let key = self.holder(claims_of_token, credential).await?;
        if !claims_of_token.scope.contains("openid") {
            return Err(NoUserinfo::InsufficientScope);
        }
        let user = self.active_user(self.realm(), &claims_of_token.sub).await?;
        let user = user.ok_or(NoUserinfo::InvalidToken)?.value;
        let family = self.family_of(claims_of_token).await?;
        let mut info = claims::in_scope(&user, &claims_of_token.scope);
        info.extend(claims::about(&user, &self.asked_of_userinfo(family.as_ref()).await?));
        let newer = info.keys().any(|name| claims::is_newer(name));
        if newer && !self.covers_whole_profile(claims_of_token, family.as_ref()).await? {
            info.retain(|name, _| !claims::is_newer(name));
        }
        // As in the ID token that came with it (§5.3.2).
        info.insert("sub".to_owned(), verified.subject_told().into());
        Ok((self.in_form(info, claims_of_token).await?, key))
    }

    /// Signs what is told, if the token's client is registered so.
    async fn in_form(
        &self,
        mut info: Map<String, Value>,
        token: &Claims,
    ) -> Result<Userinfo, NoUserinfo> {
        let client = token.client_id.as_deref().and_then(|id| ClientId::new(id).ok());
        let client = match client {
            Some(id) => self.clients().load(self.realm(), &id).await?,
            None => None,
        };
        // Our own scripts are in no registry.
        let client = client.map(|found| found.value);
        let Some((id, algorithm)) = client.and_then(|it| it.userinfo_alg.map(|alg| (it.id, alg)))
        else {
            return Ok(Userinfo::Plain(info));
        };
        info.insert("iss".to_owned(), self.issuer().into());
        info.insert("aud".to_owned(), id.as_str().into());
        match self.sign(algorithm, "JWT", Value::Object(info).to_string().as_bytes()).await {
            Ok(jwt) => Ok(Userinfo::Signed(jwt)),
            Err(Refused::Store(error)) => Err(error.into()),
            Err(Refused::OAuth(error)) => {
                Err(StoreError::Misused { detail: error.description.to_owned() }.into())
            }
        }
    }

    /// The sign-in that a token is of. Its grant keeps what a token need not say.
    async fn family_of(&self, token: &Claims) -> Result<Option<Family>, StoreError> {
        let Some(fid) = &token.fid else { return Ok(None) };
        let found = repository::load::<Family>(self.records(), self.realm(), fid).await?;
        Ok(found.map(|found| found.value))
    }

    /// Whether the person was asked, when this was granted or since, for all that `profile` says now.
    async fn covers_whole_profile(
        &self,
        token: &Claims,
        family: Option<&Family>,
    ) -> Result<bool, StoreError> {
        let Some(family) = family else {
            // Whoever acts in their own name has agreed to nothing; a sign-in that nobody remembers says
            // nothing.
            return Ok(token.fid.is_none());
        };
        if family.grant.whole_profile {
            return Ok(true);
        }
        match self.clients().load(self.realm(), &family.client).await? {
            Some(client) => self.told_of_whole_profile(&family.user, &client.value).await,
            None => Ok(false),
        }
    }

    /// The claims that were asked for alone when the token's grant was made (§5.5).
    async fn asked_of_userinfo(&self, family: Option<&Family>) -> Result<Vec<String>, StoreError> {
        let Some(family) = family.filter(|family| !family.grant.userinfo_claims.is_empty()) else {
            return Ok(Vec::new());
        };
        // What was taken from its client's registration since does not count any more.
        let client = self.clients().load(self.realm(), &family.client).await?;
        let allowed = client.map(|client| match client.value.described {
            // Its document is looked at when it is given tokens; more than this it never has.
            Some(_) => self.config().registration_scope.clone(),
            None => client.value.scope,
        });
        let allowed = allowed.unwrap_or_default();
        let asked = family.grant.userinfo_claims.iter();
        Ok(asked.filter(|name| claims::is_within(name, &allowed)).cloned().collect())
    }
}
