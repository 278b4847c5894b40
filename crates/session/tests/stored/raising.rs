//! Rises of privilege.

use std::time::Duration;

use tegata_core::{Expect, Timestamp, port::Change};
use tegata_session::{
    Passage, Presentation, ROSTERS, Rise, Session, SessionRefused, Standing, Traits, Verdict,
};

use super::{
    stores::Store,
    world::{World, elsewhere, given, home, refused},
};

/// Five minutes of elevation, proven with a second factor.
fn elevation(session: &Session, now: Timestamp) -> Rise {
    let standing = Standing {
        acr: Some("aal2".into()),
        amr: vec!["pwd".into(), "otp".into()],
        elevated_until: Some(now + Duration::from_secs(300)),
        ..session.standing.clone()
    };
    Rise { standing, requires: None }
}

async fn raise(world: &World, value: &str, rise: &Rise) -> Result<Passage, SessionRefused> {
    let presented =
        Presentation { value, binding: &home(), traits: &Traits::default(), rotates: true };
    world.sessions.raise(&world.realm, &presented, rise).await.map(Option::unwrap)
}

fn now(world: &World) -> Timestamp {
    tegata_core::Clock::now(world.clock.as_ref())
}

pub(crate) async fn a_rise_is_for_the_new_value_alone(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let old = begun.cookie.expose();
    let risen = raise(&world, old, &elevation(&begun.session, now(&world))).await.unwrap();
    assert!(risen.is_elevated(now(&world)));
    assert_ne!(&given(&risen), old);

    // A request that was on its way, or a thief: served as before, and told nothing.
    let before = world.present(old).await.unwrap();
    assert!(!before.is_elevated(now(&world)));
    assert_eq!(before.session.standing, begun.session.standing);
    assert!(before.cookie.is_none());

    let after = world.present(&given(&risen)).await.unwrap();
    assert!(after.is_elevated(now(&world)));
    assert_eq!(world.verdict(old).await, Verdict::Superseded);
}

pub(crate) async fn nothing_is_raised_where_what_it_requires_does_not_hold(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let key = begun.session.user.as_str().to_owned();
    let absent = Change::Require { kind: &ROSTERS, key, expect: Expect::Absent };
    let rise = Rise { requires: Some(absent), ..elevation(&begun.session, now(&world)) };
    let value = begun.cookie.expose();
    let presented =
        Presentation { value, binding: &home(), traits: &Traits::default(), rotates: true };
    let raised = world.sessions.raise(&world.realm, &presented, &rise).await.unwrap();
    assert!(raised.is_none(), "there is a roster of the person's sessions");
    assert!(!world.present(value).await.unwrap().is_elevated(now(&world)));
}

pub(crate) async fn elevation_is_short(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let rise = elevation(&begun.session, now(&world));
    let risen = raise(&world, begun.cookie.expose(), &rise).await.unwrap();
    world.advance(299);
    assert!(world.present(&given(&risen)).await.unwrap().is_elevated(now(&world)));
    world.advance(1);
    let passage = world.present(&given(&risen)).await.unwrap();
    assert!(!passage.is_elevated(now(&world)));
    assert_eq!(passage.session.standing.acr.as_deref(), Some("aal2"), "the proof remains");
}

pub(crate) async fn a_lost_rise_is_repaired_by_proving_it_again(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let rise = elevation(&begun.session, now(&world));
    raise(&world, begun.cookie.expose(), &rise).await.unwrap();
    world.advance(5);
    let again = raise(&world, begun.cookie.expose(), &rise).await.unwrap();
    assert!(world.present(&given(&again)).await.unwrap().is_elevated(now(&world)));
}

pub(crate) async fn a_lost_rise_that_is_not_proven_again_is_withdrawn(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let rise = elevation(&begun.session, now(&world));
    let risen = raise(&world, begun.cookie.expose(), &rise).await.unwrap();
    world.advance(11);
    let passage = world.present(begun.cookie.expose()).await.unwrap();
    assert_eq!(given(&passage), given(&risen), "the browser is not signed out");
    assert!(!passage.is_elevated(now(&world)));
    let passage = world.present(&given(&risen)).await.unwrap();
    assert!(!passage.is_elevated(now(&world)), "whoever holds the value has not proven it");
}

pub(crate) async fn a_thief_is_not_raised_by_what_the_owner_proves(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let rise = elevation(&begun.session, now(&world));
    let presented = Presentation {
        value: begun.cookie.expose(),
        binding: &elsewhere(),
        traits: &Traits::default(),
        rotates: true,
    };
    let raised = world.sessions.raise(&world.realm, &presented, &rise).await;
    let verdict = refused(raised.map(Option::unwrap));
    assert!(matches!(verdict, Verdict::Bound(_)));
    let risen = raise(&world, begun.cookie.expose(), &rise).await.unwrap();
    for _ in 0..60 {
        // A copy in the same network asks again and again.
        if let Ok(passage) = world.present(begun.cookie.expose()).await {
            assert!(!passage.is_elevated(now(&world)));
            if let Some(cookie) = passage.cookie {
                let followed = world.present(cookie.expose()).await.unwrap();
                assert!(!followed.is_elevated(now(&world)));
            }
        }
        world.advance(1);
    }
    let owner = world.present(&given(&risen)).await.unwrap();
    assert!(!owner.is_elevated(now(&world)), "the owner has to prove it once more");
}

pub(crate) async fn roles_that_were_taken_away_are_gone_for_earlier_values_too(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let rise = elevation(&begun.session, now(&world));
    let risen = raise(&world, begun.cookie.expose(), &rise).await.unwrap();
    assert!(world.sessions.stamp(&world.realm, &begun.session.id, 2, &[]).await.unwrap());
    for value in [begun.cookie.expose(), &given(&risen)] {
        let standing = world.present(value).await.unwrap().session.standing;
        assert_eq!((standing.authority, standing.roles), (2, vec![]));
    }
}

pub(crate) async fn what_is_taken_out_is_gone_for_earlier_values_and_other_people_keep_theirs(
    store: Store,
) {
    let world = store.world().await;
    let (begun, other) = (world.sign_in("usr_1").await, world.sign_in("usr_2").await);
    let rise = elevation(&begun.session, now(&world));
    let risen = raise(&world, begun.cookie.expose(), &rise).await.unwrap();
    let narrow = |standing: &mut Standing| {
        standing.elevated_until = None;
        standing.amr.clear();
        true
    };
    let (realm, user) = (&world.realm, &begun.session.user);
    // Of one session alone, where one is named.
    world.sessions.narrow(realm, user, Some(&other.session.id), narrow).await.unwrap();
    let kept = world.sessions.unended(realm, &begun.session.id).await.unwrap().unwrap();
    assert!(kept.standing.is_elevated(now(&world)));
    world.sessions.narrow(realm, user, None, narrow).await.unwrap();
    for value in [begun.cookie.expose(), &given(&risen)] {
        let passage = world.present(value).await.unwrap();
        assert!(!passage.is_elevated(now(&world)) && passage.session.standing.amr.is_empty());
    }
    let kept = world.present(other.cookie.expose()).await.unwrap();
    assert_eq!(kept.session.standing.amr, ["pwd"]);
    // Nothing is written where there is nothing to take.
    let before = world.present(other.cookie.expose()).await.unwrap().session;
    world.sessions.narrow(realm, &other.session.user, None, |_| false).await.unwrap();
    assert_eq!(world.present(other.cookie.expose()).await.unwrap().session, before);
}
