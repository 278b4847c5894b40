//! People whom another system hands over, a JSON object each, in the form in which `tegata user export`
//! writes them.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use tegata_core::InvalidName;

use super::{InvalidClaim, NewUser, Profile};
use crate::{
    credential::password::{Caps, Phc, Unusable},
    name::{EmailAddress, Locale, Role},
    username::Username,
};

/// The longest text of a person, in bytes.
const LONGEST: usize = 64 * 1024;

/// What is known of a person, and read.
const KNOWN: [&str; 8] = [
    "username",
    "email",
    "email_verified",
    "roles",
    "locale",
    "claims",
    "disabled",
    "password_hash",
];

/// What an export says besides, and is this system's own to say.
const PASSED_OVER: [&str; 3] = ["id", "created", "updated"];

/// A person whom another system hands over.
#[derive(Debug, Clone)]
pub struct Imported {
    /// Who it is.
    pub new: NewUser,
    /// Whether the other system knows that mail to the address reaches the person.
    pub email_verified: bool,
    /// Whether they may not sign in.
    pub disabled: bool,
}

/// Why a text is no person. Nothing of what stands there is repeated, but for names of members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotImported {
    /// It is no JSON object.
    #[error("it is no JSON object (column {0})")]
    Json(usize),
    /// It is longer than any person.
    #[error("it is longer than {LONGEST} bytes")]
    TooLong,
    /// It has a member that is not known.
    #[error("`{0}` is not known; known are {known}", known = KNOWN.join(", "))]
    Unknown(String),
    /// A member has another type.
    #[error("`{name}` must be {must}")]
    Type {
        /// Which.
        name: &'static str,
        /// What it must be.
        must: &'static str,
    },
    /// A member is no such thing.
    #[error("`{name}` must be {rule}")]
    Invalid {
        /// Which.
        name: &'static str,
        /// What it may be.
        rule: &'static str,
    },
    /// An address is said to be verified, and there is none.
    #[error("`email_verified` is true, and there is no `email`")]
    NoAddress,
    /// The password is there itself.
    #[error(
        "`password` is not taken from a file of many: give `password_hash`, or set it with `tegata user \
         passwd`"
    )]
    Password,
    /// A claim about the person is wrong.
    #[error(transparent)]
    Claim(#[from] InvalidClaim),
    /// The hash of the password cannot be used.
    #[error("`password_hash`: {0}")]
    Hash(#[from] Unusable),
}

impl Imported {
    /// Reads a person. `null` is as good as missing.
    ///
    /// # Errors
    /// [`NotImported`]: the first rule that it breaks.
    pub fn read(text: &str, caps: &Caps) -> Result<Self, NotImported> {
        if text.len() > LONGEST {
            return Err(NotImported::TooLong);
        }
        let members: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| NotImported::Json(error.column()))?;
        if members.contains_key("password") {
            return Err(NotImported::Password);
        }
        let known = |name: &str| KNOWN.contains(&name) || PASSED_OVER.contains(&name);
        if let Some(name) = members.keys().find(|name| !known(name)) {
            return Err(NotImported::Unknown(shortened(name)));
        }
        let given = Given(&members);
        let username = given.text("username")?;
        let username = username.ok_or(NotImported::Type { name: "username", must: "a text" })?;
        let email = given.text("email")?.map(EmailAddress::new).transpose();
        let locale = given.text("locale")?.map(Locale::new).transpose();
        let new = NewUser {
            username: Username::new(username).map_err(invalid("username"))?,
            email: email.map_err(invalid("email"))?,
            roles: given.roles()?,
            locale: locale.map_err(invalid("locale"))?,
            profile: given.profile()?,
            password: given
                .text("password_hash")?
                .map(|text| Phc::parse(text.trim(), caps))
                .transpose()?,
        };
        let email_verified = given.flag("email_verified")?;
        if email_verified && new.email.is_none() {
            return Err(NotImported::NoAddress);
        }
        Ok(Self { new, email_verified, disabled: given.flag("disabled")? })
    }
}

/// The members of an object.
struct Given<'m>(&'m Map<String, Value>);

