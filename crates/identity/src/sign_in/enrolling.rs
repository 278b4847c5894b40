//! Signing in where a second factor is demanded of somebody who has none: they set one up, and what they
//! show for that is the second step.
//!
//! Until then nothing of theirs begins. There is a challenge, as there is for a code, of another sort: it
//! counts for setting up the first factor and for nothing else, and only while the person has none and the
//! password that was shown is theirs. So whoever has the password of somebody with a second factor puts
//! none beside it.

use serde_json::Value;
use tegata_core::{
    Realm, UserId,
    port::{Change, Held},
};

use super::{
    Acr, Assurance, CodeAttempt, Method, Proven, Refused, SignIn, Step,
    second::{self, Challenge},
};
use crate::{
    credential::{passkey::PasskeyName, recovery::NewCodes},
    enrol::{BeginRefused, ConfirmRefused, Enrolment, Spot},
    second_factor::FactorRefused,
    user::User,
};

/// The second from which what a person proves counts: whatever was proven before was taken back.
pub type Earliest<'a> = &'a (dyn Fn(&UserId) -> u64 + Sync);

/// What somebody is offered who must set up a second factor.
#[derive(Debug)]
pub struct Offered {
    /// Who.
    pub user: User,
    /// What an app is to be given.
    pub app: Enrolment,
    /// What the browser is asked for, where there are passkeys.
    pub passkey: Option<Value>,
}

/// A second factor that was set up at sign-in.
#[derive(Debug)]
pub struct SetUp {
    /// Both factors, proven.
    pub proven: Proven,
    /// What is shown of it once.
    pub codes: NewCodes,
}

impl SignIn {
    /// What a person may set up. An app that was offered for this sign-in before is offered again.
    ///
    /// # Errors
    /// [`Refused::Over`] and [`Refused::Store`].
    pub async fn offer(&self, realm: &Realm, step: &Step<'_>) -> Result<Offered, Refused> {
        let (id, _) = self.enrolling(realm, step).await?;
        let user = self.users.load(realm, &id).await?.filter(|user| !user.disabled);
        let user = user.ok_or(Refused::Over)?;
        let place = second::key(step.token);
        let app = match self.second.enrolling_at(realm, &id, &place).await? {
            Some(app) => app,
            None => self.second.begin_totp_at(realm, &id, &place).await?,
        };
        let passkey = match self.second.begin_passkey_at(realm, &user, &place).await {
            Ok(options) => Some(options),
            Err(BeginRefused::NotHere | BeginRefused::TooMany) => None,
            Err(BeginRefused::Store(error)) => return Err(error.into()),
        };
        Ok(Offered { user, app, passkey })
    }

    /// The second step of signing in, by a code of the app that was offered, which is set up by it.
    ///
    /// # Errors
    /// See [`Refused`]. Under [`Refused::Over`], the person begins again.
    pub async fn enrol_by_code(
        &self,
        realm: &Realm,
        shown: &CodeAttempt<'_>,
        earliest: Earliest<'_>,
    ) -> Result<SetUp, Refused> {
        let (challenge, user, password) = self.counted(realm, &shown.step, earliest).await?;
        let (place, required) = (second::key(shown.step.token), [password]);
        let spot = Spot::first(&place, &required);
        let confirmed = self.second.confirm_totp_at(realm, &user.id, &spot, shown.code).await;
        let codes = confirmed.map_err(|refused| refusal(refused, Refused::WrongCode))?;
        self.set_up(realm, &shown.step, (challenge, user), &[Method::OneTime], codes).await
    }

    /// The same by a passkey that the browser made.
    ///
    /// # Errors
    /// As [`Self::enrol_by_code`].
    pub async fn enrol_by_passkey(
        &self,
        realm: &Realm,
        step: &Step<'_>,
        made: &str,
        name: PasskeyName,
        earliest: Earliest<'_>,
    ) -> Result<SetUp, Refused> {
        let (challenge, user, password) = self.counted(realm, step, earliest).await?;
        let (place, required) = (second::key(step.token), [password]);
        let spot = Spot::first(&place, &required);
        let confirmed = self.second.confirm_passkey_at(realm, &user.id, &spot, made, name).await;
        let codes = confirmed.map_err(|refused| refusal(refused, Refused::WrongPasskey))?;
        let by = [Method::Possession, Method::Presence];
        self.set_up(realm, step, (challenge, user), &by, codes).await
    }

    /// Whose sign-in waits for a second factor to be set up. Whoever has one by now begins again.
    async fn enrolling(&self, realm: &Realm, step: &Step<'_>) -> Result<(UserId, Held), Refused> {
        let (user, held) = self.waiting_to(realm, step, second::To::Enrol).await?;
        match self.second.of(realm, &user).await? {
            None => Ok((user, held)),
            Some(_) => Err(Refused::Over),
        }
    }

    /// Counts an attempt, and looks who makes it. Answers what must still be so of their password when
    /// something is set up.
    async fn counted(
        &self,
        realm: &Realm,
        step: &Step<'_>,
        earliest: Earliest<'_>,
    ) -> Result<(Challenge, User, Change), Refused> {
        let (id, held) = self.enrolling(realm, step).await?;
        let challenge = self.count(realm, step, held).await?;
        // A sign-in that was taken back leaves nothing behind, least of all a factor.
        if challenge.counts_from < earliest(&id) {
            return Err(Refused::Over);
        }
        let (user, password) = self.still(realm, &challenge).await?.ok_or(Refused::Over)?;
        Ok((challenge, user, password))
    }

    async fn set_up(
        &self,
        realm: &Realm,
        step: &Step<'_>,
        (challenge, user): (Challenge, User),
        by: &[Method],
        codes: Option<NewCodes>,
    ) -> Result<SetUp, Refused> {
        // Whoever had none is given codes.
        let codes = codes.ok_or(Refused::Over)?;
        let first = std::iter::once(challenge.first());
        let amr = first.chain(by.iter().copied()).chain([Method::Several]).collect();
        let auth_time = self.node.now();
        // There is nothing else than what was set up. Of the codes that came with it none was shown.
        let enrolled = self.second.of(realm, &user.id).await?.ok_or(Refused::Over)?;
        let factors = enrolled.held_names().collect();
        let assurance = Assurance { user, amr, acr: Acr::Aal2, factors, auth_time };
        let proven = self.settle(realm, step, assurance, &challenge).await?;
        Ok(SetUp { proven, codes })
    }
}

/// What somebody is told who has not set up what they were offered. `wrong`: it is not what was asked for.
fn refusal(refused: ConfirmRefused, wrong: Refused) -> Refused {
    match refused {
        ConfirmRefused::Factor(FactorRefused::Store(error)) => error.into(),
        ConfirmRefused::Expired | ConfirmRefused::Factor(_) => Refused::Over,
        ConfirmRefused::Wrong
        | ConfirmRefused::Flawed(_)
        | ConfirmRefused::Malformed
        | ConfirmRefused::Taken
        | ConfirmRefused::TooMany => wrong,
    }
}

#[cfg(test)]
mod tests;
