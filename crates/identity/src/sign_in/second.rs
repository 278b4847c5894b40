//! The second step of signing in: a code, from the browser that showed the password. (A passkey in its
//! place is in [`super::passkey`].)
//!
//! Between the two steps a *challenge* stands where values have a lifetime, under the digest of a
//! token that only that browser was given. It is good for 5 minutes and 5 codes. An attempt is
//! counted before the code is looked at, and in a place of its own: whatever becomes of the rest, it
//! stays counted.
//!
//! Codes are counted for each person, too, apart from passwords and in the same way, so that new
//! challenges give nobody new attempts. Only who has shown the password, or has a session, can use
//! those up, and for the networks from which the person signs in only somebody there can, by a hundred
//! wrong ones in a row.

use std::{fmt, net::IpAddr, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{
    Realm, Secret, StoreError, Timestamp, UserId,
    port::{Change, Held, Put, Space, Swap},
    repository::{decode_bytes, encode},
};

use super::{Acr, Assurance, FirstFactor, Method, Refused, SignIn};
use crate::{
    credential::{
        password,
        typed::{Authenticator, TypedCode},
    },
    second_factor::SpendRefused,
    throttle::{Attempt, Tried},
    user::User,
};

/// Where challenges wait for their code.
pub static CHALLENGES: Space = Space { name: "second_factor_challenge", indexed: false };

/// How long a challenge waits.
const LIFETIME: Duration = Duration::from_secs(300);

/// The same where a second factor is to be set up: an app may have to be found first.
const ENROLLING: Duration = Duration::from_secs(900);

/// How many codes, and passkeys, may be tried.
const MOST: u8 = 5;

/// The random bytes of a token.
const TOKEN: usize = 32;

/// The version of a challenge's stored form.
const FORM: u8 = 1;

/// Which sign-in is at its second step, and where that comes from.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// The token of the challenge.
    pub token: &'a str,
    /// Which browser shows it.
    pub browser: &'a str,
    /// From where.
    pub address: IpAddr,
}

/// A code, and where it comes from.
#[derive(Clone, Copy)]
pub struct CodeAttempt<'a> {
    /// For which sign-in.
    pub step: Step<'a>,
    /// What it is said to be a code of, where that is said.
    pub authenticator: Option<Authenticator>,
    /// The code, as it was typed.
    pub code: &'a str,
}

/// Both factors, proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Who somebody is, as of the second.
    pub assurance: Assurance,
    /// The second that the first counts from, as whoever challenged said it.
    pub counts_from: u64,
}

/// A challenge, as it is kept.
#[derive(Serialize, Deserialize)]
pub(super) struct Challenge {
    user: UserId,
    /// Which of the person's passwords was shown, or is theirs.
    password: u64,
    /// Whether a letter was what proved the first factor.
    #[serde(default)]
    by_mail: bool,
    /// Whether a second factor is to be set up, and not shown.
    #[serde(default)]
    enrols: bool,
    browser: String,
    pub(super) counts_from: u64,
    ends: Timestamp,
    attempts: u8,
}

/// What a challenge waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// A second factor is shown.
    Show,
    /// One is set up.
    Enrol,
}

impl Challenge {
    /// What proved the first factor.
    pub(super) const fn first(&self) -> Method {
        if self.by_mail { Method::Mail } else { Method::Password }
    }
}

impl SignIn {
    /// Asks whoever has proven the first factor for the second: to show it, or to set it up. Answers
    /// the token that it must come with, from the same `browser`. `counts_from`: the second that the
    /// first counts from.
    ///
    /// # Errors
    /// What the store says.
    pub async fn challenge(
        &self,
        realm: &Realm,
        first: &FirstFactor,
        counts_from: u64,
        browser: &str,
        to: To,
    ) -> Result<Secret<String>, StoreError> {
        let lifetime = match to {
            To::Show => LIFETIME,
            To::Enrol => ENROLLING,
        };
        let mut bytes = [0_u8; TOKEN];
        self.node.entropy().fill(&mut bytes);
        let token = URL_SAFE_NO_PAD.encode(bytes);
        let challenge = Challenge {
            user: first.user.id.clone(),
            password: first.password,
            by_mail: first.by == Method::Mail,
            enrols: to == To::Enrol,
            browser: browser.to_owned(),
            counts_from,
            ends: self.node.now() + lifetime,
            attempts: 0,
        };
        let value = encode(FORM, &challenge);
        let put = Put { key: key(&token), value, lifetime, index: None };
        self.ephemeral().put(realm, &CHALLENGES, put).await?;
        Ok(Secret::new(token))
    }

