//! What a view knows, kept in the store: a node that starts takes it over, and reads of the log what
//! came after it. The log holds a month; of most of it nothing is alive.
//!
//! A snapshot is a copy of what the log says, made by whichever node finds that the log has grown enough.
//! Like everything in the store it is sealed, so nobody without the root key can make one. It is used
//! where it was made in the epoch that is and by no clock that was ahead, and where the entry stands in the
//! log still that it ends with; otherwise the log is read from its beginning. So one that is missing, damaged
//! or of another past costs time and nothing else.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Epoch, EventId, Kind, Lifetime, Log, Node, NodeId, Realm, Records,
    StoreError, Stored, Timestamp,
    port::{Change, Expect},
    repository::{self, Versioned},
};

use super::{CLOCK_ERROR, View, notice::TakenBack};
use crate::foreign::{Filter, FilterPart};

/// Where it is noted which snapshot counts.
pub static SNAPSHOTS: Kind =
    Kind { name: "revocation_snapshots", indexes: &[], lifetime: Lifetime::Kept, secret: true };

/// What snapshots consist of.
pub static SNAPSHOT_PARTS: Kind = Kind {
    name: "revocation_snapshot_parts",
    indexes: &[],
    lifetime: Lifetime::Kept,
    secret: true,
};

/// How many names a part holds: half a megabyte.
const NAMES: usize = 8192;

/// How many parts are read at once.
const AT_ONCE: usize = 4;

/// How many parts that count no more are removed at once.
const REMOVED: usize = 100;

/// After how many parts whoever makes one says that it still does.
const RENEWED: u32 = 64;

/// Whoever has said that it makes one is left alone for so long.
const LEASE: Duration = Duration::from_secs(600);

/// How often a snapshot is looked for that another takes the place of while it is read.
const TRIES: u32 = 3;

/// Makes snapshots, and begins with them.
#[derive(Debug, Clone)]
pub struct Snapshots {
    node: Node,
    /// How much the log must have gained.
    after: u64,
    /// How long two are apart.
    apart: Duration,
}

/// Which snapshot counts, and who makes the next one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Current {
    /// How many were begun.
    generation: u64,
    claimed: Option<Claim>,
    kept: Option<Kept>,
    /// Parts that count no more, and may still be there.
    left: Vec<Left>,
}

/// Who makes a snapshot.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Claim {
    by: NodeId,
    at: Timestamp,
    /// By which its parts are known. Two that were given one generation, by a store that lost what it had
    /// acknowledged, must not be taken for one.
    making: EventId,
    /// How many parts there may be.
    parts: u32,
}

/// So many parts of a generation.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Left {
    generation: u64,
    parts: u32,
}

/// A snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    /// How many were begun before it.
    generation: u64,
    making: EventId,
    /// What the log said up to here is in it.
    position: u64,
    /// The entry at that position.
    last: EventId,
    epoch: Epoch,
    made: Timestamp,
    /// What was dead at this moment is not in it. The clock of whoever made it may have been ahead.
    judged: Timestamp,
    parts: u32,
    names: u64,
    /// Whether what was taken back of other issuers is in it.
    foreign: bool,
}

/// A part of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Part {
    key: String,
    making: EventId,
    says: Says,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
enum Says {
    /// Of tokens of ours, in this realm.
    Own(Realm, TakenBack),
    /// Of tokens of other issuers, as versions wrote it that know of no clients and keys there. They do not
    /// look for these in a filter.
    Foreign(FilterPart),
    /// The same, with clients and keys. INVARIANT: a version that does not know of them cannot read this. It
    /// reads the log from its beginning, and stops at the first of them, where otherwise it would pass
    /// over all.
    ForeignToo(FilterPart),
}

impl Stored for Current {
    const KIND: &'static Kind = &SNAPSHOTS;
    const FORM: u8 = 1;

    fn key(&self) -> &'static str {
        "current"
    }
}

impl Stored for Part {
    const KIND: &'static Kind = &SNAPSHOT_PARTS;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        &self.key
    }
}

impl Part {
    /// In order of generations.
    fn key_of(generation: u64, number: u32) -> String {
        format!("{generation:016x}-{number:08x}")
    }
}

