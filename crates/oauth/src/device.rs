//! Devices without a browser (RFC 8628): what they ask for, and what a person says to it on another
//! device. How they take what was allowed is in [`crate::grant::device`].
//!
//! What waits for a person is a value with a lifetime, and costs the durable store nothing. What the
//! person says is a record: of many answers, one counts.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, ClientId, CommitRefused, Expect, FamilyId, Kind, Lifetime, StoreError, Stored,
    Timestamp,
    id::expiry_day,
    port::{Put, Space},
    repository,
};
use tegata_token::{Details, Scope};

use crate::{
    client::{Client, GrantType},
    dpop::ProvenKey,
    error::{Code, OAuthError, Refused},
    grant::{allowed::Allowed, code, narrowing},
    interaction::SignedIn,
    params::Params,
    provider::Provider,
    request::{AskedClaims, asked_scope},
};

mod user_code;

pub use user_code::UserCode;

/// Where devices wait for a person.
pub static DEVICES: Space = Space { name: "device_authorization", indexed: false };

/// Where it is kept which device shows which code.
pub static USER_CODES: Space = Space { name: "device_user_code", indexed: false };

/// Where it is stored what a person said to a device.
pub static DEVICE_ANSWERS: Kind = Kind {
    name: "device_answer",
    indexes: &[],
    lifetime: Lifetime::ByDay(expiry_day),
    secret: true,
};

/// For how long a person may be asked.
const LIFETIME: Duration = Duration::from_secs(600);

/// How long a device waits between two questions at first.
const INTERVAL: Duration = Duration::from_secs(5);

/// How much sooner than it should a device may ask: one request may take longer on its way than the
/// next.
const JITTER: Duration = Duration::from_millis(500);

/// How long a device must wait between two questions at most. It lives ten minutes, and one that is
/// never answered again is of no use.
const LONGEST_INTERVAL: Duration = Duration::from_secs(60);

pub(crate) const FORM: u8 = 1;

const PREFIX: &str = "dc_";

/// How often another user code is made where a device shows the same one already.
const TRIES: u32 = 8;

/// The answer of the device authorization endpoint (RFC 8628 §3.2).
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct DeviceAuthorization {
    /// What the device asks for tokens with.
    pub device_code: String,
    /// What the device shows.
    pub user_code: String,
    /// Where a person types it.
    pub verification_uri: String,
    /// The same with the code in it, for a picture that a phone reads.
    pub verification_uri_complete: String,
    /// For how many seconds both codes count.
    pub expires_in: u64,
    /// How many seconds the device waits between two questions.
    pub interval: u64,
}

impl std::fmt::Debug for DeviceAuthorization {
    /// Without the codes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceAuthorization")
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}

/// A device that waits for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Under which key the answer will be: a digest of the device code.
    key: String,
    user_code: UserCode,
    pub(crate) client: ClientId,
    scope: Scope,
    audience: Vec<String>,
    details: Details,
    dpop_jkt: Option<String>,
    /// As [`Allowed::sector`].
    #[serde(default)]
    sector: Option<String>,
    pub(crate) until: Timestamp,
    /// How long the device must wait between two questions.
    interval: Duration,
    /// When it asked last.
    asked: Option<Timestamp>,
}

impl Waiting {
    /// What the person is asked for.
    #[must_use]
    pub const fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What the person is asked for in detail.
    #[must_use]
    pub const fn details(&self) -> &Details {
        &self.details
    }

    /// The code that the device shows.
    #[must_use]
    pub const fn user_code(&self) -> &UserCode {
        &self.user_code
    }

    /// The device asks, on whichever node. Answers whether it has waited since it asked last; if not,
    /// it must wait longer from now on (RFC 8628 §3.5).
    pub(crate) fn asks(&mut self, now: Timestamp) -> bool {
        let patient = self.asked.is_none_or(|last| now + JITTER >= last + self.interval);
        if !patient {
            self.interval = (self.interval + INTERVAL).min(LONGEST_INTERVAL);
        }
        self.asked = Some(now);
        patient
    }

