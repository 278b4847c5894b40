//! The refresh token grant (RFC 6749 §6).

use tegata_core::{BoxFuture, Realm, StoreError};
use tegata_token::{
    Binding, Claims, Family, Holders, RefreshRefused, Scope, Standing,
    families::{Issue, Refresh},
};

use crate::{
    client::Client,
    error::{Code, OAuthError, Refused},
    issue::TokenAnswer,
    params::Params,
    provider::Provider,
};

impl Holders for Provider {
    fn standing<'a>(
        &'a self,
        realm: &'a Realm,
        family: &'a Family,
    ) -> BoxFuture<'a, Result<Standing, StoreError>> {
        Box::pin(async move {
            // What took back the person, the session or the client takes back the family, also one
            // that was begun while it happened.
            let claims = Claims {
                sub: family.user.as_str().to_owned(),
                sid: family.session.as_ref().map(|sid| sid.as_str().to_owned()),
                client_id: Some(family.client.as_str().to_owned()),
                iat: family.started.secs(),
                ..Claims::default()
            };
            let view = self.revoker().view().realm(realm);
            if view.check_claims(&claims, None, "").is_some() {
                return Ok(Standing::Gone);
            }
            let user = self.active_user(realm, family.user.as_str()).await?;
            Ok(user.map_or(Standing::Gone, |user| Standing::Good {
                authority: user.value.authority,
                // Roles that change while this is under way count.
                unchanged: Some(user.require()),
            }))
        })
    }
}

impl Provider {
    /// Answers a refresh.
    pub(super) async fn refresh(
        &self,
        client: &Client,
        params: &Params,
        binding: &Binding,
    ) -> Result<TokenAnswer, Refused> {
        let token = params.require("refresh_token", "refresh_token is missing")?;
        let malformed = |_| OAuthError::new(Code::InvalidScope, "scope is malformed");
        let scope = params.get("scope").map(Scope::new).transpose().map_err(malformed)?;
        let asked = Refresh { token, client: &client.id, binding, scope: scope.as_ref() };
        let issue = self.refreshed(&asked).await?;
        self.answer(client, &issue, None).await
    }

    /// Refreshes a family, and says what was wrong where that fails.
    ///
    /// # Errors
    /// `invalid_grant` with the verdict, `invalid_scope`, or what the store says.
    pub async fn refreshed(&self, asked: &Refresh<'_>) -> Result<Issue, Refused> {
        match self.families().refresh(self.realm(), asked, self).await {
            Ok(issue) => Ok(issue),
            Err(RefreshRefused::Store(error)) => Err(error.into()),
            Err(RefreshRefused::Scope) => {
                let description = "scope is wider than what was granted";
                Err(OAuthError::new(Code::InvalidScope, description).into())
            }
            Err(RefreshRefused::Verdict(verdict)) => {
                tracing::info!(client = %asked.client, verdict = verdict.name(), "refresh refused");
                Err(OAuthError::new(Code::InvalidGrant, verdict.description()).into())
            }
        }
    }

    /// The answer for a family's current generation. Without an ID token for a refresh: the person
    /// was not asked anything (OpenID Connect Core §12.2 leaves it open).
    pub(super) async fn answer(
        &self,
        client: &Client,
        issue: &Issue,
        id_token_nonce: Option<Option<&str>>,
    ) -> Result<TokenAnswer, Refused> {
        let family = &issue.family;
        let user = self.active_user(self.realm(), family.user.as_str()).await?;
        let gone = OAuthError::new(Code::InvalidGrant, "the person may not have tokens any more");
        let user = user.ok_or(gone)?.value;
        let access_token = self.access_token(issue, &user, client)?;
        let openid = family.grant.scope.contains("openid");
        let id_token = match id_token_nonce {
            Some(nonce) if openid => Some(self.id_token(issue, client, &access_token, nonce)?),
            _ => None,
        };
        let refreshes = client.may_use(crate::client::GrantType::RefreshToken);
        Ok(TokenAnswer {
            access_token,
            token_type: "Bearer",
            expires_in: family.access.exp.saturating_sub(self.node().now().secs()),
            refresh_token: refreshes.then(|| issue.refresh_token.expose().clone()),
            id_token,
            scope: family.access.scope.as_str().to_owned(),
            issued_token_type: None,
            tokens: None,
        })
    }
}
