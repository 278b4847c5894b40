//! Proving by a passkey who somebody is: alone, after a password, or once more.
//!
//! What is asked for is a signature over a challenge of ours, which anybody is given. What was signed is
//! checked first, in full, so that only who has the passkey writes anything; then the challenge is used
//! up, and then the passkey is, by a compare-and-set on the record of its person. Of any number of
//! copies of one signature, on any number of nodes, one goes on.
//!
//! A passkey is not guessed, so failures are counted of networks alone: they cost no account anything.

use std::net::IpAddr;

use serde_json::Value;
use tegata_core::{
    Realm, SessionId, StoreError, Timestamp, UserId,
    port::{Put, Space},
};

use super::{Acr, Assurance, Method, Proven, Refused, SignIn, Step, Tried, second};
use crate::{
    credential::passkey::{
        Asked, Assertion, RelyingParty,
        challenge::{CLOCKS_APART, LIFETIME, Purpose},
        options,
    },
    second_factor::{FactorRecord, SpendRefused, key_name},
    user::User,
};

/// Where it is kept which challenges were used.
pub static USED: Space = Space { name: "passkey_used", indexed: false };

impl SignIn {
    /// What a page asks the browser for, so that somebody signs in by a passkey alone. `None`: there
    /// are no passkeys here. Nothing is kept of it, and it says nothing of anybody.
    #[must_use]
    pub fn ask_passkey(&self, realm: &Realm, browser: &str) -> Option<Value> {
        let party = self.second.party()?;
        let challenge = self.passkey_challenge(party, realm, &Purpose::Alone { browser });
        Some(options::request(party, &challenge, None::<std::iter::Empty<_>>))
    }

    /// The same for the second step of a sign-in. `None`: the person has no passkey.
    ///
    /// # Errors
    /// [`Refused::Over`] and [`Refused::Store`].
    pub async fn ask_passkey_after(
        &self,
        realm: &Realm,
        step: &Step<'_>,
    ) -> Result<Option<Value>, Refused> {
        let (user, _) = self.waiting(realm, step).await?;
        let sign_in = second::key(step.token);
        let purpose = Purpose::Second { sign_in: &sign_in, browser: step.browser };
        Ok(self.ask_of(realm, &user, &purpose).await?)
    }

    /// The same for somebody who is signed in, and is to show once more who they are.
    ///
    /// # Errors
    /// What the store says.
    pub async fn ask_passkey_again(
        &self,
        realm: &Realm,
        user: &UserId,
        session: &SessionId,
    ) -> Result<Option<Value>, StoreError> {
        self.ask_of(realm, user, &Purpose::Again { session: session.as_str() }).await
    }

