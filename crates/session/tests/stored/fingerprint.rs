//! Browsers that say something of themselves, and thieves that say something else.

use std::time::Duration;

use tegata_core::{Clock as _, Expect, Kind, Stored};
use tegata_session::{
    Beginning, Begun, Part, Presentation, Rise, SESSIONS, Said, Session, SessionRefused, Standing,
    Traits, Verdict,
};

use super::{
    stores::Store,
    world::{World, beginning, elsewhere, given, home, refused},
};

const DESK: &str = "screen=1920x1080x24,tz=Europe/Berlin,plugins=5f0a31c2";
const PHONE: &str = "screen=412x915x24,tz=Asia/Tokyo,plugins=00000000";

/// What a browser says with a navigation, in this language.
fn navigation(language: &str) -> Traits {
    says(language, None)
}

/// What a script of it says.
fn script(language: &str, hints: &str) -> Traits {
    says(language, Some(hints))
}

fn says(language: &str, hints: Option<&str>) -> Traits {
    let hints: Vec<_> = hints.into_iter().map(str::as_bytes).collect();
    Traits::of(&Said {
        language: &[language.as_bytes()],
        codings: &[b"gzip, deflate, br, zstd"],
        hints: &hints,
        range: false,
    })
}

async fn sign_in(world: &World, traits: Traits) -> Begun {
    let beginning = Beginning { traits, ..beginning("usr_1") };
    world.sessions.begin(&world.realm, &beginning).await.unwrap()
}

