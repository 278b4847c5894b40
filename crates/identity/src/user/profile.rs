//! What is known of a person beside how they sign in: the standard claims (OpenID Connect Core §5.1).
//!
//! | claim | is |
//! |---|---|
//! | `name`, `given_name`, `family_name`, `middle_name`, `nickname` | a text of at most 256 bytes |
//! | `gender` | the same: `female`, `male`, or any other word |
//! | `profile`, `picture`, `website` | an `https` address |
//! | `birthdate` | `YYYY-MM-DD`, `0000-MM-DD` where the year is not told, or `YYYY` |
//! | `zoneinfo` | a zone of the time zone database: `Europe/Paris` |
//! | `phone_number` | as in E.164, with `+`: `+14255550100` |
//! | `phone_number_verified` | whether somebody has made sure of it |
//! | `address` | an object of §5.1.1 |
//!
//! The user name, the address of mail and the language are the user's own: `preferred_username`, `email`,
//! `locale`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is known of a person: claims by their names, each of its form.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Profile(BTreeMap<String, Value>);

/// A change of what is known of a person, each claim of its form. That a number is verified stands beside
/// that number. That one is not, is as if it was not said where there is none: somebody else may have taken it
/// away meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileChange(Map<String, Value>);

/// Why claims about a person are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClaim {
    /// There is no such claim, or it is told by something else.
    #[error("there is no claim `{}` that can be set; there are {}", shortened(.0), listed())]
    Unknown(String),
    /// It is not of its form.
    #[error("`{name}` must be {rule}")]
    Form {
        /// Which claim.
        name: &'static str,
        /// What it may be.
        rule: &'static str,
    },
    /// A number that is verified, and no number.
    #[error("`phone_number_verified` is said of no `phone_number`: set them together")]
    NoNumber,
}

/// What a claim may be.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Address,
    Https,
    Birthdate,
    Zone,
    Phone,
    Flag,
}

const CLAIMS: [(&str, Form); 14] = [
    ("name", Form::Text),
    ("given_name", Form::Text),
    ("family_name", Form::Text),
    ("middle_name", Form::Text),
    ("nickname", Form::Text),
    ("profile", Form::Https),
    ("picture", Form::Https),
    ("website", Form::Https),
    ("gender", Form::Text),
    ("birthdate", Form::Birthdate),
    ("zoneinfo", Form::Zone),
    ("phone_number", Form::Phone),
    ("phone_number_verified", Form::Flag),
    ("address", Form::Address),
];

/// The members of an address (§5.1.1). The first may have several lines.
const ADDRESS: [&str; 6] =
    ["formatted", "street_address", "locality", "region", "postal_code", "country"];

/// The longest texts, in bytes.
const LONGEST: usize = 256;
const LONGEST_LINES: usize = 1024;
const LONGEST_URL: usize = 2048;

const NUMBER: &str = "phone_number";
const NUMBER_VERIFIED: &str = "phone_number_verified";

