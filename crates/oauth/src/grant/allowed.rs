//! What a person allowed a client, from then until the client takes it: what codes and device codes
//! have in common.
//!
//! Whatever stands for it is a record, and taking it replaces the record by a tombstone that names the
//! family it began, in the batch that begins the family. So it is taken once, by however many at once
//! it is asked for, and a replay always finds what to take back.

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, ClientId, CommitRefused, Expect, FamilyId, SessionId, StoreError, Stored as _,
    Timestamp, UserId, port::Change, repository,
};
use tegata_identity::second_factor;
use tegata_token::{Beginning, Binding, Claims, Details, Narrowed, Order, Scope, family::Granted};

use crate::{
    authenticate::ProvenClient,
    backchannel::RelyingParty,
    client::Client,
    error::{Code, OAuthError, Refused},
    issue::{ForIdToken, TokenAnswer},
    params::Params,
    provider::{Asking, Provider},
    request::AskedClaims,
};

/// What a person allowed a client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Allowed {
    pub(crate) client: ClientId,
    pub(crate) nonce: Option<String>,
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) session_ends: Timestamp,
    pub(crate) offline: bool,
    pub(crate) scope: Scope,
    pub(crate) audience: Vec<String>,
    /// The key that it is bound to (RFC 9449 §10).
    #[serde(default)]
    pub(crate) dpop_jkt: Option<String>,
    pub(crate) acr: String,
    pub(crate) amr: Vec<String>,
    pub(crate) auth_time: u64,
    /// Which second factors were shown for it.
    #[serde(default)]
    pub(crate) factors: Vec<String>,
    /// What the client called people by then, as [`Granted::sector`].
    #[serde(default)]
    pub(crate) sector: Option<String>,
    pub(crate) issued: Timestamp,
    /// How often the person had taken something back from the client.
    #[serde(default)]
    pub(crate) withdrawn: u64,
    #[serde(default)]
    pub(crate) details: Details,
    #[serde(default)]
    pub(crate) claims: AskedClaims,
    /// As [`Granted::whole_profile`].
    #[serde(default)]
    pub(crate) whole_profile: bool,
}

impl Provider {
    /// Begins the family of what was allowed. `used` is the change that uses up what stands for it.
    pub(super) async fn begin_allowed(
        &self,
        client: &ProvenClient,
        params: &Params,
        binding: &Binding,
        allowed: &Allowed,
        used: impl FnOnce(FamilyId) -> Change + Send,
    ) -> Result<TokenAnswer, Begun> {
        // RFC 6749 §4.1.3 and RFC 8628 §3.4 know no `scope` here.
        let narrowed = Narrowed { scope: None, ..self.narrowed(params, client)? };
        if allowed.dpop_jkt.is_some() && allowed.dpop_jkt.as_deref() != binding.key() {
            return Err(wrong("the code is bound to a key; send a DPoP proof made with it").into());
        }
        if !client.was_there(allowed.issued) || !client.is_in(allowed.sector.as_deref()) {
            return Err(wrong("the client is not the one that it was allowed to").into());
        }
        // What the answer will be signed with: a code must not be used up for nothing.
        self.check_signer(client.access_token_alg)?;
        self.check_signer(client.id_token_alg)?;
        let user = self.active_user(self.realm(), allowed.user.as_str()).await?;
        // After the person, from whom a factor that goes from here on takes authority.
        if self.has_lost(&allowed.user, &allowed.factors).await? {
            return Err(wrong("a second factor that was shown for it is gone").into());
        }
        let withdrawn = self.withdrawn(&allowed.user, &allowed.client).await?;
        if withdrawn.times != allowed.withdrawn {
            return Err(wrong("the person has taken back what the client may do").into());
        }
        self.revoker().know_enough().await?;
        let demand = &self.config().second_factor;
        // After the last look at the store: what was taken back since the code was issued counts.
        let user = user
            .filter(|_| !self.is_taken_back(allowed))
            .filter(|user| demand.is_met(&user.value, Some(allowed.acr.as_str())))
            .ok_or(wrong("the person has signed out, or may not have tokens any more"))?;
        let beginning = Beginning {
            client: client.id.clone(),
            user: allowed.user.clone(),
            session: (!allowed.offline).then(|| allowed.session.clone()),
            began_in: allowed.offline.then(|| allowed.session.clone()),
            ends: (!allowed.offline).then_some(allowed.session_ends),
            grant: Granted {
                scope: allowed.scope.clone(),
                audience: allowed.audience.clone(),
                acr: Some(allowed.acr.clone()),
                amr: allowed.amr.clone(),
                auth_time: allowed.auth_time,
                sector: Some(client.written_sector().to_owned()),
                factors: allowed.factors.clone(),
                details: allowed.details.clone(),
                userinfo_claims: allowed.claims.userinfo.clone(),
                whole_profile: allowed.whole_profile,
            },
            binding: binding.clone(),
            authority: user.value.authority,
            authorized: allowed.issued,
            as_of: Some(client.since()),
            kid: self.signer(client.access_token_alg),
        };
        narrowed.check(&beginning.grant, &allowed.scope).map_err(OAuthError::from)?;
        let begun = self.families().begin_with(self.realm(), beginning, narrowed).await;
        let (issue, begins) = begun?;
        let mut batch = Batch::new(self.realm().clone())
            .with(used(issue.family.id.clone()))
            .with(begins)
            .with(withdrawn.unchanged)
            .with(user.require());
        let party = self.new_party(client, allowed).await?;
        batch = party.iter().fold(batch, |batch, party| batch.with(party.put(Expect::Absent)));
        self.records().commit(batch).await?;
        if let Some(party) = &party
            && self.ended_meanwhile(party).await
        {
            return Err(wrong("the person has signed out").into());
        }
        let asked = ForIdToken {
            nonce: allowed.nonce.as_deref(),
            session: &allowed.session,
            claims: &allowed.claims.id_token,
        };
        Ok(self.answer(client, &issue, &user.value, Some(asked)).await?)
    }

