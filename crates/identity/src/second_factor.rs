//! Second factors: what a person has beside a password, and what of it has been used.
//!
//! All of one person's is one record, so that every use and every change is one compare-and-set.
//! INVARIANT: a person without a second factor has no record. Whoever begins a session after a
//! password alone requires, in the same batch, that there is none ([`SecondFactors::require_none`]).

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tegata_core::{
    Batch, CommitRefused, Ephemeral, Event, EventType, Expect, Kind, Lifetime, Node, Realm,
    Records, StoreError, Stored, Timestamp, UserId, port::Change, repository::load,
};

use crate::{
    credential::{
        recovery::{NewCodes, RecoveryCodes},
        totp::Totp,
        typed::{Authenticator, Form, TypedCode},
    },
    user::User,
};

/// Where second factors are kept.
pub static SECOND_FACTOR_KIND: Kind =
    Kind { name: "second_factor", indexes: &[], lifetime: Lifetime::Kept, secret: true };

/// How often a change is tried again after somebody else changed the same person's first.
const ATTEMPTS: u32 = 16;

/// The second factors of people.
#[derive(Clone)]
pub struct SecondFactors {
    pub(crate) node: Node,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) ephemeral: Arc<dyn Ephemeral>,
}

/// What a person has enrolled, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolled {
    /// Since when an authenticator app is enrolled.
    pub totp_since: Option<Timestamp>,
    /// How many recovery codes are left.
    pub recovery_codes: usize,
}

/// Why a code was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpendRefused {
    /// It is not the person's, not of now, or was used before.
    #[error("the code is wrong, or was used before")]
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
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All second factors of a person, as they are kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FactorRecord {
    pub(crate) user: UserId,
    /// At least one.
    pub(crate) factors: Vec<Factor>,
    #[serde(default)]
    pub(crate) recovery: Option<RecoveryCodes>,
}

/// One second factor. A program that does not know one of them refuses the record, and so the
/// sign-in: it must not take a person for one without.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Factor {
    Totp(Totp),
}

impl Stored for FactorRecord {
    const KIND: &'static Kind = &SECOND_FACTOR_KIND;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        self.user.as_str()
    }
}

/// What a change makes of a record: the next one, or none; what the journal says; what is answered.
pub(crate) struct Changed<T> {
    pub(crate) next: Option<FactorRecord>,
    pub(crate) tells: Option<Tells>,
    pub(crate) answer: T,
}

/// What the journal says of a change.
pub(crate) struct Tells {
    pub(crate) credential: &'static str,
    pub(crate) change: &'static str,
    pub(crate) by: String,
}

impl SecondFactors {
    /// Second factors in `records`; what is being enrolled is in `ephemeral`.
    #[must_use]
    pub fn new(node: Node, records: Arc<dyn Records>, ephemeral: Arc<dyn Ephemeral>) -> Self {
        Self { node, records, ephemeral }
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
        let edit = |before: Option<&FactorRecord>| {
            let next = before.and_then(|record| record.after(code, self.node.now()));
            let next = next.ok_or(SpendRefused::Wrong)?;
            // Codes of apps are used as often as people sign in; each of the others is news.
            let tells = (code.authenticator() == Authenticator::RecoveryCode).then(|| Tells {
                credential: Authenticator::RecoveryCode.as_str(),
                change: "used",
                by: user.as_str().to_owned(),
            });
            Ok(Changed { next: Some(next), tells, answer: () })
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
            let tells =
                before.map(|_| Tells { credential: "totp", change: "delete", by: by.to_owned() });
            Ok(Changed { next: None, answer: tells.is_some(), tells })
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
            let tells = Tells { credential: "recovery_code", change: "update", by: by.to_owned() };
            Ok(Changed { next: Some(next), tells: Some(tells), answer })
        };
        self.change(realm, user, &[], edit).await
    }

