//! Whom a signal is about (RFC 9493, and the complex subjects of SSF 1.0 §3.2).

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// By what a receiver is told who a person is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Our issuer and the user id, as in the claims `iss` and `sub` of tokens.
    #[default]
    IssSub,
    /// The address of their mail.
    Email,
}

/// Identifies a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Person {
    /// By issuer and subject.
    IssSub {
        /// Whose name it is.
        iss: String,
        /// The name.
        sub: String,
    },
    /// By mail.
    Email(String),
    /// By an account URI without `acct:` (RFC 7565).
    Account(String),
}

/// What a subject names, of what is understood here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Named {
    /// The person, by each way that is given.
    pub person: Vec<Person>,
    /// The session.
    pub session: Option<String>,
    /// A member that is neither, such as a device: what is said may be about that alone.
    pub other: bool,
}

/// The longest identifier that is looked at.
const LONGEST: usize = 512;

impl Person {
    /// The subject identifier, in its one spelling.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match self {
            Self::IssSub { iss, sub } => json!({"format": "iss_sub", "iss": iss, "sub": sub}),
            Self::Email(email) => json!({"format": "email", "email": email}),
            Self::Account(account) => {
                json!({"format": "account", "uri": format!("acct:{account}")})
            }
        }
    }

    /// A short name of fixed length under which a stream keeps whether it wants to hear of them.
    #[must_use]
    pub fn digest(&self) -> String {
        let text = match self {
            // Domains are compared without regard to case; what stands before, everybody does so.
            Self::Email(email) => format!("email\0{}", email.to_lowercase()),
            Self::IssSub { iss, sub } => format!("iss_sub\0{iss}\0{sub}"),
            Self::Account(account) => format!("account\0{account}"),
        };
        URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
    }

    fn read(subject: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| {
            let text = subject.get(name)?.as_str()?;
            (1..=LONGEST).contains(&text.len()).then(|| text.to_owned())
        };
        match subject.get("format")?.as_str()? {
            "iss_sub" => Some(Self::IssSub { iss: text("iss")?, sub: text("sub")? }),
            "email" => Some(Self::Email(text("email")?)),
            "account" => Some(Self::Account(text("uri")?.strip_prefix("acct:")?.to_owned())),
            _ => None,
        }
    }
}

impl Named {
    /// Reads a subject. `None`: it is malformed. What is of a format that is not understood names
    /// something [`Self::other`].
    #[must_use]
    pub fn read(subject: &Map<String, Value>) -> Option<Self> {
        let mut named = Self::default();
        if subject.get("format")?.as_str()? == "complex" {
            for (member, value) in subject {
                match (member.as_str(), value) {
                    ("format", _) => {}
                    ("user", Value::Object(user)) => named.add(user)?,
                    ("session", Value::Object(session)) => {
                        named.session = opaque(session);
                        named.other |= named.session.is_none();
                    }
                    (_, Value::Object(_)) => named.other = true,
                    _ => return None,
                }
            }
        } else {
            named.add(subject)?;
        }
        Some(named)
    }

    /// Adds a simple subject.
    fn add(&mut self, subject: &Map<String, Value>) -> Option<()> {
        match subject.get("format")?.as_str()? {
            "aliases" => {
                // RFC 9493 §3.2.8: all of them name one subject, and none is a list again.
                for one in subject.get("identifiers")?.as_array()?.iter().take(16) {
                    let one = one.as_object()?;
                    if one.get("format")?.as_str()? == "aliases" {
                        return None;
                    }
                    self.add(one)?;
                }
            }
            "opaque" => self.session = Some(opaque(subject)?),
            "iss_sub" | "email" | "account" => self.person.push(Person::read(subject)?),
            _ => self.other = true,
        }
        Some(())
    }
}

fn opaque(subject: &Map<String, Value>) -> Option<String> {
    let is_opaque = subject.get("format")?.as_str()? == "opaque";
    let id = subject.get("id")?.as_str()?;
    (is_opaque && (1..=LONGEST).contains(&id.len())).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(subject: &Value) -> Option<Named> {
        Named::read(subject.as_object().unwrap())
    }

    fn ours() -> Person {
        Person::IssSub { iss: "https://i".into(), sub: "usr_1".into() }
    }

    #[test]
    fn reads_people_and_sessions_by_the_formats_that_are_understood() {
        let simple = read(&ours().to_json()).unwrap();
        assert_eq!(simple, Named { person: vec![ours()], ..Named::default() });
        let email = read(&json!({"format": "email", "email": "a@b.example"})).unwrap();
        assert_eq!(email.person, [Person::Email("a@b.example".into())]);
        let account = read(&json!({"format": "account", "uri": "acct:a@b.example"})).unwrap();
        assert_eq!(account.person, [Person::Account("a@b.example".into())]);
        let session = read(&json!({"format": "opaque", "id": "1.2.s"})).unwrap();
        assert_eq!(session.session.as_deref(), Some("1.2.s"));
        let complex = read(&json!({
            "format": "complex",
            "user": ours().to_json(),
            "session": {"format": "opaque", "id": "1.2.s"},
        }))
        .unwrap();
        assert_eq!(
            complex,
            Named { person: vec![ours()], session: Some("1.2.s".into()), other: false }
        );
        let aliases = json!({
            "format": "aliases",
            "identifiers": [ours().to_json(), {"format": "email", "email": "a@b.example"}],
        });
        assert_eq!(read(&aliases).unwrap().person.len(), 2);
    }

    #[test]
    fn what_is_not_understood_is_something_else_and_what_is_malformed_is_nothing() {
        for other in [
            json!({"format": "phone_number", "phone_number": "+1"}),
            json!({"format": "did", "url": "did:example:1"}),
            json!({"format": "complex", "device": {"format": "opaque", "id": "d"}}),
        ] {
            let named = read(&other).unwrap();
            assert!(named.other && named.person.is_empty() && named.session.is_none(), "{other}");
        }
        for bad in [
            json!({}),
            json!({"format": 7}),
            json!({"format": "iss_sub", "iss": "i"}),
            json!({"format": "iss_sub", "iss": "i", "sub": ["usr_1"]}),
            json!({"format": "iss_sub", "iss": "i", "sub": ""}),
            json!({"format": "iss_sub", "iss": "i", "sub": "x".repeat(513)}),
            json!({"format": "email"}),
            json!({"format": "account", "uri": "https://b.example/a"}),
            json!({"format": "opaque"}),
            json!({"format": "complex", "user": "usr_1"}),
            json!({"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": []}]}),
            json!({"format": "aliases", "identifiers": "x"}),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn an_address_of_mail_is_one_in_any_case_and_a_name_is_not() {
        let of = |email: &str| Person::Email(email.into()).digest();
        assert_eq!(of("A@B.example"), of("a@b.example"));
        let of = |sub: &str| Person::IssSub { iss: "i".into(), sub: sub.into() }.digest();
        assert_ne!(of("usr_A"), of("usr_a"));
        assert_ne!(of("x"), Person::Account("x".into()).digest());
    }
}
