//! What a link does: choose a password, confirm an address.

use tegata_core::{Expect, Realm, StoreError, Stored as _, UserId, Versioned, repository::load};

use super::{Content, Letter, Letters};
use crate::{
    credential::password::{self, Password, Replacement, SetRefused, Weakness},
    name::EmailAddress,
    user::{ChangeRefused, NewUser, RegisterRefused, User},
    username::Username,
    workers::Busy,
};

/// How often a link is tried that was followed while its letter was noted as sent.
const TRIES: u32 = 4;

/// Who is the actor of what somebody does by a link, in the journal: the person themselves, or this,
/// where there was none yet.
const SIGN_UP: &str = "sign_up";

/// Whose password was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chosen {
    /// A person's, in place of the one before: what came of that is taken back.
    Another(User),
    /// That of a new account.
    First(User),
}

/// Why a link did nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkRefused {
    /// It is none of ours, too old, was used, or the account has changed since.
    #[error("the link does not count any more")]
    Over,
    /// The password may not be chosen.
    #[error(transparent)]
    Weak(#[from] Weakness),
    /// The password is longer than any that is looked at.
    #[error("a password has at most 1024 bytes")]
    TooLong,
    /// Too much is being hashed.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<SetRefused> for LinkRefused {
    fn from(refused: SetRefused) -> Self {
        match refused {
            SetRefused::Weak(weakness) => Self::Weak(weakness),
            SetRefused::Busy(busy) => Self::Busy(busy),
            SetRefused::Store(error) => Self::Store(error),
            SetRefused::Unknown(_) | SetRefused::Overtaken(_) => Self::Over,
            SetRefused::Contended(_) => Self::Busy(Busy),
        }
    }
}

impl Letters {
    /// Chooses a password by the link of a letter, which is used up: the next one of whoever has one, or
    /// the first of a new account. Second factors stay as they are.
    ///
    /// # Errors
    /// See [`LinkRefused`]. After [`LinkRefused::Weak`] the link can still be used.
    pub async fn choose_password(
        &self,
        realm: &Realm,
        link: &str,
        password: String,
    ) -> Result<Chosen, LinkRefused> {
        let password = Password::new(password).map_err(|_| LinkRefused::TooLong)?;
        for _ in 0..TRIES {
            let found = self.opened(realm, link).await?;
            let chosen = self.choose(realm, &found, password.clone()).await;
            if chosen != Err(LinkRefused::Over) || !self.was_noted(realm, &found).await? {
                return chosen;
            }
        }
        Err(LinkRefused::Over)
    }

    async fn choose(
        &self,
        realm: &Realm,
        found: &Versioned<Letter>,
        password: Password,
    ) -> Result<Chosen, LinkRefused> {
        match &found.value.content {
            Content::Reset { user, password: of, .. } => {
                self.reset(realm, found, user, *of, password).await.map(Chosen::Another)
            }
            Content::SignUp if self.config.registration => {
                self.sign_up(realm, found, password).await.map(Chosen::First)
            }
            _ => Err(LinkRefused::Over),
        }
    }

    async fn reset(
        &self,
        realm: &Realm,
        found: &Versioned<Letter>,
        user: &UserId,
        of: u64,
        password: Password,
    ) -> Result<User, LinkRefused> {
        let letter = &found.value;
        let mut person = self.meant(realm, letter, user, of).await?;
        let second = self.second.of(realm, user).await?.is_some();
        let phc = self.passwords.prepare(password, &person.value.names(), second).await?;
        for _ in 0..TRIES {
            let told = self.tells_of_password(&person.value, &letter.lang);
            // Who has another address by then has not read this letter.
            let besides = [found.remove(), person.require()];
            let besides: Vec<_> = besides.into_iter().chain(told).collect();
            let by = user.as_str();
            let replacement = Replacement { user, phc: &phc, of, besides: &besides, by };
            match self.passwords.replace(realm, &replacement).await {
                Err(SetRefused::Overtaken(_)) => {}
                settled => return Ok(settled?),
            }
            let now = self.meant(realm, letter, user, of).await?;
            if now.version == person.version {
                break;
            }
            person = now;
        }
        Err(LinkRefused::Over)
    }

    /// The person whom a letter reached. Whoever has another password or address since is not meant any
    /// more.
    async fn meant(
        &self,
        realm: &Realm,
        letter: &Letter,
        user: &UserId,
        password: u64,
    ) -> Result<Versioned<User>, LinkRefused> {
        let person = self.users.versioned(realm, user).await?.filter(|user| !user.value.disabled);
        let person = person.ok_or(LinkRefused::Over)?;
        let same = person.value.email.as_ref().map(EmailAddress::form) == Some(letter.to.form());
        if !same || self.passwords.generation(realm, user).await? != password {
            return Err(LinkRefused::Over);
        }
        Ok(person)
    }

