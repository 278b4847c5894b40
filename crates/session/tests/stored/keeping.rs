//! What is kept with a session.

use std::sync::Arc;

use tegata_session::sessions::DataRefused;
use tegata_store::{Adverse, Mischief};

use super::world::World;

#[tokio::test]
async fn data_is_kept_across_rotations_and_can_be_removed() {
    let world = World::in_memory().await;
    let begun = world.sign_in("usr_1").await;
    let (realm, sid) = (&world.realm, &begun.session.id);
    world.sessions.set_data(realm, sid, "cart_id", Some("17")).await.unwrap();
    world.advance(300);
    let passage = world.present(begun.cookie.expose()).await.unwrap();
    assert_eq!(passage.session.data.get("cart_id").map(String::as_str), Some("17"));
    world.sessions.set_data(realm, sid, "cart_id", None).await.unwrap();
    assert!(world.stored(sid).await.data.is_empty());
}

#[tokio::test]
async fn data_stays_small() {
    let world = World::in_memory().await;
    let begun = world.sign_in("usr_1").await;
    let (realm, sid) = (&world.realm, &begun.session.id);
    let set = async |name: &str, value: &str| {
        world.sessions.set_data(realm, sid, name, Some(value)).await
    };
    set("a", &"x".repeat(4_000)).await.unwrap();
    assert_eq!(set("b", &"x".repeat(100)).await, Err(DataRefused::TooMuch));
    set("a", "").await.unwrap();
    set("b", &"x".repeat(100)).await.unwrap();
    for name in ["", "A", "a b", "é", &"a".repeat(65)] {
        assert_eq!(set(name, "x").await, Err(DataRefused::Name), "{name:?}");
    }
    let nobody = "1.99999.nobody".parse().unwrap();
    let refused = world.sessions.set_data(realm, &nobody, "a", Some("x")).await;
    assert_eq!(refused, Err(DataRefused::NoSession));
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_at_once_lose_nothing() {
    let world = World::in_memory().await;
    let begun = world.sign_in("usr_1").await;
    let tasks: Vec<_> = (0..10_u64)
        .map(|turn| {
            let records = Arc::new(Adverse::new(world.records.clone(), turn, Mischief::delays()));
            let (ephemeral, clock) = (world.ephemeral.clone(), world.clock.clone());
            let node = World::on(records, ephemeral, clock, turn);
            let sid = begun.session.id.clone();
            tokio::spawn(async move {
                let name = format!("n{turn}");
                node.sessions.set_data(&node.realm, &sid, &name, Some("x")).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(world.stored(&begun.session.id).await.data.len(), 10);
}
