//! Token families: one sign-in's chain of refresh tokens, of which one counts.
//!
//! A refresh token works once. Presenting it *spends* the family's generation, by compare-and-set
//! on the family's record, and makes the next. What tells an honest retry from a thief:
//!
//! | presented | by the same holder | by somebody else |
//! |---|---|---|
//! | the current generation | spent: the next generation | spent, unless the family is bound to a key or a certificate: *unproven* |
//! | the one before, within the window | the **same** successor again | refused: *stale*; the family lives |
//! | the one before, after the window | refused: *reused*; the family dies | the same |
//! | the one before, under the name of the request that spent it | the **same** successor again, whenever | refused: *stale*; the family lives |
//! | an older one | refused: *reused*; the family dies | the same |
//!
//! The record alone decides. Nothing is locked, nothing is cached, and no clock is trusted with more
//! than the width of the window.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tegata_core::{
    ClientId, FamilyId, KeyId, Kind, Lifetime, SessionId, Stored, Timestamp, TokenId, UserId,
    id::expiry_day,
};

use crate::{
    claims::{Confirmation, Scope},
    details::Details,
    status::StatusIndex,
};

/// Where families are stored.
pub static FAMILIES: Kind = Kind {
    name: "family",
    indexes: &["user", "client", "session"],
    lifetime: Lifetime::ByDay(expiry_day),
    secret: true,
};

/// How many access tokens of a family can be alive at once; the oldest gives way. A client that
/// refreshes more often than its tokens expire would otherwise make the record grow.
const MOST_ALIVE: usize = 16;

/// How far the clocks of two nodes may be apart without anybody noticing.
const SKEW: Duration = Duration::from_secs(2);

/// One sign-in's tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Family {
    /// Its name.
    pub id: FamilyId,
    /// The client that it was issued to.
    pub client: ClientId,
    /// The person it speaks of.
    pub user: UserId,
    /// The browser session that it ends with. `None` for `offline_access`.
    pub session: Option<SessionId>,
    /// The browser session that it began in and outlives. `None` where it ends with its session, and where
    /// that is not known, as a version before this one wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_in: Option<SessionId>,
    /// What the key of its refresh tokens is derived with.
    pub salt: [u8; 16],
    /// What its tokens say, whatever their generation.
    pub grant: Granted,
    /// When it began.
    pub started: Timestamp,
    /// When it ends, used or not.
    pub ends: Timestamp,
    /// For how long it may go unused, in milliseconds.
    pub idle_millis: u64,
    /// Who spent the last generation, or was given the first.
    pub binding: Binding,
    /// The state of the person's permissions that the current access token was made with.
    pub authority: u64,
    /// The current generation: 0, 1, 2 …
    pub generation: u32,
    /// When the current generation was made, which is when the one before was spent.
    pub made: Timestamp,
    /// The digest of the name under which the one before was spent, where whoever did it gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<String>,
    /// The current generation's access token.
    pub access: Access,
    /// When its refresh token was last used without being spent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Timestamp>,
    /// Earlier access tokens that may still be alive, oldest first.
    pub earlier: Vec<Access>,
    /// When and why it ended.
    pub ended: Option<Ended>,
}

/// What the tokens of a family say, whatever their generation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Granted {
    /// The widest scope that a refresh can ask for (RFC 6749 §6).
    pub scope: Scope,
    /// Whom the access tokens are for.
    pub audience: Vec<String>,
    /// How strongly the person was authenticated.
    pub acr: Option<String>,
    /// By which means.
    pub amr: Vec<String>,
    /// When: seconds since 1970.
    pub auth_time: u64,
    /// The sector in which its client knew people by names of its own; empty where it knew them by their
    /// ids. `None`: that is not known, as a version before this one wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sector: Option<String>,
    /// Which second factors were shown for it, by the names that whoever keeps those gives them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub factors: Vec<String>,
    /// What they may be used for in detail (RFC 9396).
    #[serde(default, skip_serializing_if = "Details::is_empty")]
    pub details: Details,
    /// The claims that the userinfo endpoint gives beside those of the scope (OpenID Connect Core
    /// §5.5).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub userinfo_claims: Vec<String>,
    /// Whether the person was asked when the scope `profile` said all that it says now. It stood for a
    /// user name and a language once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub whole_profile: bool,
}

/// What an access token says that differs from one generation to the next. From this it can be
/// made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Its name.
    pub jti: TokenId,
    /// When it was issued: seconds since 1970.
    pub iat: u64,
    /// When it dies: seconds since 1970.
    pub exp: u64,
    /// What it may be used for.
    pub scope: Scope,
    /// Whom it is for, where that is less than what was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<Vec<String>>,
    /// What it may be used for in detail, where that is less than what was granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// Its place in a status list.
    pub status: StatusIndex,
    /// The key that signs it. `None`: that is not known, as a version before this one wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<KeyId>,
}

