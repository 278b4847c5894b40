//! Presenting a cookie: rotation around the 300 s mark, bindings, copies.

use std::sync::Arc;

use tegata_core::SessionId;
use tegata_session::{Agent, Binding, Ending, Part, Presentation, Traits, Verdict};
use tegata_store::{Adverse, Mischief};

use super::{
    stores::Store,
    world::{elsewhere, given, home, refused},
};

pub(crate) async fn a_young_generation_is_served_and_nothing_is_written(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    world.advance(299);
    let passage = world.present(begun.cookie.expose()).await.unwrap();
    assert!(passage.cookie.is_none());
    assert_eq!(world.stored(&begun.session.id).await, begun.session);
}

pub(crate) async fn no_session_outlives_a_restore_of_its_store(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let restored = world.restored();
    assert_eq!(restored.verdict(begun.cookie.expose()).await, Verdict::Unknown);
    assert!(restored.sessions.find(&restored.realm, &begun.session.id).await.unwrap().is_none());
    let anew = restored.sign_in("usr_1").await;
    restored.present(anew.cookie.expose()).await.unwrap();
}

pub(crate) async fn the_cookie_cannot_be_made_from_what_is_public_or_stored(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let sid = begun.session.id.as_str();
    for guess in [sid.to_owned(), format!("1.{sid}.0."), format!("1.{sid}.0.{}", "A".repeat(43))] {
        assert_eq!(world.verdict(&guess).await, Verdict::Unknown);
    }
    let (_, mac) = begun.cookie.expose().rsplit_once('.').unwrap();
    assert!(!format!("{:?}", world.stored(&begun.session.id).await).contains(mac));
    assert!(!format!("{:?}", world.journal().await).contains(mac));
}

pub(crate) async fn twenty_requests_at_the_mark_are_all_given_the_same_successor(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    world.advance(300);
    let (first, second) = (world.neighbour(), world.neighbour());
    let mut cookies = Vec::new();
    for turn in 0..10 {
        for node in [&first, &second] {
            let passage = node.present(begun.cookie.expose()).await.unwrap();
            assert_eq!(passage.session.generation, 1, "{turn}");
            cookies.push(given(&passage));
        }
    }
    cookies.dedup();
    assert_eq!(cookies.len(), 1);
    assert_ne!(cookies[0], *begun.cookie.expose());
    world.present(&cookies[0]).await.unwrap();
    assert_eq!(world.verdict(begun.cookie.expose()).await, Verdict::Superseded);
    world.present(&cookies[0]).await.expect("a straggler ends nothing");
}

pub(crate) async fn requests_in_parallel_on_two_nodes_make_one_successor(store: Store) {
    for seed in 0..store.times(20) {
        let world = store.world().await;
        let begun = world.sign_in("usr_1").await;
        world.advance(300);
        let adverse =
            |seed| Arc::new(Adverse::new(world.records.clone(), seed, Mischief::delays()));
        let nodes = [seed * 2, seed * 2 + 1].map(|seed| {
            let node = world.beside(adverse(seed), world.ephemeral.clone(), seed);
            Arc::new(node)
        });
        let tasks: Vec<_> = (0..20)
            .map(|turn| {
                let (node, value) = (nodes[turn % 2].clone(), begun.cookie.expose().clone());
                tokio::spawn(async move { given(&node.present(&value).await.unwrap()) })
            })
            .collect();
        let mut cookies = Vec::new();
        for task in tasks {
            cookies.push(task.await.unwrap());
        }
        cookies.dedup();
        assert_eq!(cookies.len(), 1, "seed {seed}");
        assert_eq!(world.stored(&begun.session.id).await.generation, 1, "seed {seed}");
    }
}

pub(crate) async fn the_earlier_value_works_for_sixty_seconds_and_no_longer(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    world.advance(300);
    let first = given(&world.present(begun.cookie.expose()).await.unwrap());
    world.advance(60);
    assert_eq!(given(&world.present(begun.cookie.expose()).await.unwrap()), first);
    world.advance(1);
    assert_eq!(world.verdict(begun.cookie.expose()).await, Verdict::Superseded);
    world.present(&first).await.expect("the new value does not depend on being used in time");
}

pub(crate) async fn only_two_values_are_ever_good_over_many_rotations(store: Store) {
    let world = store.world().await;
    let mut values = vec![world.sign_in("usr_1").await.cookie.expose().clone()];
    for _ in 0..5 {
        world.advance(300);
        let latest = values.last().unwrap().clone();
        values.push(given(&world.present(&latest).await.unwrap()));
        for old in &values[..values.len() - 2] {
            assert_eq!(world.verdict(old).await, Verdict::Superseded);
        }
    }
}

pub(crate) async fn a_listener_that_cannot_rotate_gives_nothing_and_serves(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    for _ in 0..10 {
        world.advance(1_000);
        let presented = Presentation {
            value: begun.cookie.expose(),
            binding: &home(),
            traits: &Traits::default(),
            rotates: false,
        };
        let passage = world.sessions.present(&world.realm, &presented).await.unwrap();
        assert!(passage.cookie.is_none());
        assert_eq!(passage.session.generation, 0);
    }
}

