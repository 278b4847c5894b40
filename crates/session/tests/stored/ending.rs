//! Ends that stay ends.

use std::sync::Arc;

use tegata_core::Batch;
use tegata_session::{
    Ending, Reason, Verdict,
    sessions::{Expected, Name},
};
use tegata_store::{Adverse, Mischief};

use super::{stores::Store, world::given};

pub(crate) async fn signing_out_is_told_and_revoked_and_final(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let sid = &begun.session.id;
    let end =
        async || world.sessions.end(&world.realm, sid, &Reason::Logout, "usr_1").await.unwrap();
    assert!(end().await);
    assert!(!end().await, "it ended once");
    assert_eq!(world.verdict(begun.cookie.expose()).await, Verdict::Ended);
    assert!(world.sessions.find(&world.realm, sid).await.unwrap().is_none());
    assert!(!world.sessions.touch(&world.realm, sid).await.unwrap());
    let journal = world.journal().await;
    let (_, data) = journal.iter().find(|(kind, _)| kind == "USER_LOGGED_OUT").unwrap();
    assert_eq!(data["user_id"], "usr_1");
    assert_eq!(data["session_id"], sid.as_str());
    assert_eq!(world.told("SESSION_ENDED").await, 1);
    let known = world.endings.known.lock().unwrap();
    let Ending { until, reason, actor, .. } = known[0].clone();
    assert_eq!((until, reason.as_str(), actor.as_str()), (begun.session.ends, "logout", "usr_1"));
}

pub(crate) async fn an_end_can_join_the_batch_of_something_else(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let reason = Reason::Ordered("password_changed".into());
    let sid = &begun.session.id;
    let prepared =
        world.sessions.prepare_end(&world.realm, sid, &reason, "usr_1").await.unwrap().unwrap();
    world.present(begun.cookie.expose()).await.expect("nothing has happened yet");
    let (batch, ended) = prepared.join(Batch::new(world.realm.clone()));
    assert_eq!((ended.len(), ended[0].reason.as_str()), (1, "password_changed"));
    world.records.commit(batch).await.unwrap();
    assert_eq!(world.neighbour().verdict(begun.cookie.expose()).await, Verdict::Ended);
    assert_eq!(world.told("USER_LOGGED_OUT").await, 0);
}

pub(crate) async fn a_record_from_a_replica_does_not_revive_what_this_node_knows_to_have_ended(
    store: Store,
) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let ending = Ending {
        sid: begun.session.id.clone(),
        user: begun.session.user.clone(),
        at: begun.session.started,
        until: begun.session.ends,
        reason: "revoked".into(),
        actor: "system".into(),
    };
    // The record still says that it lives; the node's view knows better.
    world.endings.known.lock().unwrap().push(ending);
    assert_eq!(world.verdict(begun.cookie.expose()).await, Verdict::Ended);
    let (realm, sid) = (&world.realm, &begun.session.id);
    assert!(world.sessions.find(realm, sid).await.unwrap().is_none());
    let cart = Name { owner: "shop", name: "cart" };
    let kept = world.sessions.set_data(realm, sid, cart, Some("1"), &Expected::Anything).await;
    assert!(kept.is_err());
    assert!(world.sessions.list(realm, &begun.session.user).await.unwrap().is_empty());
}

pub(crate) async fn an_end_beats_every_rotation_in_flight(store: Store) {
    for seed in 0..store.times(20) {
        let world = store.world().await;
        let begun = world.sign_in("usr_1").await;
        world.advance(300);
        let records = Adverse::new(world.records.clone(), seed, Mischief::delays());
        let ephemeral = world.ephemeral.clone();
        let node = Arc::new(world.beside(Arc::new(records), ephemeral, seed));
        let requests: Vec<_> = (0..10)
            .map(|_| {
                let (node, value) = (node.clone(), begun.cookie.expose().clone());
                tokio::spawn(async move { node.present(&value).await })
            })
            .collect();
        let ender = {
            let (node, sid) = (node.clone(), begun.session.id.clone());
            tokio::spawn(async move {
                node.sessions.end(&node.realm, &sid, &Reason::Logout, "usr_1").await.unwrap()
            })
        };
        assert!(ender.await.unwrap(), "seed {seed}");
        let mut values = vec![begun.cookie.expose().clone()];
        for request in requests {
            values.extend(request.await.unwrap().ok().map(|passage| given(&passage)));
        }
        for value in values {
            assert_eq!(world.neighbour().verdict(&value).await, Verdict::Ended, "seed {seed}");
        }
    }
}

pub(crate) async fn all_of_a_person_can_be_ended_but_one(store: Store) {
    let world = store.world().await;
    let own = world.sign_in("usr_1").await;
    let (second, third) = (world.sign_in("usr_1").await, world.sign_in("usr_1").await);
    let other = world.sign_in("usr_2").await;
    let user = &own.session.user;
    let reason = Reason::Ordered("everywhere".into());
    let spared = Some(&own.session.id);
    let ended = world.sessions.end_all(&world.realm, user, spared, &reason, "usr_1").await;
    assert_eq!(ended.unwrap(), 2);
    for lives in [&own, &other] {
        world.present(lives.cookie.expose()).await.unwrap();
    }
    for dead in [&second, &third] {
        assert_eq!(world.verdict(dead.cookie.expose()).await, Verdict::Ended);
    }
}