impl Profile {
    /// The names of the claims that there are.
    pub fn names() -> impl Iterator<Item = &'static str> {
        CLAIMS.into_iter().map(|(name, _)| name)
    }

    /// The claims of an object. `null` is as good as missing.
    ///
    /// # Errors
    /// [`InvalidClaim`].
    pub fn read(claims: &Map<String, Value>) -> Result<Self, InvalidClaim> {
        Self::default().amended(claims)
    }

    /// The same with these claims in place of theirs; `null` takes one away (RFC 7396). A number that
    /// changes is not verified, unless that is said beside it. An address is replaced as a whole.
    ///
    /// # Errors
    /// [`InvalidClaim`]: then none is changed.
    pub fn amended(&self, change: &Map<String, Value>) -> Result<Self, InvalidClaim> {
        let mut claims = self.0.clone();
        for (name, value) in change {
            let known = CLAIMS.iter().find(|(known, _)| known == name);
            let (name, form) = *known.ok_or_else(|| InvalidClaim::Unknown(name.clone()))?;
            if value.is_null() {
                claims.remove(name);
                continue;
            }
            if !form.takes(value) {
                return Err(InvalidClaim::Form { name, rule: form.rule() });
            }
            claims.insert(name.to_owned(), value.clone());
        }
        if claims.get(NUMBER) != self.0.get(NUMBER) && !change.contains_key(NUMBER_VERIFIED) {
            claims.remove(NUMBER_VERIFIED);
        }
        if claims.contains_key(NUMBER_VERIFIED) && !claims.contains_key(NUMBER) {
            return Err(InvalidClaim::NoNumber);
        }
        Ok(Self(claims))
    }

    /// What a claim is. A number that is known is said not to be verified where nobody says that it is.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<Value> {
        let said = self.0.get(name).cloned();
        let unsaid = name == NUMBER_VERIFIED && self.0.contains_key(NUMBER);
        said.or_else(|| unsaid.then_some(Value::Bool(false)))
    }

    /// All of them, as they were set.
    #[must_use]
    pub fn to_object(&self) -> Map<String, Value> {
        self.0.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl ProfileChange {
    /// Reads a change (RFC 7396): `null` takes a claim away.
    ///
    /// # Errors
    /// [`InvalidClaim`].
    pub fn read(change: &Map<String, Value>) -> Result<Self, InvalidClaim> {
        match Profile::default().amended(change) {
            Ok(_) => Ok(Self(change.clone())),
            // That it is not verified can be said of any number. That it is, of the one alone that stands
            // beside it: another may be there by the time that this is done.
            Err(InvalidClaim::NoNumber) if !says_verified(change) => Ok(Self(change.clone())),
            Err(error) => Err(error),
        }
    }

    pub(super) fn apply_to(&self, profile: &Profile) -> Profile {
        let amended = profile.amended(&self.0).or_else(|_| {
            let mut change = self.0.clone();
            change.insert(NUMBER_VERIFIED.to_owned(), Value::Null);
            profile.amended(&change)
        });
        amended.unwrap_or_else(|_| profile.clone())
    }
}

fn says_verified(change: &Map<String, Value>) -> bool {
    change.get(NUMBER_VERIFIED) == Some(&Value::Bool(true))
}

impl Form {
    fn takes(self, value: &Value) -> bool {
        match (self, value) {
            (Self::Flag, Value::Bool(_)) => true,
            (Self::Address, Value::Object(members)) => {
                !members.is_empty() && members.iter().all(|(name, value)| is_part(name, value))
            }
            (Self::Text, Value::String(text)) => is_text(text, LONGEST),
            (Self::Https, Value::String(text)) => is_https(text),
            (Self::Birthdate, Value::String(text)) => is_birthdate(text),
            (Self::Zone, Value::String(text)) => is_zone(text),
            (Self::Phone, Value::String(text)) => is_phone(text),
            _ => false,
        }
    }

    const fn rule(self) -> &'static str {
        match self {
            Self::Text => "a text of 1 to 256 bytes on one line, without spaces at its ends",
            Self::Https => "an `https` address of at most 2048 bytes, without a user name",
            Self::Birthdate => "`YYYY-MM-DD`, `0000-MM-DD` or `YYYY`",
            Self::Zone => "a name of the time zone database, such as `Europe/Paris`",
            Self::Phone => "a number as in E.164: `+` and 7 to 15 digits",
            Self::Flag => "`true` or `false`",
            Self::Address => {
                "an object with some of `formatted`, `street_address`, `locality`, `region`, \
                 `postal_code` and `country`, each a text of at most 256 bytes; the first two of at most \
                 1024, and of several lines"
            }
        }
    }
}

/// A text that is shown to people: what would break its line, or turn its letters round, is none.
fn is_text(text: &str, longest: usize) -> bool {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    (1..=longest).contains(&text.len()) && text.trim() == text && !text.contains(hidden)
}

fn is_part(name: &str, value: &Value) -> bool {
    let Value::String(text) = value else { return false };
    let lines = ["formatted", "street_address"].contains(&name);
    let sound = if lines {
        let parts = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        text.len() <= LONGEST_LINES && parts.into_iter().all(|line| is_text(line, LONGEST_LINES))
    } else {
        is_text(text, LONGEST)
    };
    sound && ADDRESS.contains(&name)
}

fn is_https(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://") else { return false };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = rest.get(..end).unwrap_or_default();
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']');
    let graphic =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'`');
    text.len() <= LONGEST_URL
        && host.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == b'[')
        && host.bytes().all(plain)
        && rest.bytes().all(graphic)
}

