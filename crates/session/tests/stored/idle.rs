//! Sessions that go unused, and what may be forgotten about their use.

use std::{sync::Arc, time::Duration};

use tegata_session::{Limits, Presentation, Reason, Rise, SessionRefused, Traits, Verdict};
use tegata_store::{Adverse, MemoryEphemeral, Mischief};

use super::{
    stores::Store,
    world::{elsewhere, given, home, refused},
};

pub(crate) async fn an_unused_session_expires_after_half_an_hour(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    world.present(begun.cookie.expose()).await.unwrap();
    world.advance(1_799);
    let next = given(&world.present(begun.cookie.expose()).await.unwrap());
    world.present(&next).await.unwrap();
    // The minute that may be unwritten is the person's.
    world.advance(1_800 + 60);
    assert_eq!(world.verdict(&next).await, Verdict::Expired);
    assert!(world.sessions.find(&world.realm, &begun.session.id).await.unwrap().is_none());
    assert_eq!(world.told("SESSION_ENDED").await, 0, "time alone writes nothing");
}

/// The browser has the value before, because an answer was lost, or is in another network by now.
pub(crate) async fn what_has_slept_for_too_long_has_expired_whichever_value_is_shown_and_from_where(
    store: Store,
) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let (sid, first) = (&begun.session.id, begun.cookie.expose());
    world.advance(300);
    let second = given(&world.present(first).await.unwrap());
    world.advance(61);
    assert_eq!(world.verdict(first).await, Verdict::Superseded, "it goes on");
    // Its last use was 61 s ago, and the minute that may be unwritten is the person's.
    world.advance(1_800 + 60 - 61);
    for value in [first, &second] {
        assert_eq!(world.verdict(value).await, Verdict::Expired);
        assert_eq!(refused(world.present_from(value, &elsewhere()).await), Verdict::Expired);
        let (binding, traits) = (home(), Traits::default());
        let shown = Presentation { value, binding: &binding, traits: &traits, rotates: true };
        let vouched = world.sessions.present_vouched(&world.realm, &shown).await;
        assert_eq!(refused(vouched), Verdict::Expired);
        let rise = Rise { standing: begun.session.standing.clone(), requires: None };
        let raised = world.sessions.raise(&world.realm, &shown, &rise).await.unwrap_err();
        assert_eq!(raised, SessionRefused::Verdict(Verdict::Expired));
    }
    assert_eq!(world.told("SUSPICIOUS_SESSION_ACCESS").await, 1, "of the one while it went on");
    // Nothing of that is told to whoever has no genuine value, and nothing of what was ended.
    let made_up = first.replacen(".0.", ".1.", 1);
    for guess in [sid.as_str(), &made_up] {
        assert_eq!(world.verdict(guess).await, Verdict::Unknown);
    }
    world.sessions.end(&world.realm, sid, &Reason::Logout, "usr_1").await.unwrap();
    assert_eq!(world.verdict(first).await, Verdict::Ended);
}

pub(crate) async fn what_has_reached_its_end_has_expired_whichever_value_is_shown_and_from_where(
    store: Store,
) {
    let world = store.world().await;
    let mut values = vec![world.sign_in("usr_1").await.cookie.expose().clone()];
    for _ in 0..86_400 / 600 - 1 {
        world.advance(600);
        values.push(given(&world.present(values.last().unwrap()).await.unwrap()));
    }
    world.advance(600);
    let [.., earlier, latest] = &values[..] else { panic!("there are many") };
    for value in [&values[0], earlier, latest] {
        assert_eq!(world.verdict(value).await, Verdict::Expired);
        assert_eq!(refused(world.present_from(value, &elsewhere()).await), Verdict::Expired);
    }
    assert_eq!(world.told("SUSPICIOUS_SESSION_ACCESS").await, 0);
}

/// That somebody has a copy is worth knowing, however long it was not used.
pub(crate) async fn a_used_copy_from_elsewhere_is_told_of_though_the_session_slept(store: Store) {
    let world = store.world().await;
    let first = world.sign_in("usr_1").await.cookie.expose().clone();
    world.advance(300);
    let second = given(&world.present(&first).await.unwrap());
    world.present(&second).await.unwrap();
    world.advance(1_800 + 60);
    assert_eq!(refused(world.present_from(&first, &elsewhere()).await), Verdict::Replayed);
    assert_eq!(world.told("SUSPICIOUS_SESSION_ACCESS").await, 1);
    assert_eq!(world.verdict(&second).await, Verdict::Ended);
}

pub(crate) async fn a_session_in_use_ends_after_a_day(store: Store) {
    let world = store.world().await;
    let mut value = world.sign_in("usr_1").await.cookie.expose().clone();
    for _ in 0..86_400 / 600 - 1 {
        world.advance(600);
        value = given(&world.present(&value).await.unwrap());
    }
    world.advance(599);
    world.present(&value).await.unwrap();
    world.advance(1);
    assert_eq!(world.verdict(&value).await, Verdict::Expired);
}

pub(crate) async fn losing_what_is_known_of_its_use_signs_nobody_out_early(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    // Used shortly before a rotation is due: the record does not know of it.
    world.advance(299);
    world.present(begun.cookie.expose()).await.unwrap();
    world.advance(1_799);
    let empty = Arc::new(MemoryEphemeral::new(world.clock.clone()));
    let restarted = world.beside(world.records.clone(), empty, 3);
    restarted.present(begun.cookie.expose()).await.unwrap();
}