    /// Whether one of these second factors is a person's no more.
    async fn has_lost(&self, user: &UserId, factors: &[String]) -> Result<bool, StoreError> {
        if factors.is_empty() {
            return Ok(false);
        }
        let names = second_factor::names_of(self.records(), self.realm(), user).await?;
        Ok(second_factor::has_gone(&[], factors, &names))
    }

    /// Whether a session is known to have ended while its client got tokens: whoever tells that has perhaps
    /// looked already, so the client is told anew. What was given is written down by now, so a store that
    /// does not answer here is no reason to keep it from the client, who could not ask for it again.
    async fn ended_meanwhile(&self, party: &RelyingParty) -> bool {
        let client = &party.client;
        match self.sessions().lives(self.realm(), &party.session, Asking::Introspect).await {
            Ok(true) => false,
            Ok(false) => {
                if let Err(error) = self.tell_late(party).await {
                    tracing::warn!(%client, %error, "a client is not told that a session has ended");
                }
                true
            }
            Err(error) => {
                tracing::warn!(%client, %error, "whether a session has ended is not known");
                false
            }
        }
    }

    /// What remembers that the session is used at a client that is to hear when it ends, unless that is
    /// remembered already.
    async fn new_party(
        &self,
        client: &Client,
        allowed: &Allowed,
    ) -> Result<Option<RelyingParty>, StoreError> {
        if client.backchannel_logout_uri.is_none() {
            return Ok(None);
        }
        let party = RelyingParty::new(&allowed.session, &client.id, &allowed.user);
        let found =
            repository::load::<RelyingParty>(self.records(), self.realm(), party.key()).await?;
        Ok(found.is_none().then_some(party))
    }

    /// Whether the person, the session or the client was taken back since it was allowed.
    fn is_taken_back(&self, allowed: &Allowed) -> bool {
        let claims = Claims {
            sub: allowed.user.as_str().to_owned(),
            client_id: Some(allowed.client.as_str().to_owned()),
            sid: (!allowed.offline).then(|| allowed.session.as_str().to_owned()),
            iat: allowed.issued.secs(),
            ..Claims::default()
        };
        let view = self.revoker().view().realm(self.realm());
        view.session_ended(allowed.session.as_str())
            || view.check_grant(&claims, None, "").is_some()
    }

    /// A code was presented again: whatever it gave is taken back (RFC 6749 §4.1.2).
    pub(super) async fn replayed(&self, family: &FamilyId, to: &ClientId, by: &Client) -> Refused {
        if *to != by.id {
            return wrong("the code was issued to another client").into();
        }
        let order = Order { reason: "code_replayed".to_owned(), actor: "system".to_owned() };
        match self.families().revoke(self.realm(), family, &order).await {
            Ok(_) => wrong("the code was used before, so what it gave has been revoked").into(),
            Err(error) => error.into(),
        }
    }
}

/// Why nothing was begun.
pub(super) enum Begun {
    Race,
    Refused(Refused),
}

impl From<OAuthError> for Begun {
    fn from(error: OAuthError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<StoreError> for Begun {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Refused> for Begun {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<CommitRefused> for Begun {
    fn from(refused: CommitRefused) -> Self {
        match refused {
            CommitRefused::Conflict { .. } => Self::Race,
            CommitRefused::Store(error) => Self::Refused(Refused::Store(error)),
        }
    }
}

const fn wrong(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidGrant, description)
}