    /// The value that is kept. It is kept for longer than it counts, so that a device that asks too
    /// late is told so.
    pub(crate) fn put(&self, now: Timestamp) -> Put {
        Put {
            key: self.key.clone(),
            value: repository::encode(FORM, self),
            lifetime: (self.until + LIFETIME).since(now).max(Duration::from_secs(1)),
            index: None,
        }
    }
}

/// What a person says to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It may have what it asks for.
    Allow,
    /// It may not.
    Deny,
}

/// What a person said to a device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DeviceAnswer {
    /// `epoch.day.digest`: the code itself is not stored.
    pub(crate) key: String,
    pub(crate) client: ClientId,
    pub(crate) until: Timestamp,
    pub(crate) state: Answered,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Answered {
    Denied,
    Allowed(Box<Allowed>),
    Redeemed { family: FamilyId },
}

impl Stored for DeviceAnswer {
    const KIND: &'static Kind = &DEVICE_ANSWERS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

impl Provider {
    /// Answers a device authorization request of an authenticated client. The device code is bound to
    /// `key`, if the request proves one.
    ///
    /// # Errors
    /// [`Refused`], with the codes of the authorization endpoint.
    pub async fn authorize_device(
        &self,
        client: &Client,
        params: &Params,
        key: Option<&ProvenKey>,
    ) -> Result<DeviceAuthorization, Refused> {
        if !client.may_use(GrantType::DeviceCode) {
            let description = "the client is not registered for the device_code grant type";
            return Err(OAuthError::new(Code::UnauthorizedClient, description).into());
        }
        let details = narrowing::details(params)?.unwrap_or_default();
        narrowing::check_types(&details, &self.config().details_types, client)?;
        let scope = asked_scope(params, client)?;
        let audience = self.asked_audience(params, client).await?;
        let now = self.node().now();
        let until = now + LIFETIME;
        let device_code = code::new_code(PREFIX, self.epoch(), until, self.node().entropy());
        let mut waiting = Waiting {
            key: device_key(device_code.expose()).unwrap_or_default(),
            user_code: UserCode::generate(self.node().entropy()),
            client: client.id.clone(),
            scope,
            audience,
            details,
            dpop_jkt: key.map(|key| key.jkt().to_owned()),
            sector: Some(client.written_sector().to_owned()),
            until,
            interval: INTERVAL,
            asked: None,
        };
        self.show_code(&mut waiting).await?;
        self.ephemeral().put(self.realm(), &DEVICES, waiting.put(now)).await?;
        let user_code = waiting.user_code.to_string();
        let verification_uri = format!("{}/login/device", self.issuer());
        Ok(DeviceAuthorization {
            device_code: device_code.expose().clone(),
            verification_uri_complete: format!("{verification_uri}?user_code={user_code}"),
            verification_uri,
            user_code,
            expires_in: LIFETIME.as_secs(),
            interval: INTERVAL.as_secs(),
        })
    }

