//! Refreshing on a store whose calls fail, and whose answers get lost.

use std::{collections::HashMap, sync::Arc};

use tegata_core::{ManualClock, Node, Records, SeededEntropy, StoreError};
use tegata_store::{Adverse, MemoryFeed, MemoryRecords, Mischief};
use tegata_token::{RefreshRefused, Verdict, families::Issue};

use super::world::{World, kinds};

/// A store that seals nothing would refuse secrets, so the failing store stands behind the seal.
async fn failing_world(seed: u64) -> (World, World) {
    let clock = Arc::new(ManualClock::default());
    let memory: Arc<dyn Records> = Arc::new(MemoryRecords::new(&kinds(), clock.clone()).unwrap());
    let honest = World::on(memory, clock.clone(), seed).await;
    let adverse = Adverse::new(honest.records.clone(), seed, Mischief::failures());
    let node = Node::with(clock, Arc::new(SeededEntropy::new(seed + 1_000)));
    let records: Arc<dyn Records> = Arc::new(adverse);
    let failing = loop_until_open(records, node).await;
    (honest, failing)
}

async fn loop_until_open(records: Arc<dyn Records>, node: Node) -> World {
    // Opening reads root secrets that the honest world has made; a failure is simply tried again.
    loop {
        let (records, node) = (records.clone(), node.clone());
        let opened =
            tokio::spawn(
                async move { World::with(records, node, Arc::new(MemoryFeed::new(64))).await },
            );
        if let Ok(world) = opened.await {
            return world;
        }
    }
}

/// A client that presents what it has until it is answered, as an honest client does.
async fn persist(world: &World, token: &str) -> Result<Issue, Verdict> {
    loop {
        match world.refresh(token).await {
            Ok(issue) => return Ok(issue),
            Err(RefreshRefused::Verdict(verdict)) => return Err(verdict),
            Err(RefreshRefused::Store(
                StoreError::Unavailable { .. } | StoreError::Indeterminate { .. },
            )) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_tries_again_is_never_signed_out_and_never_has_two_successors() {
    for seed in 0..40 {
        let (honest, failing) = failing_world(seed).await;
        let first = honest.begin().await;
        let mut token = first.refresh_token.expose().clone();
        let mut successors: HashMap<u32, String> = HashMap::new();
        for generation in 1..=20 {
            let issue = persist(&failing, &token).await.unwrap();
            assert_eq!(issue.family.generation, generation, "seed {seed}");
            token.clone_from(issue.refresh_token.expose());
            let made = successors.entry(generation).or_insert_with(|| token.clone());
            assert_eq!(*made, token, "seed {seed}");
        }
        assert!(honest.stored(&first).await.ended.is_none(), "seed {seed}");
    }
}

#[tokio::test]
async fn a_thief_is_caught_whatever_fails_on_the_way() {
    for seed in 0..40 {
        let (honest, failing) = failing_world(seed).await;
        let first = honest.begin().await;
        let second = persist(&failing, first.refresh_token.expose()).await.unwrap();
        persist(&failing, second.refresh_token.expose()).await.unwrap();
        let caught = persist(&failing, first.refresh_token.expose()).await.unwrap_err();
        // The first answer may have been lost after the family was ended.
        assert!(matches!(caught, Verdict::Reused | Verdict::Revoked), "seed {seed}: {caught:?}");
        assert!(honest.stored(&first).await.ended.is_some(), "seed {seed}");
        let after = persist(&honest, second.refresh_token.expose()).await.unwrap_err();
        assert_eq!(after, Verdict::Revoked, "seed {seed}");
    }
}
