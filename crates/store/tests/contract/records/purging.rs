//! Purging: dead days and old entries go, nothing else does.

use std::time::Duration;

use super::*;
use crate::contract::bed::{id, other_realm};
use tegata_core::{Clock as _, Timestamp};

const DAY: Duration = Duration::from_secs(86_400);

pub(crate) async fn past_days_are_dropped_and_living_ones_kept(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let today = bed.clock.now().day();
    let key = |day: u32, n: usize| format!("1.{day}.{n}");
    for realm in [realm(), other_realm()] {
        for day in [today - 30, today - 1, today, today + 1, today + 30] {
            for n in 0..3 {
                let owner = [("owner", "anna")];
                let change = put(&DAILY, &key(day, n), Expect::Absent, "", &owner);
                records.commit(Batch::new(realm.clone()).with(change)).await.unwrap();
            }
        }
        let kept = note("1.1.kept", Expect::Absent, "");
        records.commit(Batch::new(realm).with(kept)).await.unwrap();
    }
    let gone = records.purge(bed.clock.now(), Timestamp::default()).await.unwrap();
    assert_eq!(gone, 12, "two past days of three records in two realms");
    for realm in [realm(), other_realm()] {
        let left = records.scan(&realm, &DAILY, page(None, 100)).await.unwrap();
        let mut expected = Vec::new();
        for day in [today, today + 1, today + 30] {
            expected.extend((0..3).map(|n| key(day, n)));
        }
        assert_eq!(keys(&left), expected);
        let found = records.find(&realm, &DAILY, "owner", "anna", page(None, 100)).await.unwrap();
        assert_eq!(keys(&found), expected);
        assert!(records.load(&realm, &NOTES, "1.1.kept").await.unwrap().is_some());
    }
    assert_eq!(records.purge(bed.clock.now(), Timestamp::default()).await.unwrap(), 0);

    // What is written after its day has passed is dropped by the next purge.
    let late = put(&DAILY, &key(today - 30, 9), Expect::Absent, "", &[]);
    records.commit(batch(late)).await.unwrap();
    assert_eq!(records.purge(bed.clock.now() + DAY, Timestamp::default()).await.unwrap(), 7);
}

pub(crate) async fn old_entries_are_trimmed_and_the_tail_tells(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let log = Log::Revocations;
    let append_at = async |n: usize| {
        bed.clock.advance(DAY);
        let batch = Batch::new(realm()).append(append(log, id(n), &n.to_string()));
        records.commit(batch).await.unwrap();
        bed.clock.now()
    };
    let mut times = Vec::new();
    for n in 1..=6 {
        times.push(append_at(n).await);
    }
    settle(bed, log).await;
    // The moment itself is not before itself.
    assert_eq!(records.purge(Timestamp::default(), times[3]).await.unwrap(), 3);

    let pull = records.pull(log, 3, 10).await.unwrap();
    assert_eq!((pull.tail, pull.head), (4, 6));
    let left = pull.entries.iter().map(|entry| entry.position).collect::<Vec<_>>();
    assert_eq!(left, [4, 5, 6]);
    // Whoever is behind the tail is given nothing that would look like all there is.
    for behind in 0..3 {
        let pull = records.pull(log, behind, 10).await.unwrap();
        assert_eq!((pull.tail, pull.entries), (4, vec![]));
    }

    // Positions go on where they were, even when nothing is left.
    let all = bed.clock.now() + DAY;
    assert_eq!(records.purge(Timestamp::default(), all).await.unwrap(), 3);
    let pull = records.pull(log, 6, 10).await.unwrap();
    assert_eq!((pull.tail, pull.head, pull.entries.len()), (7, 6, 0));
    append_at(7).await;
    settle(bed, log).await;
    let pull = records.pull(log, 6, 10).await.unwrap();
    assert_eq!((pull.tail, pull.head), (7, 7));
    assert_eq!(pull.entries[0].position, 7);
}

/// Wall clocks differ between nodes: an entry with an old time can stand behind one with a young
/// time. Trimming it would leave a hole.
pub(crate) async fn an_entry_behind_a_younger_one_is_not_trimmed(bed: &Bed<dyn Records>) {
    let records = bed.first();
    let now = bed.clock.now();
    for (n, time) in [now, now + DAY, now].into_iter().enumerate() {
        bed.clock.jump(time);
        let batch = Batch::new(realm()).append(append(Log::Journal, id(n), ""));
        records.commit(batch).await.unwrap();
        settle(bed, Log::Journal).await;
    }
    let hour_later = now + Duration::from_secs(3600);
    assert_eq!(records.purge(Timestamp::default(), hour_later).await.unwrap(), 1);
    let pull = records.pull(Log::Journal, 1, 10).await.unwrap();
    assert_eq!((pull.tail, pull.head, pull.entries.len()), (2, 3, 2));
}
