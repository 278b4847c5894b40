//! What must hold when many write at once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::*;
use crate::contract::bed::id;

pub(crate) async fn one_of_many_commits_that_expect_one_version_wins(bed: &Bed<dyn Records>) {
    for round in 0..3 {
        let key = format!("race-{round}");
        bed.first().commit(batch(note(&key, Expect::Absent, "start"))).await.unwrap();
        let results = bed
            .crowd(300, |node, n| {
                let entry = append(Log::Journal, id(round * 1000 + n), "won");
                let change = note(&key, Expect::Version(1), &n.to_string());
                async move { (n, node.commit(batch(change).append(entry)).await) }
            })
            .await;
        let winners = winners(results);
        assert_eq!(winners.len(), 1, "winners of round {round}: {winners:?}");
        let stands = noted(bed.first(), &key).await;
        assert_eq!(stands, Some((2, winners[0].to_string())));
    }
    assert_eq!(entries(bed, Log::Journal).await.len(), 3, "a loser's entry is in the log");
}

pub(crate) async fn one_of_many_commits_that_expect_nothing_wins(bed: &Bed<dyn Records>) {
    for round in 0..5 {
        let key = format!("race-{round}");
        let results = bed
            .crowd(64, |node, n| {
                let change = note(&key, Expect::Absent, &n.to_string());
                async move { (n, node.commit(batch(change)).await) }
            })
            .await;
        let winners = winners(results);
        assert_eq!(winners.len(), 1, "winners of round {round}: {winners:?}");
        assert_eq!(noted(bed.first(), &key).await, Some((1, winners[0].to_string())));
    }
}

pub(crate) async fn one_of_many_removals_wins(bed: &Bed<dyn Records>) {
    bed.first().commit(batch(note("once", Expect::Absent, "here"))).await.unwrap();
    let results = bed
        .crowd(64, |node, n| {
            let expect = Expect::Version(1);
            let change = Change::Remove { kind: &NOTES, key: "once".to_owned(), expect };
            async move { (n, node.commit(batch(change)).await) }
        })
        .await;
    assert_eq!(winners(results).len(), 1);
    assert_eq!(noted(bed.first(), "once").await, None);
}

pub(crate) async fn no_update_is_lost_by_those_who_try_again(bed: &Bed<dyn Records>) {
    bed.first().commit(batch(note("count", Expect::Absent, "0"))).await.unwrap();
    bed.crowd(16, |node, _| async move {
        for _ in 0..5 {
            loop {
                let (version, text) = noted(node.as_ref(), "count").await.unwrap();
                let next = (text.parse::<u32>().unwrap() + 1).to_string();
                let change = note("count", Expect::Version(version), &next);
                match node.commit(batch(change)).await {
                    Ok(()) => break,
                    Err(refused) => assert!(is_conflict(&refused), "{refused}"),
                }
            }
        }
    })
    .await;
    assert_eq!(noted(bed.first(), "count").await, Some((81, "80".to_owned())));
}

/// Write skew: each of two writers requires what the other changes. If both were committed, each
/// would have acted on something that was no longer true.
pub(crate) async fn a_requirement_holds_against_a_concurrent_writer(bed: &Bed<dyn Records>) {
    for round in 0..50 {
        let pair = [format!("left-{round}"), format!("right-{round}")];
        for key in &pair {
            bed.first().commit(batch(note(key, Expect::Absent, ""))).await.unwrap();
        }
        let results = bed
            .crowd(2, |node, n| {
                let (required, changed) = (pair[n].clone(), pair[1 - n].clone());
                let expect = Expect::Version(1);
                let require = Change::Require { kind: &NOTES, key: required, expect };
                let batch = batch(require).with(note(&changed, expect, "changed"));
                async move { (n, node.commit(batch).await) }
            })
            .await;
        assert_eq!(winners(results).len(), 1, "round {round}");
    }
}