impl Snapshots {
    /// One is made when the log has gained 20,000 entries, or a quarter of what is known where that is
    /// more, five minutes after the last at the earliest.
    #[must_use]
    pub const fn new(node: Node) -> Self {
        Self { node, after: 20_000, apart: Duration::from_secs(300) }
    }

    /// The same, where the log must have gained so many entries.
    #[must_use]
    pub const fn after(mut self, after: u64) -> Self {
        self.after = after;
        self
    }

    /// Has a view that knows nothing yet, or begins anew, begin with the snapshot in the store. Answers the
    /// position from which it goes on; `None`: there is none that it can begin with, and it goes on from the
    /// beginning. What the log has gained since is not known yet.
    ///
    /// # Errors
    /// What the store says. The view can be brought up to date by the log all the same.
    pub async fn begin(
        &self,
        view: &View,
        records: &dyn Records,
    ) -> Result<Option<u64>, StoreError> {
        for _ in 0..TRIES {
            let Some(current) = current(records).await? else { return Ok(None) };
            let Some(kept) = current.value.kept else { return Ok(None) };
            let fits = kept.epoch == view.epoch()
                && kept.judged <= self.node.now() + CLOCK_ERROR
                && (kept.foreign || view.foreign_view().is_none())
                && entry_at(records, kept.position).await? == Some(kept.last);
            if !fits {
                return Ok(None);
            }
            match self.take_over(view, records, &kept).await? {
                TakenOver::All => {}
                TakenOver::Replaced => continue,
                TakenOver::Unfit => return Ok(None),
            }
            // What the durable store was not told yet must be heard of again.
            let told = view.foreign_view().map(|foreign| foreign.filled());
            let position = told.map_or(kept.position, |told| told.min(kept.position));
            view.judge_at(kept.judged);
            view.begin_after(position, Some(kept.last).filter(|_| position == kept.position));
            return Ok(Some(position));
        }
        Ok(None)
    }

    /// Applies all parts.
    async fn take_over(
        &self,
        view: &View,
        records: &dyn Records,
        kept: &Kept,
    ) -> Result<TakenOver, StoreError> {
        let realm = Realm::default();
        let keys = (0..kept.parts).map(|number| Part::key_of(kept.generation, number));
        let reads = keys.map(async |key| repository::load::<Part>(records, &realm, &key).await);
        let mut parts = stream::iter(reads).buffered(AT_ONCE);
        let mut filter: Option<Filter> = None;
        let now = self.node.now();
        view.judge_at(now);
        while let Some(part) = parts.next().await {
            let part = part?.filter(|part| part.value.making == kept.making);
            let Some(part) = part else { return Ok(TakenOver::Replaced) };
            let unread = |detail: &str| unread(&part.value.key, detail);
            match &part.value.says {
                Says::Own(realm, taken_back) => {
                    let applied = taken_back.apply_to(&view.realm(realm), now);
                    applied.map_err(unread)?;
                }
                Says::Foreign(_) | Says::ForeignToo(_) if view.foreign_view().is_none() => {}
                Says::Foreign(part) | Says::ForeignToo(part) => {
                    let filter = filter.get_or_insert_with(|| Filter::new(part.capacity));
                    filter.add(part).ok_or_else(|| unread("its bits cannot be read"))?;
                }
            }
        }
        if let (Some(filter), Some(foreign)) = (filter, view.foreign_view())
            && !foreign.begin_with(filter)
        {
            return Ok(TakenOver::Unfit);
        }
        Ok(TakenOver::All)
    }

