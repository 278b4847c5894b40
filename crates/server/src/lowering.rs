//! What sessions lose when a second factor goes that was shown for them: they are elevated no more, and
//! say of nobody that it was shown.

use tegata_core::{Realm, SessionId, StoreError, UserId};
use tegata_identity::{SecondFactors, Shown, second_factor::has_gone};
use tegata_oauth::SignedIn;
use tegata_session::{Session, Sessions, Standing};

use crate::app::App;

/// Takes out of a person's sessions what stems from second factors that they have no more. Whoever took
/// one away does this, and whoever raised or began a session by one looks again at that: so nothing is
/// left of a factor that goes while it is shown.
///
/// # Errors
/// What the store says: then some of them may say it still.
pub async fn lower_sessions(
    sessions: &Sessions,
    second: &SecondFactors,
    realm: &Realm,
    user: &UserId,
) -> Result<(), StoreError> {
    lower(sessions, second, realm, user, None).await
}

async fn lower(
    sessions: &Sessions,
    second: &SecondFactors,
    realm: &Realm,
    user: &UserId,
    only: Option<&SessionId>,
) -> Result<(), StoreError> {
    let names = second.names(realm, user).await?;
    sessions.narrow(realm, user, only, |standing| narrow(standing, &names)).await
}

impl App {
    /// The same, of whoever is at one of our pages.
    ///
    /// # Errors
    /// As [`lower_sessions`].
    pub(crate) async fn lower_sessions(&self, user: &UserId) -> Result<(), StoreError> {
        lower_sessions(self.sessions(), self.second_factors(), self.realm(), user).await
    }

    /// Whoever is signed in, as it is once their session was lowered, where that was cut off: for whatever
    /// is given to clients, which is refused to them where it rests on a factor that is gone. `None`: what
    /// is left does not suffice.
    ///
    /// # Errors
    /// As [`lower_sessions`].
    pub(crate) async fn settled(&self, who: &SignedIn) -> Result<Option<SignedIn>, StoreError> {
        let (sessions, second, realm) = (self.sessions(), self.second_factors(), self.realm());
        if who.factors.is_empty() {
            return Ok(Some(who.clone()));
        }
        let names = second.names(realm, &who.user).await?;
        if !has_gone(&[], &who.factors, &names) {
            return Ok(Some(who.clone()));
        }
        lower(sessions, second, realm, &who.user, Some(&who.session)).await?;
        // Not as the session says it now: this may be of a cookie from before it was raised.
        let mut who = who.clone();
        let mut acr = Some(std::mem::take(&mut who.acr));
        Shown { acr: &mut acr, amr: &mut who.amr, factors: &mut who.factors }.narrow(&names);
        let suffices = self.suffices(&who.user, acr.as_deref()).await?;
        who.acr = acr.unwrap_or_default();
        Ok(suffices.then_some(who))
    }

    /// Lowers one session, which has just begun or was raised by a second factor. A store that does
    /// not answer now costs no more than what the session says of it.
    pub(crate) async fn look_again(&self, session: &Session) {
        let (sessions, second, realm) = (self.sessions(), self.second_factors(), self.realm());
        let lowered = lower(sessions, second, realm, &session.user, Some(&session.id)).await;
        if let Err(error) = lowered {
            tracing::warn!(sid = %session.id, %error, "whether a factor is still there is not known");
        }
    }
}

/// Takes out of a standing what stems from others than `names`. Answers whether that was anything.
fn narrow(standing: &mut Standing, names: &[String]) -> bool {
    let Standing { acr, amr, factors, elevated_until, .. } = standing;
    let lost = Shown { acr, amr, factors }.narrow(names);
    if lost {
        *elevated_until = None;
    }
    lost
}

#[cfg(test)]
mod tests {
    use tegata_core::Timestamp;

    use super::*;

    #[test]
    fn what_was_elevated_by_a_factor_that_is_gone_is_elevated_no_more() {
        let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let until = Some(Timestamp::from_secs(1));
        let before = Standing {
            acr: Some("aal2".to_owned()),
            amr: owned(&["pwd", "otp", "mfa"]),
            elevated_until: until,
            factors: owned(&["otp:app:1"]),
            ..Standing::default()
        };
        let mut it = before.clone();
        assert!(!narrow(&mut it, &owned(&["otp:app:1"])));
        assert_eq!(it, before);
        assert!(narrow(&mut it, &[]));
        assert_eq!((it.acr.as_deref(), it.elevated_until), (Some("aal1"), None));
    }
}
