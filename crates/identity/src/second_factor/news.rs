//! What people are told by mail of their second factors: in the batch that changes them, so that nobody
//! changes them in silence.

use serde::{Deserialize, Serialize};
use tegata_core::{
    Epoch, Expect, Realm, StoreError, Stored as _, UserId, port::Change, repository::load,
};

use super::{SecondFactors, Tells};
use crate::{
    letters::{Content, Letter},
    name::Locale,
    user::User,
};

/// How people are told.
#[derive(Debug, Clone)]
pub(crate) struct News {
    epoch: Epoch,
    /// In which language, where that is known from elsewhere than the person's record.
    lang: Option<Locale>,
}

/// What became of a person's second factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactorChange {
    /// An app was set up.
    AppSetUp,
    /// Another app took the place of one.
    AppReplaced,
    /// The app was taken away.
    AppRemoved,
    /// A passkey was added.
    PasskeyAdded,
    /// A passkey was taken away.
    PasskeyRemoved,
    /// All were taken away.
    AllRemoved,
    /// There are new recovery codes.
    CodesRenewed,
    /// A recovery code was used.
    CodeUsed,
}

impl SecondFactors {
    /// The same, telling people by mail. `epoch`: the issuer epoch.
    #[must_use]
    pub fn telling(mut self, epoch: Epoch) -> Self {
        self.news = Some(News { epoch, lang: None });
        self
    }

    /// The same, for somebody who reads this language just now.
    #[must_use]
    pub fn in_language(&self, lang: Locale) -> Self {
        let news = self.news.clone().map(|news| News { lang: Some(lang), ..news });
        Self { news, ..self.clone() }
    }

    /// The same, telling nobody.
    pub(crate) fn quiet(&self) -> Self {
        Self { news: None, ..self.clone() }
    }

    /// The change that has a person told. `None`: there is nothing to tell, or no mail reaches them.
    pub(super) async fn letter(
        &self,
        realm: &Realm,
        user: &UserId,
        tells: &[Tells],
    ) -> Result<Option<Change>, StoreError> {
        let (Some(news), Some(change)) = (&self.news, Tells::together(tells)) else {
            return Ok(None);
        };
        let found = load::<User>(self.records.as_ref(), realm, user.as_str()).await?;
        let Some(person) = found.map(|found| found.value) else { return Ok(None) };
        let lang = news.lang.clone().or_else(|| person.reads());
        let Some(lang) = lang else { return Ok(None) };
        let content = Content::FactorChanged { username: person.username.clone(), change };
        let letter = Letter::to_person(&self.node, news.epoch, &person, &lang, content);
        Ok(letter.map(|letter| letter.put(Expect::Absent)))
    }
}

#[cfg(test)]
mod tests;
