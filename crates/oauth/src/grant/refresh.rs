//! The refresh token grant (RFC 6749 §6).

use parking_lot::Mutex;
use tegata_core::{BoxFuture, KeyId, Realm, StoreError, Versioned};
use tegata_identity::{Shown, User, second_factor};
use tegata_token::{
    Binding, Claims, Family, Holders, RefreshRefused, Standing, Verdict,
    families::{Issue, Refresh},
    family::Granted,
};

use crate::{
    authenticate::ProvenClient,
    client::Client,
    dpop,
    error::{Code, OAuthError, Refused},
    issue::{ForIdToken, TokenAnswer},
    params::Params,
    provider::{Asking, Provider},
};

/// The holder of a family that a client refreshes. Who that is is kept for the answer: after the
/// token has been spent, nothing must be able to fail that can be asked before.
struct Holder<'a> {
    provider: &'a Provider,
    client: &'a Client,
    /// Whether it is in a registry, or describes itself: our own scripts are and do neither.
    is_registered: bool,
    person: Mutex<Option<User>>,
}

/// Whose a family is.
pub(crate) struct Owner {
    pub(crate) user: Versioned<User>,
    /// What its tokens say from now on, where that is less than what they said.
    lowered: Option<Box<Granted>>,
}

impl Holder<'_> {
    /// Whether a family of this name is this client's: begun with it, and not with another of the same name
    /// before it, and when it called people as it does now, as far as that is known.
    fn is_of_this(&self, family: &Family) -> bool {
        let was_there = !self.is_registered || self.client.was_there(family.started);
        was_there && self.client.calls_people_as(family)
    }
}

impl Holders for Holder<'_> {
    fn standing<'a>(
        &'a self,
        realm: &'a Realm,
        family: &'a Family,
    ) -> BoxFuture<'a, Result<Standing, StoreError>> {
        Box::pin(async move {
            // Of another client's it is told so; nothing is done to it.
            if family.client == self.client.id && !self.is_of_this(family) {
                return Ok(Standing::Gone);
            }
            let owner = self.provider.owner(realm, family, Asking::Refresh).await?;
            let Some(Owner { user, mut lowered }) = owner else { return Ok(Standing::Gone) };
            if family.client == self.client.id && family.grant.sector.is_none() {
                let next = lowered.get_or_insert_with(|| Box::new(family.grant.clone()));
                next.sector = Some(self.client.written_sector().to_owned());
            }
            let standing = Standing::Good {
                authority: user.value.authority,
                // Roles that change while this is under way count.
                unchanged: Some(user.require()),
                most: Some(self.client.scope.clone()),
                lowered,
            };
            *self.person.lock() = Some(user.value);
            Ok(standing)
        })
    }

    fn signer(&self) -> Option<KeyId> {
        self.provider.signer(self.client.access_token_alg)
    }
}

impl Provider {
    /// Whose a family is, unless something that it stands on was taken back or has ended.
    pub(crate) async fn owner(
        &self,
        realm: &Realm,
        family: &Family,
        asking: Asking,
    ) -> Result<Option<Owner>, StoreError> {
        // What took back the person, the session or the client takes back the family, also one that
        // was begun while it happened.
        let claims = Claims {
            sub: family.user.as_str().to_owned(),
            sid: family.session.as_ref().map(|sid| sid.as_str().to_owned()),
            client_id: Some(family.client.as_str().to_owned()),
            iat: family.started.secs(),
            ..Claims::default()
        };
        if self.revoker().view().realm(realm).check_grant(&claims, None, "").is_some() {
            return Ok(None);
        }
        // A family ends with its session, by whatever it ends.
        if let Some(sid) = &family.session
            && !self.sessions().lives(realm, sid, asking).await?
        {
            return Ok(None);
        }
        let Some(user) = self.active_user(realm, family.user.as_str()).await? else {
            return Ok(None);
        };
        let lowered = self.lowered(realm, family, &user.value).await?;
        // Nothing goes on that began before a second factor was demanded of its person.
        let demand = &self.config().second_factor;
        let acr = lowered.as_ref().map_or(&family.grant.acr, |lowered| &lowered.acr);
        let is_met = demand.is_met(&user.value, acr.as_deref());
        Ok(is_met.then_some(Owner { user, lowered }))
    }

