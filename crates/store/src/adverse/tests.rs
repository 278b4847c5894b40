use std::time::Duration;

use tegata_core::{
    Batch, CommitRefused, Ephemeral, EventId, Expect, Kind, Lifetime, Log, ManualClock, Realm,
    Records,
    port::{Append, Body, Change, Put, Space},
};

use super::*;
use crate::{MemoryEphemeral, MemoryRecords};

static NOTES: Kind = Kind { name: "note", indexes: &[], lifetime: Lifetime::Kept, secret: false };
static CODES: Space = Space { name: "code", indexed: false };

/// What a caller was told about a write.
#[derive(Debug, PartialEq)]
enum Told {
    Done,
    Refused,
    Unknown,
}

fn note(key: &str, expect: Expect) -> Change {
    let body = Body::Plain(Vec::new());
    Change::Put { kind: &NOTES, key: key.to_owned(), expect, body, indexes: Vec::new() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_is_true_and_what_was_not_told_happened_wholly_or_not_at_all() {
    let inner = MemoryRecords::new(&[&NOTES], Arc::new(ManualClock::default())).unwrap();
    let inner = Arc::new(inner);
    let adverse = Arc::new(Adverse::new(inner.clone(), 7, Mischief::failures()));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1000_u32 {
        let adverse = adverse.clone();
        tasks.spawn(async move {
            let id = EventId(u128::from(n).to_be_bytes());
            let entry = Append { log: Log::Journal, id, body: Vec::new() };
            let batch = Batch::new(Realm::default()).with(note(&n.to_string(), Expect::Absent));
            let told = match adverse.commit(batch.append(entry)).await {
                Ok(()) => Told::Done,
                Err(CommitRefused::Store(StoreError::Indeterminate { .. })) => Told::Unknown,
                Err(_) => Told::Refused,
            };
            (n, id, told)
        });
    }
    let told = tasks.join_all().await;
    let entries = inner.pull(Log::Journal, 0, 2000).await.unwrap().entries;
    let mut unknown = [0, 0];
    for (n, id, told) in told {
        let record = inner.load(&Realm::default(), &NOTES, &n.to_string()).await.unwrap();
        let (stands, logged) = (record.is_some(), entries.iter().any(|entry| entry.id == id));
        assert_eq!(stands, logged, "half of a batch happened");
        match told {
            Told::Done => assert!(stands),
            Told::Refused => assert!(!stands),
            Told::Unknown => unknown[usize::from(stands)] += 1,
        }
    }
    assert!(unknown.iter().all(|count| *count > 5), "the fake does not do what it is for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_spent_twice_however_answers_are_lost() {
    let realm = Realm::default();
    let inner = Arc::new(MemoryEphemeral::new(Arc::new(ManualClock::default())));
    for seed in 0..50 {
        let (key, lifetime) = (format!("code-{seed}"), Duration::from_secs(60));
        let put = Put { key: key.clone(), value: Vec::new(), lifetime, index: None };
        inner.put(&realm, &CODES, put).await.unwrap();
        let adverse = Arc::new(Adverse::new(inner.clone(), seed, Mischief::failures()));
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (adverse, key) = (adverse.clone(), key.clone());
            tasks.spawn(async move {
                let taken = adverse.take(&Realm::default(), &CODES, &key).await;
                taken.is_ok_and(|held| held.is_some())
            });
        }
        let winners = tasks.join_all().await.into_iter().filter(|won| *won).count();
        assert!(winners <= 1, "{winners} callers were given one code");
    }
}

#[tokio::test]
async fn a_seed_repeats() {
    let run = async || {
        let inner = MemoryRecords::new(&[&NOTES], Arc::new(ManualClock::default())).unwrap();
        let adverse = Adverse::new(Arc::new(inner), 3, Mischief::failures());
        let mut told = Vec::new();
        for n in 0..200 {
            let batch = Batch::new(Realm::default()).with(note(&n.to_string(), Expect::Any));
            told.push(adverse.commit(batch).await);
        }
        told
    };
    assert_eq!(run().await, run().await);
}
