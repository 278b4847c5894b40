//! What people are told of what was done: in the batch that does it, so that neither is without the other.

use tegata_core::{Expect, Stored as _, port::Change};

use super::{Content, Letters};
use crate::{name::Locale, user::User};

impl Letters {
    /// The change that has a person told that their password is another. `None`: mail does not reach them.
    #[must_use]
    pub fn tells_of_password(&self, user: &User, lang: &Locale) -> Option<Change> {
        self.tells(user, lang, Content::PasswordChanged { username: user.username.clone() })
    }

    /// The change that has a person told that they were signed out in this browser, because they signed in
    /// in too many. `None`: mail does not reach them.
    #[must_use]
    pub fn tells_of_sign_out(&self, user: &User, browser: String) -> Option<Change> {
        let lang = user.reads()?;
        let content = Content::SignedOut { username: user.username.clone(), browser };
        self.tells(user, &lang, content)
    }

    fn tells(&self, user: &User, lang: &Locale, content: Content) -> Option<Change> {
        let told = self.to_person(user, lang, content);
        told.map(|told| told.put(Expect::Absent))
    }
}
