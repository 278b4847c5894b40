//! Sessions that are kept near, on nodes that have not heard yet what others did.

use std::sync::{Arc, atomic::Ordering};

use tegata_core::{Clock, Records};
use tegata_session::{Reason, SESSIONS, SessionRefused, Standing, Verdict};
use tegata_store::{Cached, CachedConfig, MemoryFeed};

use super::{
    stores::Store,
    world::{World, elsewhere, given, refused},
};

/// A node whose records are near, and that hears nothing of what others change.
fn deaf(world: &World) -> World {
    let (feed, clock) = (Arc::new(MemoryFeed::new(64)), Arc::clone(&world.clock));
    let clock: Arc<dyn Clock> = clock;
    let config = CachedConfig::default();
    let kinds = &[&SESSIONS];
    let cached = Cached::new(Arc::clone(&world.records), None, feed, kinds, config, clock);
    cached.listens(true);
    let records: Arc<dyn Records> = Arc::new(cached);
    world.beside(records, Arc::clone(&world.ephemeral), 3)
}

pub(crate) async fn an_old_record_refuses_nobody(store: Store) {
    let world = store.world().await;
    let old = deaf(&world);
    let first = world.sign_in("usr_1").await.cookie.expose().clone();
    world.advance(290);
    old.present(&first).await.unwrap();
    // The cookie is replaced and the new one used, elsewhere.
    world.advance(10);
    let second = given(&world.present(&first).await.unwrap());
    world.present(&second).await.unwrap();
    // By what is near here, nobody has ever been given that one.
    let passage = old.present(&second).await.unwrap();
    assert_eq!(passage.session.generation, 1);
}

pub(crate) async fn what_is_known_to_have_ended_is_not_served_however_near_it_is(store: Store) {
    let world = store.world().await;
    let old = deaf(&world);
    let begun = world.sign_in("usr_1").await;
    let cookie = begun.cookie.expose().clone();
    old.present(&cookie).await.unwrap();
    world.sessions.end(&world.realm, &begun.session.id, &Reason::Logout, "usr_1").await.unwrap();
    // The revocation has been heard of, the change of the record has not.
    let ended = world.endings.known.lock().unwrap().clone();
    old.endings.known.lock().unwrap().extend(ended);
    assert_eq!(old.verdict(&cookie).await, Verdict::Ended);
}

/// What a factor gave that is gone since is not read from what is near.
pub(crate) async fn of_whoever_may_do_less_since_a_moment_the_latest_is_asked(store: Store) {
    let world = store.world().await;
    let old = deaf(&world);
    let begun = world.sign_in("usr_1").await;
    let cookie = begun.cookie.expose().clone();
    old.present(&cookie).await.unwrap();
    let user = begun.session.user.clone();
    let lowers = |standing: &mut Standing| standing.acr.replace("lowered".to_owned()).is_some();
    world.sessions.narrow(&world.realm, &user, None, lowers).await.unwrap();
    old.endings.changed.lock().unwrap().push(user);
    let passage = old.present(&cookie).await.unwrap();
    assert_eq!(passage.session.standing.acr.as_deref(), Some("lowered"));
}

pub(crate) async fn a_node_that_has_not_heard_for_a_while_what_ended_asks_the_store(store: Store) {
    let world = store.world().await;
    let old = deaf(&world);
    let begun = world.sign_in("usr_1").await;
    let cookie = begun.cookie.expose().clone();
    old.present(&cookie).await.unwrap();
    world.sessions.end(&world.realm, &begun.session.id, &Reason::Logout, "usr_1").await.unwrap();
    old.endings.stale.store(true, Ordering::SeqCst);
    assert_eq!(old.verdict(&cookie).await, Verdict::Ended);
}

pub(crate) async fn a_copy_used_elsewhere_is_found_out_a_minute_later_at_most(store: Store) {
    let world = store.world().await;
    let old = deaf(&world);
    let first = world.sign_in("usr_1").await.cookie.expose().clone();
    world.advance(290);
    old.present(&first).await.unwrap();
    world.advance(10);
    let second = given(&world.present(&first).await.unwrap());
    world.advance(31);
    world.present(&second).await.unwrap();
    // A thief shows the first from elsewhere, where nothing has been heard for a minute.
    world.advance(60);
    let refused = refused(old.present_from(&first, &elsewhere()).await);
    assert_eq!(refused, Verdict::Replayed);
    let later = world.present(&second).await;
    assert!(matches!(later, Err(SessionRefused::Verdict(Verdict::Ended))), "{later:?}");
}

pub(crate) async fn a_session_that_is_near_is_served_without_the_store(store: Store) {
    let world = store.world().await;
    let near = deaf(&world);
    let cookie = world.sign_in("usr_1").await.cookie.expose().clone();
    near.present(&cookie).await.unwrap();
    near.advance(30);
    for _ in 0..100 {
        near.present(&cookie).await.unwrap();
    }
    // The last use is known all the same: half an hour later it still counts.
    near.advance(1799);
    near.present(&cookie).await.unwrap();
}