    /// Makes a snapshot where one is due and no other node makes it. To be called now and then; answers
    /// whether it did.
    ///
    /// # Errors
    /// What the store says. What was there counts still.
    pub async fn keep(&self, view: &View, records: &dyn Records) -> Result<bool, StoreError> {
        let found = match current(records).await {
            Err(error @ StoreError::Corrupt { .. }) => return self.replace(records, &error).await,
            found => found?,
        };
        let before = found.as_ref().map(|found| found.value.clone()).unwrap_or_default();
        // INVARIANT: the position before what is known, which may be more.
        let Some((position, last)) = view.read_up_to() else { return Ok(false) };
        if !self.is_due(&before, view, position) || entry_at(records, position).await? != Some(last)
        {
            return Ok(false);
        }
        let Some(mut making) = self.claim(records, found, before).await? else { return Ok(false) };
        // INVARIANT: before it is written as well. The clock may be set right meanwhile.
        let (made, judged) = (self.node.now(), view.judged());
        let Some((parts, names)) = self.write(view, records, &mut making).await? else {
            return Ok(false);
        };
        let (epoch, judged) = (view.epoch(), judged.max(view.judged()));
        let foreign = view.foreign_view().is_some();
        let Making { claim, id } = making;
        let mut next = claim.value.clone();
        let generation = next.generation;
        let left = next.kept.map(|kept| Left { generation: kept.generation, parts: kept.parts });
        next.left.extend(left);
        next.claimed = None;
        next.kept = Some(Kept {
            generation,
            making: id,
            position,
            last,
            epoch,
            made,
            judged,
            parts,
            names,
            foreign,
        });
        if !done(records.commit(of(claim.replace(&next))).await)? {
            return Ok(false);
        }
        self.tidy(records, Versioned { value: next, version: claim.version + 1 }).await?;
        Ok(true)
    }

    /// Puts one that says nothing in the place of a record that cannot be read. The parts that it knew of
    /// stay.
    async fn replace(&self, records: &dyn Records, why: &StoreError) -> Result<bool, StoreError> {
        tracing::warn!(error = %why, "which snapshot of what was taken back counts cannot be read");
        // Beyond all that there can have been.
        let generation = self.node.now().millis();
        let fresh = Current { generation, ..Current::default() };
        committed(records.commit(of(fresh.put(Expect::Any))).await)?;
        Ok(false)
    }

    fn is_due(&self, current: &Current, view: &View, position: u64) -> bool {
        let now = self.node.now();
        // What is alive may be missing here: this clock was ahead.
        if view.judged() > now + CLOCK_ERROR {
            return false;
        }
        // A clock that was ahead is not waited for.
        let lately = |at: Timestamp, span| now.since(at).max(at.since(now)) < span;
        if current.claimed.is_some_and(|claim| lately(claim.at, LEASE)) {
            return false;
        }
        let Some(kept) = &current.kept else { return position >= self.after };
        // Nobody can begin with one that was made by a clock that was ahead.
        if kept.epoch != view.epoch() || kept.judged > now + CLOCK_ERROR {
            return position >= self.after;
        }
        let gained = position.saturating_sub(kept.position);
        let lacks_foreign = view.foreign_view().is_some() && !kept.foreign;
        let is_far = gained >= self.after.max(kept.names / 4) || lacks_foreign;
        is_far && !lately(kept.made, self.apart)
    }

    /// Says that this node makes the next one. `None`: another was first.
    async fn claim(
        &self,
        records: &dyn Records,
        found: Option<Versioned<Current>>,
        before: Current,
    ) -> Result<Option<Making>, StoreError> {
        let (id, generation) = (EventId::generate(self.node.entropy()), before.generation + 1);
        // What was begun and not ended, with as much as it may have written since it said so.
        let begun = before.claimed.map(|claim| Left {
            generation: before.generation,
            parts: claim.parts.saturating_add(RENEWED),
        });
        let claim = Claim { by: self.node.id(), at: self.node.now(), making: id, parts: 0 };
        let left = before.left.into_iter().chain(begun).collect();
        let next = Current { generation, claimed: Some(claim), kept: before.kept, left };
        let change =
            found.as_ref().map_or_else(|| next.put(Expect::Absent), |found| found.replace(&next));
        if !done(records.commit(of(change)).await)? {
            return Ok(None);
        }
        let version = found.map_or(1, |found| found.version + 1);
        Ok(Some(Making { claim: Versioned { value: next, version }, id }))
    }

