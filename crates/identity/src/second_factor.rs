//! Second factors: what a person has beside a password, and what of it has been used.
//!
//! All of one person's is one record, so that every use and every change is one compare-and-set.
//! INVARIANT: a person without a second factor has no record. Whoever begins a session after a
//! password alone requires, in the same batch, that there is none ([`SecondFactors::require_none`]).

use std::{collections::BTreeSet, sync::Arc};

use tegata_core::{
    Ephemeral, Expect, Kind, Lifetime, Node, Realm, Records, StoreError, Timestamp, UserId,
    port::Change, repository::load,
};

use crate::{
    credential::{
        passkey::RelyingParty,
        recovery::{NewCodes, RecoveryCodes},
        typed::{Authenticator, TypedCode},
    },
    sign_in::Method,
    user::{Narrowing, User},
};

mod change;
mod demand;
mod news;
mod passkeys;
mod record;
mod shown;

pub(crate) use change::{Changed, Tells};
pub use demand::Demand;
pub use news::FactorChange;
use news::News;
pub use passkeys::PASSKEY_KIND;
pub(crate) use passkeys::owned;
pub(crate) use record::{Factor, FactorRecord};
pub use shown::{Shown, has_gone, names_of};

/// Where second factors are kept.
pub static SECOND_FACTOR_KIND: Kind =
    Kind { name: "second_factor", indexes: &[], lifetime: Lifetime::Kept, secret: true };

/// The second factors of people.
#[derive(Clone)]
pub struct SecondFactors {
    pub(crate) node: Node,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) ephemeral: Arc<dyn Ephemeral>,
    party: Option<Arc<RelyingParty>>,
    demand: Arc<Demand>,
    news: Option<News>,
    narrowing: Option<Arc<dyn Narrowing>>,
}

/// What a person has enrolled, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Since when an authenticator app is enrolled.
    pub totp_since: Option<Timestamp>,
    /// The passkeys, in the order in which they were added.
    pub passkeys: Vec<EnrolledPasskey>,
    /// How many recovery codes are left.
    pub recovery_codes: usize,
    /// By what these codes are told from those that take their place.
    pub(crate) paper: Option<String>,
}

/// A passkey that is enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolledPasskey {
    /// By which it is named to [`SecondFactors::remove_passkey`].
    pub id: String,
    /// How the person calls it.
    pub name: String,
    /// Since when it is enrolled.
    pub since: Timestamp,
    /// When it was used last.
    pub used: Option<Timestamp>,
}

