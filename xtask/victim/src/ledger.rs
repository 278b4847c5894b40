//! Writing batches whose parts must stay together: a note, the count of its writer, an entry of
//! the journal.

use std::thread;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, EventId, Expect, Kind, Lifetime, Log, Realm, Records, Stored,
    port::Append,
    repository::{self, Versioned},
};
use tokio::runtime::Runtime;

/// How many write at once, so that batches share a transaction.
const WRITERS: u32 = 8;

static NOTES: Kind =
    Kind { name: "victim_note", indexes: &[], lifetime: Lifetime::Kept, secret: false };
static COUNTS: Kind =
    Kind { name: "victim_count", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// What the database holds.
pub(crate) const KINDS: &[&Kind] = &[&NOTES, &COUNTS];

/// The `number`th thing that a writer wrote.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) key: String,
    pub(crate) writer: u32,
    pub(crate) number: u32,
}

/// How many notes a writer wrote.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) key: String,
    pub(crate) notes: u32,
}

impl Stored for Note {
    const KIND: &'static Kind = &NOTES;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

impl Stored for Count {
    const KIND: &'static Kind = &COUNTS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
}

impl Note {
    pub(crate) fn new(writer: u32, number: u32) -> Self {
        Self { key: format!("{writer}.{number}"), writer, number }
    }

    /// The id of its entry in the journal.
    pub(crate) fn event(&self) -> EventId {
        EventId((u128::from(self.writer) << 64 | u128::from(self.number)).to_be_bytes())
    }
}

/// Writes until it is killed or the store refuses, and hands each key to `acknowledge` once its
/// batch is committed.
pub(crate) fn write(
    runtime: &Runtime,
    records: &dyn Records,
    acknowledge: impl Fn(&str) + Sync,
) -> Result<()> {
    thread::scope(|scope| {
        let acknowledge = &acknowledge;
        let write = |writer| move || runtime.block_on(write_as(writer, records, None, acknowledge));
        let threads: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(write(writer))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a writer died"))?)
    })
}

/// Writes on where this writer stopped, at most `most` notes.
pub(crate) async fn write_as(
    writer: u32,
    records: &dyn Records,
    most: Option<u32>,
    acknowledge: impl Fn(&str),
) -> Result<()> {
    let realm = Realm::default();
    let key = writer.to_string();
    let mut written = 0;
    while most.is_none_or(|most| written < most) {
        let before: Option<Versioned<Count>> = repository::load(records, &realm, &key).await?;
        let notes = before.as_ref().map_or(0, |before| before.value.notes) + 1;
        let count = Count { key: key.clone(), notes };
        let counted = match &before {
            Some(before) => before.replace(&count),
            None => count.put(Expect::Absent),
        };
        let note = Note::new(writer, notes);
        let entry =
            Append { log: Log::Journal, id: note.event(), body: note.key.clone().into_bytes() };
        let batch = Batch::new(realm.clone());
        let batch = batch.with(note.put(Expect::Absent)).with(counted).append(entry);
        records.commit(batch).await.with_context(|| format!("note `{}`", note.key))?;
        acknowledge(&note.key);
        written += 1;
    }
    Ok(())
}
