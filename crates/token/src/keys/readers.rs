//! Who fetches the published keys: what an operator looks at before a new key signs.
//!
//! It is evidence and no more. Anybody can fetch a key set, so no decision rests on it: a key signs when it
//! has been published for as long as anybody may keep a set, whoever has come by then.

use std::collections::HashMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_core::Timestamp;

use super::{Keys, Snapshot};
use crate::ring::KeyState;

/// How many are remembered. Where there are more, those who came longest ago are forgotten.
const MOST: usize = 500;

/// How many of them from one network, which can call itself what it likes.
const MOST_OF_NETWORK: usize = 8;

/// Somebody who fetches the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// How whoever serves the keys tells them apart: their network, a space, and what they call themselves.
    pub name: String,
    /// When they came last.
    pub last: Timestamp,
    /// When the newest key was published that they were given.
    pub newest: Timestamp,
}

impl Reader {
    /// Whether they were given a key that was published then.
    #[must_use]
    pub fn has_seen(&self, published: Timestamp) -> bool {
        self.newest >= published
    }

    /// The later of what two nodes know.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        let (last, newest) = (self.last.max(other.last), self.newest.max(other.newest));
        Self { last, newest, ..self }
    }
}

/// Those who fetch the keys from this node.
#[derive(Debug, Default)]
pub(super) struct Readers {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    all: HashMap<String, Reader>,
    /// How often somebody came.
    visits: u64,
}

impl Keys {
    /// Notes that somebody has just been given the keys as they are.
    pub fn given_to(&self, name: String) {
        let newest = newest(&self.now());
        let reader = Reader { name, last: self.inner.node.now(), newest };
        self.inner.readers.note(reader);
    }

    /// Those who fetched the keys from this node, and how often somebody did so far: where that is as it
    /// was, so are they.
    #[must_use]
    pub fn readers(&self) -> (Vec<Reader>, u64) {
        let known = self.inner.readers.known.lock();
        (known.all.values().cloned().collect(), known.visits)
    }
}

impl Reader {
    fn network(&self) -> &str {
        self.name.split(' ').next().unwrap_or_default()
    }
}

impl Readers {
    fn note(&self, reader: Reader) {
        let mut known = self.known.lock();
        known.visits += 1;
        let all = &mut known.all;
        if !all.contains_key(&reader.name) {
            let of_network = |it: &&Reader| it.network() == reader.network();
            let crowded = if all.values().filter(of_network).count() >= MOST_OF_NETWORK {
                all.values().filter(of_network).min_by_key(|it| it.last)
            } else if all.len() >= MOST {
                all.values().min_by_key(|it| it.last)
            } else {
                None
            };
            if let Some(oldest) = crowded.map(|it| it.name.clone()) {
                all.remove(&oldest);
            }
        }
        let reader = match all.remove(&reader.name) {
            Some(before) => reader.and(&before),
            None => reader,
        };
        all.insert(reader.name.clone(), reader);
    }
}

/// When the newest key was published that does not sign yet.
fn newest(snapshot: &Snapshot) -> Timestamp {
    let published = snapshot.list().filter_map(|(_, _, state)| match state {
        KeyState::Next { published } => Some(published),
        _ => None,
    });
    published.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(name: &str, last: u64, newest: u64) -> Reader {
        let (last, newest) = (Timestamp::from_secs(last), Timestamp::from_secs(newest));
        Reader { name: name.to_owned(), last, newest }
    }

    #[test]
    fn whoever_has_seen_a_key_has_seen_those_before_it() {
        let readers = Readers::default();
        readers.note(reader("a", 10, 5));
        readers.note(reader("a", 20, 3));
        let known = readers.known.lock().all["a"].clone();
        assert_eq!(known, reader("a", 20, 5));
        assert!(known.has_seen(Timestamp::from_secs(5)));
        assert!(!known.has_seen(Timestamp::from_secs(6)));
    }

    #[test]
    fn a_crowd_makes_room_by_what_is_oldest() {
        let readers = Readers::default();
        for number in 0..=MOST {
            readers.note(reader(&format!("r{number}"), u64::try_from(number).unwrap(), 1));
        }
        let all = &readers.known.lock().all;
        assert_eq!(all.len(), MOST);
        assert!(!all.contains_key("r0") && all.contains_key("r1"));
    }

    #[test]
    fn whoever_takes_many_names_pushes_out_their_own_network_alone() {
        let readers = Readers::default();
        readers.note(reader("192.0.2.0/24 orders", 1, 1));
        for number in 0..2 * MOST {
            let name = format!("198.51.100.0/24 r{number}");
            readers.note(reader(&name, u64::try_from(number).unwrap(), 1));
        }
        let known = readers.known.lock();
        assert_eq!(known.all.len(), 1 + MOST_OF_NETWORK);
        assert!(known.all.contains_key("192.0.2.0/24 orders"));
        assert!(known.all.contains_key(&format!("198.51.100.0/24 r{}", 2 * MOST - 1)));
        assert_eq!(known.visits, 1 + 2 * u64::try_from(MOST).unwrap());
    }
}