/// Why a code or a passkey was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpendRefused {
    /// It is not the person's, not of now, or was used before.
    #[error("it is wrong, or was used before")]
    Wrong,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why second factors were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactorRefused {
    /// There is no such user.
    #[error("there is no user `{0}`")]
    Unknown(UserId),
    /// The person has no second factor.
    #[error("user `{0}` has no second factor")]
    NotEnrolled(UserId),
    /// It is the last that the person has, and of them one is demanded.
    #[error("user `{0}` must have a second factor, and has no other: add another first")]
    Last(UserId),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SecondFactors {
    /// Second factors in `records`; what is being enrolled is in `ephemeral`.
    #[must_use]
    pub fn new(node: Node, records: Arc<dyn Records>, ephemeral: Arc<dyn Ephemeral>) -> Self {
        let (party, demand) = (None, Arc::default());
        Self { node, records, ephemeral, party, demand, news: None, narrowing: None }
    }

    /// The same, making it known of everybody who loses one that they may do less: what they were issued
    /// by it is not accepted any more.
    #[must_use]
    pub fn making_known(mut self, narrowing: Arc<dyn Narrowing>) -> Self {
        self.narrowing = Some(narrowing);
        self
    }

    /// The same, with passkeys that are made for `party`.
    #[must_use]
    pub fn with_passkeys(mut self, party: RelyingParty) -> Self {
        self.party = Some(Arc::new(party));
        self
    }

    /// The same, where they are demanded of some.
    #[must_use]
    pub fn demanding(mut self, demand: Demand) -> Self {
        self.demand = Arc::new(demand);
        self
    }

    /// Of whom they are demanded.
    #[must_use]
    pub fn demand(&self) -> &Demand {
        &self.demand
    }

    /// What a person has enrolled. `None`: nothing.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of(&self, realm: &Realm, user: &UserId) -> Result<Option<Enrolled>, StoreError> {
        let found = load::<FactorRecord>(self.records.as_ref(), realm, user.as_str()).await?;
        Ok(found.map(|found| found.value.enrolled()))
    }

    /// The requirement that a person has no second factor, for the batch that begins what a password
    /// alone is enough for.
    #[must_use]
    pub fn require_none(user: &UserId) -> Change {
        let key = user.as_str().to_owned();
        Change::Require { kind: &SECOND_FACTOR_KIND, key, expect: Expect::Absent }
    }

    /// Uses a code up. Of many who show the same one at once, on however many nodes, one is
    /// answered `Ok`. Whoever asks has counted the attempt before.
    ///
    /// # Errors
    /// See [`SpendRefused`]; under [`SpendRefused::Store`] the code may be used up.
    pub async fn spend(
        &self,
        realm: &Realm,
        user: &UserId,
        code: &TypedCode,
    ) -> Result<(), SpendRefused> {
        self.spend_of(realm, user, code).await.map(drop)
    }

    /// The same. Answers which factor it is a code of, as [`Enrolled::names`] calls it.
    pub(crate) async fn spend_of(
        &self,
        realm: &Realm,
        user: &UserId,
        code: &TypedCode,
    ) -> Result<Option<String>, SpendRefused> {
        let edit = |before: Option<&FactorRecord>| {
            let before = before.ok_or(SpendRefused::Wrong)?;
            let next = before.after(code, self.node.now()).ok_or(SpendRefused::Wrong)?;
            let enrolled = before.enrolled();
            let name = match code.authenticator() {
                Authenticator::Totp => enrolled.app_name(),
                Authenticator::RecoveryCode => enrolled.paper_name(),
                Authenticator::Passkey => None,
            };
            let changed = Changed::to(Some(next), name);
            // Codes of apps are used as often as people sign in; each of the others is news.
            Ok(match code.authenticator() {
                paper @ Authenticator::RecoveryCode => {
                    changed.telling(Tells::new(paper, "used", user.as_str()))
                }
                Authenticator::Totp | Authenticator::Passkey => changed,
            })
        };
        self.change(realm, user, &[], edit).await
    }

    /// Takes all second factors of a person away, with the recovery codes. Answers whether there
    /// were any. `by` is who asked, for the journal.
    ///
    /// # Errors
    /// What the store says.
    pub async fn remove_all(
        &self,
        realm: &Realm,
        user: &UserId,
        by: &str,
    ) -> Result<bool, StoreError> {
        let edit = |before: Option<&FactorRecord>| {
            let Some(before) = before else { return Ok(Changed::not(false)) };
            let taken = |changed: Changed<bool>, factor: &Factor| match factor {
                Factor::Totp(_) => changed.telling(Tells::new(Authenticator::Totp, "delete", by)),
                Factor::Passkey(passkey) => changed
                    .with(passkeys::disowned(passkey))
                    .telling(Tells::passkey(passkey, "delete", by)),
            };
            Ok(before.factors.iter().fold(Changed::to(None, true), taken))
        };
        self.change(realm, user, &[], edit).await
    }

    /// Takes a person's authenticator app away; with the last of what they have, the recovery codes.
    /// Answers whether there was one.
    ///
    /// # Errors
    /// [`FactorRefused::Last`] and [`FactorRefused::Store`].
    pub async fn remove_totp(
        &self,
        realm: &Realm,
        user: &UserId,
        by: &str,
    ) -> Result<bool, FactorRefused> {
        let keeps_one = self.keeps_one(realm, user).await?;
        let edit = |before: Option<&FactorRecord>| {
            let has_one = |it: &&FactorRecord| it.enrolled().totp_since.is_some();
            let Some(before) = before.filter(has_one) else { return Ok(Changed::not(false)) };
            let left = before.without_totp();
            if keeps_one && left.is_none() {
                return Err(FactorRefused::Last(user.clone()));
            }
            let changed = Changed::to(left, true);
            Ok(changed.telling(Tells::new(Authenticator::Totp, "delete", by)))
        };
        self.change(realm, user, &[], edit).await
    }

    /// Gives a person new recovery codes in place of all that were left.
    ///
    /// # Errors
    /// [`FactorRefused::NotEnrolled`] and [`FactorRefused::Store`].
    pub async fn renew_recovery(
        &self,
        realm: &Realm,
        user: &UserId,
        by: &str,
    ) -> Result<NewCodes, FactorRefused> {
        let edit = |before: Option<&FactorRecord>| {
            let before = before.ok_or_else(|| FactorRefused::NotEnrolled(user.clone()))?;
            let (kept, answer) = RecoveryCodes::make(self.node.entropy());
            let next = FactorRecord { recovery: Some(kept), ..before.clone() };
            let tells = Tells::new(Authenticator::RecoveryCode, "update", by);
            Ok(Changed::to(Some(next), answer).telling(tells))
        };
        self.change(realm, user, &[], edit).await
    }

    /// Whether a person must keep one of what they have.
    async fn keeps_one(&self, realm: &Realm, user: &UserId) -> Result<bool, StoreError> {
        if self.demand.is_of_nobody() {
            return Ok(false);
        }
        let found = load::<User>(self.records.as_ref(), realm, user.as_str()).await?;
        Ok(found.is_some_and(|found| self.demand.covers(&found.value)))
    }

    /// The user, for a change that requires that there is one.
    pub(crate) async fn user(&self, realm: &Realm, user: &UserId) -> Result<Change, FactorRefused> {
        let found = load::<User>(self.records.as_ref(), realm, user.as_str()).await?;
        found.map(|found| found.require()).ok_or_else(|| FactorRefused::Unknown(user.clone()))
    }
}