/// The part for which a cookie was refused.
async fn differs(world: &World, value: &str, traits: &Traits) -> Part {
    match refused(world.present_as(value, &home(), traits).await) {
        Verdict::Bound(part) => part,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_thief_in_the_same_network_is_found_by_the_language(store: Store) {
    let world = store.world().await;
    let begun = sign_in(&world, navigation("de-DE,de;q=0.9,en;q=0.5")).await;
    let value = begun.cookie.expose();
    let part = differs(&world, value, &navigation("en-US,en;q=0.9")).await;
    assert_eq!(part, Part::AcceptLanguage);
    assert_eq!(differs(&world, value, &Traits::default()).await, Part::AcceptLanguage);
    let journal = world.journal().await;
    let told = journal.iter().filter(|(kind, _)| kind == "SUSPICIOUS_SESSION_ACCESS");
    let told: Vec<_> = told.map(|(_, data)| data).collect();
    assert_eq!(told.len(), 1, "once a minute: {told:?}");
    assert_eq!(told[0]["session_id"], begun.session.id.as_str());
    assert_eq!(told[0]["part"], "accept_language");
    // Its owner is not signed out by it.
    world.present_as(value, &home(), &navigation("de-de,de;q=0.8")).await.unwrap();
}

pub(crate) async fn hints_are_remembered_when_they_are_first_sent(store: Store) {
    let world = store.world().await;
    // By a form: nothing but the three.
    let begun = sign_in(&world, navigation("ja")).await;
    let value = begun.cookie.expose();
    let own = script("ja", DESK);
    let passage = world.present_as(value, &home(), &own).await.unwrap();
    assert!(passage.cookie.is_none(), "the cookie stays what it is");
    let stored = world.stored(&begun.session.id).await;
    assert_ne!(stored.fingerprint, begun.session.fingerprint);
    assert_eq!(differs(&world, value, &script("ja", PHONE)).await, Part::Screen);
    // Nobody else's take their place, and a navigation has none.
    world.present_as(value, &home(), &own).await.unwrap();
    world.present_as(value, &home(), &navigation("ja")).await.unwrap();
    assert_eq!(world.stored(&begun.session.id).await, stored, "written once");
}

/// A laptop: taken from its screen, then to another zone, through a tunnel to the same network.
pub(crate) async fn whoever_changes_one_thing_after_another_is_never_signed_out(store: Store) {
    const UNDOCKED: &str = "screen=1440x900x30,tz=Europe/Berlin,plugins=5f0a31c2";
    const TRAVELLED: &str = "screen=1440x900x30,tz=Asia/Tokyo,plugins=5f0a31c2";
    let world = store.world().await;
    let begun = sign_in(&world, navigation("de")).await;
    let mut value = begun.cookie.expose().to_owned();
    world.present_as(&value, &home(), &script("de", DESK)).await.unwrap();
    let stored = world.stored(&begun.session.id).await;
    // Windows on two screens: as long as nothing else is written, nothing is written for it.
    for hints in [UNDOCKED, DESK, UNDOCKED] {
        world.present_as(&value, &home(), &script("de", hints)).await.unwrap();
    }
    assert_eq!(world.stored(&begun.session.id).await, stored);
    assert_eq!(differs(&world, &value, &script("de", TRAVELLED)).await, Part::Screen);
    for hints in [UNDOCKED, TRAVELLED, TRAVELLED] {
        world.advance(300);
        let presented = world.present_as(&value, &home(), &script("de", hints)).await.unwrap();
        value = given(&presented);
        world.present_as(&value, &home(), &navigation("de")).await.unwrap();
        world.present_as(&value, &home(), &script("de", hints)).await.unwrap();
    }
    assert_eq!(differs(&world, &value, &script("de", DESK)).await, Part::Screen);
    assert_eq!(differs(&world, &value, &script("en", UNDOCKED)).await, Part::AcceptLanguage);
}

/// Where only a listener serves that gives no cookies, too.
pub(crate) async fn a_listener_that_does_not_rotate_follows_once_in_a_rotation(store: Store) {
    const MOVED: &str = "screen=1920x1080x24,tz=Asia/Tokyo,plugins=5f0a31c2";
    let world = store.world().await;
    let begun = sign_in(&world, script("de", DESK)).await;
    let traits = script("de", MOVED);
    let value = begun.cookie.expose();
    let shown = Presentation { value, binding: &home(), traits: &traits, rotates: false };
    world.sessions.present(&world.realm, &shown).await.unwrap();
    let before = world.stored(&begun.session.id).await.fingerprint;
    assert_eq!(before, begun.session.fingerprint);
    world.advance(300);
    world.sessions.present(&world.realm, &shown).await.unwrap();
    assert_ne!(world.stored(&begun.session.id).await.fingerprint, before);
}

/// Who holds an earlier value may be somebody else: they change nothing of what is remembered.
pub(crate) async fn an_earlier_value_changes_no_hints(store: Store) {
    const MOVED: &str = "screen=1920x1080x24,tz=Asia/Tokyo,plugins=5f0a31c2";
    let world = store.world().await;
    let begun = sign_in(&world, script("de", DESK)).await;
    let first = begun.cookie.expose();
    world.advance(300);
    world.present_as(first, &home(), &script("de", DESK)).await.unwrap();
    world.present_as(first, &home(), &script("de", MOVED)).await.unwrap();
    let stored = world.stored(&begun.session.id).await;
    assert_eq!(stored.fingerprint, begun.session.fingerprint);
}

pub(crate) async fn whoever_says_hints_of_their_own_first_shows_themselves(store: Store) {
    let world = store.world().await;
    let begun = sign_in(&world, navigation("ja")).await;
    let value = begun.cookie.expose();
    world.present_as(value, &home(), &script("ja", PHONE)).await.unwrap();
    // The owner's scripts are refused, which cannot be overlooked; their pages go on.
    assert_eq!(differs(&world, value, &script("ja", DESK)).await, Part::Screen);
    world.present_as(value, &home(), &navigation("ja")).await.unwrap();
    assert_eq!(world.told("SUSPICIOUS_SESSION_ACCESS").await, 1);
}

pub(crate) async fn what_is_remembered_survives_a_rotation_and_is_renewed_by_a_rise(store: Store) {
    let world = store.world().await;
    let begun = sign_in(&world, script("ja", DESK)).await;
    world.advance(300);
    let own = script("ja", DESK);
    let next = given(&world.present_as(begun.cookie.expose(), &home(), &own).await.unwrap());
    assert_eq!(world.stored(&begun.session.id).await.fingerprint, begun.session.fingerprint);
    // The person moves to another screen and proves themselves there.
    let docked = script("ja", "screen=3840x2160x30,tz=Europe/Berlin,plugins=5f0a31c2");
    let standing = Standing {
        elevated_until: Some(world.clock.now() + Duration::from_secs(300)),
        ..begun.session.standing.clone()
    };
    let shown = Presentation { value: &next, binding: &home(), traits: &docked, rotates: true };
    let rise = Rise { standing, requires: None };
    let raised = world.sessions.raise(&world.realm, &shown, &rise).await.unwrap().unwrap();
    // From there, the language may change, too.
    let english = script("en", "screen=3840x2160x30,tz=Europe/Berlin,plugins=5f0a31c2");
    world.present_as(&given(&raised), &home(), &english).await.unwrap();
}

pub(crate) async fn a_thief_who_says_something_else_raises_nothing(store: Store) {
    let world = store.world().await;
    let begun = sign_in(&world, script("ja", DESK)).await;
    let traits = navigation("en");
    let (value, standing) = (begun.cookie.expose(), begun.session.standing.clone());
    let shown = Presentation { value, binding: &home(), traits: &traits, rotates: true };
    let rise = Rise { standing, requires: None };
    let refused = world.sessions.raise(&world.realm, &shown, &rise).await.unwrap_err();
    assert_eq!(refused, SessionRefused::Verdict(Verdict::Bound(Part::AcceptLanguage)));
    assert_eq!(world.stored(&begun.session.id).await, begun.session);
}

pub(crate) async fn an_old_value_by_another_browser_ends_the_session(store: Store) {
    let world = store.world().await;
    let own = navigation("ja");
    let begun = sign_in(&world, own.clone()).await;
    world.advance(300);
    let next = given(&world.present_as(begun.cookie.expose(), &home(), &own).await.unwrap());
    world.present_as(&next, &home(), &own).await.unwrap();
    let thief = world.present_as(begun.cookie.expose(), &home(), &navigation("en")).await;
    assert_eq!(refused(thief), Verdict::Replayed);
    let owner = world.present_as(&next, &home(), &own).await;
    assert_eq!(refused(owner), Verdict::Ended);
}

pub(crate) async fn the_network_is_compared_first(store: Store) {
    let world = store.world().await;
    let begun = sign_in(&world, navigation("ja")).await;
    let moved = world.present_as(begun.cookie.expose(), &elsewhere(), &navigation("en")).await;
    assert_eq!(refused(moved), Verdict::Bound(Part::Network));
}

/// A session as it was stored before there were fingerprints.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
struct Older(serde_json::Value);

impl Stored for Older {
    const KIND: &'static Kind = &SESSIONS;
    const FORM: u8 = Session::FORM;

    fn key(&self) -> &str {
        self.0["id"].as_str().unwrap()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("user", self.0["user"].as_str().unwrap().to_owned())]
    }
}

pub(crate) async fn a_session_of_an_older_release_is_served_as_it_was(store: Store) {
    let world = store.world().await;
    let begun = sign_in(&world, navigation("ja")).await;
    let mut older = serde_json::to_value(&begun.session).unwrap();
    let members = older.as_object_mut().unwrap();
    assert!(members.remove("fingerprint").is_some() && members.remove("data").is_some());
    let put = Older(older).put(Expect::Any);
    let batch = tegata_core::Batch::new(world.realm.clone()).with(put);
    world.records.commit(batch).await.unwrap();
    let value = begun.cookie.expose();
    for traits in [Traits::default(), navigation("ja"), navigation("en")] {
        world.present_as(value, &home(), &traits).await.unwrap();
    }
    // Three hints are three parts with the user agent, and are compared from then on.
    world.present_as(value, &home(), &script("ja", DESK)).await.unwrap();
    assert_eq!(differs(&world, value, &script("ja", PHONE)).await, Part::Screen);
    world.present_as(value, &home(), &navigation("ja")).await.unwrap();
}
