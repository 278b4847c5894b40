//! What is said of how somebody was authenticated, when a second factor is gone that was shown for it.

use tegata_core::{Acr, Realm, Records, StoreError, UserId, repository::load};

use super::{Enrolled, FactorRecord, SecondFactors};
use crate::sign_in::Method;

/// What a session, a family or a token says of how its person was authenticated.
#[derive(Debug)]
pub struct Shown<'a> {
    /// How strongly.
    pub acr: &'a mut Option<String>,
    /// By which means (RFC 8176).
    pub amr: &'a mut Vec<String>,
    /// By which second factors, as [`Enrolled::names`] calls them.
    pub factors: &'a mut Vec<String>,
}

/// What the second factors of a person are called that are there now, for whoever looks at what was shown.
///
/// # Errors
/// What the store says.
pub async fn names_of(
    records: &dyn Records,
    realm: &Realm,
    user: &UserId,
) -> Result<Vec<String>, StoreError> {
    let found = load::<FactorRecord>(records, realm, user.as_str()).await?;
    Ok(found.map(|found| Enrolled::names(&found.value.enrolled())).unwrap_or_default())
}

impl SecondFactors {
    /// The same, of whoever has them in these.
    ///
    /// # Errors
    /// What the store says.
    pub async fn names(&self, realm: &Realm, user: &UserId) -> Result<Vec<String>, StoreError> {
        names_of(self.records.as_ref(), realm, user).await
    }
}

/// Whether second factors were shown that are not among `names`.
#[must_use]
pub fn has_gone(amr: &[String], factors: &[String], names: &[String]) -> bool {
    let counted = [Method::OneTime, Method::Possession].map(Method::as_str);
    match factors {
        // It is not known of which factor: a version before this one wrote it.
        [] => amr.iter().any(|method| counted.contains(&method.as_str())),
        factors => factors.iter().any(|factor| !names.contains(factor)),
    }
}

impl Shown<'_> {
    /// Takes out what stems from others than `names`. Answers whether that was anything.
    pub fn narrow(self, names: &[String]) -> bool {
        if !has_gone(self.amr, self.factors, names) {
            return false;
        }
        self.factors.retain(|factor| names.contains(factor));
        let factors = &*self.factors;
        let is_left = |method: Method| {
            factors.iter().any(|factor| factor.split(':').next() == Some(method.as_str()))
        };
        let (code, key) = (is_left(Method::OneTime), is_left(Method::Possession));
        let (presence, several) = (Method::Presence.as_str(), Method::Several.as_str());
        self.amr.retain(|method| match method.as_str() {
            it if it == Method::OneTime.as_str() => code,
            it if it == Method::Possession.as_str() || it == presence => key,
            _ => true,
        });
        let says = |method: &str| self.amr.iter().any(|it| it == method);
        // A code says nothing of who types it, and a key nothing of who holds it.
        let first = says(Method::Password.as_str()) || says(Method::Mail.as_str());
        let is_strong = (key && says(presence)) || (first && (code || key));
        if !is_strong {
            self.amr.retain(|method| method != several);
            *self.acr = Some(Acr::Aal1.as_str().to_owned());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(list: &[&str]) -> Vec<String> {
        list.iter().map(|it| (*it).to_owned()).collect()
    }

    fn narrowed(amr: &[&str], factors: &[&str]) -> (bool, Option<String>, Vec<String>) {
        let names = owned(&["otp:app:1", "pop:a"]);
        let (mut acr, mut amr, mut factors) = (Some("aal2".into()), owned(amr), owned(factors));
        let shown = Shown { acr: &mut acr, amr: &mut amr, factors: &mut factors };
        (shown.narrow(&names), acr, amr)
    }

    #[test]
    fn what_is_left_says_what_is_left() {
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
            // What was the second of two is alone.
            (vec!["pop", "user", "mfa", "otp"], vec!["pop:b", "otp:app:1"], vec!["otp"], "aal1"),
            (
                vec!["email", "pop", "user", "otp", "mfa"],
                vec!["pop:b", "otp:app:1"],
                vec!["email", "otp", "mfa"],
                "aal2",
            ),
            // Of which it is is not known.
            (vec!["pwd", "otp", "mfa"], vec![], vec!["pwd"], "aal1"),
        ] {
            let expected = (true, Some(acr.to_owned()), owned(&left));
            assert_eq!(narrowed(&amr, &factors), expected, "{amr:?} {factors:?}");
        }
    }

    #[test]
    fn what_stems_from_others_stays() {
        for (amr, factors) in [
            (vec!["pwd", "otp", "mfa"], vec!["otp:app:1"]),
            (vec!["pop", "user", "mfa"], vec!["pop:a"]),
            (vec!["pwd"], vec![]),
            (vec!["email"], vec![]),
        ] {
            let expected = (false, Some("aal2".to_owned()), owned(&amr));
            assert_eq!(narrowed(&amr, &factors), expected, "{amr:?}");
        }
    }
}