impl Enrolled {
    /// What somebody has who has nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { totp_since: None, passkeys: Vec::new(), recovery_codes: 0, paper: None }
    }

    /// What sessions say which of them was shown for: of each, its method in `amr`, and which it is.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.held_names().chain(self.paper_name()).collect()
    }

    /// The same of what a person holds in hand, without the codes on paper that come with it.
    pub(crate) fn held_names(&self) -> impl Iterator<Item = String> {
        let passkeys = self.passkeys.iter().map(|passkey| key_name(&passkey.id));
        self.app_name().into_iter().chain(passkeys)
    }

    fn app_name(&self) -> Option<String> {
        let method = Method::OneTime.as_str();
        self.totp_since.map(|since| format!("{method}:app:{}", since.millis()))
    }

    fn paper_name(&self) -> Option<String> {
        let method = Method::OneTime.as_str();
        self.paper.as_ref().map(|paper| format!("{method}:paper:{paper}"))
    }

    /// With what the person can prove themselves.
    #[must_use]
    pub fn authenticators(&self) -> BTreeSet<Authenticator> {
        let passkey = (!self.passkeys.is_empty()).then_some(Authenticator::Passkey);
        let totp = self.totp_since.map(|_| Authenticator::Totp);
        let recovery = (self.recovery_codes > 0).then_some(Authenticator::RecoveryCode);
        [passkey, totp, recovery].into_iter().flatten().collect()
    }
}

/// How sessions call a passkey.
pub(crate) fn key_name(id: &str) -> String {
    format!("{}:{id}", Method::Possession.as_str())
}

#[cfg(test)]
mod tests;
