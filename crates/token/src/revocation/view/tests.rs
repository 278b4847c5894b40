use std::sync::Arc;

use tegata_core::{
    Clock as _, Epoch, FamilyId, KeyId, ManualClock, SeededEntropy, SessionId, TokenId,
};

use super::*;
use crate::{
    Algorithm, Claims, Lineage, ListId, SigningKey, StatusIndex, VerifyingKey, jws,
    revocation::{Pushed, Revoked, Target},
    verifier::{AccessToken, Expected, ExpectedAudience, KeySet, Memory, Verifier},
};

struct Bench {
    clock: Arc<ManualClock>,
    view: View,
    realm: Realm,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let view = View::new(node);
        Self { clock, view, realm: Realm::default() }
    }

    fn entry(&self, target: Target, places: Vec<StatusIndex>) -> Entry {
        let at = self.clock.now();
        let until = at + Duration::from_secs(1800);
        Entry { target, places, at, until, reason: "test".into(), actor: "system".into() }
    }

    fn apply(&self, target: Target, places: Vec<StatusIndex>) {
        self.view.apply(&self.realm, &self.entry(target, places));
    }

    fn check(&self, claims: &Claims, place: Option<StatusIndex>) -> Option<Revoked> {
        self.view.realm(&self.realm).check_claims(claims, place, "key-1")
    }

    fn claims(&self) -> Claims {
        Claims {
            sub: "usr_1".into(),
            jti: "1.a".into(),
            fid: Some("1.9.f".into()),
            sid: Some("1.9.s".into()),
            client_id: Some("web".into()),
            iat: self.clock.now().secs(),
            ..Claims::default()
        }
    }

    fn place(&self, index: u32) -> StatusIndex {
        let slot = ListId::slot_at(self.clock.now());
        StatusIndex { list: ListId { epoch: Epoch::FIRST, slot, number: 0 }, index }
    }
}

