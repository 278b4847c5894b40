//! The proofs that one process has seen, so that none counts twice there. What it holds is bounded,
//! and it forgets nothing that still counts: where it is full, it takes no more.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use parking_lot::Mutex;
use tegata_core::Timestamp;

use super::{DpopProof, WINDOW};

/// Proofs are kept by when they were made, in spans of this length, and dropped by the span.
const SPAN: Duration = Duration::from_secs(30);

/// Into how many parts it is divided, each with a lock of its own.
const PARTS: usize = 16;

/// The proofs that were seen.
pub struct Replays {
    parts: [Mutex<Part>; PARTS],
    most: usize,
}

/// What became of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noted {
    /// Nobody had shown it here.
    New,
    /// It was used before, or nobody can tell any more whether it was.
    Used,
    /// There is no room to remember it, so it must not count.
    Full,
}

#[derive(Default)]
struct Part {
    /// By the span that they were made in. Half of a name is enough to know it by.
    spans: BTreeMap<u64, HashSet<[u8; 16]>>,
    held: usize,
    /// What was made in this span or later may be judged: what is older was dropped.
    oldest: u64,
}

impl Replays {
    /// Room for this many proofs: those of two and a half minutes.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { parts: Default::default(), most: most.div_ceil(PARTS) }
    }

    /// Notes a proof. Of many at once, one finds it new.
    #[must_use]
    pub fn note(&self, proof: &DpopProof, now: Timestamp) -> Noted {
        let Some((name, _)) = proof.name().split_first_chunk::<16>() else { return Noted::Full };
        let place = usize::from(name.first().copied().unwrap_or_default()) % PARTS;
        let Some(part) = self.parts.get(place) else { return Noted::Full };
        part.lock().note(*name, proof.made(), now, self.most)
    }
}

impl Part {
    fn note(&mut self, name: [u8; 16], made: Timestamp, now: Timestamp, most: usize) -> Noted {
        self.drop_before(now);
        let span = made.secs() / SPAN.as_secs();
        // INVARIANT: a clock that is set back brings nothing back that was dropped.
        if span < self.oldest {
            return Noted::Used;
        }
        let names = self.spans.entry(span).or_default();
        if names.contains(&name) {
            return Noted::Used;
        }
        if self.held >= most {
            return Noted::Full;
        }
        names.insert(name);
        self.held += 1;
        Noted::New
    }

    /// Drops the spans in which nothing was made that counts.
    fn drop_before(&mut self, now: Timestamp) {
        let oldest = now.secs().saturating_sub(WINDOW.as_secs()) / SPAN.as_secs();
        if oldest > self.oldest {
            self.oldest = oldest;
            let kept = self.spans.split_off(&oldest);
            self.spans = kept;
            self.held = self.spans.values().map(HashSet::len).sum();
        }
    }
}

impl std::fmt::Debug for Replays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replays")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::Algorithm;

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_600);

    fn proof(number: u64, made: Timestamp) -> DpopProof {
        let mut name = [0; 32];
        name[..8].copy_from_slice(&number.to_be_bytes().map(u8::reverse_bits));
        name[0] = u8::try_from(number % 256).unwrap();
        DpopProof { jkt: "k".into(), name, made, nonce: None, algorithm: Algorithm::Es256 }
    }

    #[test]
    fn a_proof_is_new_once_as_long_as_it_counts() {
        let replays = Replays::new(1000);
        for made in [NOW, NOW + WINDOW, Timestamp::from_secs(NOW.secs() - 60)] {
            let one = proof(made.secs(), made);
            assert_eq!(replays.note(&one, NOW), Noted::New);
            for later in 0..=made.secs() + 60 - NOW.secs() {
                let now = NOW + Duration::from_secs(later);
                assert_eq!(replays.note(&one, now), Noted::Used, "after {later} s");
            }
        }
    }

    #[test]
    fn what_was_dropped_is_not_new_when_the_clock_is_set_back() {
        let replays = Replays::new(1000);
        let one = proof(1, NOW);
        assert_eq!(replays.note(&one, NOW), Noted::New);
        assert_eq!(replays.note(&proof(257, NOW + 10 * WINDOW), NOW + 10 * WINDOW), Noted::New);
        assert_eq!(replays.note(&one, NOW), Noted::Used);
    }

    #[test]
    fn takes_no_more_than_it_has_room_for_and_again_when_there_is_room() {
        let replays = Replays::new(PARTS * 4);
        let all = |made| (0..256_u64).map(move |number| proof(number, made));
        let taken = all(NOW).filter(|proof| replays.note(proof, NOW) == Noted::New).count();
        assert_eq!(taken, PARTS * 4);
        let later = NOW + 4 * WINDOW;
        assert_eq!(replays.note(&proof(0, NOW), NOW), Noted::Used);
        assert_eq!(replays.note(&proof(0, later), later), Noted::New);
    }

    #[test]
    fn of_many_at_once_one_finds_it_new() {
        let replays = Replays::new(1000);
        let (one, news) = (proof(1, NOW), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2500 {
                        if replays.note(&one, NOW) == Noted::New {
                            news.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(news.into_inner(), 1);
    }
}
