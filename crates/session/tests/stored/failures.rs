//! Stores that fail, and answers that are lost on the way from them.

use std::sync::Arc;

use tegata_session::{Passage, SessionRefused};
use tegata_store::{Adverse, Mischief};

use super::{stores::Store, world::World};

/// Presents until the store answers.
async fn insist(node: &World, value: &str) -> Passage {
    for _ in 0..200 {
        match node.present(value).await {
            Ok(passage) => return passage,
            Err(SessionRefused::Store(_)) => {}
            Err(SessionRefused::Verdict(verdict)) => panic!("{verdict}"),
        }
    }
    panic!("the store never answered");
}

pub(crate) async fn a_store_that_loses_answers_signs_nobody_out(store: Store) {
    for seed in 0..store.times(50) {
        let world = store.world().await;
        let mut value = world.sign_in("usr_1").await.cookie.expose().clone();
        let records = Adverse::new(world.records.clone(), seed, Mischief::failures());
        let ephemeral = Adverse::new(world.ephemeral.clone(), seed, Mischief::failures());
        let node = world.beside(Arc::new(records), Arc::new(ephemeral), seed);
        for round in 1..20 {
            world.advance(300);
            let passage = insist(&node, &value).await;
            assert_eq!(passage.session.generation, round, "seed {seed}");
            // The answer gives the successor, or the answer that gave it was lost and repeated.
            value = passage.cookie.expect("a successor").expose().clone();
            insist(&node, &value).await;
        }
    }
}

pub(crate) async fn a_session_that_cannot_be_looked_up_is_not_refused_for_good(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let away = Mischief { delay: 0, fail: 1_000, lose: 0, repeat: 0 };
    let records = Arc::new(Adverse::new(world.records.clone(), 1, away));
    let node = world.beside(records, world.ephemeral.clone(), 3);
    let refused = node.present(begun.cookie.expose()).await.unwrap_err();
    assert!(matches!(refused, SessionRefused::Store(_)), "{refused}");
    world.present(begun.cookie.expose()).await.unwrap();
}
