//! Passkeys among the second factors of a person: whose one is, using one, taking one away.

use serde::{Deserialize, Serialize};
use tegata_core::{
    Expect, Kind, Lifetime, Realm, StoreError, Stored, UserId, port::Change, repository::load,
};

use super::{Changed, FactorRecord, FactorRefused, SecondFactors, SpendRefused, Tells};
use crate::credential::passkey::{Asked, Assertion, Flaw, Passkey, RelyingParty};

/// Where it is kept whose a passkey is: one record for each, so that a passkey has one person.
pub static PASSKEY_KIND: Kind =
    Kind { name: "passkey", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// A passkey and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owned {
    /// The digest of its id.
    passkey: String,
    user: UserId,
}

impl Stored for Owned {
    const KIND: &'static Kind = &PASSKEY_KIND;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        &self.passkey
    }
}

impl SecondFactors {
    /// For whom passkeys are made. `None`: nobody has any here.
    #[must_use]
    pub fn party(&self) -> Option<&RelyingParty> {
        self.party.as_deref()
    }

    /// Whose a passkey is.
    pub(crate) async fn owner(
        &self,
        realm: &Realm,
        passkey: &str,
    ) -> Result<Option<UserId>, StoreError> {
        let found = load::<Owned>(self.records.as_ref(), realm, passkey).await?;
        Ok(found.map(|found| found.value.user))
    }

    /// All that a person has, as it is kept.
    pub(crate) async fn record(
        &self,
        realm: &Realm,
        user: &UserId,
    ) -> Result<Option<FactorRecord>, StoreError> {
        let found = load::<FactorRecord>(self.records.as_ref(), realm, user.as_str()).await?;
        Ok(found.map(|found| found.value))
    }

    /// Checks that a person's passkey was used as it was asked for, but for its counter. Answers whether
    /// it proves who was there.
    pub(crate) async fn check_passkey(
        &self,
        user: &UserId,
        assertion: &Assertion,
        asked: &Asked<'_>,
    ) -> Result<bool, SpendRefused> {
        let record = self.record(asked.realm, user).await?;
        let passkey = record.as_ref().and_then(|record| record.passkey(&assertion.name()));
        let (Some(party), Some(record), Some(passkey)) = (self.party(), &record, passkey) else {
            return Err(SpendRefused::Wrong);
        };
        passkey.check(assertion, party, record.handle.as_ref(), asked).map_err(|flaw| {
            tracing::info!(%user, passkey = passkey.key(), %flaw, "a passkey was refused");
            SpendRefused::Wrong
        })?;
        Ok(passkey.proves_who(assertion))
    }

    /// Uses a passkey of which everything but the counter was checked. Where the counter went back,
    /// there is a copy of it: the journal says so, and it is refused.
    ///
    /// # Errors
    /// See [`SpendRefused`].
    pub(crate) async fn spend_passkey(
        &self,
        realm: &Realm,
        user: &UserId,
        assertion: &Assertion,
    ) -> Result<(), SpendRefused> {
        let key = assertion.name();
        let edit = |before: Option<&FactorRecord>| {
            let before = before.ok_or(SpendRefused::Wrong)?;
            let passkey = before.passkey(&key).ok_or(SpendRefused::Wrong)?;
            Ok(match passkey.after(assertion, self.node.now()) {
                Some(next) => Changed::to(Some(before.with_passkey(next)), true),
                None => {
                    // It stays as it is: which of the two is the person's is theirs to say.
                    let tells = Tells::passkey(passkey, "cloned", "system");
                    Changed::to(Some(before.clone()), false).telling(tells)
                }
            })
        };
        if self.change::<_, SpendRefused>(realm, user, &[], edit).await? {
            return Ok(());
        }
        let flaw = Flaw::Counter;
        tracing::warn!(%user, passkey = key, %flaw, "a passkey was refused: let its person remove it");
        Err(SpendRefused::Wrong)
    }

    /// Takes one passkey of a person away; with the last of what they have, the recovery codes.
    /// Answers whether there was such a one.
    ///
    /// # Errors
    /// [`FactorRefused::Last`] and [`FactorRefused::Store`].
    pub async fn remove_passkey(
        &self,
        realm: &Realm,
        user: &UserId,
        id: &str,
        by: &str,
    ) -> Result<bool, FactorRefused> {
        let keeps_one = self.keeps_one(realm, user).await?;
        let edit = |before: Option<&FactorRecord>| {
            let found = before.and_then(|before| Some((before, before.passkey(id)?)));
            let Some((before, passkey)) = found else { return Ok(Changed::not(false)) };
            let left = before.without_passkey(id);
            if keeps_one && left.is_none() {
                return Err(FactorRefused::Last(user.clone()));
            }
            let changed = Changed::to(left, true).with(disowned(passkey));
            Ok(changed.telling(Tells::passkey(passkey, "delete", by)))
        };
        self.change(realm, user, &[], edit).await
    }
}

/// The change that makes a passkey a person's, if it is nobody's.
pub(crate) fn owned(passkey: &Passkey, user: &UserId) -> Change {
    Owned { passkey: passkey.key(), user: user.clone() }.put(Expect::Absent)
}

/// The change that makes a passkey nobody's.
pub(super) fn disowned(passkey: &Passkey) -> Change {
    Change::Remove { kind: &PASSKEY_KIND, key: passkey.key(), expect: Expect::Any }
}