    /// What the tokens of a family say from now on, where a second factor is gone that was shown for it. A
    /// factor that goes takes authority with it, so nothing is asked for while that is the same. Of which
    /// factor it is is not known of what earlier versions granted: it may be any that went since, unless
    /// that was a list of recovery codes.
    async fn lowered(
        &self,
        realm: &Realm,
        family: &Family,
        user: &User,
    ) -> Result<Option<Box<Granted>>, StoreError> {
        let Granted { amr, factors, .. } = &family.grant;
        let rests_on_some = || second_factor::has_gone(amr, factors, &[]);
        if user.authority == family.authority || !rests_on_some() {
            return Ok(None);
        }
        if factors.is_empty() && user.lost_factor_at <= family.authority {
            return Ok(None);
        }
        let names = second_factor::names_of(self.records(), realm, &family.user).await?;
        let mut grant = family.grant.clone();
        let Granted { acr, amr, factors, .. } = &mut grant;
        let is_less = Shown { acr, amr, factors }.narrow(&names);
        Ok(is_less.then(|| Box::new(grant)))
    }

    /// Answers a refresh.
    pub(super) async fn refresh(
        &self,
        client: &ProvenClient,
        params: &Params,
        binding: &Binding,
    ) -> Result<TokenAnswer, Refused> {
        let token = params.require("refresh_token", "refresh_token is missing")?;
        let narrowed = self.narrowed(params, client)?;
        let rotates = client.rotates();
        let (client_id, narrowed, as_of) = (&client.id, &narrowed, Some(client.since()));
        let attempt = None;
        let asked =
            Refresh { token, client: client_id, binding, attempt, narrowed, rotates, as_of };
        match self.refreshed(client, &asked).await {
            Ok((issue, person)) => self.answer(client, &issue, &person, None).await,
            Err(RefreshRefused::Store(error)) => Err(error.into()),
            Err(RefreshRefused::Wider(wider)) => Err(OAuthError::from(wider).into()),
            Err(RefreshRefused::Verdict(verdict)) => {
                tracing::info!(client = %asked.client, verdict = verdict.name(), "refresh refused");
                Err(OAuthError::new(Code::InvalidGrant, verdict.description()).into())
            }
        }
    }

    /// Refreshes a family of a client. Answers what it gave, and whose it is.
    ///
    /// # Errors
    /// [`RefreshRefused`].
    pub async fn refreshed(
        &self,
        client: &Client,
        asked: &Refresh<'_>,
    ) -> Result<(Issue, User), RefreshRefused> {
        // What the answer will be signed with: a token must not be spent for nothing.
        self.check_signer(client.access_token_alg)?;
        let is_registered = asked.as_of.is_some();
        let holder = Holder { provider: self, client, is_registered, person: Mutex::new(None) };
        let issue = self.families().refresh(self.realm(), asked, &holder).await?;
        // Whoever was given something was asked about.
        let person = holder.person.into_inner().ok_or(Verdict::Revoked)?;
        Ok((issue, person))
    }

    /// The answer for a family's current generation. Without an ID token for a refresh: the person
    /// was not asked anything (OpenID Connect Core §12.2 leaves it open).
    pub(super) async fn answer(
        &self,
        client: &Client,
        issue: &Issue,
        person: &User,
        id_token: Option<ForIdToken<'_>>,
    ) -> Result<TokenAnswer, Refused> {
        let family = &issue.family;
        let access_token = self.access_token(issue, person, client).await?;
        let openid = family.grant.scope.contains("openid");
        let id_token = match id_token {
            Some(asked) if openid => {
                Some(self.id_token(issue, person, client, &access_token, asked).await?)
            }
            _ => None,
        };
        let refreshes = client.may_use(crate::client::GrantType::RefreshToken);
        Ok(TokenAnswer {
            access_token,
            token_type: dpop::token_type(family.binding.confirmation().as_ref()),
            expires_in: family.access.exp.saturating_sub(self.node().now().secs()),
            refresh_token: refreshes.then(|| issue.refresh_token.expose().clone()),
            id_token,
            scope: family.access.scope.as_str().to_owned(),
            authorization_details: family.details(),
            issued_token_type: None,
            tokens: None,
        })
    }
}