    /// The user, for a change that requires that there is one.
    pub(crate) async fn user(&self, realm: &Realm, user: &UserId) -> Result<Change, FactorRefused> {
        let found = load::<User>(self.records.as_ref(), realm, user.as_str()).await?;
        found.map(|found| found.require()).ok_or_else(|| FactorRefused::Unknown(user.clone()))
    }

    /// Makes of the record what `edit` says, if `required` holds.
    pub(crate) async fn change<T: Send, E: From<StoreError> + Send>(
        &self,
        realm: &Realm,
        user: &UserId,
        required: &[Change],
        edit: impl Fn(Option<&FactorRecord>) -> Result<Changed<T>, E> + Send,
    ) -> Result<T, E> {
        for _ in 0..ATTEMPTS {
            let found = load::<FactorRecord>(self.records.as_ref(), realm, user.as_str()).await?;
            let Changed { next, tells, answer } = edit(found.as_ref().map(|found| &found.value))?;
            let change = match (&found, &next) {
                (Some(found), Some(next)) => found.replace(next),
                (Some(found), None) => found.remove(),
                (None, Some(next)) => next.put(Expect::Absent),
                (None, None) => return Ok(answer),
            };
            let batch = Batch::new(realm.clone()).with(change);
            let batch = required.iter().cloned().fold(batch, Batch::with);
            let batch = match tells {
                Some(tells) => batch.journal(&self.event(realm, user, &tells, next.as_ref())),
                None => batch,
            };
            match self.records.commit(batch).await {
                Ok(()) => return Ok(answer),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        let detail = "a person's second factors changed faster than they could be used".to_owned();
        Err(StoreError::Unavailable { backend: "the record store", detail }.into())
    }

    fn event(
        &self,
        realm: &Realm,
        user: &UserId,
        tells: &Tells,
        next: Option<&FactorRecord>,
    ) -> Event {
        let left = next.map_or(0, FactorRecord::recovery_codes);
        Event::new(
            &self.node,
            realm,
            EventType::CredentialChanged,
            [
                ("user_id", user.as_str().into()),
                ("credential", tells.credential.into()),
                ("change", tells.change.into()),
                ("recovery_codes", Value::from(left)),
                ("actor", tells.by.as_str().into()),
            ],
        )
    }
}

impl Enrolled {
    /// With what the person can prove themselves.
    #[must_use]
    pub fn authenticators(&self) -> BTreeSet<Authenticator> {
        let totp = self.totp_since.map(|_| Authenticator::Totp);
        let recovery = (self.recovery_codes > 0).then_some(Authenticator::RecoveryCode);
        totp.into_iter().chain(recovery).collect()
    }
}

impl FactorRecord {
    /// The record with this app in place of the one before.
    ///
    /// INVARIANT: the last step that was used never goes back, whatever is enrolled how often.
    pub(crate) fn with_totp(&self, mut totp: Totp) -> Self {
        for Factor::Totp(before) in &self.factors {
            totp.used = totp.used.max(before.used);
        }
        let others = self.factors.iter().filter(|factor| !matches!(factor, Factor::Totp(_)));
        let factors = others.cloned().chain([Factor::Totp(totp)]).collect();
        Self { factors, ..self.clone() }
    }

    pub(crate) fn enrolled(&self) -> Enrolled {
        let totp_since = self.factors.iter().map(|Factor::Totp(totp)| totp.added).next();
        Enrolled { totp_since, recovery_codes: self.recovery_codes() }
    }

    fn recovery_codes(&self) -> usize {
        self.recovery.as_ref().map_or(0, RecoveryCodes::left)
    }

    /// The record after `code` was used. `None`: the code does not count.
    fn after(&self, code: &TypedCode, now: Timestamp) -> Option<Self> {
        match code.form() {
            Form::Totp(digits) => self.factors.iter().find_map(|Factor::Totp(totp)| {
                totp.after(digits.expose(), now).map(|totp| self.with_totp(totp))
            }),
            Form::Recovery(code) => {
                let left = self.recovery.as_ref()?.without(code.expose())?;
                Some(Self { recovery: Some(left), ..self.clone() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
