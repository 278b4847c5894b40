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

/// Somebody who fetches the keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// How whoever serves the keys tells them apart: by network and program, say.
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
    all: Mutex<HashMap<String, Known>>,
}

#[derive(Debug)]
struct Known {
    reader: Reader,
    /// Whether it has not been told yet.
    is_new: bool,
}

impl Keys {
    /// Notes that somebody has just been given the keys as they are.
    pub fn given_to(&self, name: String) {
        let newest = newest(&self.now());
        let reader = Reader { name, last: self.inner.node.now(), newest };
        self.inner.readers.note(reader);
    }

    /// Those who fetched the keys from this node.
    #[must_use]
    pub fn readers(&self) -> Vec<Reader> {
        self.inner.readers.all.lock().values().map(|known| known.reader.clone()).collect()
    }

    /// Those of them who came since this was asked last, for other nodes to know.
    #[must_use]
    pub fn new_readers(&self) -> Vec<Reader> {
        let mut all = self.inner.readers.all.lock();
        let new = all.values_mut().filter(|known| known.is_new);
        let told = |known: &mut Known| {
            known.is_new = false;
            known.reader.clone()
        };
        new.map(told).collect()
    }
}

impl Readers {
    fn note(&self, reader: Reader) {
        let mut all = self.all.lock();
        if all.len() >= MOST && !all.contains_key(&reader.name) {
            let oldest = all.values().min_by_key(|known| known.reader.last);
            if let Some(oldest) = oldest.map(|known| known.reader.name.clone()) {
                all.remove(&oldest);
            }
        }
        let known = match all.remove(&reader.name) {
            Some(known) => reader.and(&known.reader),
            None => reader,
        };
        all.insert(known.name.clone(), Known { reader: known, is_new: true });
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
        let known = readers.all.lock().values().next().map(|known| known.reader.clone());
        let known = known.unwrap();
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
        let all = readers.all.lock();
        assert_eq!(all.len(), MOST);
        assert!(!all.contains_key("r0") && all.contains_key("r1"));
    }
}
