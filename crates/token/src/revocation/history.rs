//! What stood in status lists at moments that are over, from the log (Token Status List §8.4).
//!
//! The lists of a quarter of an hour concern tokens that were issued in it, so only a stretch of the
//! log can name them: from when the quarter began to when its last token was dead, and as much on
//! either side as clocks may be wrong. The stretch is found by halving, and read once. One clock that is
//! more wrong than that leads nobody astray: what an entry says is compared with what those beside it
//! say, and the end is believed of a page of them.

use std::time::Duration;

use tegata_core::{Log, Realm, Records, StoreError, Timestamp};

use super::{CLOCK_ERROR, Entry, GRACE, view::corrupt};
use crate::{
    circle::LATE,
    status::{ListId, SLOT_SECS, StatusBits},
};

/// How many entries are read at once.
const PAGE: u32 = 1000;

/// How many entries are read for a quarter.
const MOST_ENTRIES: usize = 200_000;

/// How many places are kept of a quarter: 3 MiB.
const MOST_PLACES: usize = 1 << 18;

/// How far a moment must be over: whatever was taken back by then, by whichever clock, is in the log
/// from then on or never will be.
pub const SETTLED: Duration = Duration::from_secs(CLOCK_ERROR.as_secs() + LATE.as_secs());

/// Why it cannot be said how a list stood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unknowable {
    /// Part of the log that may name the list has been trimmed away.
    #[error("what was taken back then is not known any more")]
    Forgotten,
    /// More was taken back about then than is read for one answer.
    #[error("more was taken back then than is looked through")]
    TooMuch,
    /// Some clock was so wrong that the stretch cannot be found by what entries say.
    #[error("what was taken back then cannot be found: clocks were too wrong")]
    Disordered,
    /// The log cannot be read at the moment, or not far enough.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What was taken back of the lists of one quarter of an hour: which places, and when.
#[derive(Debug, Clone)]
pub struct History {
    realm: Realm,
    /// The first list of the quarter.
    first: ListId,
    /// The position before the stretch, and after what has been read of it; `None`: not found yet.
    after: Option<u64>,
    /// How many entries have been read.
    read: usize,
    /// Number of the list, place, and second.
    places: Vec<(u32, u32, u64)>,
    /// Up to when this is all there is; `None`: nothing has been read to its end.
    covers: Option<Timestamp>,
}

impl History {
    /// Of the quarter that this list is of: nothing is known of it yet.
    #[must_use]
    pub const fn of(realm: Realm, list: ListId) -> Self {
        let first = ListId { number: 0, ..list };
        Self { realm, first, after: None, read: 0, places: Vec::new(), covers: None }
    }

    /// Whether this is of the quarter that a list is of.
    #[must_use]
    pub fn is_of(&self, realm: &Realm, list: ListId) -> bool {
        self.realm == *realm && self.first == ListId { number: 0, ..list }
    }

    /// Whether it can be said from this how the lists stood at a moment.
    #[must_use]
    pub fn covers(&self, at: Timestamp) -> bool {
        self.covers.is_some_and(|covers| at <= covers)
    }

    /// How a list stood in the second of `at`: with what was taken back in it or before. `None`: that is
    /// not [covered](Self::covers).
    #[must_use]
    pub fn bits(&self, list: ListId, at: Timestamp) -> Option<StatusBits> {
        if !self.covers(at) || self.first != (ListId { number: 0, ..list }) {
            return None;
        }
        let bits = StatusBits::new();
        for (number, place, second) in &self.places {
            if *number == list.number && *second <= at.secs() {
                bits.revoke(*place);
            }
        }
        Some(bits)
    }

    /// Reads what there is to know at `now`. What it has read it knows afterwards, even if it is dropped
    /// in between or the store fails.
    ///
    /// # Errors
    /// What cannot be known.
    pub async fn read(&mut self, records: &dyn Records, now: Timestamp) -> Result<(), Unknowable> {
        let mut after = match self.after {
            Some(after) => after,
            None => self.find(records).await?,
        };
        loop {
            let pull = records.pull(Log::Revocations, after, PAGE).await?;
            if after.saturating_add(1) < pull.tail {
                return Err(Unknowable::Forgotten);
            }
            for positioned in &pull.entries {
                after = positioned.position;
                self.note(&positioned.realm, positioned.position, &positioned.body)?;
            }
            self.after = Some(after);
            let late = pull.entries.iter().filter(|it| it.at > self.ends()).count();
            if late == PAGE as usize {
                // What comes after them was taken back after the lists had died. Of fewer it is not
                // believed: the clock of one node may be wrong.
                self.covers = Some(Timestamp::from_millis(u64::MAX));
                return Ok(());
            }
            if after >= pull.head {
                // What has no position yet may be as old as this.
                let settled = now - SETTLED - pull.waiting;
                self.covers = self.covers.max(Some(settled));
                return Ok(());
            }
        }
    }

