//! Enrolling a second factor: begun with a secret, made good by a code of the app that has it. (Of a
//! passkey: begun with a challenge, made good by what the authenticator made.)
//!
//! What is begun waits where values have a lifetime, under the name of the session that began it.
//! Nothing counts before the code was shown, so nobody is shut out by an app that never took the
//! secret. Whoever calls this has made sure that the person proved themselves a moment ago.
//!
//! An enrolment counts only while everything is enrolled that was when it began, and nothing else: who
//! began it when a password was enough does not replace the app that somebody enrolled since, and puts
//! nothing beside it.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tegata_core::{
    Realm, SessionId, StoreError, Timestamp, UserId,
    port::{Change, Put, Space},
    repository::{decode_bytes, encode},
};

use crate::{
    credential::{
        passkey::Flaw,
        recovery::{NewCodes, RecoveryCodes},
        totp::{Totp, TotpSecret},
        typed::{Authenticator, Form, TypedCode},
    },
    second_factor::{Changed, Factor, FactorRecord, FactorRefused, SecondFactors, Tells},
};

mod passkey;

pub use passkey::{BeginRefused, PASSKEY_ENROLMENTS};

/// Where enrolments wait for their code.
pub static ENROLMENTS: Space = Space { name: "second_factor_enrolment", indexed: false };

/// How long an enrolment waits.
const LIFETIME: Duration = Duration::from_secs(900);

/// The version of its stored form.
const FORM: u8 = 2;

/// Where an enrolment waits, and what must be so when it is made good.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    /// The name of the session that began it, or of the sign-in.
    place: &'a str,
    /// What must not have changed.
    required: &'a [Change],
    /// Whether the person must have had nothing when it began.
    is_first: bool,
}

impl<'a> Spot<'a> {
    /// In a session.
    pub(crate) fn of(session: &'a SessionId) -> Self {
        Self { place: session.as_str(), required: &[], is_first: false }
    }

    /// At a sign-in, for whoever has nothing.
    pub(crate) const fn first(place: &'a str, required: &'a [Change]) -> Self {
        Self { place, required, is_first: true }
    }

    /// Whether an enrolment counts that began when `since` was there.
    fn takes(&self, since: &[Timestamp]) -> bool {
        !self.is_first || since.is_empty()
    }
}

/// An enrolment that waits for its code.
#[derive(Clone, Serialize, Deserialize)]
pub struct Enrolment {
    user: UserId,
    /// What the app is to be given.
    pub secret: TotpSecret,
    /// Since when each factor was enrolled that was there when it began.
    since: Vec<Timestamp>,
}

/// Why an enrolment was not made good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfirmRefused {
    /// None was begun in this session, it waited for too long, or the person's second factor is
    /// another since.
    #[error("the enrolment has waited for too long, or was overtaken by another: begin again")]
    Expired,
    /// The code is not what the app shows now.
    #[error("the code is not the one that the app shows now")]
    Wrong,
    /// What was made is not what was asked for.
    #[error("the passkey was not made as it was asked for: {0}")]
    Flawed(Flaw),
    /// What was sent is no passkey.
    #[error("this is no passkey")]
    Malformed,
    /// The passkey is somebody's, this person's own or another's.
    #[error("this passkey is enrolled already")]
    Taken,
    /// The person has as many passkeys as one may have.
    #[error("there are too many passkeys: remove one first")]
    TooMany,
    /// It cannot be kept.
    #[error(transparent)]
    Factor(#[from] FactorRefused),
}

impl From<StoreError> for ConfirmRefused {
    fn from(error: StoreError) -> Self {
        Self::Factor(error.into())
    }
}

impl SecondFactors {
    /// Begins to enrol an authenticator app.
    ///
    /// # Errors
    /// What the store says.
    pub async fn begin_totp(
        &self,
        realm: &Realm,
        user: &UserId,
        session: &SessionId,
    ) -> Result<Enrolment, StoreError> {
        self.begin_totp_at(realm, user, session.as_str()).await
    }

    pub(crate) async fn begin_totp_at(
        &self,
        realm: &Realm,
        user: &UserId,
        place: &str,
    ) -> Result<Enrolment, StoreError> {
        let since = since(self.record(realm, user).await?.as_ref());
        let secret = TotpSecret::generate(self.node.entropy());
        let enrolment = Enrolment { user: user.clone(), secret, since };
        let put = Put {
            key: place.to_owned(),
            value: encode(FORM, &enrolment),
            lifetime: LIFETIME,
            index: None,
        };
        self.ephemeral.put(realm, &ENROLMENTS, put).await?;
        Ok(enrolment)
    }

    /// The enrolment that waits in a session of this person.
    ///
    /// # Errors
    /// What the store says.
    pub async fn enrolling(
        &self,
        realm: &Realm,
        user: &UserId,
        session: &SessionId,
    ) -> Result<Option<Enrolment>, StoreError> {
        self.enrolling_at(realm, user, session.as_str()).await
    }