pub(crate) async fn another_browser_is_refused_and_named_by_the_part_that_differs(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let value = begun.cookie.expose();
    let other = Binding { agent: Agent::of(Some(b"Chrome/141.0 Windows")), ..home() };
    let verdict = refused(world.present_from(value, &elsewhere()).await);
    assert_eq!(verdict, Verdict::Bound(Part::Network));
    let verdict = refused(world.present_from(value, &other).await);
    assert_eq!(verdict, Verdict::Bound(Part::UserAgent));
    let parts: Vec<_> = world
        .journal()
        .await
        .into_iter()
        .filter(|(kind, _)| kind == "SUSPICIOUS_SESSION_ACCESS")
        .map(|(_, data)| {
            assert_eq!(data["session_id"], begun.session.id.as_str());
            data["part"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(parts, ["network", "user_agent"]);
    world.present(value).await.expect("its owner is not signed out by it");
}

pub(crate) async fn a_browser_update_is_not_a_thief(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let updated =
        Binding::of("192.0.2.99".parse().unwrap(), Some(b"Mozilla/5.0 (X11; Linux) Firefox/141.0"));
    world.present_from(begun.cookie.expose(), &updated).await.unwrap();
}

pub(crate) async fn suspicions_do_not_fill_the_journal(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    for _ in 0..50 {
        refused(world.present_from(begun.cookie.expose(), &elsewhere()).await);
    }
    assert_eq!(world.told("SUSPICIOUS_SESSION_ACCESS").await, 1);
    world.advance(60);
    refused(world.present_from(begun.cookie.expose(), &elsewhere()).await);
    assert_eq!(world.told("SUSPICIOUS_SESSION_ACCESS").await, 2);
}

pub(crate) async fn a_used_copy_from_elsewhere_ends_the_session(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    world.advance(300);
    let next = given(&world.present(begun.cookie.expose()).await.unwrap());
    // While the successor is unused, a copy from elsewhere is only refused.
    let verdict = refused(world.present_from(begun.cookie.expose(), &elsewhere()).await);
    assert_eq!(verdict, Verdict::Bound(Part::Network));
    world.present(&next).await.unwrap();

    let verdict = refused(world.present_from(begun.cookie.expose(), &elsewhere()).await);
    assert_eq!(verdict, Verdict::Replayed);
    assert_eq!(world.verdict(&next).await, Verdict::Ended);
    assert_eq!(world.neighbour().verdict(&next).await, Verdict::Ended);
    let ending = world.endings.known.lock().unwrap()[0].clone();
    assert_eq!((ending.sid, ending.reason.as_str()), (begun.session.id, "replayed"));
    assert!(world.journal().await.iter().any(|(kind, data)| {
        kind == "SUSPICIOUS_SESSION_ACCESS" && data["part"] == "generation"
    }));
}

pub(crate) async fn a_record_that_went_back_in_time_ends_the_session(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    world.advance(300);
    let next = given(&world.present(begun.cookie.expose()).await.unwrap());
    let old = tegata_core::Stored::put(&begun.session, tegata_core::Expect::Any);
    let batch = tegata_core::Batch::new(world.realm.clone()).with(old);
    world.records.commit(batch).await.unwrap();
    assert_eq!(world.verdict(&next).await, Verdict::Replayed);
    assert_eq!(world.verdict(begun.cookie.expose()).await, Verdict::Ended);
}

pub(crate) async fn a_slow_answer_does_not_overwrite_a_newer_cookie(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    world.advance(300);
    let slow = world.present(begun.cookie.expose()).await.unwrap();
    let quick = world.present(begun.cookie.expose()).await.unwrap();
    let settled = world.sessions.settle(&world.realm, quick.clone()).await.unwrap();
    assert_eq!(settled.unwrap().expose(), &given(&quick));
    world.advance(300);
    world.present(&given(&quick)).await.unwrap();
    assert!(world.sessions.settle(&world.realm, slow).await.unwrap().is_none());
}

pub(crate) async fn a_slow_answer_brings_back_no_session_that_has_ended(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    world.advance(300);
    let slow = world.present(begun.cookie.expose()).await.unwrap();
    // Taken back with everything else of its person, of which its record says nothing.
    let ending = Ending {
        sid: begun.session.id.clone(),
        user: begun.session.user.clone(),
        at: begun.session.started,
        until: begun.session.ends,
        reason: "test".into(),
        actor: "system".into(),
    };
    world.endings.known.lock().unwrap().push(ending);
    assert!(world.stored(&begun.session.id).await.ended.is_none());
    assert!(world.sessions.settle(&world.realm, slow).await.unwrap().is_none());
}

pub(crate) async fn a_genuine_cookie_names_its_session_and_a_forged_one_does_not(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let of_cookie = async |value: &str| {
        let found = world.sessions.of_cookie(&world.realm, value).await.unwrap();
        found.map(|session| session.id)
    };
    let own: SessionId = begun.session.id.clone();
    assert_eq!(of_cookie(begun.cookie.expose()).await, Some(own.clone()));
    assert_eq!(of_cookie(&begun.cookie.expose().replace(".0.", ".1.")).await, None);
    assert_eq!(of_cookie(own.as_str()).await, None);
}