    /// Signs in by a passkey alone, from the browser that was asked for it.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn by_passkey(
        &self,
        realm: &Realm,
        shown: &str,
        browser: &str,
        address: IpAddr,
    ) -> Result<Assurance, Refused> {
        let mut whose = None;
        let proven = self.look_at_passkey(realm, shown, (browser, address), &mut whose).await;
        self.throttle.noted(realm, (Tried::Passkey, whose.as_ref(), address), proven)
    }

    async fn look_at_passkey(
        &self,
        realm: &Realm,
        shown: &str,
        (browser, address): (&str, IpAddr),
        whose: &mut Option<UserId>,
    ) -> Result<Assurance, Refused> {
        let now = self.node.now();
        let assertion = Assertion::parse(shown).map_err(|_| Refused::WrongPasskey)?;
        let owner = self.second.owner(realm, &assertion.name()).await?;
        whose.clone_from(&owner);
        let person = match &owner {
            Some(owner) => self.users.load(realm, owner).await?,
            None => None,
        };
        let account = person.as_ref().map_or("", |person| person.username.as_str());
        let attempt = self.throttle.admit_passkey(realm, account, address).await?;
        let person = person.filter(|person| !person.disabled).ok_or(Refused::WrongPasskey)?;
        let asked = Asked { realm, purpose: Purpose::Alone { browser }, alone: true, now };
        self.use_passkey(&person.id, &assertion, &asked).await?;
        self.succeeded(realm, attempt).await;
        let amr = vec![Method::Possession, Method::Presence, Method::Several];
        let factors = vec![key_name(&assertion.name())];
        Ok(Assurance { user: person, amr, acr: Acr::Aal2, factors, auth_time: now })
    }

    /// The second step of signing in, by a passkey in place of a code.
    ///
    /// # Errors
    /// See [`Refused`]. Under [`Refused::Over`], the person begins again.
    pub async fn by_passkey_after(
        &self,
        realm: &Realm,
        step: &Step<'_>,
        shown: &str,
    ) -> Result<Proven, Refused> {
        let mut whose = None;
        let proven = self.look_at_passkey_after(realm, step, shown, &mut whose).await;
        self.throttle.noted(realm, (Tried::Passkey, whose.as_ref(), step.address), proven)
    }

    async fn look_at_passkey_after(
        &self,
        realm: &Realm,
        step: &Step<'_>,
        shown: &str,
        whose: &mut Option<UserId>,
    ) -> Result<Proven, Refused> {
        let now = self.node.now();
        let assertion = Assertion::parse(shown).map_err(|_| Refused::WrongPasskey)?;
        let (user, held) = self.waiting(realm, step).await?;
        *whose = Some(user.clone());
        let person = self.users.load(realm, &user).await?.ok_or(Refused::Over)?;
        let account = person.username.as_str();
        let attempt = self.throttle.admit_passkey(realm, account, step.address).await?;
        let challenge = self.count(realm, step, held).await?;
        let (person, _) = self.still(realm, &challenge).await?.ok_or(Refused::Over)?;
        let sign_in = second::key(step.token);
        let purpose = Purpose::Second { sign_in: &sign_in, browser: step.browser };
        self.use_passkey(&user, &assertion, &Asked { realm, purpose, alone: false, now }).await?;
        let amr = vec![challenge.first(), Method::Possession, Method::Presence, Method::Several];
        let factors = vec![key_name(&assertion.name())];
        let assurance = Assurance { user: person, amr, acr: Acr::Aal2, factors, auth_time: now };
        self.finish(realm, step, attempt, assurance, &challenge).await
    }

    /// Proves by a passkey that a person is still there, who has this session.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn again_by_passkey(
        &self,
        realm: &Realm,
        user: &UserId,
        session: &SessionId,
        shown: &str,
        address: IpAddr,
    ) -> Result<Assurance, Refused> {
        let proven = self.look_at_passkey_again(realm, (user, session), shown, address).await;
        self.throttle.noted(realm, (Tried::Passkey, Some(user), address), proven)
    }

    async fn look_at_passkey_again(
        &self,
        realm: &Realm,
        (user, session): (&UserId, &SessionId),
        shown: &str,
        address: IpAddr,
    ) -> Result<Assurance, Refused> {
        let now = self.node.now();
        let assertion = Assertion::parse(shown).map_err(|_| Refused::WrongPasskey)?;
        let found = self.users.load(realm, user).await?.filter(|user| !user.disabled);
        let person = found.ok_or(Refused::InvalidCredentials)?;
        let account = person.username.as_str();
        let attempt = self.throttle.admit_passkey(realm, account, address).await?;
        let purpose = Purpose::Again { session: session.as_str() };
        let asked = Asked { realm, purpose, alone: false, now };
        let verified = self.use_passkey(user, &assertion, &asked).await?;
        self.succeeded(realm, attempt).await;
        let factors = vec![key_name(&assertion.name())];
        Ok(again(person, factors, verified, now))
    }

    async fn ask_of(
        &self,
        realm: &Realm,
        user: &UserId,
        purpose: &Purpose<'_>,
    ) -> Result<Option<Value>, StoreError> {
        let Some(party) = self.second.party() else { return Ok(None) };
        let record = self.second.record(realm, user).await?;
        let theirs = || record.iter().flat_map(FactorRecord::passkeys);
        // None at all would mean any to a browser.
        Ok((theirs().count() > 0).then(|| {
            let challenge = self.passkey_challenge(party, realm, purpose);
            options::request(party, &challenge, Some(theirs()))
        }))
    }

    fn passkey_challenge(
        &self,
        party: &RelyingParty,
        realm: &Realm,
        purpose: &Purpose<'_>,
    ) -> Vec<u8> {
        party.challenge(realm, purpose, self.node.now(), self.node.entropy())
    }

    /// Uses a passkey of this person once, if it is what was asked for. Answers whether it proves who
    /// was there, and not only that somebody was.
    async fn use_passkey(
        &self,
        user: &UserId,
        assertion: &Assertion,
        asked: &Asked<'_>,
    ) -> Result<bool, Refused> {
        let checked = self.second.check_passkey(user, assertion, asked).await;
        let verified = checked.map_err(refused)?;
        let put = Put {
            key: assertion.used(),
            value: vec![1],
            // For as long as the challenge counts on any node, by the clock of any store.
            lifetime: LIFETIME + 2 * CLOCKS_APART,
            index: None,
        };
        if !self.ephemeral().add(asked.realm, &USED, put).await? {
            return Err(Refused::WrongPasskey);
        }
        self.second.spend_passkey(asked.realm, user, assertion).await.map_err(refused)?;
        Ok(verified)
    }
}

/// What a passkey proves of somebody who is signed in: one factor, or two where the authenticator has
/// made sure who was there.
fn again(user: User, factors: Vec<String>, verified: bool, auth_time: Timestamp) -> Assurance {
    let (mut amr, mut acr) = (vec![Method::Possession, Method::Presence], Acr::Aal1);
    if verified {
        amr.push(Method::Several);
        acr = Acr::Aal2;
    }
    Assurance { user, amr, acr, factors, auth_time }
}

fn refused(refused: SpendRefused) -> Refused {
    match refused {
        SpendRefused::Wrong => Refused::WrongPasskey,
        SpendRefused::Store(error) => error.into(),
    }
}

#[cfg(test)]
mod tests;
