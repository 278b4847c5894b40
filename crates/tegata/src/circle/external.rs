//! Verifiers that are no nodes: nobody asks them, so that all that can be said is until when they may go by
//! what they knew.

use serde_json::{Value, json};
use tegata_core::Timestamp;
use tegata_server::LISTED_WITHIN;
use tegata_token::revocation::{LONGEST_ACCESS, MOST_STALE};

/// Where verifiers that are no nodes learn what was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// Whoever follows is told, and status lists show it.
    Listed,
    /// Whoever follows is told; no status list shows all of it.
    ByName,
    /// Nowhere: it is another issuer's, of which only nodes learn.
    Nowhere,
}

impl Shown {
    /// What an order's answer says of it.
    pub(crate) fn of(told: &Value) -> Self {
        if told.pointer("/revoked/issuer").is_some() {
            Self::Nowhere
        } else if told.get("note").is_some() {
            Self::ByName
        } else {
            Self::Listed
        }
    }
}

/// Until when they may go by what they knew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct External {
    /// Services and sidecars that follow (`/oauth2/revocations`), and are cut off.
    followers: Timestamp,
    /// Whoever reads status lists, and keeps them for their `ttl`.
    status_lists: Timestamp,
    /// Whoever reads status lists, where none shows it: as long as tokens live.
    tokens: Timestamp,
}

impl External {
    /// Of what was acknowledged by `asked`, and what no node gives out a list without that was made after
    /// `known`.
    pub(super) fn of(asked: Timestamp, known: Timestamp) -> Self {
        Self {
            // INVARIANT: nobody hears of nodes that they know more than they do, so that whoever heard
            // the last word before it was acknowledged grows stale by then.
            followers: asked + MOST_STALE,
            status_lists: known + LISTED_WITHIN,
            tokens: asked + LONGEST_ACCESS,
        }
    }

    const fn readers(&self, shown: Shown) -> Timestamp {
        match shown {
            Shown::ByName => self.tokens,
            Shown::Listed | Shown::Nowhere => self.status_lists,
        }
    }

    /// For machines. `until`: when the last of them goes by what it knew.
    pub(super) fn json(&self, shown: Shown) -> Option<Value> {
        let (followers, readers) = (self.followers, self.readers(shown));
        (shown != Shown::Nowhere).then(|| {
            json!({
                "followers": followers.to_string(),
                "status_lists": readers.to_string(),
                "until": followers.max(readers).to_string(),
            })
        })
    }

    /// The same in words, after those that say who refuses it.
    pub(super) fn says(&self, shown: Shown) -> String {
        let (followers, readers) = (self.followers, self.readers(shown));
        match shown {
            Shown::Nowhere => String::new(),
            Shown::Listed | Shown::ByName => format!(
                "; outside, services that follow and are cut off go by what they knew until {followers}, \
                 readers of status lists until {readers}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The `ttl` of lists.
    const TTL: Duration = Duration::from_secs(60);

    const ASKED: Timestamp = Timestamp::from_secs(1_000);
    const KNOWN: Timestamp = Timestamp::from_secs(1_002);

    #[test]
    fn followers_have_five_seconds_and_readers_of_lists_no_less_than_the_ttl() {
        let external = External::of(ASKED, KNOWN);
        let told = external.json(Shown::Listed).unwrap();
        assert_eq!(told["followers"], Timestamp::from_secs(1_005).to_string());
        assert_eq!(told["status_lists"], told["until"]);
        // From when the last list without it can have been made, and what passes it on adds to that.
        let added = external.status_lists.since(KNOWN);
        assert!(added > TTL && added < 2 * TTL, "{added:?}");
        let says = external.says(Shown::Listed);
        for name in ["followers", "status_lists"] {
            assert!(says.contains(told[name].as_str().unwrap()), "{says}");
        }
    }

    #[test]
    fn what_no_list_shows_readers_of_lists_accept_as_long_as_it_lives() {
        let external = External::of(ASKED, KNOWN);
        let told = external.json(Shown::ByName).unwrap();
        assert_eq!(told["until"], (ASKED + LONGEST_ACCESS).to_string());
        assert_eq!(told["status_lists"], told["until"]);
    }

    #[test]
    fn of_another_issuer_s_tokens_nothing_is_said_of_who_is_told_nothing() {
        let foreign = json!({"revoked": {"issuer": "https://idp.example", "jti": "7"}});
        assert_eq!(Shown::of(&foreign), Shown::Nowhere);
        let external = External::of(ASKED, KNOWN);
        assert_eq!((external.json(Shown::Nowhere), external.says(Shown::Nowhere).len()), (None, 0));
        assert_eq!(Shown::of(&json!({"revoked": {"key": "k"}, "note": "by name"})), Shown::ByName);
        assert_eq!(Shown::of(&json!({"revoked": {"jti": "k"}})), Shown::Listed);
    }
}
