//! An entry of the log as the second durable home of revocations is told of it.
//!
//! | what is taken back | key | mark |
//! |---|---|---|
//! | one token | `t/TOKEN` | when that was, in milliseconds since 1970 |
//! | a sign-in | `f/FAMILY` | the same |
//! | a session | `s/SESSION` | the same |
//! | what a key signed | `k/KEY` | the same |
//! | what was issued in the name of a subject | `u/SUBJECT` | up to when, inclusive |
//! | its access tokens, because it may do less | `p/SUBJECT` | up to when, inclusive |
//! | what was issued to a client | `c/CLIENT` | up to when, inclusive |
//! | something of another issuer | `foreign.DIGEST` | up to when, inclusive; all of it: the greatest |
//!
//! Of the first four, whatever is on record is refused; of the others, what was issued up to the
//! mark. A name that would make a key longer than 255 bytes, or holds a NUL, is given by its SHA-256
//! in base64url after a `#` in place of the `/`: `u#…`. A name that begins with `#` is no such key,
//! because its own begins with `u/`.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::port::Withdrawal;

use super::{Entry, Target};
use crate::foreign::Name;

/// The longest key that there may be.
const LONGEST: usize = 255;

impl Target {
    /// The key under which a backstop knows this.
    #[must_use]
    pub fn backstop_key(&self) -> String {
        match self {
            Self::Token(id) => key('t', id.as_str()),
            Self::Family(id) => key('f', id.as_str()),
            Self::Session(id) => key('s', id.as_str()),
            Self::Subject { sub, tokens_only: false, .. } => key('u', sub),
            Self::Subject { sub, tokens_only: true, .. } => key('p', sub),
            Self::Client { client, .. } => key('c', client.as_str()),
            Self::Key(id) => key('k', id.as_str()),
            Self::ForeignToken { issuer, jti } => Name::token(issuer, jti).key(),
            Self::ForeignSession { issuer, sid } => Name::session(issuer, sid).key(),
            Self::ForeignSubject { issuer, sub, .. } => Name::subject(issuer, sub).key(),
            Self::ForeignClient { issuer, client, .. } => Name::client(issuer, client).key(),
            Self::ForeignKey { issuer, kid } => Name::key_of(issuer, kid).key(),
        }
    }
}

impl Entry {
    /// What a backstop is told.
    #[must_use]
    pub fn withdrawal(&self) -> Withdrawal {
        let mark = match &self.target {
            Target::Subject { up_to, .. } | Target::Client { up_to, .. } => up_to.millis(),
            Target::Token(_) | Target::Family(_) | Target::Session(_) | Target::Key(_) => {
                self.at.millis()
            }
            // As whoever verifies tokens of other issuers writes it, and asks for it.
            Target::ForeignToken { .. }
            | Target::ForeignSession { .. }
            | Target::ForeignSubject { .. }
            | Target::ForeignClient { .. }
            | Target::ForeignKey { .. } => {
                Name::taken_back(&self.target).map_or(u64::MAX, |(_, mark)| mark)
            }
        };
        Withdrawal { key: self.target.backstop_key(), mark, until: self.until }
    }
}

fn key(kind: char, name: &str) -> String {
    if name.len() + 2 <= LONGEST && !name.contains('\0') {
        return format!("{kind}/{name}");
    }
    format!("{kind}#{}", URL_SAFE_NO_PAD.encode(digest(&SHA256, name.as_bytes())))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use proptest::prelude::*;
    use tegata_core::{ClientId, Timestamp};

    use super::*;

    fn subject(sub: &str) -> Target {
        let up_to = Timestamp::from_millis(5);
        Target::Subject { sub: sub.to_owned(), up_to, tokens_only: false }
    }

    #[test]
    fn every_target_has_a_key_of_its_own() {
        let client = |name: &str| Target::Client {
            client: ClientId::new(name).unwrap(),
            up_to: Timestamp::from_millis(5),
        };
        let long = "x".repeat(255);
        let up_to = Timestamp::from_millis(5);
        let less = Target::Subject { sub: "a".to_owned(), up_to, tokens_only: true };
        let targets = [
            subject("a"),
            client("a"),
            less,
            subject("#a"),
            subject("a\0"),
            subject(&long),
            client(&long),
        ];
        let keys: BTreeSet<_> = targets.iter().map(Target::backstop_key).collect();
        assert_eq!(keys.len(), targets.len(), "{keys:?}");
        assert_eq!(subject("usr_a").backstop_key(), "u/usr_a");
        assert_eq!(subject(&"x".repeat(253)).backstop_key().len(), LONGEST);
    }

    #[test]
    fn a_subject_is_marked_with_the_moment_up_to_which_nothing_counts() {
        let at = Timestamp::from_millis(9);
        let until = at + Duration::from_secs(60);
        let entry = |target| Entry {
            target,
            places: vec![],
            at,
            until,
            reason: "logout".to_owned(),
            actor: "system".to_owned(),
        };
        let told = entry(subject("a")).withdrawal();
        assert_eq!((told.key.as_str(), told.mark, told.until), ("u/a", 5, until));
        let family = tegata_core::FamilyId::new("1.20000.a").unwrap();
        let told = entry(Target::Family(family)).withdrawal();
        assert_eq!((told.key.as_str(), told.mark), ("f/1.20000.a", 9));
    }

    proptest! {
        #[test]
        fn every_name_makes_a_key_that_a_backstop_takes(sub in "\\PC{0,600}|.{0,400}") {
            let key = subject(&sub).backstop_key();
            prop_assert!((1..=LONGEST).contains(&key.len()) && !key.contains('\0'));
        }
    }
}