    pub(crate) async fn enrolling_at(
        &self,
        realm: &Realm,
        user: &UserId,
        place: &str,
    ) -> Result<Option<Enrolment>, StoreError> {
        let held = self.ephemeral.get(realm, &ENROLMENTS, place).await?;
        let enrolment = held.and_then(|held| decode_bytes::<Enrolment>(FORM, &held.value).ok());
        Ok(enrolment.filter(|enrolment| enrolment.user == *user))
    }

    /// Makes an enrolment good by a code of the app. The code counts as used. Answers the recovery
    /// codes of whoever had no second factor before; who had one keeps those that are left.
    ///
    /// # Errors
    /// See [`ConfirmRefused`].
    pub async fn confirm_totp(
        &self,
        realm: &Realm,
        user: &UserId,
        session: &SessionId,
        typed: &str,
    ) -> Result<Option<NewCodes>, ConfirmRefused> {
        self.confirm_totp_at(realm, user, &Spot::of(session), typed).await
    }

    pub(crate) async fn confirm_totp_at(
        &self,
        realm: &Realm,
        user: &UserId,
        spot: &Spot<'_>,
        typed: &str,
    ) -> Result<Option<NewCodes>, ConfirmRefused> {
        let enrolment = self.enrolling_at(realm, user, spot.place).await?;
        let enrolment = enrolment.filter(|enrolment| spot.takes(&enrolment.since));
        let Enrolment { secret, since, .. } = enrolment.ok_or(ConfirmRefused::Expired)?;
        let code = TypedCode::read(typed).ok_or(ConfirmRefused::Wrong)?;
        let Form::Totp(digits) = code.form() else { return Err(ConfirmRefused::Wrong) };
        let now = self.node.now();
        let used = secret.step_of(digits.expose(), now, 0).ok_or(ConfirmRefused::Wrong)?;
        let totp = Totp { secret, added: now, used };
        let enrolled = (&totp, since.as_slice());
        let codes = self.enrol_totp(realm, user, enrolled, spot.required, user.as_str()).await?;
        // What stays behind is overtaken by what it enrolled, and the codes are shown only now.
        if let Err(error) = self.ephemeral.take(realm, &ENROLMENTS, spot.place).await {
            tracing::warn!(%user, %error, "an enrolment that was made good was not taken away");
        }
        Ok(codes)
    }

    /// Enrols an authenticator app whose secret is known, if the person has no second factor yet.
    /// Answers whether it did. For whoever sets up an installation: nobody is told by mail.
    ///
    /// # Errors
    /// See [`FactorRefused`].
    pub async fn provide_totp(
        &self,
        realm: &Realm,
        user: &UserId,
        secret: &TotpSecret,
        by: &str,
    ) -> Result<bool, FactorRefused> {
        let totp = Totp { secret: secret.clone(), added: self.node.now(), used: 0 };
        match self.quiet().enrol_totp(realm, user, (&totp, &[]), &[], by).await {
            Ok(_) => Ok(true),
            Err(ConfirmRefused::Factor(refused)) => Err(refused),
            Err(_) => Ok(false),
        }
    }

    async fn enrol_totp(
        &self,
        realm: &Realm,
        user: &UserId,
        (totp, since): (&Totp, &[Timestamp]),
        required: &[Change],
        by: &str,
    ) -> Result<Option<NewCodes>, ConfirmRefused> {
        let exists = self.user(realm, user).await?;
        let required = [std::slice::from_ref(&exists), required].concat();
        let edit = |before: Option<&FactorRecord>| {
            let had_one = before.is_some_and(|before| before.enrolled().totp_since.is_some());
            let change = if had_one { "update" } else { "create" };
            let tells = Tells::new(Authenticator::Totp, change, by);
            let (next, codes) = self.beside(user, before, since, || Factor::Totp(totp.clone()))?;
            Ok(Changed::to(Some(next.with_totp(totp.clone())), codes).telling(tells))
        };
        self.change(realm, user, &required, edit).await
    }

    /// The record to which a factor is added, if everything is there that was when that began: for
    /// whoever has none yet, a new one with the first, and recovery codes.
    fn beside(
        &self,
        user: &UserId,
        before: Option<&FactorRecord>,
        since_then: &[Timestamp],
        first: impl Fn() -> Factor,
    ) -> Result<(FactorRecord, Option<NewCodes>), ConfirmRefused> {
        if since(before) != since_then {
            return Err(ConfirmRefused::Expired);
        }
        Ok(match before {
            Some(before) => (before.clone(), None),
            None => {
                let (kept, codes) = RecoveryCodes::make(self.node.entropy());
                let (factors, recovery) = (vec![first()], Some(kept));
                let user = user.clone();
                (FactorRecord { user, factors, recovery, handle: None }, Some(codes))
            }
        })
    }
}

/// Since when each factor of a person is enrolled.
fn since(record: Option<&FactorRecord>) -> Vec<Timestamp> {
    record.map(FactorRecord::since).unwrap_or_default()
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enrolment({})", self.user)
    }
}

#[cfg(test)]
mod tests;