    fn note(&mut self, realm: &Realm, position: u64, body: &[u8]) -> Result<(), Unknowable> {
        self.read += 1;
        let entry = Entry::from_bytes(body).map_err(|detail| corrupt(position, detail))?;
        if *realm == self.realm {
            let of_quarter = entry
                .places
                .iter()
                .filter(|place| ListId { number: 0, ..place.list } == self.first)
                .map(|place| (place.list.number, place.index, entry.at.secs()));
            self.places.extend(of_quarter);
        }
        if self.read > MOST_ENTRIES || self.places.len() > MOST_PLACES {
            return Err(Unknowable::TooMuch);
        }
        Ok(())
    }

    /// A position before the first entry that may name the lists.
    async fn find(&self, records: &dyn Records) -> Result<u64, Unknowable> {
        let Ends { head, tail } = ends(records).await?;
        // INVARIANT: what an entry says is believed where the one before it says no more than
        // `CLOCK_ERROR * 2` later, so a clock that is behind by any time makes it say less than `sure` only
        // where the one before it says less than `begins`.
        let sure = self.begins() - CLOCK_ERROR * 2;
        if tail > 1 {
            // INVARIANT: whatever was trimmed away stood before the oldest entry that is left. Only if
            // that one is too old to name the lists were all of them too old.
            if written(records, tail, tail).await? >= sure {
                return Err(Unknowable::Forgotten);
            }
        }
        // INVARIANT: what stands before `old` is too old to name the lists. Clocks differ, so entries are
        // not in order of what they say when they were written. But whatever was written before one that
        // says less than `begins` was written before the quarter began.
        let (mut old, mut young) = (tail.saturating_sub(1), head.saturating_add(1));
        while young.saturating_sub(old) > 1 {
            let middle = old.midpoint(young);
            if written(records, middle, tail).await? < sure {
                old = middle;
            } else {
                young = middle;
            }
        }
        // The one at `old` may itself be one whose clock was behind.
        Ok(old.saturating_sub(1).max(tail.saturating_sub(1)))
    }

    /// What says that it was written before this was written before the first token was issued: by one
    /// clock that may be ahead, when the other is behind.
    fn begins(&self) -> Timestamp {
        self.first.closes() - Duration::from_secs(SLOT_SECS) - CLOCK_ERROR * 2
    }

    /// What says that it was written after this was written when the last token was dead.
    fn ends(&self) -> Timestamp {
        self.first.closes() + GRACE + CLOCK_ERROR * 2
    }
}

struct Ends {
    head: u64,
    tail: u64,
}

async fn ends(records: &dyn Records) -> Result<Ends, StoreError> {
    let pull = records.pull(Log::Revocations, 0, 1).await?;
    Ok(Ends { head: pull.head, tail: pull.tail.max(1) })
}

/// When the entry at this position says that it was written, unless those beside it say that it cannot
/// have been. The oldest that there is stands at `tail`.
async fn written(records: &dyn Records, position: u64, tail: u64) -> Result<Timestamp, Unknowable> {
    let first = position.saturating_sub(1).max(tail);
    let pull = records.pull(Log::Revocations, first.saturating_sub(1), 3).await?;
    let near = || pull.entries.iter().filter(|it| it.position.abs_diff(position) <= 1);
    let backwards = |(one, next): (Timestamp, Timestamp)| one > next + CLOCK_ERROR * 2;
    let pairs = near().map(|it| it.at).zip(near().map(|it| it.at).skip(1));
    let said = near().find(|it| it.position == position).ok_or(Unknowable::Forgotten)?.at;
    if pairs.into_iter().any(backwards) {
        return Err(Unknowable::Disordered);
    }
    Ok(said)
}

#[cfg(test)]
mod tests;
