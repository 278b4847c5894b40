//! Names that are taken back, and up to which moment.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
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

#[derive(Default)]
struct Part {
    /// A bit for each name that is marked, so that as long as there are few, most that are not pass without
    /// the lock, too: to take it is dearer than all else that is asked about a token.
    ///
    /// INVARIANT: written by whoever has the lock for itself. A bit is set before its name is marked, and
    /// only that no marked name has it makes it go.
    bits: AtomicU64,
    marked: RwLock<HashMap<Box<str>, Mark>>,
}

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
        let (part, bit) = self.place(name)?;
        if part.bits.load(Ordering::Acquire) & bit == 0 {
            return None;
        }
        part.marked.read().get(name).map(|mark| mark.up_to)
    }

    /// Marks a name. Marks only grow. Answers whether this one has.
    pub(super) fn mark(&self, name: &str, up_to: Timestamp, until: Timestamp) -> bool {
        let Some((part, bit)) = self.place(name) else { return false };
        let mut marked = part.marked.write();
        let before = marked.get(name).copied();
        let of_before = before.unwrap_or(Mark { up_to, until });
        let mark = Mark { up_to: of_before.up_to.max(up_to), until: of_before.until.max(until) };
        if before == Some(mark) {
            return false;
        }
        part.bits.fetch_or(bit, Ordering::AcqRel);
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
            let marked = part.marked.read();
            let copied = marked.iter().map(|(name, mark)| (name.to_string(), *mark));
            copied.collect::<Vec<_>>()
        })
    }

    pub(super) fn forget(&self, now: Timestamp) {
        if self.count() == 0 {
            return;
        }
        for part in &self.parts {
            let mut marked = part.marked.write();
            let before = marked.len();
            marked.retain(|_, mark| is_kept(mark.until, now));
            if marked.len() < before {
                let bits = marked.keys().fold(0, |bits, name| bits | spot(name).1);
                part.bits.store(bits, Ordering::Release);
            }
            self.count.fetch_sub(before - marked.len(), Ordering::AcqRel);
        }
    }

    /// The part that a name is in, and its bit there.
    fn place(&self, name: &str) -> Option<(&Part, u64)> {
        let (part, bit) = spot(name);
        Some((self.parts.get(part)?, bit))
    }
}

/// In which part a name is, and its bit there. Most names end in random letters.
fn spot(name: &str) -> (usize, u64) {
    let fold = |letters: &[u8]| {
        letters.iter().rev().fold(0, |place: usize, letter| place * 31 + usize::from(*letter))
    };
    let bytes = name.as_bytes();
    let (before, end) = bytes.split_at(bytes.len().saturating_sub(2));
    let (_, before) = before.split_at(before.len().saturating_sub(2));
    (fold(end) % PARTS, 1 << (fold(before) % 64))
}

impl Default for Marks {
    fn default() -> Self {
        Self { count: AtomicUsize::new(0), parts: (0..PARTS).map(|_| Part::default()).collect() }
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
        // Whatever was forgotten before, what is left is found, and what is marked again.
        for number in 500..1000_u64 {
            assert!(marks.covers(&format!("name-{number:04x}"), 0));
        }
        assert!(marks.mark("name-0000", at, ends(999)) && marks.covers("name-0000", 0));
        marks.forget(at + super::super::GRACE * 4);
        assert_eq!(marks.count(), 0);
        assert!(marks.parts.iter().all(|part| part.bits.load(Ordering::Acquire) == 0));
    }

    #[test]
    fn a_name_is_never_passed_over_while_others_are_forgotten() {
        let marks = Marks::default();
        let (at, late) = (Timestamp::from_secs(1_000_000), Timestamp::from_secs(9_000_000_000));
        let marked = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..20_000_usize {
                    // One that dies at once, and one that stays, in the same part.
                    marks.mark(&format!("dead-{number}-xy"), at, at);
                    marks.mark(&format!("live-{number}-xy"), at, late);
                    marked.store(number + 1, Ordering::SeqCst);
                }
            });
            scope.spawn(|| {
                while marked.load(Ordering::SeqCst) < 20_000 {
                    marks.forget(at + super::super::GRACE * 2);
                }
            });
            scope.spawn(|| {
                while marked.load(Ordering::SeqCst) < 20_000 {
                    let last = marked.load(Ordering::SeqCst);
                    if let Some(number) = last.checked_sub(1) {
                        assert!(marks.covers(&format!("live-{number}-xy"), 0), "{number}");
                    }
                }
            });
        });
        assert!((0..20_000).all(|number| marks.covers(&format!("live-{number}-xy"), 0)));
    }
}
