//! Signing in by a code from a letter.
//!
//! The code counts in the browser that asked for the letter, once, and for ten minutes. Attempts are
//! counted of the browser, before anything is looked up, and so in the same way whether or not there
//! is an account.

use std::net::IpAddr;

use tegata_core::{
    Acr, Batch, CommitRefused, Epoch, Realm, StoreError, Stored as _, UserId, Versioned,
    port::Page, repository::find, secret,
};

use super::{Content, Letter, Letters, link};
use crate::{
    name::EmailAddress,
    sign_in::{Assurance, FirstFactor, Method, Proof, Refused},
    throttle::Tried,
};

/// How often a code is tried that was shown while its letter was noted as sent.
const TRIES: u32 = 4;

/// How many letters of one browser are looked at.
const MOST: u32 = 16;

impl Letters {
    /// Signs in by the code of a letter. `browser`: what stood for the browser in the order.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn sign_in(
        &self,
        realm: &Realm,
        browser: &str,
        code: &str,
        address: IpAddr,
    ) -> Result<Proof, Refused> {
        let mut whose = None;
        let proven = self.look_at_letter(realm, (browser, code), address, &mut whose).await;
        self.throttle.noted(realm, (Tried::Mail, whose.as_ref(), address), proven)
    }

    async fn look_at_letter(
        &self,
        realm: &Realm,
        (browser, code): (&str, &str),
        address: IpAddr,
        whose: &mut Option<UserId>,
    ) -> Result<Proof, Refused> {
        let began = self.node.now();
        if !self.config.sign_in {
            return Err(Refused::WrongCode);
        }
        // No user name has this character.
        let account = format!("letter/{browser}");
        let attempt = self.throttle.admit(realm, &account, address).await?;
        let found = self.used(realm, browser, code).await?.ok_or(Refused::WrongCode)?;
        let Content::SignIn { user, password, .. } = &found.value.content else {
            return Err(Refused::WrongCode);
        };
        *whose = Some(user.clone());
        let person = self.users.load(realm, user).await?.filter(|user| !user.disabled);
        let same = self.passwords.generation(realm, user).await? == *password;
        let person = person.filter(|_| same).ok_or(Refused::WrongCode)?;
        // It went to an address that is somebody else's meanwhile.
        if person.email.as_ref().map(EmailAddress::form) != Some(found.value.to.form()) {
            return Err(Refused::WrongCode);
        }
        let enrolled = self.second.of(realm, user).await?;
        if let Err(error) = self.throttle.not_made(realm, attempt).await {
            tracing::warn!(%error, "a sign-in was not taken off the count of attempts");
        }
        Ok(match enrolled {
            Some(enrolled) => {
                let second = enrolled.authenticators().into_iter().collect();
                Proof::First(FirstFactor::by_mail(person, began, second, *password))
            }
            None if self.second.demand().covers(&person) => {
                Proof::Unenrolled(FirstFactor::by_mail(person, began, Vec::new(), *password))
            }
            None => {
                let name = person.username.as_str();
                if let Err(error) = self.throttle.signed_in(realm, name, address).await {
                    tracing::warn!(%error, "it is not remembered from where somebody has signed in");
                }
                let (amr, factors) = (vec![Method::Mail], Vec::new());
                let (acr, auth_time) = (Acr::Aal1, began);
                Proof::Whole(Assurance { user: person, amr, acr, factors, auth_time })
            }
        })
    }

    /// The letter to this browser that has this code, used up. Of many who show one code at once, one is
    /// answered it.
    async fn used(
        &self,
        realm: &Realm,
        browser: &str,
        code: &str,
    ) -> Result<Option<Versioned<Letter>>, StoreError> {
        for _ in 0..TRIES {
            let Some(found) = self.named_by(realm, browser, code).await? else { return Ok(None) };
            match self.records.commit(Batch::new(realm.clone()).with(found.remove())).await {
                Ok(()) => return Ok(Some(found)),
                // It was used, or noted as sent.
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The letter to this browser that has this code.
    async fn named_by(
        &self,
        realm: &Realm,
        browser: &str,
        code: &str,
    ) -> Result<Option<Versioned<Letter>>, StoreError> {
        let page = Page { after: None, limit: MOST };
        let records = self.records.as_ref();
        let letters = find::<Letter>(records, realm, "browser", browser, page).await?;
        let shown = link::one_form(code);
        let mut named = None;
        for found in letters {
            let expected = self.keys.code(realm, found.value.key())?;
            let matches = secret::matches(expected.expose().as_bytes(), shown.expose().as_bytes());
            // Each is compared, so that time does not tell which.
            // What a restore brought back may have been used since.
            let is_ours = Epoch::leading(found.value.key()) == Some(self.epoch);
            if matches && is_ours && found.value.is_of_use(&self.node) {
                named = Some(found);
            }
        }
        Ok(named)
    }
}
