//! Whether what was acknowledged is there, and nothing is there in part.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use tegata_core::{
    Log, NodeId, Realm, Records, Stored,
    port::{Page, Sequenced},
    repository::{self, Versioned},
};

use crate::ledger::{Count, Note};

/// How much is read at once.
const LIMIT: u32 = 500;

/// Compares what the store holds with what was acknowledged, and with itself.
///
/// # Errors
/// What is lost, or what is there without the rest of its batch.
pub(crate) async fn judge(
    records: &dyn Records,
    node: NodeId,
    acknowledged: &[String],
) -> Result<String> {
    let notes: Vec<Versioned<Note>> = all(records).await?;
    let counts: Vec<Versioned<Count>> = all(records).await?;

    let keys: BTreeSet<&str> = notes.iter().map(|note| note.value.key.as_str()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|key| !keys.contains(key.as_str())).collect();
    ensure!(lost.is_empty(), "{} acknowledged notes are lost: {lost:?}", lost.len());

    // Each writer's notes are those from 1 to its count: none is missing, none is too many.
    let mut counted = BTreeSet::new();
    for count in &counts {
        let writer = count.value.key.parse()?;
        counted.extend((1..=count.value.notes).map(|number| Note::new(writer, number)));
    }
    let stored: BTreeSet<Note> = notes.iter().map(|note| note.value.clone()).collect();
    ensure!(counted == stored, "notes and counts differ: {:?}", differing(&counted, &stored));

    let told = events(records, node).await?;
    let expected: BTreeSet<_> = stored.iter().map(|note| note.event().0).collect();
    ensure!(told == expected, "notes and journal differ: {:?}", differing(&told, &expected));

    Ok(format!("{} acknowledged, {} committed, none lost", acknowledged.len(), stored.len()))
}

/// A few of the things that are in one set only.
fn differing<'a, T: Ord>(left: &'a BTreeSet<T>, right: &'a BTreeSet<T>) -> Vec<&'a T> {
    left.symmetric_difference(right).take(5).collect()
}

async fn all<T: Stored>(records: &dyn Records) -> Result<Vec<Versioned<T>>> {
    let (realm, mut all) = (Realm::default(), Vec::<Versioned<T>>::new());
    loop {
        let after = all.last().map(|last| last.value.key().to_owned());
        let page = Page { after, limit: LIMIT };
        let some = repository::scan(records, &realm, page).await?;
        if some.is_empty() {
            return Ok(all);
        }
        all.extend(some);
    }
}

/// The ids of all entries of the journal, each of which must stand there once.
async fn events(records: &dyn Records, node: NodeId) -> Result<BTreeSet<[u8; 16]>> {
    while matches!(records.sequence(Log::Journal, node).await?, Sequenced::Positioned(1..)) {}
    let (mut ids, mut after) = (BTreeSet::new(), 0);
    loop {
        let pull = records.pull(Log::Journal, after, LIMIT).await?;
        let Some(last) = pull.entries.last() else { return Ok(ids) };
        after = last.position;
        for entry in &pull.entries {
            ensure!(ids.insert(entry.id.0), "entry {} stands twice", entry.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tegata_core::{Batch, Expect, Node};

    use super::*;
    use crate::{ledger, open};

    async fn written(records: &dyn Records) -> Vec<String> {
        let keys = Mutex::new(Vec::new());
        for writer in 0..2 {
            let note = |key: &str| keys.lock().unwrap().push(key.to_owned());
            ledger::write_as(writer, records, Some(3), note).await.unwrap();
        }
        keys.into_inner().unwrap()
    }

    #[tokio::test]
    async fn finds_everything_after_reopening() {
        let (directory, node) = (tempfile::tempdir().unwrap(), Node::for_tests(1).id());
        let path = directory.path().join("victim.db");
        let keys = written(open(&path).unwrap().as_ref()).await;
        let saw = judge(open(&path).unwrap().as_ref(), node, &keys).await.unwrap();
        assert_eq!(saw, "6 acknowledged, 6 committed, none lost");
    }

    #[tokio::test]
    async fn sees_what_is_lost_and_what_is_there_in_part() {
        let (directory, node) = (tempfile::tempdir().unwrap(), Node::for_tests(1).id());
        let records = open(&directory.path().join("victim.db")).unwrap();
        let mut keys = written(records.as_ref()).await;
        keys.push("1.4".to_owned());
        let lost = judge(records.as_ref(), node, &keys).await.unwrap_err().to_string();
        assert!(lost.contains("\"1.4\""), "{lost}");

        // The note alone, as if its batch had been torn.
        let torn = Note::new(1, 4).put(Expect::Absent);
        records.commit(Batch::new(Realm::default()).with(torn)).await.unwrap();
        let torn = judge(records.as_ref(), node, &keys).await.unwrap_err().to_string();
        assert!(torn.contains("notes and counts differ"), "{torn}");
    }
}
