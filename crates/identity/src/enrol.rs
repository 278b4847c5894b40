//! Enrolling a second factor: begun with a secret, made good by a code of the app that has it.
//!
//! What is begun waits where values have a lifetime, under the name of the session that began it.
//! Nothing counts before the code was shown, so nobody is shut out by an app that never took the
//! secret. Whoever calls this has made sure that the person proved themselves a moment ago.
//!
//! An enrolment takes the place of what was there when it began, and of nothing else: who began it when
//! a password was enough does not replace the app that somebody enrolled since.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use tegata_core::{
    Realm, SessionId, StoreError, Timestamp, UserId,
    port::{Put, Space},
    repository::{decode_bytes, encode},
};

use crate::{
    credential::{
        recovery::{NewCodes, RecoveryCodes},
        totp::{Totp, TotpSecret},
        typed::{Form, TypedCode},
    },
    second_factor::{Changed, Factor, FactorRecord, FactorRefused, SecondFactors, Tells},
};

/// Where enrolments wait for their code.
pub static ENROLMENTS: Space = Space { name: "second_factor_enrolment", indexed: false };

/// How long an enrolment waits.
const LIFETIME: Duration = Duration::from_secs(900);

/// The version of its stored form.
const FORM: u8 = 1;

/// An enrolment that waits for its code.
#[derive(Clone, Serialize, Deserialize)]
pub struct Enrolment {
    user: UserId,
    /// What the app is to be given.
    pub secret: TotpSecret,
    /// Since when the app was enrolled that it replaces. `None`: it is the first.
    #[serde(default)]
    replaces: Option<Timestamp>,
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
        let replaces = self.of(realm, user).await?.and_then(|enrolled| enrolled.totp_since);
        let secret = TotpSecret::generate(self.node.entropy());
        let enrolment = Enrolment { user: user.clone(), secret, replaces };
        let put = Put {
            key: session.as_str().to_owned(),
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
        let held = self.ephemeral.get(realm, &ENROLMENTS, session.as_str()).await?;
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
        let enrolment = self.enrolling(realm, user, session).await?;
        let Enrolment { secret, replaces, .. } = enrolment.ok_or(ConfirmRefused::Expired)?;
        let code = TypedCode::read(typed).ok_or(ConfirmRefused::Wrong)?;
        let Form::Totp(digits) = code.form() else { return Err(ConfirmRefused::Wrong) };
        let now = self.node.now();
        let used = secret.step_of(digits.expose(), now, 0).ok_or(ConfirmRefused::Wrong)?;
        let totp = Totp { secret, added: now, used };
        let codes = self.enrol(realm, user, &totp, replaces, user.as_str()).await?;
        // What stays behind is overtaken by what it enrolled, and the codes are shown only now.
        if let Err(error) = self.ephemeral.take(realm, &ENROLMENTS, session.as_str()).await {
            tracing::warn!(%user, %error, "an enrolment that was made good was not taken away");
        }
        Ok(codes)
    }

    /// Enrols an authenticator app whose secret is known, if the person has no second factor yet.
    /// Answers whether it did. For whoever sets up an installation.
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
        match self.enrol(realm, user, &totp, None, by).await {
            Ok(_) => Ok(true),
            Err(ConfirmRefused::Expired | ConfirmRefused::Wrong) => Ok(false),
            Err(ConfirmRefused::Factor(refused)) => Err(refused),
        }
    }

    async fn enrol(
        &self,
        realm: &Realm,
        user: &UserId,
        totp: &Totp,
        replaces: Option<Timestamp>,
        by: &str,
    ) -> Result<Option<NewCodes>, ConfirmRefused> {
        let exists = self.user(realm, user).await?;
        let edit = |before: Option<&FactorRecord>| {
            if before.map(|before| before.enrolled().totp_since) != replaces.map(Some) {
                return Err(ConfirmRefused::Expired);
            }
            let (next, change, answer) = match before {
                Some(before) => (before.with_totp(totp.clone()), "update", None),
                None => {
                    let (kept, codes) = RecoveryCodes::make(self.node.entropy());
                    let factors = vec![Factor::Totp(totp.clone())];
                    let recovery = Some(kept);
                    let first = FactorRecord { user: user.clone(), factors, recovery };
                    (first, "create", Some(codes))
                }
            };
            let tells = Some(Tells { credential: "totp", change, by: by.to_owned() });
            Ok(Changed { next: Some(next), tells, answer })
        };
        self.change(realm, user, &[exists], edit).await
    }
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enrolment({})", self.user)
    }
}

#[cfg(test)]
mod tests;