#[test]
fn refuses_by_every_name_of_what_a_token_was_made_from() {
    let lineage = |bench: &Bench| Lineage {
        jti: vec!["1.between".into()],
        client: vec!["agent".into()],
        kid: vec!["key-0".into()],
        place: vec![bench.place(7)],
        iat: None,
        acted: None,
        began: None,
    };
    let up_to = |bench: &Bench| bench.clock.now();
    type Makes<'a> = &'a dyn Fn(&Bench) -> (Target, Vec<StatusIndex>);
    let targets: [(Makes<'_>, Revoked); 5] = [
        (&|_| (Target::Token(TokenId::new("1.between").unwrap()), vec![]), Revoked::Token),
        // A token with a place is known by it alone.
        (&|it| (Target::Token(TokenId::new("1.x").unwrap()), vec![it.place(7)]), Revoked::Token),
        (
            &|it| (Target::Client { client: "agent".parse().unwrap(), up_to: up_to(it) }, vec![]),
            Revoked::Client,
        ),
        (
            &|it| {
                let (sub, up_to) = ("agent".into(), up_to(it));
                (Target::Subject { sub, up_to, tokens_only: false }, vec![])
            },
            Revoked::Client,
        ),
        (&|_| (Target::Key(KeyId::new("key-0").unwrap()), vec![]), Revoked::Key),
    ];
    for (target, by) in targets {
        let bench = Bench::new();
        let derived = Claims { lineage: lineage(&bench).claim(), ..bench.claims() };
        assert_eq!(bench.check(&derived, None), None);
        let (target, places) = target(&bench);
        bench.apply(target, places);
        assert_eq!(bench.check(&derived, None), Some(by));
        assert_eq!(bench.check(&bench.claims(), None), None, "what has another lineage goes on");
    }
}

#[test]
fn what_was_made_later_is_as_old_as_what_it_was_made_from() {
    let bench = Bench::new();
    let first = bench.claims();
    bench.clock.advance(Duration::from_secs(5));
    let up_to = bench.clock.now();
    bench.clock.advance(Duration::from_secs(5));
    let lineage = Lineage { iat: Some(first.iat), ..Lineage::default() }.claim();
    let later = Claims { iat: bench.clock.now().secs(), lineage, ..first };
    assert_eq!(bench.check(&later, None), None);
    bench.apply(Target::Subject { sub: "usr_1".into(), up_to, tokens_only: false }, vec![]);
    assert_eq!(bench.check(&later, None), Some(Revoked::Subject));
    let alone = Claims { lineage: None, ..later };
    assert_eq!(bench.check(&alone, None), None);
}

/// A node that has not heard yet that somebody signed out everywhere goes on to make tokens, of tokens and
/// of sessions from before.
#[test]
fn what_is_made_after_a_moment_of_what_was_had_before_falls_by_every_name_that_has_a_moment() {
    let sub = |up_to, tokens_only| Target::Subject { sub: "usr_1".into(), up_to, tokens_only };
    let client = |up_to| Target::Client { client: "web".parse().unwrap(), up_to };
    type Makes<'a> = &'a dyn Fn(Timestamp) -> Target;
    let (everything, rights): (Makes<'_>, Makes<'_>) = (&|at| sub(at, false), &|at| sub(at, true));
    for (target, falls_of_token, falls_of_session) in
        [(everything, true, true), (rights, true, false), (&client, true, false)]
    {
        let bench = Bench::new();
        let first = bench.claims();
        bench.clock.advance(Duration::from_secs(5));
        let target = target(bench.clock.now());
        bench.clock.advance(Duration::from_secs(5));
        let now = bench.clock.now().secs();
        let mut of_token = Lineage::of(&first, "key-1");
        of_token.first_issued(first.first_issued(), now);
        let original_jti = Some(first.jti.clone());
        let of_token = Claims {
            jti: "1.b".into(),
            iat: now,
            original_jti,
            lineage: of_token.claim(),
            ..first.clone()
        };
        // And what is made of that, by another client.
        let mut twice = Lineage::of(&of_token, "key-2");
        twice.first_issued(of_token.first_issued(), now + 1);
        let twice = Claims {
            jti: "1.c".into(),
            client_id: Some("orders".into()),
            iat: now + 1,
            lineage: twice.claim(),
            ..of_token.clone()
        };
        let began = Lineage { began: Some(first.iat), ..Lineage::default() };
        let of_session = Claims { iat: now, lineage: began.claim(), ..first.clone() };
        let mut of_that = Lineage::of(&of_session, "key-1");
        of_that.first_issued(of_session.first_issued(), now + 1);
        let of_that = Claims { iat: now + 1, lineage: of_that.claim(), ..of_session.clone() };
        let all = [&of_token, &twice, &of_session, &of_that];
        assert!(all.iter().all(|claims| bench.check(claims, None).is_none()));
        bench.apply(target, vec![]);
        let refused = all.map(|claims| bench.check(claims, None).is_some());
        let (token, session) = (falls_of_token, falls_of_session);
        assert_eq!(refused, [token, token, session, session]);
        let fresh = Claims { iat: now, ..first };
        assert_eq!(bench.check(&fresh, None), None, "what began later goes on");
    }
}

#[test]
fn what_outlives_its_session_falls_with_all_but_that_and_so_does_what_is_made_of_it() {
    let bench = Bench::new();
    let bound = bench.claims();
    let offline = Claims { outlives_session: true, ..bound.clone() };
    bench.apply(Target::Session(SessionId::new("1.9.s").unwrap()), vec![]);
    assert_eq!(bench.check(&bound, None), Some(Revoked::Session));
    assert_eq!(bench.check(&offline, None), None);
    let family = Target::Family(FamilyId::new("1.9.f").unwrap());
    let (sub, up_to) = ("usr_1".into(), bench.clock.now());
    let subject = Target::Subject { sub, up_to, tokens_only: false };
    for (target, by) in [(family, Revoked::Family), (subject, Revoked::Subject)] {
        let bench = Bench::new();
        bench.apply(target, vec![]);
        assert_eq!(bench.check(&offline, None), Some(by));
    }
}

/// Somebody who acts by a token of a while ago, for a person whose token is newer than what took the
/// actor back.
#[test]
fn what_an_actor_made_falls_with_the_actor_however_new_the_subjects_token_is() {
    for subject in [false, true] {
        let bench = Bench::new();
        let had = bench.claims().iat;
        bench.clock.advance(Duration::from_secs(5));
        let up_to = bench.clock.now();
        bench.clock.advance(Duration::from_secs(5));
        let lineage = Lineage { client: vec!["agent".into()], ..Lineage::default() };
        let acted = Lineage { acted: Some(had), ..lineage.clone() };
        let derived = Claims { lineage: acted.claim(), ..bench.claims() };
        bench.apply(
            if subject {
                Target::Subject { sub: "agent".into(), up_to, tokens_only: false }
            } else {
                Target::Client { client: "agent".parse().unwrap(), up_to }
            },
            vec![],
        );
        assert_eq!(bench.check(&derived, None), Some(Revoked::Client));
        // By a token that the actor was given since, it goes on.
        let since = Lineage { acted: Some(bench.clock.now().secs()), ..lineage };
        let since = Claims { lineage: since.claim(), ..bench.claims() };
        assert_eq!(bench.check(&since, None), None);
    }
}

#[test]
fn refuses_by_every_name_a_token_has() {
    let sub = |bench: &Bench| Target::Subject {
        sub: "usr_1".into(),
        up_to: bench.clock.now(),
        tokens_only: false,
    };
    let client =
        |bench: &Bench| Target::Client { client: "web".parse().unwrap(), up_to: bench.clock.now() };
    type Makes<'a> = &'a dyn Fn(&Bench) -> Target;
    let targets: [(Makes<'_>, Revoked); 6] = [
        (&|_| Target::Token(TokenId::new("1.a").unwrap()), Revoked::Token),
        (&|_| Target::Family(FamilyId::new("1.9.f").unwrap()), Revoked::Family),
        (&|_| Target::Session(SessionId::new("1.9.s").unwrap()), Revoked::Session),
        (&sub, Revoked::Subject),
        (&client, Revoked::Client),
        (&|_| Target::Key(KeyId::new("key-1").unwrap()), Revoked::Key),
    ];
    for (target, by) in targets {
        let bench = Bench::new();
        assert_eq!(bench.check(&bench.claims(), Some(bench.place(1))), None);
        bench.apply(target(&bench), vec![]);
        assert_eq!(bench.check(&bench.claims(), Some(bench.place(1))), Some(by));
        let other = Claims {
            sub: "usr_2".into(),
            jti: "1.b".into(),
            fid: None,
            sid: None,
            client_id: Some("other".into()),
            ..bench.claims()
        };
        let spared = bench.view.realm(&bench.realm).check_claims(&other, None, "key-2");
        assert_eq!(spared, None, "{by:?}");
    }
}

#[test]
fn what_was_made_from_a_token_falls_with_it() {
    let bench = Bench::new();
    bench.apply(Target::Token(TokenId::new("1.a").unwrap()), vec![]);
    let derived = Claims { jti: "1.b".into(), original_jti: Some("1.a".into()), ..bench.claims() };
    assert_eq!(bench.check(&derived, None), Some(Revoked::Token));
}

#[test]
fn a_place_is_refused_exactly() {
    let bench = Bench::new();
    let target = Target::Token(TokenId::new("1.zzz").unwrap());
    bench.apply(target, vec![bench.place(5), bench.place(700_000)]);
    for (index, refused) in [(5, true), (700_000, true), (4, false), (6, false)] {
        let by = bench.check(&bench.claims(), Some(bench.place(index)));
        assert_eq!(by, refused.then_some(Revoked::Token), "{index}");
    }
    let elsewhere =
        StatusIndex { list: ListId { number: 1, ..bench.place(5).list }, ..bench.place(5) };
    assert_eq!(bench.check(&bench.claims(), Some(elsewhere)), None);
}

#[test]
fn realms_do_not_touch_each_other() {
    let bench = Bench::new();
    bench.apply(Target::Token(TokenId::new("1.a").unwrap()), vec![bench.place(5)]);
    let other = bench.view.realm(&Realm::new("other").unwrap());
    assert_eq!(other.check_claims(&bench.claims(), Some(bench.place(5)), "key-1"), None);
}

#[test]
fn everything_up_to_a_moment_spares_what_is_issued_after() {
    let bench = Bench::new();
    let up_to = bench.clock.now() + Duration::from_millis(500);
    bench.apply(Target::Subject { sub: "usr_1".into(), up_to, tokens_only: false }, vec![]);
    let issued = |iat| Claims { iat, ..bench.claims() };
    let second = up_to.secs();
    assert_eq!(bench.check(&issued(second), None), Some(Revoked::Subject));
    assert_eq!(bench.check(&issued(second + 1), None), None);
    let view = bench.view.realm(&bench.realm);
    assert_eq!(view.earliest_issue("usr_1", Some("web")), second + 1);
    assert_eq!(view.earliest_issue("usr_2", Some("web")), 0);
    // An earlier mark that arrives later changes nothing.
    bench.apply(
        Target::Subject { sub: "usr_1".into(), up_to: Timestamp::from_secs(1), tokens_only: false },
        vec![],
    );
    assert_eq!(bench.check(&issued(second), None), Some(Revoked::Subject));
}

#[test]
fn order_and_repetition_do_not_matter() {
    let entries = |bench: &Bench| {
        vec![
            bench.entry(Target::Token(TokenId::new("1.a").unwrap()), vec![]),
            bench.entry(Target::Token(TokenId::new("1.b").unwrap()), vec![bench.place(1)]),
            bench.entry(
                Target::Subject {
                    sub: "usr_1".into(),
                    up_to: bench.clock.now(),
                    tokens_only: false,
                },
                vec![],
            ),
            bench.entry(Target::Family(FamilyId::new("1.9.f").unwrap()), vec![bench.place(2)]),
        ]
    };
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let bench = Bench::new();
        let all = entries(&bench);
        for index in order.into_iter().chain(order) {
            bench.view.apply(&bench.realm, &all[index]);
        }
        let view = bench.view.realm(&bench.realm);
        assert!(view.is_listed(bench.place(1)) && view.is_listed(bench.place(2)));
        assert!(view.tokens.covers("1.a", 0) && view.families.covers("1.9.f", 0));
        assert_eq!(view.list(bench.place(1).list).unwrap().count(), 2);
    }
}

#[test]
fn forgets_what_can_name_nothing_alive_and_not_a_moment_earlier() {
    let bench = Bench::new();
    let place = bench.place(1);
    bench.apply(Target::Token(TokenId::new("1.a").unwrap()), vec![place]);
    bench.clock.jump(place.list.closes() + GRACE - Duration::from_millis(1));
    bench.view.forget();
    assert_eq!(bench.check(&bench.claims(), Some(place)), Some(Revoked::Token));
    bench.clock.advance(Duration::from_millis(1));
    bench.view.forget();
    assert_eq!(bench.check(&bench.claims(), Some(place)), None);
    assert!(bench.view.realm(&bench.realm).lists.load().is_empty());
}

/// The clock goes wrong by five minutes, and what is given or forgotten in the meantime is looked at
/// when it is right again: at the moment before the token dies.
#[test]
fn nothing_is_forgotten_by_a_clock_that_is_wrong_for_a_while() {
    type Names<'a> = &'a dyn Fn(&Bench) -> Target;
    let token: Names<'_> = &|_| Target::Token(TokenId::new("1.a").unwrap());
    let family: Names<'_> = &|_| Target::Family(FamilyId::new("1.9.f").unwrap());
    for (target, placed) in [(token, true), (token, false), (family, false)] {
        for given_while_wrong in [true, false] {
            let bench = Bench::new();
            let place = bench.place(1);
            let dies = place.list.closes() + LONGEST_ACCESS;
            let right = dies - Duration::from_secs(1);
            let mut entry =
                bench.entry(target(&bench), placed.then_some(place).into_iter().collect());
            entry.until = dies;
            if !given_while_wrong {
                bench.view.apply(&bench.realm, &entry);
            }
            bench.clock.jump(right + Duration::from_secs(300));
            bench.view.apply(&bench.realm, &entry);
            bench.view.forget();
            bench.clock.jump(right);
            let by = bench.check(&bench.claims(), Some(place));
            assert!(by.is_some(), "{:?}, placed: {placed}", entry.target);
        }
    }
}

#[test]
fn a_list_whose_tokens_are_dead_is_not_brought_back() {
    let bench = Bench::new();
    let place = bench.place(1);
    let mut entry = bench.entry(Target::Family(FamilyId::new("1.9.f").unwrap()), vec![place]);
    entry.until = bench.clock.now() + Duration::from_secs(86_400);
    bench.clock.jump(place.list.closes() + GRACE);
    bench.view.apply(&bench.realm, &entry);
    assert!(bench.view.realm(&bench.realm).lists.load().is_empty());
}

#[test]
fn what_is_pushed_is_applied_and_what_is_no_message_or_too_large_is_not() {
    let pushed = |bench: &Bench, places: u32, reason: String| {
        let target = Target::Token(TokenId::new("1.zzz").unwrap());
        let places = (0..places).map(|index| bench.place(index)).collect();
        let entry = Entry { reason, ..bench.entry(target, places) };
        Pushed { realm: bench.realm.clone(), entry, by: None, perhaps: false }.to_bytes()
    };
    let heard = |message: &[u8]| {
        let bench = Bench::new();
        if let Some(pushed) = Pushed::from_bytes(message) {
            bench.view.apply(&pushed.realm, &pushed.entry);
        }
        bench.check(&bench.claims(), Some(bench.place(0)))
    };
    let bench = Bench::new();
    let good = pushed(&bench, 17, "x".repeat(1000));
    assert_eq!(heard(&good), Some(Revoked::Token));
    for bad in [
        pushed(&bench, 65, String::new()),
        pushed(&bench, 1, "x".repeat(Pushed::LONGEST)),
        good[..good.len() - 1].to_vec(),
        [&[9], &good[1..]].concat(),
        vec![0xdd; 16],
        Vec::new(),
    ] {
        assert_eq!(heard(&bad), None);
    }
}

#[test]
fn says_that_it_is_stale_until_the_log_has_been_read() {
    let bench = Bench::new();
    assert_eq!(bench.view.staleness(), None);
}

#[test]
fn who_may_do_less_keeps_the_session_and_no_token_of_before() {
    let bench = Bench::new();
    let (claims, realm) = (bench.claims(), bench.view.realm(&bench.realm));
    assert!(!realm.has_changed("usr_1") && realm.earliest_token("usr_1") == 0);
    let up_to = bench.clock.now();
    bench.apply(Target::Subject { sub: "usr_1".into(), up_to, tokens_only: true }, vec![]);
    assert_eq!(bench.check(&claims, None), Some(Revoked::Subject));
    assert_eq!(realm.check_grant(&claims, None, "key-1"), None);
    assert!(realm.has_changed("usr_1") && !realm.has_changed("usr_2"));
    // What is issued from then on begins where it counts.
    assert_eq!(realm.earliest_issue("usr_1", None), 0);
    let iat = realm.earliest_token("usr_1");
    assert_eq!(bench.check(&Claims { iat, ..claims.clone() }, None), None);
    // Everything is more than that.
    bench.apply(Target::Subject { sub: "usr_1".into(), up_to, tokens_only: false }, vec![]);
    assert_eq!(realm.check_grant(&claims, None, "key-1"), Some(Revoked::Subject));
}

#[test]
fn an_entry_of_before_there_were_changes_of_permissions_is_read_as_it_was_meant() {
    #[derive(serde::Serialize)]
    enum OldTarget {
        Subject { sub: String, up_to: Timestamp },
    }
    let bench = Bench::new();
    let up_to = bench.clock.now();
    let old = OldTarget::Subject { sub: "usr_1".into(), up_to };
    let old = tegata_core::repository::encode(1, &old);
    let new = Target::Subject { sub: "usr_1".into(), up_to, tokens_only: false };
    assert_eq!(tegata_core::repository::decode_bytes::<Target>(1, &old).unwrap(), new);
}

/// An entry of a later version, which takes back something that this one does not know.
#[derive(serde::Serialize)]
struct Later {
    target: LaterTarget,
    places: Vec<StatusIndex>,
    at: Timestamp,
    until: Timestamp,
    reason: String,
    actor: String,
}

#[derive(serde::Serialize)]
enum LaterTarget {
    Planet { name: String },
}

#[test]
fn an_entry_that_is_not_understood_is_never_passed_over() {
    use futures_util::FutureExt as _;
    use tegata_core::{Batch, EventId, port::Append};
    let bench = Bench::new();
    let clock: Arc<dyn tegata_core::Clock> = bench.clock.clone();
    let records = tegata_store::MemoryRecords::new(&[], clock).unwrap();
    let append = |body: Vec<u8>| {
        let id = EventId::generate(&SeededEntropy::new(1));
        let append = Append { log: Log::Revocations, id, body };
        let batch = Batch::new(Realm::default()).append(append);
        records.commit(batch).now_or_never().unwrap().unwrap();
    };
    let catch_up = || bench.view.catch_up(&records).now_or_never().unwrap();
    catch_up().unwrap();
    assert_eq!(bench.view.stopped(), None);
    let Entry { places, at, until, reason, actor, .. } =
        bench.entry(Target::Key(KeyId::new("k").unwrap()), vec![]);
    let target = LaterTarget::Planet { name: "x".into() };
    let later = Later { target, places, at, until, reason, actor };
    append(tegata_core::repository::encode(1, &later));
    append(bench.entry(Target::Family(FamilyId::new("1.9.f").unwrap()), vec![]).to_bytes());
    let error = catch_up().unwrap_err().to_string();
    assert!(error.contains("newer version"), "{error}");
    assert_eq!(bench.view.stopped(), Some(error));
    // What comes after it is not known either, and nobody may think that it is.
    assert_eq!(bench.check(&bench.claims(), None), None);
    bench.clock.advance(Duration::from_secs(6));
    bench.view.vouch(SinceBoot(Duration::from_secs(1_000_000_000)));
    assert!(catch_up().is_err());
    assert!(bench.view.staleness().unwrap() >= Duration::from_secs(6));
    // Nor is it taken for something when it is heard.
    let pushed = tegata_core::repository::encode(1, &later);
    assert!(Pushed::from_bytes(&pushed).is_none());
}

#[test]
fn what_is_refused_because_nobody_knows_is_not_said_to_be_taken_back() {
    let bench = Bench::new();
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let claims = Claims { iss: "https://a".into(), exp: u64::MAX >> 12, ..bench.claims() };
    let text = jws::sign(&key, "at+jwt", &claims.to_json()).unwrap();
    let expected = Expected {
        issuer: "https://a".into(),
        audience: ExpectedAudience::DangerAny,
        leeway: Duration::ZERO,
    };
    let verifier = Verifier::<AccessToken>::new(expected, &Memory::default(), bench.clock.clone());
    let public = VerifyingKey::from_jwk(key.jwk()).unwrap();
    verifier.use_keys(KeySet::new(vec![Arc::new(public)]));
    let token = verifier.verify(&text).unwrap();
    let realm = bench.view.realm(&bench.realm);
    let targets = [
        Target::Token("1.a".parse().unwrap()),
        Target::Subject { sub: "usr_1".into(), up_to: bench.clock.now(), tokens_only: true },
    ];
    for target in targets {
        bench.view.apply_perhaps(&bench.realm, &bench.entry(target, vec![]));
        assert!(realm.check(&token).is_some() && !realm.has_taken_back(&token));
    }
    bench.apply(Target::Token("1.a".parse().unwrap()), vec![]);
    assert!(realm.has_taken_back(&token));
}

#[tokio::test]
async fn a_log_that_is_shorter_than_what_was_read_of_it_is_not_followed() {
    use tegata_core::{Batch, EventId, port::Append};
    use tegata_store::MemoryRecords;

    let bench = Bench::new();
    let store = || MemoryRecords::new(&[], bench.clock.clone()).unwrap();
    let (before, after, longer) = (store(), store(), store());
    for (records, entries) in [(&before, 3), (&after, 2), (&longer, 5)] {
        for _ in 0..entries {
            let body = bench.entry(Target::Token(TokenId::new("1.b").unwrap()), vec![]).to_bytes();
            let id = EventId::generate(&SeededEntropy::new(bench.clock.now().millis()));
            bench.clock.advance(Duration::from_millis(1));
            let append = Append { log: Log::Revocations, id, body };
            records.commit(Batch::new(bench.realm.clone()).append(append)).await.unwrap();
        }
    }
    bench.view.catch_up(&before).await.unwrap();
    bench.view.catch_up(&before).await.unwrap();
    // It is as short as another that goes on from elsewhere is long.
    for other in [&after, &longer] {
        let error = bench.view.catch_up(other).await.unwrap_err().to_string();
        assert!(error.contains("tegata restore --declare"), "{error}");
        assert_eq!(bench.view.position(), 3);
    }
    // What is known of it ages, and that is not hidden.
    assert!(bench.view.stopped().is_some());
    bench.clock.advance(Duration::from_secs(10));
    assert!(bench.view.staleness().unwrap() >= Duration::from_secs(10));
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_took_for_dead_is_learnt_again() {
    use tegata_core::{Batch, EventId, port::Append};

    let bench = Bench::new();
    bench.clock.advance(Duration::from_secs(1_000_000));
    let right = bench.clock.now();
    let records = tegata_store::MemoryRecords::new(&[], bench.clock.clone()).unwrap();
    let place = bench.place(7);
    let target = Target::Session(SessionId::new("1.9.s").unwrap());
    let body = bench.entry(target, vec![place]).to_bytes();
    let append = Append { log: Log::Revocations, id: EventId([1; 16]), body };
    records.commit(Batch::new(bench.realm.clone()).append(append)).await.unwrap();
    let claims = bench.claims();
    // Nine hours ahead, as a clock of local time that is read as UTC.
    bench.clock.jump(right + Duration::from_secs(9 * 3600));
    bench.view.catch_up(&records).await.unwrap();
    bench.view.forget();
    assert_eq!(bench.check(&claims, Some(place)), None);
    assert!(!bench.view.begin_anew_if_misjudged());
    bench.clock.jump(right);
    // It knows that it may lack something, until it has read again.
    assert!(bench.view.begin_anew_if_misjudged());
    assert_eq!((bench.view.staleness(), bench.view.position()), (None, 0));
    assert!(!bench.view.begin_anew_if_misjudged());
    bench.view.catch_up(&records).await.unwrap();
    assert_eq!(bench.check(&claims, Some(place)), Some(Revoked::Token));
    assert_eq!(bench.check(&claims, None), Some(Revoked::Session));
}