    async fn sign_up(
        &self,
        realm: &Realm,
        found: &Versioned<Letter>,
        password: Password,
    ) -> Result<User, LinkRefused> {
        let address = &found.value.to;
        let username = Username::new(address.as_str()).map_err(|_| LinkRefused::Over)?;
        if self.is_taken(realm, address, None).await? {
            return Err(LinkRefused::Over);
        }
        let phc = self.passwords.prepare(password, &[username.as_str()], false).await?;
        let new = NewUser {
            profile: crate::Profile::default(),
            username,
            email: Some(address.clone()),
            roles: self.config.roles.iter().cloned().collect(),
            locale: Some(found.value.lang.clone()),
            password: Some(phc),
        };
        let used = Some(found.remove());
        match self.users.register_with(realm, new, true, used, SIGN_UP).await {
            Ok(user) => Ok(user),
            Err(RegisterRefused::NameTaken(_)) => Err(LinkRefused::Over),
            Err(RegisterRefused::Store(error)) => Err(error.into()),
        }
    }

    /// Gives a person the address that a letter reached, by its link, which is used up. The address
    /// before is told. Who it is has to be signed in as `by`: whoever has the mailbox alone would
    /// otherwise answer for somebody else's account.
    ///
    /// # Errors
    /// See [`LinkRefused`].
    pub async fn confirm_address(
        &self,
        realm: &Realm,
        link: &str,
        by: &UserId,
    ) -> Result<User, LinkRefused> {
        for _ in 0..TRIES {
            let found = self.opened(realm, link).await?;
            let confirmed = self.confirm(realm, &found, by).await;
            if confirmed != Err(LinkRefused::Over) || !self.was_noted(realm, &found).await? {
                return confirmed;
            }
        }
        Err(LinkRefused::Over)
    }

    async fn confirm(
        &self,
        realm: &Realm,
        found: &Versioned<Letter>,
        by: &UserId,
    ) -> Result<User, LinkRefused> {
        let letter = &found.value;
        let Content::NewAddress { user, password, .. } = &letter.content else {
            return Err(LinkRefused::Over);
        };
        if user != by {
            return Err(LinkRefused::Over);
        }
        for _ in 0..TRIES {
            let person = self.users.load(realm, user).await?.filter(|user| !user.disabled);
            let person = person.ok_or(LinkRefused::Over)?;
            // Whoever has another password by then has taken back what the one before was used for.
            let (has, own) = password::required(self.records.as_ref(), realm, user).await?;
            if has != *password || self.is_taken(realm, &letter.to, Some(user)).await? {
                return Err(LinkRefused::Over);
            }
            let moves = person.email.as_ref().map(EmailAddress::form) != Some(letter.to.form());
            let content = Content::AddressChanged { username: person.username.clone() };
            let told = self.to_person(&person, &letter.lang, content).filter(|_| moves);
            let told = told.map(|told| told.put(Expect::Absent));
            let besides: Vec<_> = [found.remove(), own].into_iter().chain(told).collect();
            let by = user.as_str();
            match self.users.change_address(realm, user, &letter.to, &besides, by).await {
                Ok(user) => return Ok(user),
                Err(ChangeRefused::Store(error)) => return Err(error.into()),
                // Their password may be the same one, hashed anew.
                Err(ChangeRefused::Overtaken(_)) if self.is_there(realm, found).await? => {}
                // It is given to nobody, or somebody else has it.
                Err(_) => return Err(LinkRefused::Over),
            }
        }
        Err(LinkRefused::Over)
    }

    /// Whether a letter is there as it was not when it was read: it was noted meanwhile that it was sent.
    /// Whoever is quick follows a link while the mail server still answers.
    async fn was_noted(
        &self,
        realm: &Realm,
        found: &Versioned<Letter>,
    ) -> Result<bool, StoreError> {
        let now = load::<Letter>(self.records.as_ref(), realm, found.value.key()).await?;
        Ok(now.is_some_and(|now| now.version != found.version))
    }

    /// Whether a letter is there as it was when it was read.
    async fn is_there(&self, realm: &Realm, found: &Versioned<Letter>) -> Result<bool, StoreError> {
        let now = load::<Letter>(self.records.as_ref(), realm, found.value.key()).await?;
        Ok(now.is_some_and(|now| now.version == found.version))
    }

    /// The letter whose link this is, if it still counts.
    async fn opened(&self, realm: &Realm, link: &str) -> Result<Versioned<Letter>, LinkRefused> {
        let key = self.keys.read(realm, self.epoch, link)?.ok_or(LinkRefused::Over)?;
        let found = load::<Letter>(self.records.as_ref(), realm, &key).await?;
        found.filter(|found| found.value.is_of_use(&self.node)).ok_or(LinkRefused::Over)
    }
}

#[cfg(test)]
mod tests;