impl<'m> Given<'m> {
    fn get(&self, name: &str) -> Option<&'m Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &'static str) -> Result<Option<&'m str>, NotImported> {
        let of =
            |value: &'m Value| value.as_str().ok_or(NotImported::Type { name, must: "a text" });
        self.get(name).map(of).transpose()
    }

    fn flag(&self, name: &'static str) -> Result<bool, NotImported> {
        let must = "`true` or `false`";
        let of = |value: &Value| value.as_bool().ok_or(NotImported::Type { name, must });
        Ok(self.get(name).map(of).transpose()?.unwrap_or_default())
    }

    fn roles(&self) -> Result<BTreeSet<Role>, NotImported> {
        let wrong = NotImported::Type { name: "roles", must: "a list of texts" };
        let Some(roles) = self.get("roles") else { return Ok(BTreeSet::new()) };
        let roles = roles.as_array().ok_or_else(|| wrong.clone())?.iter();
        let texts = roles.map(|role| role.as_str().ok_or_else(|| wrong.clone()));
        texts.map(|text| Role::new(text?).map_err(invalid("roles"))).collect()
    }

    fn profile(&self) -> Result<Profile, NotImported> {
        let wrong = NotImported::Type { name: "claims", must: "an object" };
        let Some(claims) = self.get("claims") else { return Ok(Profile::default()) };
        Ok(Profile::read(claims.as_object().ok_or(wrong)?)?)
    }
}

/// The rule alone: in a file whose columns were shifted, a password stands anywhere.
fn invalid(name: &'static str) -> impl Fn(InvalidName) -> NotImported {
    move |error| NotImported::Invalid { name, rule: error.rule() }
}

/// As much of a name as is worth repeating.
fn shortened(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BCRYPT: &str = "$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2";

    fn read(value: &Value) -> Result<Imported, NotImported> {
        Imported::read(&value.to_string(), &Caps::default())
    }

    #[test]
    fn reads_what_an_export_writes() {
        let person = read(&json!({
            "id": "usr_1", "username": "Maria", "email": "maria@people.example",
            "email_verified": true, "roles": ["customer"], "disabled": true,
            "created": "2026-01-01T00:00:00Z", "locale": "es", "updated": null,
            "claims": {"name": "Maria de la Cruz"}, "password_hash": BCRYPT,
        }));
        let Imported { new, email_verified, disabled } = person.unwrap();
        assert_eq!((new.username.as_str(), email_verified, disabled), ("maria", true, true));
        assert_eq!(new.password.unwrap().as_str(), BCRYPT);
        assert_eq!(new.profile.to_object()["name"], "Maria de la Cruz");
        let least = read(&json!({"username": "sol", "email": null})).unwrap();
        assert!(least.new.password.is_none() && !least.email_verified && !least.disabled);
    }

    #[test]
    fn says_what_is_wrong_and_repeats_no_secret() {
        let secret = "a very secret thing";
        for (value, part) in [
            (json!([secret]), "no JSON object"),
            (json!({}), "`username` must be a text"),
            (json!({"username": 1}), "`username` must be a text"),
            (json!({"username": secret}), "`username` must be 1 to 128 bytes"),
            (json!({"username": "sol", "email": secret}), "`email` must be a local part"),
            (json!({"username": "sol", "locale": secret}), "`locale` must be 1 to 35"),
            (json!({"username": "sol", "roles": ["a", secret]}), "`roles` must be 1 to 64"),
            (json!({"username": "sol", "planet": secret}), "`planet` is not known"),
            (json!({"username": "sol", "password": secret}), "password_hash"),
            (json!({"username": "sol", "password_hash": secret}), "no hash of Argon2"),
            (json!({"username": "sol", "password_hash": BCRYPT.replace("$05$", "$31$")}), "costs"),
            (json!({"username": "sol", "email_verified": true}), "no `email`"),
            (json!({"username": "sol", "email_verified": secret}), "`true` or `false`"),
            (json!({"username": "sol", "roles": secret}), "a list of texts"),
            (json!({"username": "sol", "claims": [secret]}), "an object"),
            (json!({"username": "sol", "claims": {"picture": "http://x"}}), "picture"),
        ] {
            let said = read(&value).unwrap_err().to_string();
            assert!(said.contains(part) && !said.contains(secret), "{value}: {said}");
        }
        let long = format!("{{\"username\":\"{}\"}}", "x".repeat(LONGEST));
        assert_eq!(Imported::read(&long, &Caps::default()).unwrap_err(), NotImported::TooLong);
        assert!(Imported::read(r#"{"username": "sol"} x"#, &Caps::default()).is_err());
    }
}