    /// The second step of signing in.
    ///
    /// # Errors
    /// See [`Refused`]. Under [`Refused::Over`], the person begins again.
    pub async fn by_code(&self, realm: &Realm, shown: &CodeAttempt<'_>) -> Result<Proven, Refused> {
        let (mut whose, address) = (None, shown.step.address);
        let proven = self.look_at_code(realm, shown, &mut whose).await;
        self.throttle.noted(realm, (Tried::Code, whose.as_ref(), address), proven)
    }

    async fn look_at_code(
        &self,
        realm: &Realm,
        shown: &CodeAttempt<'_>,
        whose: &mut Option<UserId>,
    ) -> Result<Proven, Refused> {
        let auth_time = self.node.now();
        let (user, held) = self.waiting(realm, &shown.step).await?;
        *whose = Some(user.clone());
        let attempt = self.throttle.admit_code(realm, &user, shown.step.address).await?;
        let challenge = self.count(realm, &shown.step, held).await?;
        let (person, _) = self.still(realm, &challenge).await?.ok_or(Refused::Over)?;
        let factors = self.spend(realm, &user, shown.code, shown.authenticator).await?;
        let amr = vec![challenge.first(), Method::OneTime, Method::Several];
        let assurance = Assurance { user: person, amr, acr: Acr::Aal2, factors, auth_time };
        self.finish(realm, &shown.step, attempt, assurance, &challenge).await
    }

    /// Whose sign-in waits for its second step, from the browser that showed the password, and what is
    /// kept of it.
    pub(super) async fn waiting(
        &self,
        realm: &Realm,
        step: &Step<'_>,
    ) -> Result<(UserId, Held), Refused> {
        self.waiting_to(realm, step, To::Show).await
    }

    /// The same of a challenge that waits for this.
    ///
    /// INVARIANT: what is asked of whoever has a second factor is never answered by setting one up.
    pub(super) async fn waiting_to(
        &self,
        realm: &Realm,
        step: &Step<'_>,
        to: To,
    ) -> Result<(UserId, Held), Refused> {
        let held = self.ephemeral().get(realm, &CHALLENGES, &key(step.token)).await?;
        let held = held.ok_or(Refused::Over)?;
        let theirs = |it: &Challenge| {
            it.attempts < MOST && it.browser == step.browser && it.enrols == (to == To::Enrol)
        };
        match read(&held).filter(theirs) {
            Some(it) => Ok((it.user, held)),
            None => Err(Refused::Over),
        }
    }

    /// The end of the second step, after something was used up for it.
    pub(super) async fn finish(
        &self,
        realm: &Realm,
        step: &Step<'_>,
        attempt: Attempt,
        assurance: Assurance,
        challenge: &Challenge,
    ) -> Result<Proven, Refused> {
        let proven = self.settle(realm, step, assurance, challenge).await?;
        self.succeeded(realm, attempt).await;
        Ok(proven)
    }

    /// Of many who show something for one challenge at once, one goes on.
    pub(super) async fn settle(
        &self,
        realm: &Realm,
        step: &Step<'_>,
        assurance: Assurance,
        challenge: &Challenge,
    ) -> Result<Proven, Refused> {
        let taken = self.ephemeral().take(realm, &CHALLENGES, &key(step.token)).await?;
        taken.ok_or(Refused::Over)?;
        let name = assurance.user.username.as_str();
        if let Err(error) = self.throttle.signed_in(realm, name, step.address).await {
            tracing::warn!(%error, "it is not remembered from where somebody has signed in");
        }
        Ok(Proven { assurance, counts_from: challenge.counts_from })
    }