/// Batches that touch the same records in opposite orders would wait for each other where every
/// change takes its lock by itself.
pub(crate) async fn batches_that_cross_each_other_all_end(bed: &Bed<dyn Records>) {
    let results = bed
        .crowd(32, |node, n| {
            let mut keys = (0..8).map(|key| format!("cross-{key}")).collect::<Vec<_>>();
            if n % 2 == 1 {
                keys.reverse();
            }
            let change = |key: &String| note(key, Expect::Any, &n.to_string());
            let batch = keys.iter().map(change).fold(Batch::new(realm()), Batch::with);
            async move { node.commit(batch).await }
        })
        .await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let mut stands = Vec::new();
    for key in 0..8 {
        stands.push(noted(bed.first(), &format!("cross-{key}")).await.unwrap());
    }
    assert_eq!(stands[0].0, 32);
    assert!(stands.iter().all(|one| *one == stands[0]), "batches are mixed: {stands:?}");
}

pub(crate) async fn a_reader_that_pulls_all_the_time_misses_nothing(bed: &Bed<dyn Records>) {
    const WRITERS: usize = 64;
    const EACH: usize = 8;
    let done = Arc::new(AtomicBool::new(false));
    let readers = (0..bed.nodes.len()).map(|n| {
        let (node, done) = (bed.node(n), done.clone());
        tokio::spawn(async move { pull_until(node.as_ref(), n, &done).await })
    });
    let readers = readers.collect::<Vec<_>>();
    bed.crowd(WRITERS, |node, writer| async move {
        for n in 0..EACH {
            let entry = append(Log::Revocations, id(writer * 1000 + n), "entry");
            let key = format!("writer-{writer}");
            node.commit(batch(note(&key, Expect::Any, "")).append(entry)).await.unwrap();
            // A batch that loses takes no position with it.
            let entry = append(Log::Revocations, id(500_000 + writer * 1000 + n), "lost");
            let lost = batch(note(&key, Expect::Absent, "")).append(entry);
            assert!(is_conflict(&node.commit(lost).await.unwrap_err()));
        }
    })
    .await;
    settle(bed, Log::Revocations).await;
    done.store(true, Ordering::SeqCst);
    let settled = entries(bed, Log::Revocations).await;
    assert_eq!(settled.len(), WRITERS * EACH);
    for reader in readers {
        let seen = reader.await.unwrap();
        assert_eq!(seen, settled, "what was read on the way is not what stands");
    }
}

/// Pulls as a verifier does, from where it stopped, until all is said and read.
async fn pull_until(node: &dyn Records, n: usize, done: &AtomicBool) -> Vec<Positioned> {
    let mut seen = Vec::<Positioned>::new();
    loop {
        let last_round = done.load(Ordering::SeqCst);
        node.sequence(Log::Revocations, node_id(n)).await.unwrap();
        let after = seen.last().map_or(0, |entry| entry.position);
        let pull = node.pull(Log::Revocations, after, 25).await.unwrap();
        for (expected, entry) in (after + 1..).zip(&pull.entries) {
            assert_eq!(entry.position, expected, "positions have a gap");
        }
        assert!(pull.head >= pull.entries.last().map_or(after, |entry| entry.position));
        let ended = last_round && pull.entries.is_empty();
        seen.extend(pull.entries);
        if ended {
            return seen;
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn a_repeated_append_at_once_makes_one_entry(bed: &Bed<dyn Records>) {
    let results = bed
        .crowd(64, |node, n| {
            let batch = batch(note(&n.to_string(), Expect::Absent, ""));
            let batch = batch.append(append(Log::Revocations, id(n % 4), "repeated"));
            async move { node.commit(batch).await }
        })
        .await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let mut times = BTreeMap::<_, usize>::new();
    for entry in entries(bed, Log::Revocations).await {
        *times.entry(entry.id).or_default() += 1;
    }
    assert_eq!(times, (0..4).map(|n| (id(n), 1)).collect());
    let notes = bed.first().scan(&realm(), &NOTES, page(None, 100)).await.unwrap();
    assert_eq!(notes.len(), 64, "a repeated entry kept its batch from happening");
}

/// Who won. All others must have lost cleanly.
fn winners(results: Vec<(usize, Result<(), CommitRefused>)>) -> Vec<usize> {
    let mut winners = Vec::new();
    for (n, result) in results {
        match result {
            Ok(()) => winners.push(n),
            Err(refused) => assert!(is_conflict(&refused), "{refused}"),
        }
    }
    winners
}
