//! What follows from a signal of another system.
//!
//! A transmitter that is trusted may end what people have here, and nothing more: no signal gives
//! anybody anything. Who a person is to it, the configuration says.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use tegata_core::{Kind, Lifetime, Stored, Timestamp, UserId, id::expiry_day};
use tegata_token::{Pairwise, SecurityEventToken};

use super::{
    kind::SignalKind,
    subject::{Named, Person},
};

/// Where it is kept which signals were acted on, until they would be too old to be believed.
pub static HEARD: Kind = Kind {
    name: "signal_heard",
    indexes: &[],
    lifetime: Lifetime::ByDay(expiry_day),
    secret: false,
};

/// How long ago a signal may have been told, whatever is configured.
pub const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// A signal that was acted on. It counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    key: String,
    /// When.
    pub at: Timestamp,
}

impl Heard {
    /// A signal that was acted on.
    #[must_use]
    pub fn new(token: &SecurityEventToken, at: Timestamp) -> Self {
        Self { key: Self::key_of(token), at }
    }

    /// Under which key it is kept: the day after which the signal is too old, and what names it.
    #[must_use]
    pub fn key_of(token: &SecurityEventToken) -> String {
        // A day more: `iat` may lie a little in the future.
        let day = (Timestamp::from_secs(token.iat) + LONGEST).day().saturating_add(2);
        let name = format!("{}\0{}", token.iss, token.jti);
        let name = digest::digest(&digest::SHA256, name.as_bytes());
        format!("1.{day}.{}", URL_SAFE_NO_PAD.encode(name))
    }
}

impl Stored for Heard {
    const KIND: &'static Kind = &HEARD;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

/// By which subjects a transmitter may name people of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedBy {
    /// Our issuer and the user id, as in our tokens.
    IssSub,
    /// Its own issuer, and what is our user id: where both have one directory.
    SameIds,
    /// The address of mail. Whoever has it here is meant, each of them.
    Email,
    /// An account URI of the host of our issuer: `acct:USERNAME@HOST`.
    Account,
}

/// Somebody whom a subject may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// The person with this id.
    Id(UserId),
    /// Everybody with this address of mail.
    Email(String),
    /// The person of this name.
    Username(String),
    /// Whom the clients of the transmitter's sector call so.
    Name(String),
}

impl Whom {
    /// Whom a subject may mean, of our people.
    #[must_use]
    pub fn of(named: &Named, by: &[NamedBy], ours: &str, theirs: &str) -> Vec<Self> {
        let host = ours.split_once("://").map_or(ours, |(_, rest)| rest);
        let host = host.split('/').next().unwrap_or_default();
        let meant = |person: &Person| match person {
            Person::IssSub { iss, sub } => {
                let is_ours = iss == ours && by.contains(&NamedBy::IssSub);
                let is_same = iss == theirs && by.contains(&NamedBy::SameIds);
                if is_ours && Pairwise::is_name(sub) {
                    return Some(Self::Name(sub.clone()));
                }
                let id = UserId::new(sub).ok().filter(|_| is_ours || is_same);
                id.map(Self::Id)
            }
            Person::Email(email) => {
                by.contains(&NamedBy::Email).then(|| Self::Email(email.clone()))
            }
            Person::Account(account) => {
                let (name, at) = account.rsplit_once('@')?;
                let is_here = by.contains(&NamedBy::Account) && at.eq_ignore_ascii_case(host);
                is_here.then(|| Self::Username(name.to_owned()))
            }
        };
        named.person.iter().filter_map(meant).collect()
    }
}

/// What follows from a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    /// The session that it names ends, or, where it names none of ours, all of the person's.
    EndSessions,
    /// Everything that the person has is taken back.
    EndEverything,
    /// It is written down.
    Note,
    /// It is about the stream itself.
    Stream,
    /// Nothing: it is of a kind that is not known here.
    Nothing,
}

/// What follows where what is known of a person changes at the transmitter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnChange {
    /// It is written down.
    #[default]
    Note,
    /// All sessions of the person end, so that they sign in anew.
    EndSessions,
}

impl Follows {
    /// What follows from a kind of signal.
    #[must_use]
    pub fn from(uri: &str, on_change: OnChange) -> Self {
        match SignalKind::of_uri(uri) {
            Some(SignalKind::SessionRevoked | SignalKind::SessionsRevoked) => Self::EndSessions,
            Some(
                SignalKind::AccountDisabled
                | SignalKind::AccountPurged
                | SignalKind::CredentialCompromise,
            ) => Self::EndEverything,
            Some(SignalKind::CredentialChange | SignalKind::TokenClaimsChange) => match on_change {
                OnChange::Note => Self::Note,
                OnChange::EndSessions => Self::EndSessions,
            },
            Some(SignalKind::Verification | SignalKind::StreamUpdated) => Self::Stream,
            Some(_) => Self::Note,
            None => Self::Nothing,
        }
    }

