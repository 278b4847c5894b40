//! Enrolling a passkey.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tegata_core::{
    Realm, SessionId, StoreError, Timestamp, UserId,
    port::{Put, Space},
    repository::{decode_bytes, encode},
};

use super::{ConfirmRefused, Spot, since};
use crate::{
    credential::{
        passkey::{Handle, MOST, Passkey, PasskeyName, Registration, challenge, options},
        recovery::NewCodes,
    },
    second_factor::{Changed, Factor, FactorRecord, SecondFactors, Tells, owned},
    user::User,
};

/// Where enrolments of passkeys wait for what the authenticator makes.
pub static PASSKEY_ENROLMENTS: Space = Space { name: "passkey_enrolment", indexed: false };

/// How long one waits.
const LIFETIME: Duration = challenge::LIFETIME;

/// The version of its stored form.
const FORM: u8 = 1;

/// The random bytes of its challenge.
const CHALLENGE: usize = 32;

/// An enrolment that waits.
#[derive(Serialize, Deserialize)]
struct Waiting {
    user: UserId,
    challenge: [u8; CHALLENGE],
    handle: Handle,
    since: Vec<Timestamp>,
}

/// Why the enrolment of a passkey was not begun.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BeginRefused {
    /// There are no passkeys at this address.
    #[error(
        "there are no passkeys here: the issuer's host is an address, and `public.rp_id` is not set"
    )]
    NotHere,
    /// The person has as many as one may have.
    #[error("there are too many passkeys: remove one first")]
    TooMany,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SecondFactors {
    /// Begins to enrol a passkey. Answers what the page asks the browser for. It counts once, in this
    /// session, within 5 minutes.
    ///
    /// # Errors
    /// See [`BeginRefused`].
    pub async fn begin_passkey(
        &self,
        realm: &Realm,
        user: &User,
        session: &SessionId,
    ) -> Result<Value, BeginRefused> {
        self.begin_passkey_at(realm, user, session.as_str()).await
    }

    pub(crate) async fn begin_passkey_at(
        &self,
        realm: &Realm,
        user: &User,
        place: &str,
    ) -> Result<Value, BeginRefused> {
        let party = self.party().ok_or(BeginRefused::NotHere)?;
        let record = self.record(realm, &user.id).await?;
        let theirs = || record.iter().flat_map(FactorRecord::passkeys);
        if theirs().count() >= MOST {
            return Err(BeginRefused::TooMany);
        }
        let entropy = self.node.entropy();
        let (mut challenge, mut fresh) = ([0; CHALLENGE], Handle::default());
        entropy.fill(&mut challenge);
        entropy.fill(&mut fresh);
        let handle = record.as_ref().and_then(|record| record.handle).unwrap_or(fresh);
        let since = since(record.as_ref());
        let waiting = Waiting { user: user.id.clone(), challenge, handle, since };
        let put = Put {
            key: place.to_owned(),
            value: encode(FORM, &waiting),
            lifetime: LIFETIME,
            index: None,
        };
        self.ephemeral.put(realm, &PASSKEY_ENROLMENTS, put).await?;
        let name = user.username.as_str();
        Ok(options::creation(party, &challenge, &handle, name, theirs()))
    }

    /// Makes an enrolment good by what the authenticator made. Answers the recovery codes of whoever
    /// had no second factor before.
    ///
    /// # Errors
    /// See [`ConfirmRefused`]. Whatever it is, the enrolment is over.
    pub async fn confirm_passkey(
        &self,
        realm: &Realm,
        user: &UserId,
        session: &SessionId,
        made: &str,
        name: PasskeyName,
    ) -> Result<Option<NewCodes>, ConfirmRefused> {
        self.confirm_passkey_at(realm, user, &Spot::of(session), made, name).await
    }

    pub(crate) async fn confirm_passkey_at(
        &self,
        realm: &Realm,
        user: &UserId,
        spot: &Spot<'_>,
        made: &str,
        name: PasskeyName,
    ) -> Result<Option<NewCodes>, ConfirmRefused> {
        let party = self.party().ok_or(ConfirmRefused::Expired)?;
        let held = self.ephemeral.take(realm, &PASSKEY_ENROLMENTS, spot.place).await?;
        let waiting = held.and_then(|held| decode_bytes::<Waiting>(FORM, &held.value).ok());
        let theirs = |waiting: &Waiting| waiting.user == *user && spot.takes(&waiting.since);
        let waiting = waiting.filter(theirs);
        let waiting = waiting.ok_or(ConfirmRefused::Expired)?;
        let registration = Registration::parse(made).map_err(|_| ConfirmRefused::Malformed)?;
        let now = self.node.now();
        let passkey = Passkey::made(&registration, party, &waiting.challenge, name, now);
        let passkey = passkey.map_err(ConfirmRefused::Flawed)?;
        // The batch requires it, too; this is to say so.
        if self.owner(realm, &passkey.key()).await?.is_some() {
            return Err(ConfirmRefused::Taken);
        }
        let exists = self.user(realm, user).await?;
        let required = [std::slice::from_ref(&exists), spot.required].concat();
        let edit = |before: Option<&FactorRecord>| {
            let first = || Factor::Passkey(passkey.clone());
            let (next, codes) = self.beside(user, before, &waiting.since, first)?;
            let next = FactorRecord { handle: Some(waiting.handle), ..next };
            let next = next.with_passkey(passkey.clone());
            if next.passkeys().count() > MOST {
                return Err(ConfirmRefused::TooMany);
            }
            let tells = Tells::passkey(&passkey, "create", user.as_str());
            Ok(Changed::to(Some(next), codes).with(owned(&passkey, user)).telling(tells))
        };
        self.change(realm, user, &required, edit).await
    }
}

#[cfg(test)]
mod tests;
