//! The authorization code grant (RFC 6749 §4.1).
//!
//! A code is a record, and redeeming it replaces the record by a tombstone that names the family it
//! began, in the batch that begins the family. So a code works once, whoever presents it how often
//! at once, and a replay always finds what to take back.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, ClientId, Entropy, Epoch, Expect, FamilyId, Kind, Lifetime, Secret, Stored, Timestamp,
    Versioned, id::expiry_day, repository,
};
use tegata_token::Binding;

use crate::{
    authenticate::ProvenClient,
    client::Client,
    error::{Code, OAuthError, Refused},
    grant::allowed::{Allowed, Begun},
    interaction::SignedIn,
    issue::TokenAnswer,
    params::Params,
    pkce::{self, Challenge},
    provider::Provider,
    request::{AuthorizationRequest, Redirect},
};

/// Where codes are stored.
pub static CODES: Kind =
    Kind { name: "code", indexes: &[], lifetime: Lifetime::ByDay(expiry_day), secret: true };

const PREFIX: &str = "ac_";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct CodeRecord {
    /// `epoch.day.digest`: the code itself is not stored.
    key: String,
    state: CodeState,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum CodeState {
    Open(Box<Open>),
    Redeemed { family: FamilyId, client: ClientId },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Open {
    redirect_uri: String,
    redirect_uri_named: bool,
    challenge: Option<Challenge>,
    until: Timestamp,
    // In one map with the others: earlier versions know no other form.
    #[serde(flatten)]
    allowed: Allowed,
}

/// How long a code lives at most where its client keeps a profile (FAPI 2.0 §5.3.2.1, item 10).
const LONGEST_OF_PROFILE: Duration = Duration::from_secs(60);

impl Open {
    fn until(&self, client: &Client) -> Timestamp {
        if client.is_fapi() {
            self.until.min(self.allowed.issued + LONGEST_OF_PROFILE)
        } else {
            self.until
        }
    }
}

impl Stored for CodeRecord {
    const KIND: &'static Kind = &CODES;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

impl Provider {
    /// Answers an authorization request with a code, or with `access_denied` where the person has just taken
    /// back what they had agreed to.
    ///
    /// # Errors
    /// What the store says.
    pub async fn grant_code(
        &self,
        request: &AuthorizationRequest,
        client: &Client,
        who: &SignedIn,
    ) -> Result<Redirect, Refused> {
        if let Some(algorithm) = request.response_mode.signed {
            self.check_signer(algorithm)?;
        }
        // Counted before the consent is looked at once more: what is taken back from here on is noticed
        // when the code is redeemed.
        let withdrawn = self.withdrawn(&who.user, &client.id).await?.times;
        if client.asks_consent
            && !self.has_consent(&who.user, client, &request.asked_of_person()).await?
        {
            let error =
                OAuthError::new(Code::AccessDenied, "the person has taken back their consent");
            return self.refuse_request(request, &error).await;
        }
        // Not before the person was authenticated, which may be the second after a kill switch.
        let issued = self.node().now().max(who.auth_time);
        let until = issued + self.config().code_lifetime;
        let code = new_code(PREFIX, self.epoch(), until, self.node().entropy());
        let allowed = Allowed {
            client: request.client.clone(),
            nonce: request.nonce.clone(),
            user: who.user.clone(),
            session: who.session.clone(),
            session_ends: who.session_ends,
            offline: request.is_offline(),
            scope: request.scope.clone(),
            audience: request.audience.clone(),
            dpop_jkt: request.dpop_jkt.clone(),
            acr: who.acr.clone(),
            amr: who.amr.clone(),
            auth_time: who.auth_time.secs(),
            factors: who.factors.clone(),
            sector: Some(client.written_sector().to_owned()),
            issued,
            withdrawn,
            details: request.details.clone(),
            claims: request.claims.clone(),
            // Their consent was looked at just now, or their operator asks for none.
            whole_profile: true,
        };
        let open = Open {
            redirect_uri: request.redirect_uri.clone(),
            redirect_uri_named: request.redirect_uri_named,
            challenge: request.challenge.clone(),
            until,
            allowed,
        };
        let key = key_of(PREFIX, code.expose()).unwrap_or_default();
        let record = CodeRecord { key, state: CodeState::Open(Box::new(open)) };
        let batch = Batch::new(self.realm().clone()).with(record.put(Expect::Absent));
        self.records().commit(batch).await?;
        self.answer_request(request, &[("code", code.expose())]).await
    }

    /// Redeems a code.
    pub(super) async fn redeem(
        &self,
        client: &ProvenClient,
        params: &Params,
        binding: &Binding,
    ) -> Result<TokenAnswer, Refused> {
        let code = params.require("code", "code is missing")?;
        let key = key_of(PREFIX, code).ok_or(wrong("the code is not known"))?;
        if Epoch::leading(&key).is_none_or(|epoch| epoch < self.epoch()) {
            return Err(wrong("the code was issued before a backup was restored").into());
        }
        loop {
            let found = repository::load::<CodeRecord>(self.records(), self.realm(), &key).await?;
            let found = found.ok_or(wrong("the code is not known"))?;
            match &found.value.state {
                CodeState::Redeemed { family, client: to } => {
                    return Err(self.replayed(family, to, client).await);
                }
                CodeState::Open(open) => {
                    match self.begin(client, params, binding, &found, open).await {
                        // Somebody redeemed it meanwhile: what follows is a replay.
                        Err(Begun::Race) => {}
                        Err(Begun::Refused(refused)) => return Err(refused),
                        Ok(answer) => return Ok(answer),
                    }
                }
            }
        }
    }

    async fn begin(
        &self,
        client: &ProvenClient,
        params: &Params,
        binding: &Binding,
        found: &Versioned<CodeRecord>,
        open: &Open,
    ) -> Result<TokenAnswer, Begun> {
        if open.allowed.client != client.id {
            return Err(wrong("the code was issued to another client").into());
        }
        if self.node().now() >= open.until(client) {
            return Err(wrong("the code has expired").into());
        }
        match params.get("redirect_uri") {
            Some(uri) if uri != open.redirect_uri => {
                return Err(wrong("redirect_uri is not that of the authorization request").into());
            }
            None if open.redirect_uri_named => {
                return Err(wrong("redirect_uri is missing").into());
            }
            _ => {}
        }
        pkce::check(open.challenge.as_ref(), params.get("code_verifier"))?;
        let used = |family| {
            let state = CodeState::Redeemed { family, client: client.id.clone() };
            found.replace(&CodeRecord { key: found.value.key.clone(), state })
        };
        self.begin_allowed(client, params, binding, &open.allowed, used).await
    }
}

const fn wrong(description: &'static str) -> OAuthError {
    OAuthError::new(Code::InvalidGrant, description)
}

/// A new code: `prefix`, the day after which its record can be dropped, and 256 random bits.
pub(crate) fn new_code(
    prefix: &str,
    epoch: Epoch,
    until: Timestamp,
    entropy: &dyn Entropy,
) -> Secret<String> {
    let mut bytes = [0_u8; 32];
    entropy.fill(&mut bytes);
    // Two days beyond its life: a replay is still recognised, and access tokens have died.
    let day = until.day() + 2;
    Secret::new(format!("{prefix}{epoch}.{day}.{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The key of a code's record. `None`: the text is not a code.
#[must_use]
pub fn key_of(prefix: &str, code: &str) -> Option<String> {
    let body = code.strip_prefix(prefix).filter(|body| body.len() <= 128)?;
    let mut parts = body.splitn(3, '.');
    let (epoch, day, random) = (parts.next()?, parts.next()?, parts.next()?);
    let shaped = Epoch::leading(body).is_some()
        && expiry_day(body).is_some()
        && random.len() == 43
        && random.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let digest = digest::digest(&digest::SHA256, code.as_bytes());
    shaped.then(|| format!("{epoch}.{day}.{}", URL_SAFE_NO_PAD.encode(digest.as_ref())))
}
