//! Logs: positions, repeated deliveries, what a pull tells.

use std::time::Duration;

use super::*;
use crate::contract::bed::{id, other_realm};
use tegata_core::Clock as _;

pub(crate) async fn positions_are_dense_and_never_change(bed: &Bed<dyn Records>) {
    let mut known = Vec::new();
    for round in 0..5 {
        for n in 0..10 {
            let (journal, revocations) = (round * 100 + n, 1000 + round * 100 + n);
            let batch = Batch::new(realm())
                .append(append(Log::Journal, id(journal), "event"))
                .append(append(Log::Revocations, id(revocations), "entry"));
            bed.node(n).commit(batch).await.unwrap();
        }
        let entries = entries(bed, Log::Revocations).await;
        let positions = entries.iter().map(|entry| entry.position).collect::<Vec<_>>();
        assert_eq!(positions, (1..=(round as u64 + 1) * 10).collect::<Vec<_>>());
        assert!(entries.starts_with(&known), "a position changed its entry");
        known = entries;
    }
    assert_eq!(entries(bed, Log::Journal).await.len(), 50);
}

pub(crate) async fn a_repeated_append_changes_nothing(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let first = Batch::new(realm()).append(append(Log::Journal, id(1), "as it was first"));
    records.commit(first).await.unwrap();
    settle(bed, Log::Journal).await;
    bed.clock.advance(Duration::from_secs(5));

    let repeated = batch(note("beside", Expect::Absent, "happens"))
        .append(append(Log::Journal, id(1), "another text"))
        .append(append(Log::Journal, id(2), "next"))
        .append(append(Log::Journal, id(2), "next, again"));
    bed.node(1).commit(repeated).await.unwrap();

    let entries = entries(bed, Log::Journal).await;
    let told = entries.iter().map(|entry| (entry.position, entry.body.clone())).collect::<Vec<_>>();
    assert_eq!(told, [(1, b"as it was first".to_vec()), (2, b"next".to_vec())]);
    assert_eq!(noted(records, "beside").await, Some((1, "happens".to_owned())));
}

/// An id that one realm has used cannot silence an entry of another realm or log.
pub(crate) async fn the_same_id_elsewhere_is_another_entry(bed: &Bed<dyn Records>) {
    for realm in [realm(), other_realm()] {
        let batch = Batch::new(realm.clone())
            .append(append(Log::Journal, id(1), realm.as_str()))
            .append(append(Log::Revocations, id(1), realm.as_str()));
        bed.first().commit(batch).await.unwrap();
    }
    for log in Log::ALL {
        assert_eq!(entries(bed, log).await.len(), 2, "{}", log.name());
    }
}

pub(crate) async fn entries_come_back_as_they_were_written(bed: &Bed<dyn Records>) {
    let mut expected = Vec::new();
    for (n, body) in [vec![], vec![0, 0xff, 0], vec![7; 100_000]].into_iter().enumerate() {
        bed.clock.advance(Duration::from_millis(1234));
        let realm = if n == 1 { other_realm() } else { realm() };
        let entry = Append { log: Log::Revocations, id: id(n), body: body.clone() };
        bed.first().commit(Batch::new(realm.clone()).append(entry)).await.unwrap();
        let position = n as u64 + 1;
        expected.push(Positioned { position, id: id(n), realm, at: bed.clock.now(), body });
    }
    assert_eq!(entries(bed, Log::Revocations).await, expected);
}

pub(crate) async fn a_pull_tells_where_the_log_ends(bed: &Bed<dyn Records>) {
    let records = bed.first();
    settle(bed, Log::Revocations).await;
    let pull = records.pull(Log::Revocations, 0, 10).await.unwrap();
    assert_eq!((pull.head, pull.tail, pull.waiting), (0, 1, Duration::ZERO));
    assert!(pull.entries.is_empty());

    for n in 0..10 {
        let batch = Batch::new(realm()).append(append(Log::Revocations, id(n), ""));
        records.commit(batch).await.unwrap();
    }
    settle(bed, Log::Revocations).await;
    for (after, limit, first, count) in [
        (0, 3, 1, 3),
        (3, 100, 4, 7),
        (9, 1, 10, 1),
        (10, 9, 0, 0),
        (u64::MAX, 9, 0, 0),
        (0, 0, 0, 0),
    ] {
        let pull = records.pull(Log::Revocations, after, limit).await.unwrap();
        assert_eq!((pull.head, pull.tail, pull.waiting), (10, 1, Duration::ZERO));
        assert_eq!(pull.entries.first().map_or(0, |entry| entry.position), first);
        assert_eq!(pull.entries.len(), count);
    }
    assert_eq!(records.pull(Log::Journal, 0, 10).await.unwrap().head, 0);
}
