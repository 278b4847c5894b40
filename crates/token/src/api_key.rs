//! API keys: what a service shows that keeps no clock, no token and no browser, such as a job or a device.
//!
//! A key is an id and a secret ([`form`]). Whoever was not given it by this realm cannot write one that is
//! even looked for. Of the secret, a keyed digest is stored; it is shown once. What a key may do stands in
//! its record, and what it was used for is said of its service.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tegata_core::{ClientId, Epoch, Kind, Lifetime, Stored, Timestamp, TokenId, secret};

use crate::claims::{Claims, Scope};

pub mod form;
mod keeping;
mod used;

pub use form::{ApiKeyId, NotAKey, Shown};
pub use keeping::{ApiKeyRefused, ApiKeys, LONGEST_GRACE, Made, SHORTEST_GRACE};
pub use used::{USES, Use, Uses};

/// Where keys are stored.
pub static API_KEYS: Kind =
    Kind { name: "api_key", indexes: &["client"], lifetime: Lifetime::Kept, secret: true };

/// How long a key counts where nothing is said: 365 days.
pub const LIFETIME: Duration = Duration::from_secs(365 * 86_400);

/// The longest that a key may count: ten years.
pub const LONGEST_LIFETIME: Duration = Duration::from_secs(3650 * 86_400);

/// A key, without its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its name, which is no secret.
    pub id: ApiKeyId,
    /// The issuer epoch in which it was made. After a backup was brought back, nobody knows which were
    /// taken back since, and so none of before counts.
    pub epoch: Epoch,
    /// The service or the client that it stands for.
    pub client: ClientId,
    /// What people call it.
    pub name: String,
    /// Which root secret the digest was made with, and the digest.
    digest: (u16, [u8; 32]),
    /// What it may be used for.
    pub grant: ApiGrant,
    /// When it was made.
    pub created: Timestamp,
    /// The second from which on it counts: that of a kill switch takes back all before.
    since: u64,
    /// When it ends by itself.
    pub expires: Timestamp,
    /// When and why it was taken back.
    pub ended: Option<Ended>,
    /// The key that it took the place of.
    pub replaces: Option<ApiKeyId>,
    /// The key that takes its place.
    pub replaced_by: Option<ApiKeyId>,
}

/// What a key may be used for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiGrant {
    /// The scope that services and routes are told.
    pub scope: Scope,
    /// The roles.
    pub roles: Vec<String>,
    /// The services that it may call; all where none is named.
    pub services: Vec<String>,
    /// The prefixes of routes that it may call; all where none is named.
    pub routes: Vec<String>,
    /// Whether it may get tokens for services at the token endpoint.
    #[serde(default)]
    pub tokens: bool,
}

/// When and why a key was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why, in a word.
    pub reason: String,
}

/// How a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Active,
    /// It was taken back.
    Revoked,
    /// Its time is over.
    Expired,
    /// It is from before a backup was brought back.
    OfBefore,
}

impl Standing {
    /// As users are told it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::OfBefore => "before_restore",
        }
    }
}

impl Stored for ApiKey {
    const KIND: &'static Kind = &API_KEYS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        self.id.as_str()
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("client", self.client.as_str().to_owned())]
    }
}

impl ApiKey {
    /// Whether `shown` is this key, in a time that says nothing of where it differs.
    #[must_use]
    pub fn is(&self, shown: &Shown, keys: &ApiKeys) -> bool {
        let (root, digest) = &self.digest;
        keys.digest(*root, shown).is_some_and(|made| secret::matches(&made, digest))
            && self.id == shown.id
    }

    /// How it stands at a moment, in an issuer epoch.
    #[must_use]
    pub fn standing(&self, now: Timestamp, epoch: Epoch) -> Standing {
        if self.ended.is_some() {
            Standing::Revoked
        } else if self.epoch < epoch {
            Standing::OfBefore
        } else if now >= self.expires {
            Standing::Expired
        } else {
            Standing::Active
        }
    }

    /// The name by which the revocation log and internal tokens know it: the claim `jti`.
    #[must_use]
    pub fn jti(&self) -> Option<TokenId> {
        TokenId::new(&format!("{}.{}", self.epoch, self.id)).ok()
    }

    /// What a token of it would say. `aud` is for whoever makes one.
    #[must_use]
    pub fn claims(&self, issuer: &str) -> Claims {
        Claims {
            iss: issuer.to_owned(),
            sub: self.client.as_str().to_owned(),
            client_id: Some(self.client.as_str().to_owned()),
            jti: self.jti().map(|jti| jti.as_str().to_owned()).unwrap_or_default(),
            iat: self.since,
            exp: self.expires.secs(),
            scope: self.grant.scope.clone(),
            roles: self.grant.roles.clone(),
            ..Claims::default()
        }
    }
}

impl ApiGrant {
    /// Whether a route of a service may be called.
    #[must_use]
    pub fn covers(&self, service: &str, route: &str) -> bool {
        is_among(&self.services, service) && is_among(&self.routes, route)
    }

    /// Whether a token may be had for a service, which would open all of it.
    #[must_use]
    pub fn gives_token_for(&self, service: &str) -> bool {
        self.tokens && self.routes.is_empty() && is_among(&self.services, service)
    }
}

fn is_among(names: &[String], name: &str) -> bool {
    names.is_empty() || names.iter().any(|own| own == name)
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({} of {})", self.id, self.client)
    }
}