/// Who presents a refresh token, as far as one can tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Binding {
    /// A public client that showed a DPoP key: its thumbprint (RFC 9449 §5). Nothing else tells it
    /// from a thief, so it has this key for good.
    Key(String),
    /// A client that authenticated itself.
    Client,
    /// A client that authenticated itself and showed a DPoP key: its thumbprint. It may show another
    /// later, but some key.
    ClientKey(String),
    /// Whoever showed a client certificate that nothing vouches for but the refresh token: its
    /// thumbprint. It shows this certificate for good (RFC 8705 §4).
    Certificate(String),
    /// A client that authenticated itself, and showed this certificate. It may show another later, as
    /// certificates are renewed (RFC 8705 §7.1), but some certificate.
    ClientCertificate(String),
    /// A public client or a browser, by its network and its user agent.
    Network {
        /// The address's network: `/24` of IPv4, `/64` of IPv6.
        network: String,
        /// Family and system of the user agent.
        agent: String,
    },
}

impl Binding {
    /// The thumbprint of the key that access tokens are bound to.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Key(jkt) | Self::ClientKey(jkt) => Some(jkt),
            Self::Certificate(_)
            | Self::ClientCertificate(_)
            | Self::Client
            | Self::Network { .. } => None,
        }
    }

    /// What access tokens are bound to.
    #[must_use]
    pub fn confirmation(&self) -> Option<Confirmation> {
        match self {
            Self::Key(jkt) | Self::ClientKey(jkt) => Some(Confirmation::of_key(jkt)),
            Self::Certificate(x5t) | Self::ClientCertificate(x5t) => {
                Some(Confirmation::of_certificate(x5t))
            }
            Self::Client | Self::Network { .. } => None,
        }
    }

    /// Whether another holder may have what this one had. A network changes when its user walks; a
    /// key does not. What was bound to a key or a certificate is never bound to none again.
    fn yields_to(&self, next: &Self) -> bool {
        match (self, next) {
            (Self::Key(_) | Self::Certificate(_), next) => self == next,
            (Self::ClientKey(_), next) => matches!(next, Self::ClientKey(_)),
            (Self::ClientCertificate(_), next) => matches!(next, Self::ClientCertificate(_)),
            (Self::Client | Self::Network { .. }, _) => true,
        }
    }
}

/// Why and when a family ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// Why, in a word: `reused`, `logout`, `revoked` …
    pub reason: String,
}

impl Stored for Family {
    const KIND: &'static Kind = &FAMILIES;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        self.id.as_str()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let mut indexes = vec![
            ("user", self.user.as_str().to_owned()),
            ("client", self.client.as_str().to_owned()),
        ];
        indexes.extend(self.session.as_ref().map(|sid| ("session", sid.as_str().to_owned())));
        indexes
    }
}

/// A refresh token's presentation: genuine, and about to be judged.
#[derive(Debug, Clone)]
pub struct Presentation<'a> {
    /// Which generation.
    pub generation: u32,
    /// By which client, authenticated as it must be.
    pub client: &'a ClientId,
    /// By whom.
    pub binding: &'a Binding,
    /// The digest of the name that they give to the request. Only who made a request knows its name,
    /// so whoever gives it again is told from a thief however late they come.
    pub attempt: Option<&'a str>,
    /// The present state of the person's permissions.
    pub authority: u64,
    /// When.
    pub at: Timestamp,
    /// For how long the generation before is answered again. Zero: never.
    pub window: Duration,
}

/// What follows from a presentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// The generation is to be spent, and the next made.
    Spend,
    /// The current tokens are to be given once more.
    Replay,
    /// The current refresh token is to be given once more, with a new access token: the answer with
    /// the one before was lost long ago, or the person's permissions have changed since.
    Renew,
    /// Refused; the family stays as it is.
    Refuse(Verdict),
    /// Refused, and the family is to be ended: somebody has a copy.
    Reuse,
}

/// Why a refresh token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "lowercase")]
#[error("{}", self.description())]
pub enum Verdict {
    /// It was spent a moment ago, by somebody else or under other permissions.
    Stale,
    /// It was spent before: the family has been ended.
    Reused,
    /// There is no such family, or it is another client's.
    Orphan,
    /// It has gone unused for too long, or the sign-in has reached its end.
    Expired,
    /// The family was ended.
    Revoked,
    /// It is bound to a key or a certificate that was not shown; the family lives.
    Unproven,
}

impl Verdict {
    /// What a client is told.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Stale => "the refresh token has just been used by another holder",
            Self::Reused => "the refresh token was used twice; the sign-in has been revoked",
            Self::Orphan => "the refresh token is not known",
            Self::Expired => "the refresh token has expired",
            Self::Revoked => "the refresh token has been revoked",
            Self::Unproven => {
                "the refresh token is bound to a key or a client certificate; send a DPoP proof made \
                 with that key, or show that certificate"
            }
        }
    }

    /// The verdict in a word, as in events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Reused => "reused",
            Self::Orphan => "orphan",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Unproven => "unproven",
        }
    }
}

