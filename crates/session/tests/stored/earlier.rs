//! Records of earlier releases, byte for byte, with the cookies that browsers have of them: whoever was signed in before an
//! upgrade is so after it.

use tegata_core::{
    Batch, Expect,
    port::{Body, Change},
};
use tegata_session::{Part, SESSIONS, Said, Traits, Verdict, sessions::Name};

use super::{
    stores::Store,
    world::{World, given, home, refused},
};

/// A session of 2026-01-01, 00:00:00, whose cookie was replaced 300 s later; nobody has used its successor yet.
struct Frozen {
    sid: &'static str,
    user: &'static str,
    /// The values of its cookie: of both generations, as the root secret of these tests gives them.
    cookies: [&'static str; 2],
    /// The form, 1, and MessagePack.
    body: &'static [u8],
}

/// As the first release wrote it: without what browsers say of themselves, and without factors.
const FIRST: Frozen = Frozen {
    sid: "1.20456.RklSU1RGSVJTVEZJUlNURg",
    user: "usr_first",
    cookies: [
        "1.1.20456.RklSU1RGSVJTVEZJUlNURg.0.eaJdKOethoT3taeqvIoAYYdAN9U_-FY_Zi3eGRXujGQ",
        "1.1.20456.RklSU1RGSVJTVEZJUlNURg.1.8IVJFJVr-5gsSP4A167NdvBiY-k6phgFM0DDq2sWpqs",
    ],
    body: b"\
      \x01\x8e\xa2id\xbe1.20456.RklSU1RGSVJTVEZJUlNURg\xa4user\xa9usr_first\xa4salt\xdc\x00\x10ABC\
      DEFGHIJKLMNOP\xa7started\xcf\x00\x00\x01\x9bv\xda\xa8\x00\xa4ends\xcf\x00\x00\x01\x9b|\x01\
      \x04\x00\xabidle_millis\xce\x00\x1bw@\xa4seen\xcf\x00\x00\x01\x9bv\xdf;\xe0\xa7binding\x82\
      \xa7network\x81\xa2V4\x93\xcc\xc0\x00\x02\xa5agent\x82\xa6family\xa7Firefox\xa6system\xa5Lin\
      ux\xaageneration\x01\xa4made\xcf\x00\x00\x01\x9bv\xdf;\xe0\xa8handover\x83\xa4from\x00\xa5si\
      nce\xcf\x00\x00\x01\x9bv\xdf;\xe0\xa6before\xc0\xa8standing\x86\xa3acr\xa4aal1\xa3amr\x91\
      \xa3pwd\xa9auth_time\xceiU\xb9\x00\xaeelevated_until\xc0\xa9authority\x07\xa5roles\x91\xa8cu\
      stomer\xa4data\x80\xa5ended\xc0",
};

/// As it was written since sessions remember what browsers say of themselves: of this one, the language `ja`, the usual
/// codings, and the time zone `Asia/Tokyo`. The client `shop` keeps `cart_id` with it.
const BOUND: Frozen = Frozen {
    sid: "1.20456.Qk9VTkRCT1VOREJPVU5EQg",
    user: "usr_bound",
    cookies: [
        "1.1.20456.Qk9VTkRCT1VOREJPVU5EQg.0.MD88uQ3xrLY2pAVCOeqRW23Rm8Ra0Ze6vfOyq8EvteA",
        "1.1.20456.Qk9VTkRCT1VOREJPVU5EQg.1.tsUn0WOYAuqxvHrrLz8VChSO3TuninJiTVUbVrHyXpU",
    ],
    body: b"\
      \x01\x8f\xa2id\xbe1.20456.Qk9VTkRCT1VOREJPVU5EQg\xa4user\xa9usr_bound\xa4salt\xdc\x00\x10ABC\
      DEFGHIJKLMNOP\xa7started\xcf\x00\x00\x01\x9bv\xda\xa8\x00\xa4ends\xcf\x00\x00\x01\x9b|\x01\
      \x04\x00\xabidle_millis\xce\x00\x1bw@\xa4seen\xcf\x00\x00\x01\x9bv\xdf;\xe0\xa7binding\x82\
      \xa7network\x81\xa2V4\x93\xcc\xc0\x00\x02\xa5agent\x82\xa6family\xa7Firefox\xa6system\xa5Lin\
      ux\xabfingerprint\x82\xa4root\x01\xa5parts\x95\xcd\xe9\x10\xcd\x1dY\xc0\xcd\xb8\xf1\xc0\xaag\
      eneration\x01\xa4made\xcf\x00\x00\x01\x9bv\xdf;\xe0\xa8handover\x83\xa4from\x00\xa5since\xcf\
      \x00\x00\x01\x9bv\xdf;\xe0\xa6before\xc0\xa8standing\x87\xa3acr\xa4aal1\xa3amr\x91\xa3pwd\
      \xa9auth_time\xceiU\xb9\x00\xaeelevated_until\xc0\xa9authority\x07\xa5roles\x91\xa8customer\
      \xa7factors\x90\xa4data\x81\xacshop/cart_id\xa217\xa5ended\xc0",
};

impl Frozen {
    /// Puts it where it was, and lets the time pass until its cookie was replaced.
    async fn thawed(&self, world: &World) {
        let put = Change::Put {
            kind: &SESSIONS,
            key: self.sid.to_owned(),
            expect: Expect::Absent,
            body: Body::Plain(self.body.to_vec()),
            indexes: vec![("user", self.user.to_owned())],
        };
        world.records.commit(Batch::new(world.realm.clone()).with(put)).await.unwrap();
        world.advance(300);
    }
}

fn says(language: &str, hints: Option<&str>) -> Traits {
    let hints: Vec<_> = hints.into_iter().map(str::as_bytes).collect();
    let (language, codings): (&[&[u8]], &[&[u8]]) =
        (&[language.as_bytes()], &[b"gzip, deflate, br, zstd"]);
    Traits::of(&Said { language, codings, hints: &hints, range: false })
}

/// What every session does, and what each of them says of its person.
async fn goes_on(store: Store, frozen: &Frozen, traits: &Traits) {
    let world = store.apart().await;
    frozen.thawed(&world).await;
    let [earlier, later] = frozen.cookies;
    // The answer with the later value may have been lost: the earlier one is given it again.
    let again = world.present_as(earlier, &home(), traits).await.unwrap();
    assert_eq!(given(&again), later);
    let passage = world.present_as(later, &home(), traits).await.unwrap();
    let session = &passage.session;
    assert_eq!((session.id.as_str(), session.user.as_str()), (frozen.sid, frozen.user));
    assert_eq!(session.standing.roles, ["customer"]);
    assert_eq!((session.standing.auth_time, session.standing.authority), (1_767_225_600, 7));
    assert!(session.standing.factors.is_empty() && session.handover.is_none());
    // It rotates, is listed and ends as all others do.
    world.advance(300);
    let next = given(&world.present_as(later, &home(), traits).await.unwrap());
    assert_ne!(next, later);
    world.present_as(&next, &home(), traits).await.unwrap();
    let listed = world.sessions.list(&world.realm, &session.user).await.unwrap();
    assert_eq!(listed.len(), 1);
    let copied = world.present_as(later, &super::world::elsewhere(), traits).await;
    assert_eq!(refused(copied), Verdict::Replayed);
    assert_eq!(refused(world.present_as(&next, &home(), traits).await), Verdict::Ended);
}

pub(crate) async fn a_session_of_the_first_release_goes_on(store: Store) {
    // It remembers nothing of what browsers say, so each may say what it wants.
    for traits in [Traits::default(), says("de", None), says("ja", Some("tz=UTC"))] {
        goes_on(store, &FIRST, &traits).await;
    }
}

pub(crate) async fn a_session_that_remembers_its_browser_goes_on_and_is_nobody_elses(store: Store) {
    for hints in [None, Some("tz=Asia/Tokyo"), Some("tz=Asia/Tokyo,screen=1x1x8,plugins=00000000")]
    {
        goes_on(store, &BOUND, &says("ja", hints)).await;
    }
    let world = store.apart().await;
    BOUND.thawed(&world).await;
    let [_, later] = BOUND.cookies;
    for (traits, part) in [
        (says("de", None), Part::AcceptLanguage),
        (Traits::default(), Part::AcceptLanguage),
        (says("de", Some("tz=UTC")), Part::AcceptLanguage),
    ] {
        let copied = world.present_as(later, &home(), &traits).await;
        assert_eq!(refused(copied), Verdict::Bound(part));
    }
}

pub(crate) async fn what_an_application_kept_with_it_is_still_there(store: Store) {
    let world = store.apart().await;
    BOUND.thawed(&world).await;
    let sid = tegata_core::SessionId::new(BOUND.sid).unwrap();
    let kept = world.sessions.data(&world.realm, &sid, "shop").await.unwrap().unwrap();
    assert_eq!(kept["cart_id"].value, "17");
    let name = Name { owner: "shop", name: "cart_id" };
    let expected = tegata_session::sessions::Expected::Anything;
    world.sessions.set_data(&world.realm, &sid, name, Some("18"), &expected).await.unwrap();
    let [_, later] = BOUND.cookies;
    world.present_as(later, &home(), &says("ja", None)).await.unwrap();
    let kept = world.sessions.data(&world.realm, &sid, "shop").await.unwrap().unwrap();
    assert_eq!(kept["cart_id"].value, "18");
}