fn is_birthdate(text: &str) -> bool {
    let number = |part: &str, digits: usize| {
        let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u32>().ok().filter(|_| plain)
    };
    let parts: Vec<_> = text.split('-').collect();
    match parts.as_slice() {
        [year] => number(year, 4).is_some_and(|year| year > 0),
        [year, month, day] => {
            let (Some(year), Some(month), Some(day)) =
                (number(year, 4), number(month, 2), number(day, 2))
            else {
                return false;
            };
            // Of a year that is not told, any day of a leap year.
            let leap = year == 0 || (year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
            let longest = match month {
                4 | 6 | 9 | 11 => 30,
                2 if leap => 29,
                2 => 28,
                1..=12 => 31,
                _ => 0,
            };
            (1..=longest).contains(&day)
        }
        _ => false,
    }
}

fn is_zone(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'+' | b'-');
    let is_name = |part: &str| {
        part.bytes().next().is_some_and(|first| first.is_ascii_alphabetic())
            && part.bytes().all(plain)
    };
    text.len() <= 64 && text.split('/').count() <= 3 && text.split('/').all(is_name)
}

fn is_phone(text: &str) -> bool {
    let Some(digits) = text.strip_prefix('+') else { return false };
    (7..=15).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && !digits.starts_with('0')
}

fn listed() -> String {
    Profile::names().collect::<Vec<_>>().join(", ")
}