impl Family {
    /// What follows from a presentation. Changes nothing.
    #[must_use]
    pub fn judge(&self, presented: &Presentation<'_>) -> Judgement {
        if presented.client != &self.client {
            return Judgement::Refuse(Verdict::Orphan);
        }
        if self.ended.is_some() {
            return Judgement::Refuse(Verdict::Revoked);
        }
        if self.is_over(presented.at) {
            return Judgement::Refuse(Verdict::Expired);
        }
        if presented.generation == self.generation {
            return if self.binding.yields_to(presented.binding) {
                Judgement::Spend
            } else {
                Judgement::Refuse(Verdict::Unproven)
            };
        }
        let before = self.generation.checked_sub(1) == Some(presented.generation);
        let within =
            !presented.window.is_zero() && presented.at.since(self.made) <= presented.window;
        let same = presented.binding == &self.binding;
        if before && self.is_attempt(presented) {
            return match (same, within && presented.authority == self.authority) {
                (true, true) => Judgement::Replay,
                (true, false) => Judgement::Renew,
                (false, _) => Judgement::Refuse(Verdict::Stale),
            };
        }
        if before && !presented.window.is_zero() && presented.at + SKEW < self.made {
            // By this clock it has not been spent yet: nobody can tell whether the window is open.
            return Judgement::Refuse(Verdict::Stale);
        }
        if !(before && within) {
            // Also a genuine token of a generation that the record has not reached: then the record
            // has gone back in time, and which tokens were spent since cannot be known.
            return Judgement::Reuse;
        }
        if same && presented.authority == self.authority {
            Judgement::Replay
        } else {
            Judgement::Refuse(Verdict::Stale)
        }
    }

    /// Whether it is the request that spent the generation before, made again. Where nothing is ever
    /// answered again, neither is this.
    fn is_attempt(&self, presented: &Presentation<'_>) -> bool {
        !presented.window.is_zero()
            && presented.attempt.is_some()
            && presented.attempt == self.attempt.as_deref()
    }

    /// The family with its generation spent by `binding`, and the access tokens that had to give
    /// way and are to be revoked.
    #[must_use]
    pub fn spend(
        self,
        access: Access,
        binding: Binding,
        authority: u64,
        at: Timestamp,
    ) -> (Self, Vec<Access>) {
        let (mut next, given_way) = self.renew(access, binding, authority, at);
        // INVARIANT: generations are never used twice. At the last one, nothing more can be spent.
        next.generation = next.generation.saturating_add(1);
        (next.made, next.used, next.attempt) = (at, None, None);
        (next, given_way)
    }

    /// The family with a new access token and the same refresh token, which stays unspent: for
    /// clients whose refresh tokens do not rotate (FAPI 2.0 §5.3.2.1).
    #[must_use]
    pub fn renew(
        mut self,
        access: Access,
        binding: Binding,
        authority: u64,
        at: Timestamp,
    ) -> (Self, Vec<Access>) {
        self.earlier.retain(|access| Timestamp::from_secs(access.exp) > at);
        self.earlier.push(std::mem::replace(&mut self.access, access));
        let surplus = self.earlier.len().saturating_sub(MOST_ALIVE - 1);
        let given_way = self.earlier.drain(..surplus).collect();
        // Not `made`: what was spent before must not count as spent just now.
        self.used = Some(at);
        self.binding = binding;
        self.authority = authority;
        (self, given_way)
    }

    /// Whether its access token is known to be signed by another key than this.
    #[must_use]
    pub fn is_of_another_key(&self, kid: Option<&KeyId>) -> bool {
        self.access.kid.as_ref().zip(kid).is_some_and(|(own, other)| own != other)
    }

    /// The family, ended. What has ended stays ended, with its first reason.
    #[must_use]
    pub fn end(mut self, reason: &str, at: Timestamp) -> Self {
        self.ended.get_or_insert_with(|| Ended { at, reason: reason.to_owned() });
        self
    }

    /// Whether it has reached its end or gone unused for too long.
    #[must_use]
    pub fn is_over(&self, at: Timestamp) -> bool {
        let idle_until = self.used.unwrap_or(self.made) + Duration::from_millis(self.idle_millis);
        at >= self.ends || at >= idle_until || self.generation == u32::MAX
    }

    /// Its access tokens that may be alive.
    pub fn alive(&self, at: Timestamp) -> impl Iterator<Item = &Access> {
        self.earlier
            .iter()
            .chain(std::iter::once(&self.access))
            .filter(move |access| Timestamp::from_secs(access.exp) > at)
    }
}

#[cfg(test)]
pub(crate) mod tests;
