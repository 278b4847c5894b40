//! Names that are taken back, and up to which moment.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::RwLock;
use tegata_core::Timestamp;

use super::view::is_kept;

/// Into how many parts the names are divided, each with a lock of its own: while one is gone through,
/// with millions of names, whoever asks for a name of another does not wait.
const PARTS: usize = 64;

/// Names that are marked: everything of theirs that was issued up to a moment is refused.
pub(super) struct Marks {
    // Lets the common case, nothing marked, pass without a lock.
    count: AtomicUsize,
    parts: Box<[Part]>,
}

type Part = RwLock<HashMap<Box<str>, Mark>>;

#[derive(Clone, Copy, PartialEq)]
pub(super) struct Mark {
    pub(super) up_to: Timestamp,
    pub(super) until: Timestamp,
}

impl Marks {
    /// Whether something of this name that was issued in the second `iat` is refused. `iat` is cut
    /// to whole seconds, so all of the second in which the mark was made counts as before it.
    pub(super) fn covers(&self, name: &str, iat: u64) -> bool {
        if iat == u64::MAX {
            return self.up_to(name).is_some();
        }
        self.up_to(name).is_some_and(|up_to| Timestamp::from_secs(iat) <= up_to)
    }

    pub(super) fn up_to(&self, name: &str) -> Option<Timestamp> {
        if self.count() == 0 {
            return None;
        }
        self.part(name)?.read().get(name).map(|mark| mark.up_to)
    }

    /// Marks a name. Marks only grow. Answers whether this one has.
    pub(super) fn mark(&self, name: &str, up_to: Timestamp, until: Timestamp) -> bool {
        let Some(part) = self.part(name) else { return false };
        let mut marked = part.write();
        let before = marked.get(name).copied();
        let of_before = before.unwrap_or(Mark { up_to, until });
        let mark = Mark { up_to: of_before.up_to.max(up_to), until: of_before.until.max(until) };
        if before == Some(mark) {
            return false;
        }
        marked.insert(name.into(), mark);
        if before.is_none() {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
        true
    }

    /// How many names are marked.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// All that are marked, each part as it was at one moment.
    pub(super) fn all(&self) -> impl Iterator<Item = (String, Mark)> {
        self.parts.iter().flat_map(|part| {
            let marked = part.read();
            let copied = marked.iter().map(|(name, mark)| (name.to_string(), *mark));
            copied.collect::<Vec<_>>()
        })
    }

    pub(super) fn forget(&self, now: Timestamp) {
        if self.count() == 0 {
            return;
        }
        for part in &self.parts {
            let mut marked = part.write();
            let before = marked.len();
            marked.retain(|_, mark| is_kept(mark.until, now));
            self.count.fetch_sub(before - marked.len(), Ordering::AcqRel);
        }
    }

    /// The part that a name is in. Most names end in random letters.
    fn part(&self, name: &str) -> Option<&Part> {
        let ends = name.bytes().rev().take(2);
        let place = ends.fold(0, |place: usize, letter| place * 31 + usize::from(letter));
        self.parts.get(place % PARTS)
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), parts: (0..PARTS).map(|_| RwLock::default()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_found_and_forgotten_in_all_parts() {
        let marks = Marks::default();
        let at = Timestamp::from_secs(1_000_000);
        let ends = |number: u64| if number < 500 { at } else { at + super::super::GRACE * 2 };
        for number in 0..1000_u64 {
            let name = format!("name-{number:04x}");
            assert!(marks.mark(&name, at, ends(number)));
            assert!(!marks.mark(&name, at, ends(number)));
        }
        assert!(marks.mark("", at, at));
        assert_eq!((marks.count(), marks.all().count()), (1001, 1001));
        marks.forget(at + super::super::GRACE);
        assert_eq!((marks.count(), marks.all().count()), (500, 500));
        assert!(!marks.covers("name-0000", 0) && marks.covers("name-03e7", 0));
    }
}
