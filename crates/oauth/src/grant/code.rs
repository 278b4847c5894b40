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
    Batch, ClientId, CommitRefused, Epoch, Expect, FamilyId, Kind, Lifetime, Secret, SessionId,
    StoreError, Stored, Timestamp, UserId, Versioned, id::expiry_day, repository,
};
use tegata_token::{Beginning, Binding, Claims, Details, Narrowed, Order, Scope, family::Granted};

use crate::{
    backchannel::RelyingParty,
    client::Client,
    error::{Code, OAuthError, Refused},
    grant::narrowing,
    interaction::SignedIn,
    issue::{ForIdToken, TokenAnswer},
    params::Params,
    pkce::{self, Challenge},
    provider::{Asking, Provider},
    request::{AskedClaims, AuthorizationRequest, Redirect},
};

/// Where codes are stored.
pub static CODES: Kind =
    Kind { name: "code", indexes: &[], lifetime: Lifetime::ByDay(expiry_day), secret: true };

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
    client: ClientId,
    redirect_uri: String,
    redirect_uri_named: bool,
    challenge: Option<Challenge>,
    nonce: Option<String>,
    user: UserId,
    session: SessionId,
    session_ends: Timestamp,
    offline: bool,
    scope: Scope,
    audience: Vec<String>,
    /// The key that it is bound to (RFC 9449 §10).
    #[serde(default)]
    dpop_jkt: Option<String>,
    acr: String,
    amr: Vec<String>,
    auth_time: u64,
    issued: Timestamp,
    until: Timestamp,
    #[serde(default)]
    details: Details,
    #[serde(default)]
    claims: AskedClaims,
}

/// How long a code lives at most where its client keeps a profile (FAPI 2.0 §5.3.2.1, item 10).
const LONGEST_OF_PROFILE: Duration = Duration::from_secs(60);