    /// Writes all parts: how many, and with how many names. `None`: another makes it by now.
    async fn write(
        &self,
        view: &View,
        records: &dyn Records,
        making: &mut Making,
    ) -> Result<Option<(u32, u64)>, StoreError> {
        let (mut number, mut names) = (0, 0);
        let realms = view.all_realms();
        let own = realms.iter().flat_map(|(realm, of_realm)| {
            let parts = TakenBack::parts_of(of_realm, NAMES);
            parts.map(|taken_back| Says::Own(realm.clone(), taken_back))
        });
        let filter = view.foreign_view().map(|foreign| foreign.filter());
        let foreign = filter.iter().flat_map(|filter| filter.parts()).map(Says::ForeignToo);
        for says in own.chain(foreign) {
            if let Says::Own(_, taken_back) = &says {
                names += u64::try_from(taken_back.names()).unwrap_or(u64::MAX);
            }
            if number % RENEWED == 0 && !self.renew(records, making, number).await? {
                return Ok(None);
            }
            let key = Part::key_of(making.claim.value.generation, number);
            let put = Part { key, making: making.id, says }.put(Expect::Absent);
            if !done(records.commit(of(put)).await)? {
                return Ok(None);
            }
            number += 1;
        }
        let held = filter.map_or(0, |filter| filter.count());
        Ok(Some((number, names + u64::try_from(held).unwrap_or(u64::MAX))))
    }

    /// Says that this node still makes it, and has written so many parts. Answers whether it does.
    async fn renew(
        &self,
        records: &dyn Records,
        making: &mut Making,
        parts: u32,
    ) -> Result<bool, StoreError> {
        let Making { claim, id } = making;
        let mut next = claim.value.clone();
        let (by, at) = (self.node.id(), self.node.now());
        next.claimed = Some(Claim { by, at, making: *id, parts });
        if !done(records.commit(of(claim.replace(&next))).await)? {
            return Ok(false);
        }
        *claim = Versioned { value: next, version: claim.version + 1 };
        Ok(true)
    }

    /// Removes the parts of what was there before, and of what was begun and not ended.
    async fn tidy(
        &self,
        records: &dyn Records,
        current: Versioned<Current>,
    ) -> Result<(), StoreError> {
        let keys =
            current.value.left.iter().flat_map(|left| {
                (0..left.parts).map(|number| Part::key_of(left.generation, number))
            });
        let keys: Vec<_> = keys.collect();
        for some in keys.chunks(REMOVED) {
            let removed = some.iter().map(|key| Change::Remove {
                kind: &SNAPSHOT_PARTS,
                key: key.clone(),
                expect: Expect::Any,
            });
            let batch = removed.fold(Batch::new(Realm::default()), Batch::with);
            committed(records.commit(batch).await)?;
        }
        let mut next = current.value.clone();
        next.left.clear();
        // Whoever was first removes them once more.
        done(records.commit(of(current.replace(&next))).await).map(drop)
    }
}

/// What came of taking over a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TakenOver {
    All,
    /// Another took its place meanwhile.
    Replaced,
    /// What it says of other issuers cannot be joined with what is known.
    Unfit,
}

/// A snapshot that is being made.
struct Making {
    claim: Versioned<Current>,
    id: EventId,
}

async fn current(records: &dyn Records) -> Result<Option<Versioned<Current>>, StoreError> {
    repository::load(records, &Realm::default(), "current").await
}

/// The entry of the log at a position, if it is there.
async fn entry_at(records: &dyn Records, position: u64) -> Result<Option<EventId>, StoreError> {
    let Some(before) = position.checked_sub(1) else { return Ok(None) };
    let pull = records.pull(Log::Revocations, before, 1).await?;
    let found = pull.entries.first().filter(|entry| entry.position == position);
    Ok(found.map(|entry| entry.id))
}

fn of(change: Change) -> Batch {
    Batch::new(Realm::default()).with(change)
}

/// Whether nobody else was first.
fn done(committed: Result<(), CommitRefused>) -> Result<bool, StoreError> {
    match committed {
        Ok(()) => Ok(true),
        Err(CommitRefused::Conflict { .. }) => Ok(false),
        Err(CommitRefused::Store(error)) => Err(error),
    }
}

/// As [`done`], of what expects nothing.
fn committed(committed: Result<(), CommitRefused>) -> Result<(), StoreError> {
    done(committed).map(drop)
}

fn unread(key: &str, detail: &str) -> StoreError {
    StoreError::Corrupt {
        backend: "the record store",
        kind: SNAPSHOT_PARTS.name,
        key: key.to_owned(),
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests;