pub(crate) async fn losing_what_is_known_of_its_use_keeps_nobody_signed_in_for_long(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    world.advance(1_800 + 300);
    let empty = Arc::new(MemoryEphemeral::new(world.clock.clone()));
    let restarted = world.beside(world.records.clone(), empty, 3);
    assert_eq!(restarted.verdict(begun.cookie.expose()).await, Verdict::Expired);
}

pub(crate) async fn a_use_on_one_node_keeps_it_awake_on_another(store: Store) {
    let world = store.world().await;
    let other = world.neighbour();
    let begun = world.sign_in("usr_1").await;
    other.present(begun.cookie.expose()).await.unwrap();
    world.advance(250);
    world.present(begun.cookie.expose()).await.unwrap();
    world.advance(1_700);
    other.present(begun.cookie.expose()).await.unwrap();
}

pub(crate) async fn a_store_of_uses_that_is_away_signs_nobody_out(store: Store) {
    let world = store.world().await;
    let away = Mischief { delay: 0, fail: 1_000, lose: 0, repeat: 0 };
    let ephemeral = Arc::new(Adverse::new(world.ephemeral.clone(), 1, away));
    let node = world.beside(world.records.clone(), ephemeral, 3);
    let mut value = node.sign_in("usr_1").await.cookie.expose().clone();
    for _ in 0..20 {
        node.advance(1_500);
        value = given(&node.present(&value).await.unwrap());
    }
}

pub(crate) async fn a_listener_that_cannot_rotate_keeps_a_session_awake_through_a_loss(
    store: Store,
) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let presented = Presentation {
        value: begun.cookie.expose(),
        binding: &home(),
        traits: &Traits::default(),
        rotates: false,
    };
    for _ in 0..100 {
        world.advance(100);
        world.sessions.present(&world.realm, &presented).await.unwrap();
    }
    world.advance(1_799);
    let empty = Arc::new(MemoryEphemeral::new(world.clock.clone()));
    let restarted = world.beside(world.records.clone(), empty, 3);
    restarted.sessions.present(&world.realm, &presented).await.unwrap();
}

pub(crate) async fn uses_are_counted_and_written_once_a_minute(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let key = begun.session.id.as_str();
    let space = &tegata_session::sessions::ACCESSES;
    let mut revisions = std::collections::BTreeSet::new();
    for _ in 0..240 {
        world.present(begun.cookie.expose()).await.unwrap();
        let held = world.ephemeral.get(&world.realm, space, key).await.unwrap();
        revisions.extend(held.map(|held| held.revision));
        world.advance(1);
    }
    assert_eq!(revisions.len(), 4);
    let listed = world.sessions.list(&world.realm, &begun.session.user).await.unwrap();
    assert_eq!(listed[0].accesses, 240);
    let last = listed[0].last_access.since(begun.session.started).as_secs();
    assert_eq!(last, 239);
}

pub(crate) async fn sessions_in_use_are_counted_until_they_are_idle_or_have_ended(store: Store) {
    let world = store.world().await;
    assert_eq!(world.sessions.in_use(), 0);
    let (one, other) = (world.sign_in("usr_1").await, world.sign_in("usr_2").await);
    world.present(one.cookie.expose()).await.unwrap();
    world.advance(200);
    world.present(one.cookie.expose()).await.unwrap();
    world.present(other.cookie.expose()).await.unwrap();
    assert_eq!(world.sessions.in_use(), 2);
    let sid = &other.session.id;
    assert!(world.sessions.end(&world.realm, sid, &Reason::Logout, "usr_2").await.unwrap());
    assert_eq!(world.sessions.in_use(), 1);
    world.advance(1_801);
    assert_eq!(world.sessions.in_use(), 0);
}

/// What began before the limits were made stricter is judged by them, too; what is stricter stays so.
pub(crate) async fn stricter_limits_hold_for_sessions_that_are_there(store: Store) {
    let world = store.world().await;
    let begun = world.sign_in("usr_1").await;
    let (value, sid) = (begun.cookie.expose(), &begun.session.id);
    let limits = |idle, absolute| Limits {
        idle: Duration::from_secs(idle),
        absolute: Duration::from_secs(absolute),
        ..Limits::default()
    };
    world.advance(1_000);
    let (sleeps, ends) = (world.within(limits(600, 86_400)), world.within(limits(1_800, 1_000)));
    let lasts = world.within(limits(86_400, 604_800));
    for strict in [&sleeps, &ends] {
        assert_eq!(strict.verdict(value).await, Verdict::Expired);
        assert!(strict.sessions.find(&world.realm, sid).await.unwrap().is_none());
        let user = &begun.session.user;
        assert!(strict.sessions.list(&world.realm, user).await.unwrap().is_empty());
    }
    assert!(ends.sessions.unended(&world.realm, sid).await.unwrap().is_none());
    let next = given(&lasts.present(value).await.unwrap());
    world.advance(1_800 + 300);
    assert_eq!(lasts.verdict(&next).await, Verdict::Expired);
}