impl Open {
    fn until(&self, client: &Client) -> Timestamp {
        if client.is_fapi() { self.until.min(self.issued + LONGEST_OF_PROFILE) } else { self.until }
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
    /// Answers an authorization request with a code.
    ///
    /// # Errors
    /// What the store says.
    pub async fn grant_code(
        &self,
        request: &AuthorizationRequest,
        who: &SignedIn,
    ) -> Result<Redirect, Refused> {
        if let Some(algorithm) = request.response_mode.signed {
            self.check_signer(algorithm)?;
        }
        // Not before the person was authenticated, which may be the second after a kill switch.
        let issued = self.node().now().max(who.auth_time);
        let until = issued + self.config().code_lifetime;
        let code = new_code(self.epoch(), until, self.node().entropy());
        let open = Open {
            client: request.client.clone(),
            redirect_uri: request.redirect_uri.clone(),
            redirect_uri_named: request.redirect_uri_named,
            challenge: request.challenge.clone(),
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
            issued,
            until,
            details: request.details.clone(),
            claims: request.claims.clone(),
        };
        let key = key_of(code.expose()).unwrap_or_default();
        let record = CodeRecord { key, state: CodeState::Open(Box::new(open)) };
        let batch = Batch::new(self.realm().clone()).with(record.put(Expect::Absent));
        self.records().commit(batch).await?;
        self.answer_request(request, &[("code", code.expose())])
    }

    /// Redeems a code.
    pub(super) async fn redeem(
        &self,
        client: &Client,
        params: &Params,
        binding: &Binding,
    ) -> Result<TokenAnswer, Refused> {
        let code = params.require("code", "code is missing")?;
        let key = key_of(code).ok_or(wrong("the code is not known"))?;
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
        client: &Client,
        params: &Params,
        binding: &Binding,
        found: &Versioned<CodeRecord>,
        open: &Open,
    ) -> Result<TokenAnswer, Begun> {
        if open.client != client.id {
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
        // RFC 6749 §4.1.3 knows no `scope` here.
        let narrowed = Narrowed { scope: None, ..narrowing::read(params)? };
        if open.dpop_jkt.is_some() && open.dpop_jkt.as_deref() != binding.key() {
            return Err(wrong("the code is bound to a key; send a DPoP proof made with it").into());
        }
        pkce::check(open.challenge.as_ref(), params.get("code_verifier"))?;
        // What the answer will be signed with: a code must not be used up for nothing.
        self.check_signer(client.access_token_alg)?;
        self.check_signer(client.id_token_alg)?;
        let user = self.active_user(self.realm(), open.user.as_str()).await?;
        self.revoker().know_enough().await?;
        // After the last look at the store: what was taken back since the code was issued counts.
        let user = user
            .filter(|_| !self.is_taken_back(open))
            .ok_or(wrong("the person has signed out, or may not have tokens any more"))?;
        let beginning = Beginning {
            client: client.id.clone(),
            user: open.user.clone(),
            session: (!open.offline).then(|| open.session.clone()),
            ends: (!open.offline).then_some(open.session_ends),
            grant: Granted {
                scope: open.scope.clone(),
                audience: open.audience.clone(),
                acr: Some(open.acr.clone()),
                amr: open.amr.clone(),
                auth_time: open.auth_time,
                details: open.details.clone(),
                userinfo_claims: open.claims.userinfo.clone(),
            },
            binding: binding.clone(),
            authority: user.value.authority,
            authorized: open.issued,
        };
        narrowed.check(&beginning.grant, &open.scope).map_err(OAuthError::from)?;
        let begun = self.families().begin_with(self.realm(), beginning, narrowed).await;
        let (issue, begins) = begun?;
        let tombstone = CodeRecord {
            key: found.value.key.clone(),
            state: CodeState::Redeemed {
                family: issue.family.id.clone(),
                client: client.id.clone(),
            },
        };
        let mut batch = Batch::new(self.realm().clone())
            .with(found.replace(&tombstone))
            .with(begins)
            .with(user.require());
        let party = self.new_party(client, open).await?;
        batch = party.iter().fold(batch, |batch, party| batch.with(party.put(Expect::Absent)));
        self.records().commit(batch).await?;
        if let Some(party) = &party
            && !self.sessions().lives(self.realm(), &open.session, Asking::Introspect).await?
        {
            // It ended meanwhile, and whoever tells that has perhaps looked already.
            self.tell_late(party).await?;
            return Err(wrong("the person has signed out").into());
        }
        let asked = ForIdToken {
            nonce: open.nonce.as_deref(),
            session: &open.session,
            claims: &open.claims.id_token,
        };
        Ok(self.answer(client, &issue, &user.value, Some(asked))?)
    }

    /// What remembers that the session is used at a client that is to hear when it ends, unless that is
    /// remembered already.
    async fn new_party(
        &self,
        client: &Client,
        open: &Open,
    ) -> Result<Option<RelyingParty>, StoreError> {
        if client.backchannel_logout_uri.is_none() {
            return Ok(None);
        }
        let party = RelyingParty::new(&open.session, &client.id, &open.user);
        let found =
            repository::load::<RelyingParty>(self.records(), self.realm(), party.key()).await?;
        Ok(found.is_none().then_some(party))
    }

    /// Whether the person, the session or the client was taken back since the code was issued.
    fn is_taken_back(&self, open: &Open) -> bool {
        let claims = Claims {
            sub: open.user.as_str().to_owned(),
            client_id: Some(open.client.as_str().to_owned()),
            sid: (!open.offline).then(|| open.session.as_str().to_owned()),
            iat: open.issued.secs(),
            ..Claims::default()
        };
        let view = self.revoker().view().realm(self.realm());
        view.session_ended(open.session.as_str()) || view.check_grant(&claims, None, "").is_some()
    }

    /// A code was presented again: whatever it gave is taken back (RFC 6749 §4.1.2).
    async fn replayed(&self, family: &FamilyId, to: &ClientId, by: &Client) -> Refused {
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

/// Why a code was not redeemed.
enum Begun {
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

/// A new code: `ac_`, the day after which its record can be dropped, and 256 random bits.
fn new_code(epoch: Epoch, until: Timestamp, entropy: &dyn tegata_core::Entropy) -> Secret<String> {
    let mut bytes = [0_u8; 32];
    entropy.fill(&mut bytes);
    // Two days beyond its life: a replay is still recognised, and access tokens have died.
    let day = until.day() + 2;
    Secret::new(format!("ac_{epoch}.{day}.{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// The key of a code's record. `None`: the text is not a code.
fn key_of(code: &str) -> Option<String> {
    let body = code.strip_prefix("ac_").filter(|body| body.len() <= 128)?;
    let mut parts = body.splitn(3, '.');
    let (epoch, day, random) = (parts.next()?, parts.next()?, parts.next()?);
    let shaped = Epoch::leading(body).is_some()
        && expiry_day(body).is_some()
        && random.len() == 43
        && random.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let digest = digest::digest(&digest::SHA256, code.as_bytes());
    shaped.then(|| format!("{epoch}.{day}.{}", URL_SAFE_NO_PAD.encode(digest.as_ref())))
}