    /// Proves by a code alone that a person is still there: of whom it is already known, from a
    /// session, that they have shown their password.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn again_by_code(
        &self,
        realm: &Realm,
        user: &UserId,
        code: &str,
        address: IpAddr,
    ) -> Result<Assurance, Refused> {
        let proven = self.look_at_code_again(realm, user, code, address).await;
        self.throttle.noted(realm, (Tried::Code, Some(user), address), proven)
    }

    async fn look_at_code_again(
        &self,
        realm: &Realm,
        user: &UserId,
        code: &str,
        address: IpAddr,
    ) -> Result<Assurance, Refused> {
        let auth_time = self.node.now();
        let attempt = self.throttle.admit_code(realm, user, address).await?;
        let found = self.users.load(realm, user).await?.filter(|user| !user.disabled);
        let person = found.ok_or(Refused::InvalidCredentials)?;
        let factors = self.spend(realm, user, code, None).await?;
        self.succeeded(realm, attempt).await;
        let amr = vec![Method::OneTime];
        Ok(Assurance { user: person, amr, acr: Acr::Aal1, factors, auth_time })
    }

    /// Uses a code up. Answers of which factor it is.
    async fn spend(
        &self,
        realm: &Realm,
        user: &UserId,
        code: &str,
        authenticator: Option<Authenticator>,
    ) -> Result<Vec<String>, Refused> {
        let code = TypedCode::read(code).ok_or(Refused::WrongCode)?;
        if authenticator.is_some_and(|said| said != code.authenticator()) {
            return Err(Refused::WrongCode);
        }
        match self.second.spend_of(realm, user, &code).await {
            Ok(factor) => Ok(factor.into_iter().collect()),
            Err(SpendRefused::Wrong) => Err(Refused::WrongCode),
            Err(SpendRefused::Store(error)) => Err(error.into()),
        }
    }

    /// Counts an attempt at a challenge, before anybody looks at what is shown.
    pub(super) async fn count(
        &self,
        realm: &Realm,
        step: &Step<'_>,
        mut held: Held,
    ) -> Result<Challenge, Refused> {
        let key = key(step.token);
        // Each loss is another attempt that was counted, so this ends.
        loop {
            let mut challenge = read(&held).filter(|it| it.attempts < MOST).ok_or(Refused::Over)?;
            challenge.attempts += 1;
            let lifetime = challenge.ends.since(self.node.now());
            if lifetime.is_zero() {
                return Err(Refused::Over);
            }
            let value = encode(FORM, &challenge);
            let put = Put { key: key.clone(), value, lifetime, index: None };
            match self.ephemeral().swap(realm, &CHALLENGES, held.revision, put).await? {
                Swap::Won(_) => return Ok(challenge),
                Swap::Lost(newer) => held = newer,
                Swap::Gone => return Err(Refused::Over),
            }
        }
    }

    /// The person of a challenge, if they may still sign in by the password that they showed; and what
    /// must remain so of it while something is set up.
    pub(super) async fn still(
        &self,
        realm: &Realm,
        challenge: &Challenge,
    ) -> Result<Option<(User, Change)>, StoreError> {
        let id = &challenge.user;
        let (now, required) = password::required(self.records.as_ref(), realm, id).await?;
        let same = now == challenge.password;
        let user = self.users.load(realm, id).await?;
        Ok(user.filter(|user| same && !user.disabled).map(|user| (user, required)))
    }

    pub(super) fn ephemeral(&self) -> &dyn tegata_core::Ephemeral {
        self.second.ephemeral.as_ref()
    }
}

/// Under which key a challenge is kept: whoever reads the store cannot answer it.
pub(super) fn key(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes()))
}

fn read(held: &Held) -> Option<Challenge> {
    decode_bytes(FORM, &held.value).ok()
}

impl fmt::Debug for Step<'_> {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for CodeAttempt<'_> {
    /// Without the code.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeAttempt").field("step", &self.step).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