    /// Keeps which device shows which code. No two show the same.
    async fn show_code(&self, waiting: &mut Waiting) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let put = Put {
                key: waiting.user_code.name(),
                value: waiting.key.clone().into_bytes(),
                lifetime: LIFETIME,
                index: None,
            };
            if self.ephemeral().add(self.realm(), &USER_CODES, put).await? {
                return Ok(());
            }
            waiting.user_code = UserCode::generate(self.node().entropy());
        }
        Err(StoreError::Unavailable {
            backend: "the store of values with a lifetime",
            detail: "no code was found that no device shows".to_owned(),
        })
    }

    /// The device that shows this code, and its client. `None`, the same for all: there is none, it
    /// has waited too long, somebody has answered, or its client may not ask for it any more.
    ///
    /// # Errors
    /// What the store says.
    pub async fn waiting_device(
        &self,
        user_code: &UserCode,
    ) -> Result<Option<(Waiting, Client)>, StoreError> {
        let realm = self.realm();
        let key = self.ephemeral().get(realm, &USER_CODES, &user_code.name()).await?;
        let key = key.and_then(|held| String::from_utf8(held.value).ok());
        let Some(key) = key else { return Ok(None) };
        let held = self.ephemeral().get(realm, &DEVICES, &key).await?;
        let waiting: Option<Waiting> =
            held.and_then(|held| repository::decode_bytes(FORM, &held.value).ok());
        let waiting = waiting.filter(|waiting| self.node().now() < waiting.until);
        let Some(waiting) = waiting else { return Ok(None) };
        let answered = repository::load::<DeviceAnswer>(self.records(), realm, &key).await?;
        let client = self.clients().load(realm, &waiting.client).await?;
        let client = client.map(|found| found.value).filter(|client| !client.disabled);
        let (None, Some(client)) = (answered, client) else {
            return Ok(None);
        };
        let asked = (&waiting.scope, &waiting.details, waiting.audience.as_slice());
        let stands = client.may_use(GrantType::DeviceCode) && self.may_have(&client, asked).await?;
        Ok(stands.then_some((waiting, client)))
    }

    /// Takes what a person said to a device. Answers whether it counts: of several answers, the first
    /// does, and none that comes too late.
    ///
    /// # Errors
    /// What the store says.
    pub async fn answer_device(
        &self,
        waiting: &Waiting,
        who: &SignedIn,
        decision: Decision,
    ) -> Result<bool, StoreError> {
        // Not before the person was authenticated, which may be the second after a kill switch.
        let issued = self.node().now().max(who.auth_time);
        if issued >= waiting.until {
            return Ok(false);
        }
        let state = match decision {
            Decision::Deny => Answered::Denied,
            Decision::Allow => {
                let withdrawn = self.withdrawn(&who.user, &waiting.client).await?.times;
                Answered::Allowed(Box::new(waiting.allowed_by(who, issued, withdrawn)))
            }
        };
        let answer = DeviceAnswer {
            key: waiting.key.clone(),
            client: waiting.client.clone(),
            until: waiting.until,
            state,
        };
        let batch = Batch::new(self.realm().clone()).with(answer.put(Expect::Absent));
        match self.records().commit(batch).await {
            Ok(()) => {}
            Err(CommitRefused::Conflict { .. }) => return Ok(false),
            Err(CommitRefused::Store(error)) => return Err(error),
        }
        // The answer stands, whether or not its code can be let go of: it is good for nothing more.
        let name = waiting.user_code.name();
        if let Err(error) = self.ephemeral().take(self.realm(), &USER_CODES, &name).await {
            tracing::info!(%error, "the code of a device that was answered is still kept");
        }
        Ok(true)
    }
}

impl Waiting {
    /// `withdrawn`: how often the person has taken something back from the client by then.
    fn allowed_by(&self, who: &SignedIn, issued: Timestamp, withdrawn: u64) -> Allowed {
        Allowed {
            client: self.client.clone(),
            nonce: None,
            user: who.user.clone(),
            session: who.session.clone(),
            session_ends: who.session_ends,
            offline: self.scope.contains("offline_access"),
            scope: self.scope.clone(),
            audience: self.audience.clone(),
            dpop_jkt: self.dpop_jkt.clone(),
            acr: who.acr.clone(),
            amr: who.amr.clone(),
            auth_time: who.auth_time.secs(),
            factors: who.factors.clone(),
            sector: self.sector.clone(),
            issued,
            withdrawn,
            details: self.details.clone(),
            claims: AskedClaims::default(),
            whole_profile: true,
        }
    }
}

/// Where what concerns a device code is kept. `None`: the text is not one.
pub(crate) fn device_key(device_code: &str) -> Option<String> {
    code::key_of(PREFIX, device_code)
}

/// What stores name a user code by.
fn digest_of(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}
