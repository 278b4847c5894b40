//! What sessions lose when a second factor goes that was shown for them: they are elevated no more, and
//! say of nobody that it was shown.

use tegata_core::{Acr, Realm, SessionId, StoreError, UserId};
use tegata_identity::{Enrolled, Method, SecondFactors};
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
    let enrolled = second.of(realm, user).await?;
    let names = enrolled.as_ref().map(Enrolled::names).unwrap_or_default();
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

    /// The same of one session, which has just begun or was raised by a second factor. A store that does
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
    let counted = [Method::OneTime, Method::Possession].map(Method::as_str);
    let has_gone = match standing.factors.as_slice() {
        // It is not known of which factor: a version before this one began the session.
        [] => standing.amr.iter().any(|method| counted.contains(&method.as_str())),
        factors => factors.iter().any(|factor| !names.contains(factor)),
    };
    if !has_gone {
        return false;
    }
    standing.factors.retain(|factor| names.contains(factor));
    let factors = &standing.factors;
    let is_left = |method: Method| {
        factors.iter().any(|factor| factor.split(':').next() == Some(method.as_str()))
    };
    let (code, key) = (is_left(Method::OneTime), is_left(Method::Possession));
    let (presence, several) = (Method::Presence.as_str(), Method::Several.as_str());
    standing.amr.retain(|method| match method.as_str() {
        it if it == Method::OneTime.as_str() => code,
        it if it == Method::Possession.as_str() || it == presence => key,
        it if it == several => code || key,
        _ => true,
    });
    if !code && !key {
        standing.acr = Some(Acr::Aal1.as_str().to_owned());
    }
    standing.elevated_until = None;
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(amr: &[&str], factors: &[&str]) -> Standing {
        let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        Standing {
            acr: Some("aal2".to_owned()),
            amr: owned(amr),
            elevated_until: Some(tegata_core::Timestamp::from_secs(1)),
            factors: owned(factors),
            ..Standing::default()
        }
    }

    #[test]
    fn what_is_left_says_what_is_left() {
        let names = ["otp:app:1".to_owned(), "pop:a".to_owned()];
        for (amr, factors, left, acr) in [
            (vec!["pwd", "otp", "mfa"], vec!["otp:app:0"], vec!["pwd"], "aal1"),
            (vec!["pwd", "otp", "mfa"], vec!["otp:paper:x"], vec!["pwd"], "aal1"),
            (vec!["pop", "user", "mfa"], vec!["pop:b"], vec![], "aal1"),
            (
                vec!["pop", "user", "mfa"],
                vec!["pop:b", "pop:a"],
                vec!["pop", "user", "mfa"],
                "aal2",
            ),
            (
                vec!["pwd", "otp", "mfa", "pop", "user"],
                vec!["otp:app:0", "pop:a"],
                vec!["pwd", "mfa", "pop", "user"],
                "aal2",
            ),
            // Of which it is is not known.
            (vec!["pwd", "otp", "mfa"], vec![], vec!["pwd"], "aal1"),
        ] {
            let mut it = standing(&amr, &factors);
            assert!(narrow(&mut it, &names), "{amr:?} {factors:?}");
            assert_eq!(
                (it.amr, it.acr.as_deref()),
                (left.iter().map(|it| (*it).to_owned()).collect(), Some(acr))
            );
            assert_eq!(it.elevated_until, None, "{amr:?} {factors:?}");
        }
    }

    #[test]
    fn what_stems_from_others_stays() {
        let names = ["otp:app:1".to_owned(), "pop:a".to_owned()];
        for (amr, factors) in [
            (vec!["pwd", "otp", "mfa"], vec!["otp:app:1"]),
            (vec!["pop", "user", "mfa"], vec!["pop:a"]),
            (vec!["pwd"], vec![]),
            (vec!["email"], vec![]),
        ] {
            let before = standing(&amr, &factors);
            let mut it = before.clone();
            assert!(!narrow(&mut it, &names), "{amr:?}");
            assert_eq!(it, before);
        }
    }
}
