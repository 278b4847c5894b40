//! Sessions, read by whoever only asks whether one is alive.

use std::time::Duration;

use tegata_core::{Epoch, Node, SeededEntropy, SessionId};
use tegata_session::{Limits, Reason, reader::Reader};

use super::{stores::Store, world::World};

fn reader(world: &World, epoch: Epoch, limits: Limits) -> Reader {
    let node = Node::with(world.clock.clone(), std::sync::Arc::new(SeededEntropy::new(5)));
    Reader::new(node, epoch, world.records.clone(), world.ephemeral.clone(), limits)
}

async fn finds(reader: &Reader, world: &World, sid: &SessionId) -> bool {
    reader.find(&world.realm, sid).await.unwrap().is_some()
}

pub(crate) async fn finds_what_is_alive_and_nothing_that_has_ended(store: Store) {
    let world = store.world().await;
    let reading = reader(&world, Epoch::FIRST, Limits::default());
    let begun = world.sign_in("usr_1").await;
    let sid = &begun.session.id;
    let found = reading.find(&world.realm, sid).await.unwrap().unwrap();
    assert_eq!(found.user.as_str(), "usr_1");
    assert!(world.sessions.end(&world.realm, sid, &Reason::Logout, "usr_1").await.unwrap());
    assert!(!finds(&reading, &world, sid).await);
    assert!(!finds(&reading.nearby(), &world, sid).await);
}

pub(crate) async fn what_nobody_used_for_too_long_is_not_alive(store: Store) {
    let world = store.world().await;
    let reading = reader(&world, Epoch::FIRST, Limits::default());
    let begun = world.sign_in("usr_1").await;
    let sid = &begun.session.id;
    // It is used, and then left alone: for the idle limit, and for as long as uses may be unwritten.
    world.advance(600);
    world.present(begun.cookie.expose()).await.unwrap();
    world.advance(1_799);
    assert!(finds(&reading, &world, sid).await);
    world.advance(400);
    assert!(!finds(&reading, &world, sid).await);
}

pub(crate) async fn the_stricter_limit_counts_and_no_epoch_before(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let sid = &begun.session.id;
    let strict = Limits { absolute: Duration::from_secs(60), ..Limits::default() };
    let strict = reader(&world, Epoch::FIRST, strict);
    assert!(finds(&strict, &world, sid).await);
    world.advance(60);
    assert!(!finds(&strict, &world, sid).await);
    let lax = reader(&world, Epoch::FIRST, Limits::default());
    assert!(finds(&lax, &world, sid).await);
    let later = Epoch::FIRST.after(tegata_core::Clock::now(world.clock.as_ref()));
    assert!(!finds(&reader(&world, later, Limits::default()), &world, sid).await);
}
