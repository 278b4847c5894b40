//! How a change is made known on the feed: `{"action":"invalidate","key":…,"timestamp":…}`, where
//! the key is `kind/realm/key`. Others may send it too: that something is read again harms nobody.

use serde::{Deserialize, Serialize};
use tegata_core::{Realm, Timestamp};

/// What is said to have changed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalidation {
    pub(super) kind: String,
    pub(super) realm: Realm,
    pub(super) key: String,
    /// Which version there is now, where that is known.
    pub(super) version: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct Message {
    action: String,
    key: String,
    timestamp: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
}

const ACTION: &str = "invalidate";

/// The longest message: names and a key, with room for how JSON writes them.
const LONGEST: usize = 4096;

impl Invalidation {
    /// As a message.
    pub(super) fn write(&self, now: Timestamp) -> Vec<u8> {
        let message = Message {
            action: ACTION.to_owned(),
            key: format!("{}/{}/{}", self.kind, self.realm, self.key),
            timestamp: now.to_string(),
            version: self.version,
        };
        // Texts and a number are always JSON.
        serde_json::to_vec(&message).unwrap_or_default()
    }

    /// From a message. `None`: it is none.
    pub(super) fn read(message: &[u8]) -> Option<Self> {
        // Whoever can write to the bus decides how long a message is, and it is remembered.
        if message.len() > LONGEST {
            return None;
        }
        let message: Message = serde_json::from_slice(message).ok()?;
        if message.action != ACTION {
            return None;
        }
        let mut parts = message.key.splitn(3, '/');
        let (kind, realm, key) = (parts.next()?, parts.next()?, parts.next()?);
        let (kind, key) = (kind.to_owned(), key.to_owned());
        Some(Self { kind, realm: Realm::new(realm).ok()?, key, version: message.version })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_and_nothing_else_is() {
        let (kind, key) = ("session".to_owned(), "a/b".to_owned());
        let said = Invalidation { kind, realm: Realm::default(), key, version: Some(7) };
        let written = said.write(Timestamp::from_millis(0));
        assert_eq!(Invalidation::read(&written), Some(said));
        let text = String::from_utf8(written).unwrap();
        assert!(
            text.starts_with(r#"{"action":"invalidate","key":"session/default/a/b","#),
            "{text}"
        );
        let others = [&text.replace("invalidate", "delete"), &text.replace('/', ":")];
        for none in ["", "{}", "[1]"].into_iter().chain(others.map(String::as_str)) {
            assert_eq!(Invalidation::read(none.as_bytes()), None, "{none}");
        }
        let long = text.replace("a/b", &"a".repeat(LONGEST));
        assert_eq!(Invalidation::read(long.as_bytes()), None);
        // As outsiders send it.
        let short = r#"{"action":"invalidate","key":"session/default/a","timestamp":""}"#;
        assert!(Invalidation::read(short.as_bytes()).is_some());
    }
}