    /// In a word, for the journal and the metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::EndSessions => "end_sessions",
            Self::EndEverything => "end_everything",
            Self::Note => "note",
            Self::Stream => "stream",
            Self::Nothing => "nothing",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const OURS: &str = "https://ours.example";
    const THEIRS: &str = "https://theirs.example";

    fn whom(subject: &serde_json::Value, by: &[NamedBy]) -> Vec<Whom> {
        let named = Named::read(subject.as_object().unwrap()).unwrap();
        Whom::of(&named, by, OURS, THEIRS)
    }

    #[test]
    fn a_transmitter_names_people_only_by_what_was_agreed() {
        let ours = json!({"format": "iss_sub", "iss": OURS, "sub": "usr_1"});
        let theirs = json!({"format": "iss_sub", "iss": THEIRS, "sub": "usr_1"});
        let email = json!({"format": "email", "email": "a@b.example"});
        let account = json!({"format": "account", "uri": "acct:alice@Ours.example"});
        let id = || vec![Whom::Id(UserId::new("usr_1").unwrap())];
        assert_eq!(whom(&ours, &[NamedBy::IssSub]), id());
        assert_eq!(whom(&theirs, &[NamedBy::SameIds]), id());
        let pairwise = json!({"format": "iss_sub", "iss": OURS, "sub": "usr_p.x"});
        assert_eq!(whom(&pairwise, &[NamedBy::IssSub]), [Whom::Name("usr_p.x".into())]);
        assert!(whom(&pairwise, &[NamedBy::SameIds]).is_empty());
        assert_eq!(whom(&email, &[NamedBy::Email]), [Whom::Email("a@b.example".into())]);
        assert_eq!(whom(&account, &[NamedBy::Account]), [Whom::Username("alice".into())]);
        for (subject, by) in [
            (&ours, &[NamedBy::SameIds, NamedBy::Email, NamedBy::Account][..]),
            (&theirs, &[NamedBy::IssSub, NamedBy::Email, NamedBy::Account]),
            (&email, &[NamedBy::IssSub, NamedBy::SameIds, NamedBy::Account]),
            (&account, &[NamedBy::IssSub, NamedBy::SameIds, NamedBy::Email]),
        ] {
            assert!(whom(subject, by).is_empty(), "{subject}");
        }
        // Another host's account, another issuer's subject, and no user id.
        let other = json!({"format": "account", "uri": "acct:alice@evil.example"});
        assert!(whom(&other, &[NamedBy::Account]).is_empty());
        let other = json!({"format": "iss_sub", "iss": "https://evil.example", "sub": "usr_1"});
        assert!(whom(&other, &[NamedBy::IssSub, NamedBy::SameIds]).is_empty());
        let client = json!({"format": "iss_sub", "iss": OURS, "sub": "orders"});
        assert!(whom(&client, &[NamedBy::IssSub]).is_empty());
    }

    #[test]
    fn signals_end_things_and_give_nothing() {
        let follows = |kind: SignalKind| Follows::from(kind.uri(), OnChange::Note);
        assert_eq!(follows(SignalKind::SessionRevoked), Follows::EndSessions);
        assert_eq!(follows(SignalKind::AccountDisabled), Follows::EndEverything);
        assert_eq!(follows(SignalKind::CredentialCompromise), Follows::EndEverything);
        assert_eq!(follows(SignalKind::CredentialChange), Follows::Note);
        assert_eq!(follows(SignalKind::AccountEnabled), Follows::Note);
        assert_eq!(follows(SignalKind::Verification), Follows::Stream);
        assert_eq!(Follows::from("urn:other", OnChange::Note), Follows::Nothing);
        let changed = SignalKind::TokenClaimsChange.uri();
        assert_eq!(Follows::from(changed, OnChange::EndSessions), Follows::EndSessions);
    }

    #[test]
    fn a_signal_is_remembered_until_it_is_too_old_under_a_name_of_its_own() {
        let token = |iss: &str, jti: &str| {
            let claims = json!({
                "iss": iss, "aud": "a", "iat": 86_400, "jti": jti,
                "sub_id": {"format": "opaque", "id": "x"}, "events": {"urn:e": {}},
            });
            SecurityEventToken::parse(claims.to_string().as_bytes()).unwrap()
        };
        let key = Heard::key_of(&token(OURS, "a"));
        assert_eq!(expiry_day(&key), Some(1 + 30 + 2));
        for other in [token(THEIRS, "a"), token(OURS, "b")] {
            assert_ne!(Heard::key_of(&other), key);
        }
    }
}
