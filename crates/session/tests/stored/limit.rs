//! How many sessions a person has.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tegata_core::{Batch, Expect, Stored as _};
use tegata_session::{Beginning, Reason, Verdict};
use tegata_store::{Adverse, Mischief};

use super::{
    stores::Store,
    world::{World, beginning},
};

pub(crate) async fn the_fourth_ends_the_one_used_least_recently(store: Store) {
    let world = store.world().await;
    let mut begun = Vec::new();
    for _ in 0..3 {
        begun.push(world.sign_in("usr_1").await);
        world.advance(70);
    }
    // The first is in use, so the second is the one that goes.
    world.present(begun[0].cookie.expose()).await.unwrap();
    world.advance(1);
    let other = world.sign_in("usr_2").await;
    let fourth = world.sign_in("usr_1").await;
    assert_eq!(world.verdict(begun[1].cookie.expose()).await, Verdict::Ended);
    for lives in [&begun[0], &begun[2], &other, &fourth] {
        world.present(lives.cookie.expose()).await.unwrap();
    }
    let told: Vec<_> = world.journal().await;
    let ended = told.iter().find(|(kind, _)| kind == "SESSION_ENDED").unwrap();
    assert_eq!(ended.1["reason"], "limit");
    assert_eq!(ended.1["session_id"], begun[1].session.id.as_str());
    assert_eq!(ended.1["user_id"], "usr_1");
    assert_eq!(world.endings.known.lock().unwrap().len(), 1, "and it is revoked");
}

pub(crate) async fn sign_ins_at_once_leave_three(store: Store) {
    for seed in 0..store.times(10) {
        let world = store.world().await;
        let tasks: Vec<_> = (0..12)
            .map(|turn| {
                let records = Adverse::new(world.records.clone(), seed, Mischief::delays());
                let ephemeral = world.ephemeral.clone();
                let node = world.beside(Arc::new(records), ephemeral, 100 * seed + turn);
                tokio::spawn(async move { node.sign_in("usr_1").await })
            })
            .collect();
        let mut cookies = Vec::new();
        for task in tasks {
            cookies.push(task.await.unwrap().cookie.expose().clone());
        }
        let mut alive = 0;
        for cookie in &cookies {
            alive += usize::from(world.present(cookie).await.is_ok());
        }
        assert_eq!(alive, 3, "seed {seed}");
        assert_eq!(world.told("SESSION_CREATED").await, 12);
        assert_eq!(world.told("SESSION_ENDED").await, 9);
    }
}

pub(crate) async fn signing_in_anew_ends_what_the_browser_had(store: Store) {
    let world = store.world().await;
    let planted = world.sign_in("usr_attacker").await;
    let replaces = Some(planted.session.id.clone());
    let beginning = Beginning { replaces, ..beginning("usr_1") };
    let begun = world.sessions.begin(&world.realm, &beginning).await.unwrap();
    assert_ne!(begun.session.id, planted.session.id);
    assert_eq!(world.verdict(planted.cookie.expose()).await, Verdict::Ended);
    assert_eq!(world.present(begun.cookie.expose()).await.unwrap().session.user.as_str(), "usr_1");
}

pub(crate) async fn what_has_ended_takes_no_room(store: Store) {
    let world = store.world().await;
    let mut cookies = Vec::new();
    for _ in 0..20 {
        let begun = world.sign_in("usr_1").await;
        let reason = Reason::Logout;
        world.sessions.end(&world.realm, &begun.session.id, &reason, "usr_1").await.unwrap();
        let kept = world.sign_in("usr_2").await;
        cookies.push(kept.cookie.expose().clone());
    }
    assert_eq!(
        world.sessions.list(&world.realm, &"usr_1".parse().unwrap()).await.unwrap().len(),
        0
    );
    let listed = world.sessions.list(&world.realm, &"usr_2".parse().unwrap()).await.unwrap();
    let listed: BTreeSet<_> = listed.into_iter().map(|it| it.session.id).collect();
    assert_eq!(listed.len(), 3);
}

pub(crate) async fn one_that_slept_is_told_to_have_slept(store: Store) {
    let world = store.world().await;
    for _ in 0..3 {
        world.sign_in("usr_1").await;
    }
    world.advance(3 * 3_600);
    world.sign_in("usr_1").await;
    let journal = world.journal().await;
    let ended = journal.iter().find(|(kind, _)| kind == "SESSION_ENDED").unwrap();
    assert_eq!(ended.1["reason"], "idle");
}

/// Signs usr_1 in, and answers whether they were told that it made too many sessions.
async fn told_at(world: &World, reached: bool) -> bool {
    let letters = AtomicUsize::new(0);
    let other = world.sign_in("usr_2").await.session;
    // A fake of a letter: it changes nothing.
    let tells = |_| {
        letters.fetch_add(1, Ordering::SeqCst);
        reached.then(|| other.put(Expect::Any))
    };
    let begun =
        world.sessions.prepare_begin(&world.realm, beginning("usr_1"), tells).await.unwrap();
    let (batch, ended) = begun.prepared.join(Batch::new(world.realm.clone()));
    tegata_session::Endings::commit(world.endings.as_ref(), batch, ended).await.unwrap();
    letters.into_inner() == 1
}

pub(crate) async fn of_all_nodes_one_tells_a_person_once_an_hour(store: Store) {
    let world = store.world().await;
    let other = world.neighbour();
    for _ in 0..3 {
        assert!(!told_at(&world, true).await);
    }
    // Nobody is told by what is never sent, nor by what is never written.
    assert!(told_at(&other, false).await);
    let lost = world.sign_in("usr_2").await.session;
    let tells = |_| Some(lost.put(Expect::Any));
    world.sessions.prepare_begin(&world.realm, beginning("usr_1"), tells).await.unwrap();
    assert!(told_at(&other, true).await);
    assert!(!told_at(&world, true).await);
    assert!(!told_at(&other, true).await);
    world.advance(1_800);
    for _ in 0..3 {
        assert!(!told_at(&world, true).await);
    }
    world.advance(1_799);
    assert!(!told_at(&other, true).await);
    world.advance(1);
    assert!(told_at(&world, true).await);
    assert!(!told_at(&other, true).await);
}

pub(crate) async fn of_three_thousand_sign_ins_of_one_person_three_are_left_and_all_can_be_ended(
    store: Store,
) {
    let many = store.sign_ins(3_000);
    let (world, user) = (store.world().await, "usr_1".parse().unwrap());
    let mut cookies = Vec::with_capacity(many);
    for _ in 0..many {
        cookies.push(world.sign_in("usr_1").await.cookie.expose().clone());
        world.advance(1);
    }
    assert_eq!(world.sessions.list(&world.realm, &user).await.unwrap().len(), 3);
    let mut alive = 0;
    for cookie in cookies.iter().step_by(100).chain(cookies.iter().rev().take(4)) {
        alive += usize::from(world.present(cookie).await.is_ok());
    }
    assert_eq!(alive, 3);
    let reason = Reason::Ordered("everywhere".into());
    let ended = world.sessions.end_all(&world.realm, &user, None, &reason, "usr_1").await;
    assert_eq!(ended.unwrap(), 3);
    assert!(world.sessions.list(&world.realm, &user).await.unwrap().is_empty());
    for cookie in cookies.iter().rev().take(3) {
        assert_eq!(world.verdict(cookie).await, Verdict::Ended);
    }
}
