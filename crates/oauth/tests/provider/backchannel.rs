//! Who is told that a session has ended, and that nobody is forgotten.

use std::collections::BTreeSet;

use serde_json::json;
use tegata_core::{Batch, Event, EventType, Expect, Realm, Stored as _};
use tegata_oauth::backchannel::{Attempt, RelyingParty, Told};

use super::world::World;

async fn used_at(world: &World, session: &str, clients: std::ops::Range<u32>) {
    let user = world.user.id.clone();
    for number in clients {
        let client = format!("client-{number}").parse().unwrap();
        let party = RelyingParty::new(&session.parse().unwrap(), &client, &user);
        world.commit(Batch::new(Realm::default()).with(party.put(Expect::Absent))).await;
    }
}

async fn ends(world: &World, session: &str) {
    let data = [("session_id", json!(session)), ("reason", json!("logout"))];
    let event = Event::new(&world.node, &Realm::default(), EventType::SessionEnded, data);
    world.commit(Batch::new(Realm::default()).journal(&event)).await;
}

/// Everybody who is found, by steps as large as a store takes.
async fn found(world: &World) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    loop {
        let (found, more) = world.provider.find_logouts().await.unwrap();
        assert!(found.len() <= 500, "{}", found.len());
        for party in found {
            assert!(all.insert(party.key().to_owned()), "found twice: {}", party.key());
        }
        if !more {
            return all;
        }
    }
}

#[tokio::test]
async fn more_clients_than_a_store_takes_at_once_are_all_found_once() {
    let world = World::new().await;
    used_at(&world, "1.20700.many", 0..1_203).await;
    used_at(&world, "1.20700.few", 0..7).await;
    used_at(&world, "1.20700.alive", 0..3).await;
    ends(&world, "1.20700.few").await;
    ends(&world, "1.20700.many").await;
    // Sessions end in several ways at once.
    ends(&world, "1.20700.few").await;
    ends(&world, "1.20700.nobody").await;
    assert_eq!(found(&world).await.len(), 1_210);
    assert!(found(&world).await.is_empty());
    // Whoever begins anew finds what was left.
    let (mut left, mut after) = (0, None);
    loop {
        let page = world.provider.due_logouts(after).await.unwrap();
        let Some(last) = page.last() else { break };
        (left, after) = (left + page.len(), Some(last.key().to_owned()));
    }
    assert_eq!(left, 1_210);
    ends(&world, "1.20700.alive").await;
    assert_eq!(found(&world).await.len(), 3);
}

#[tokio::test]
async fn of_two_that_look_at_once_each_is_found_by_one() {
    let world = World::new().await;
    let other = world.elsewhere(world.parts.ephemeral.clone());
    used_at(&world, "1.20700.both", 0..20).await;
    ends(&world, "1.20700.both").await;
    let (one, two) = tokio::join!(world.provider.find_logouts(), other.find_logouts());
    let (mut one, two) = (one.unwrap().0, two.unwrap().0);
    one.extend(two);
    assert_eq!(one.len(), 20);
    // And told once, whoever writes it down first.
    let party = &one[0];
    let noted = world.provider.note_logout(party, Attempt::Accepted).await.unwrap();
    assert!(noted.is_none());
    let late = other.note_logout(party, Attempt::Failed("late".to_owned())).await.unwrap();
    assert!(late.is_none());
    let known = world.provider.logouts("delivered", None).await.unwrap();
    assert!(matches!(known.as_slice(), [one] if matches!(one.told, Told::Delivered { .. })));
}