/// What somebody sent, as far as it is said back.
fn shortened(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(claims: &Value) -> Result<Profile, InvalidClaim> {
        Profile::read(claims.as_object().unwrap())
    }

    #[test]
    fn takes_what_the_standard_has() {
        let all = json!({
            "name": "Dr. Maria de la Cruz 山田", "given_name": "Maria", "family_name": "de la Cruz",
            "middle_name": "J.", "nickname": "Mia", "profile": "https://people.example/mia?x=1#y",
            "picture": "https://[2001:db8::1]:8443/mia.png", "website": "https://mia.example",
            "gender": "female", "birthdate": "2004-02-29", "zoneinfo": "America/Argentina/Buenos_Aires",
            "phone_number": "+819012345678", "phone_number_verified": true,
            "address": {"formatted": "1-1 Chiyoda\nTokyo", "country": "JP", "postal_code": "100-8111"},
        });
        let profile = read(&all).unwrap();
        assert_eq!(Value::Object(profile.to_object()), all);
        for name in Profile::names() {
            assert_eq!(profile.claim(name).as_ref(), Some(&all[name]), "{name}");
        }
        let kept = serde_json::to_string(&profile).unwrap();
        assert_eq!(serde_json::from_str::<Profile>(&kept).unwrap(), profile);
        for (name, value) in [
            ("birthdate", "0000-02-29"),
            ("birthdate", "1984"),
            ("zoneinfo", "UTC"),
            ("zoneinfo", "Etc/GMT+5"),
            ("phone_number", "+1234567"),
        ] {
            assert!(read(&json!({ name: value })).is_ok(), "{name} {value}");
        }
    }

    #[test]
    fn refuses_what_is_of_another_form() {
        let long = "x".repeat(257);
        for (name, bad) in [
            ("name", json!("")),
            ("name", json!(" a")),
            ("name", json!("a\nb")),
            ("name", json!("a\u{0}b")),
            ("name", json!("a\u{202e}b")),
            ("name", json!(long)),
            ("name", json!(["a"])),
            ("name", json!(1)),
            ("picture", json!("http://people.example/a.png")),
            ("picture", json!("javascript:alert(1)")),
            ("picture", json!("https://")),
            ("picture", json!("https:///x")),
            ("picture", json!("https://user@people.example/")),
            ("picture", json!("https://people.example/a b")),
            ("picture", json!("https://people.example/\"><script>")),
            ("picture", json!("HTTPS://people.example")),
            ("website", json!(format!("https://a.example/{}", "x".repeat(2048)))),
            ("birthdate", json!("2001-02-29")),
            ("birthdate", json!("1900-02-29")),
            ("birthdate", json!("2001-04-31")),
            ("birthdate", json!("2001-13-01")),
            ("birthdate", json!("2001-00-01")),
            ("birthdate", json!("2001-1-1")),
            ("birthdate", json!("0000")),
            ("birthdate", json!("01.02.2001")),
            ("birthdate", json!("+001-01-01")),
            ("birthdate", json!("2001-01-01T00:00:00Z")),
            ("zoneinfo", json!("../etc/passwd")),
            ("zoneinfo", json!("Europe//Paris")),
            ("zoneinfo", json!("+02:00")),
            ("phone_number", json!("090-1234-5678")),
            ("phone_number", json!("+0123456789")),
            ("phone_number", json!("+1234567890123456")),
            ("phone_number", json!("+1 425 555 0100")),
            ("phone_number_verified", json!("true")),
            ("address", json!("Tokyo")),
            ("address", json!({})),
            ("address", json!({"planet": "Earth"})),
            ("address", json!({"country": "J\nP"})),
            ("address", json!({"country": null})),
            ("address", json!({"formatted": "x".repeat(1025)})),
        ] {
            let refused = read(&json!({ name: bad })).unwrap_err();
            assert!(matches!(refused, InvalidClaim::Form { name: of, .. } if of == name), "{bad}");
        }
        for unknown in
            ["email", "preferred_username", "locale", "sub", "roles", "updated_at", "x\n"]
        {
            let refused = read(&json!({ unknown: "x" })).unwrap_err();
            assert_eq!(refused, InvalidClaim::Unknown(unknown.to_owned()));
            assert!(!refused.to_string().contains('\n'));
        }
        assert_eq!(read(&json!({"phone_number_verified": true})), Err(InvalidClaim::NoNumber));
    }

    #[test]
    fn a_number_that_changes_is_not_verified() {
        let amend = |of: &Profile, change: Value| of.amended(change.as_object().unwrap());
        let one = read(&json!({"phone_number": "+14255550100"})).unwrap();
        assert_eq!(one.claim("phone_number_verified"), Some(json!(false)));
        let verified = amend(&one, json!({"phone_number_verified": true})).unwrap();
        assert_eq!(verified.claim("phone_number_verified"), Some(json!(true)));
        // It stays so where the same is said again.
        let same = amend(&verified, json!({"phone_number": "+14255550100", "name": "M"})).unwrap();
        assert_eq!(same.claim("phone_number_verified"), Some(json!(true)));
        let other = amend(&same, json!({"phone_number": "+14255550101"})).unwrap();
        assert_eq!(other.claim("phone_number_verified"), Some(json!(false)));
        let gone = amend(&same, json!({"phone_number": null})).unwrap();
        assert_eq!(Value::Object(gone.to_object()), json!({"name": "M"}));
        assert_eq!(gone.claim("phone_number_verified"), None);
        // One fault, and nothing of it is done.
        assert!(amend(&same, json!({"name": "N", "birthdate": "x"})).is_err());
        assert!(amend(&same, json!({"name": null, "phone_number": null})).unwrap().is_empty());
    }

    #[test]
    fn only_the_number_is_verified_that_somebody_made_sure_of() {
        let change = |change: Value| ProfileChange::read(change.as_object().unwrap());
        let sure = json!({"phone_number": "+14255550100", "phone_number_verified": true});
        let other = read(&json!({"phone_number": "+14255550199"})).unwrap();
        // A number that somebody set meanwhile is not the one that was looked at.
        let alone = json!({"phone_number_verified": true});
        assert_eq!(change(alone), Err(InvalidClaim::NoNumber));
        let gone = json!({"phone_number": null, "phone_number_verified": true});
        assert_eq!(change(gone), Err(InvalidClaim::NoNumber));
        let after = change(sure.clone()).unwrap().apply_to(&other);
        assert_eq!(Value::Object(after.to_object()), sure);
        // That it is not verified can be said of any.
        let doubt = change(json!({"phone_number_verified": false})).unwrap();
        let doubted = doubt.apply_to(&after);
        assert_eq!(doubted.claim("phone_number_verified"), Some(json!(false)));
        assert_eq!(doubted.claim("phone_number"), Some(json!("+14255550100")));
        assert!(doubt.apply_to(&Profile::default()).is_empty());
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,80}", shaped in "[-+0-9:/.a-zA-Z]{0,40}") {
            for name in Profile::names() {
                for text in [&text, &shaped, &format!("https://{shaped}"), &format!("+{shaped}")] {
                    let _ = read(&json!({ name: text }));
                }
            }
            let _ = read(&json!({ text: shaped }));
        }
    }
}
