//! A new password of somebody who is signed in, and what follows from a new password.

use tegata_core::{Secret, StoreError, UserId};
use tegata_identity::{
    Locale, Password, Refused, Weakness,
    credential::password::{Replacement, SetRefused},
};
use tegata_session::{Reason, Session};
use tegata_token::{Holder, Order, Tally, Withdrawable as _};

use crate::{app::App, caller::Caller};

/// Why a password was not changed.
pub(crate) enum NotChanged {
    /// The current one was not shown.
    Refused(Refused),
    /// The new one may not be chosen.
    Weak(Weakness),
    /// The new one is longer than any that is looked at.
    TooLong,
    /// Somebody else changed it meanwhile, or the person is gone.
    Overtaken,
}

impl From<Refused> for NotChanged {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<StoreError> for NotChanged {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl App {
    /// Changes the password of whoever has a session and shows the current one. Everything of theirs ends,
    /// this session too: they sign in with the new one.
    ///
    /// # Errors
    /// [`NotChanged`].
    pub(crate) async fn change_password(
        &self,
        caller: &Caller,
        session: &Session,
        current: &Secret<String>,
        new: &Secret<String>,
        lang: &Locale,
    ) -> Result<(), NotChanged> {
        let (realm, id) = (self.realm(), &session.user);
        // Whoever shows a password shows this one: another that is set meanwhile stays.
        let of = self.passwords().generation(realm, id).await?;
        let user = self.users().load(realm, id).await?.ok_or(NotChanged::Overtaken)?;
        let name = user.username.as_str();
        let (proof, _) = self.prove(caller, name, current).await?;
        if proof.user().id != *id {
            return Err(NotChanged::Overtaken);
        }
        let new = Password::new(new.expose().clone()).map_err(|_| NotChanged::TooLong)?;
        let second = self.second_factors().of(realm, id).await?.is_some();
        let phc = self.passwords().prepare(new, &user.names(), second).await?;
        let told = self.letters().and_then(|letters| letters.tells_of_password(&user, lang));
        let besides: Vec<_> = told.into_iter().collect();
        let by = id.as_str();
        let replacement = Replacement { user: id, phc: &phc, of, besides: &besides, by };
        self.passwords().replace(realm, &replacement).await?;
        self.end_what_was_before(id).await;
        Ok(())
    }

    /// Ends the sessions and families of whoever has another password. All of it is refused already, by a
    /// word in the revocation log that was written with the password, so a store that does not answer now
    /// costs nothing but order.
    pub(crate) async fn end_what_was_before(&self, user: &UserId) {
        let (realm, by) = (self.realm(), user.as_str());
        let reason = Reason::Ordered("password_changed".to_owned());
        if let Err(error) = self.sessions().end_all(realm, user, None, &reason, by).await {
            tracing::warn!(%user, %error, "sessions from before a new password were not ended");
        }
        let order = Order { reason: reason.name().to_owned(), actor: by.to_owned() };
        let (holder, families) = (Holder::User(user.clone()), self.provider().families());
        if let Err(error) = families.withdraw(realm, &holder, &order, &Tally::default()).await {
            tracing::warn!(%user, %error, "families from before a new password were not ended");
        }
    }
}

impl From<SetRefused> for NotChanged {
    fn from(refused: SetRefused) -> Self {
        match refused {
            SetRefused::Weak(weakness) => Self::Weak(weakness),
            SetRefused::Busy(busy) => Self::Refused(busy.into()),
            SetRefused::Store(error) => Self::Refused(error.into()),
            SetRefused::Unknown(_) | SetRefused::Overtaken(_) | SetRefused::Contended(_) => {
                Self::Overtaken
            }
        }
    }
}
