use std::sync::Arc;

use tegata_core::{
    ClientId, Epoch, FamilyId, KeyId, ManualClock, Node, Realm, SeededEntropy, SessionId, TokenId,
};

use super::*;
use crate::{
    Algorithm, VerifyingKey,
    revocation::{Entry, Target, View},
    status::LIST_LENGTH,
    verifier::{AccessToken, Expected, ExpectedAudience, Memory, Verifier},
};

const ISSUER: &str = "https://auth.example";

/// A node that tells, a verifier that is told, and chance.
struct Bench {
    clock: Arc<ManualClock>,
    teller: View,
    told: View,
    realm: Realm,
    chance: u64,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = |seed| Node::with(clock.clone(), Arc::new(SeededEntropy::new(seed)));
        let (teller, told) = (View::new(node(seed)), View::new(node(seed + 1)));
        let bench = Self { clock, teller, told, realm: Realm::default(), chance: seed | 1 };
        // It has read a log in which there is nothing.
        bench.has_read_the_log();
        bench
    }

    fn has_read_the_log(&self) {
        let empty = tegata_store::MemoryRecords::new(&[], self.clock.clone()).unwrap();
        futures_util::FutureExt::now_or_never(self.teller.catch_up(&empty)).unwrap().unwrap();
    }

    fn any(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % below
    }

    /// Something is taken back.
    fn take_back(&mut self) {
        let now = tegata_core::Clock::now(self.clock.as_ref());
        let entropy = SeededEntropy::new(self.any(40));
        let later = now + Duration::from_secs(600);
        let target = match self.any(7) {
            0 => Target::Family(FamilyId::generate(Epoch::FIRST, later, &entropy)),
            1 => Target::Session(SessionId::generate(Epoch::FIRST, later, &entropy)),
            2 => {
                let (sub, tokens_only) = (format!("usr_{}", self.any(9)), self.any(2) == 0);
                Target::Subject { sub, up_to: now, tokens_only }
            }
            3 => Target::Client { client: ClientId::new("web").unwrap(), up_to: now },
            4 => Target::Key(KeyId::new(&format!("key-{}", self.any(4))).unwrap()),
            _ => Target::Token(TokenId::generate(Epoch::FIRST, &entropy)),
        };
        let number = u32::try_from(self.any(2)).unwrap();
        let list = ListId { epoch: Epoch::FIRST, slot: ListId::slot_at(now), number };
        let many = if self.any(20) == 0 { 2000 } else { self.any(3) };
        let places = (0..many).map(|_| {
            let index = u32::try_from(self.any(u64::from(LIST_LENGTH))).unwrap();
            StatusIndex { list, index }
        });
        let entry = Entry {
            target,
            places: places.collect(),
            at: now,
            until: later,
            reason: "test".to_owned(),
            actor: "system".to_owned(),
        };
        self.teller.apply(&self.realm, &entry);
    }

    fn known(&self, view: &View) -> TakenBack {
        TakenBack::all_of(&view.realm(&self.realm))
    }

    fn tell(&self, told: &BTreeMap<String, u64>) -> Notice {
        let notice = self.teller.notice(&self.realm, told).unwrap();
        let asked = tegata_core::Clock::since_boot(self.clock.as_ref());
        self.told.take_over(&self.realm, &notice, asked).unwrap();
        notice
    }
}

#[test]
fn whoever_is_told_everything_and_then_the_news_knows_what_the_teller_knows() {
    for seed in 0..20 {
        let mut bench = Bench::new(seed);
        let mut last = BTreeMap::new();
        for _ in 0..bench.any(12) {
            for _ in 0..bench.any(8) {
                bench.take_back();
            }
            let notice = bench.tell(&last);
            assert_eq!(notice.whole, last.is_empty(), "seed {seed}");
            assert!(
                !bench.teller.has_news(&BTreeMap::from([(notice.instance.clone(), notice.news)]))
            );
            assert_eq!(bench.known(&bench.told), bench.known(&bench.teller), "seed {seed}");
            last.insert(notice.instance, notice.news);
            bench.clock.advance(Duration::from_secs(1));
        }
    }
}

#[test]
fn news_of_another_process_or_too_long_ago_are_told_as_everything() {
    let mut bench = Bench::new(7);
    (0..50).for_each(|_| bench.take_back());
    let first = bench.tell(&BTreeMap::new());
    for told in [
        (first.instance.as_str(), first.news + 1),
        (first.instance.as_str(), u64::MAX),
        ("another", first.news),
    ] {
        let known = BTreeMap::from([(told.0.to_owned(), told.1)]);
        assert!(bench.teller.notice(&bench.realm, &known).unwrap().whole, "{told:?}");
    }
    let known = BTreeMap::from([(first.instance, first.news)]);
    let same = bench.teller.notice(&bench.realm, &known).unwrap();
    assert!(!same.whole && same.taken_back == TakenBack::default());
}

#[test]
fn what_is_told_twice_is_no_news() {
    let mut bench = Bench::new(9);
    (0..30).for_each(|_| bench.take_back());
    let notice = bench.tell(&BTreeMap::new());
    let news = bench.told.realm(&bench.realm);
    let now = tegata_core::Clock::now(bench.clock.as_ref());
    assert_eq!(notice.taken_back.apply_to(&news, now), Ok(false));
}

#[test]
fn nobody_is_told_to_know_more_than_the_teller_does() {
    let bench = Bench::new(3);
    bench.clock.advance(Duration::from_millis(1500));
    bench.tell(&BTreeMap::new());
    let age = bench.told.staleness().unwrap();
    assert!(age >= Duration::from_millis(1500) && age < Duration::from_millis(1600), "{age:?}");
    // An older notice that comes late makes nothing younger, and nothing older.
    let late = bench.teller.notice(&bench.realm, &BTreeMap::new()).unwrap();
    bench.has_read_the_log();
    bench.tell(&BTreeMap::new());
    let fresh = bench.told.staleness().unwrap();
    assert!(fresh < Duration::from_millis(100), "{fresh:?}");
    let asked = tegata_core::Clock::since_boot(bench.clock.as_ref());
    bench.told.take_over(&bench.realm, &late, asked).unwrap();
    assert_eq!(bench.told.staleness().unwrap(), fresh);
}

#[test]
fn whoever_knows_nothing_says_nothing() {
    let node = Node::for_tests(1);
    assert!(View::new(node).notice(&Realm::default(), &BTreeMap::new()).is_none());
}

fn key(kid: &str) -> (Arc<SigningKey>, Arc<VerifyingKey>) {
    let der = SigningKey::generate(Algorithm::Es256).unwrap().to_pkcs8().unwrap();
    let kid = KeyId::new(kid).unwrap();
    let key = SigningKey::from_pkcs8(der.expose(), None, Some(kid)).unwrap();
    let public = VerifyingKey::from_jwk(key.jwk()).unwrap();
    (Arc::new(key), Arc::new(public))
}

fn signed(change: impl Fn(&mut Notice), key: &SigningKey) -> String {
    let bench = Bench::new(1);
    let mut notice = bench.teller.notice(&bench.realm, &BTreeMap::new()).unwrap();
    (notice.iss, notice.nonce) = (ISSUER.to_owned(), "n1".to_owned());
    change(&mut notice);
    notice.sign(key).unwrap()
}

#[test]
fn a_notice_counts_as_the_answer_of_its_issuer_to_its_question_and_as_nothing_else() {
    let ((own, public), (strange, _)) = (key("a"), key("a"));
    let keys = KeySet::new(vec![public]);
    let verify = |text: &str| Notice::verify(text, &keys, ISSUER, "n1").map(|_| ());
    let good = signed(|_| {}, &own);
    assert_eq!(verify(&good), Ok(()));
    let foreign = signed(|it| it.iss = "https://evil.example".to_owned(), &own);
    assert_eq!(verify(&foreign), Err(Refusal::Issuer));
    let replayed = signed(|it| it.nonce = "n0".to_owned(), &own);
    assert!(matches!(verify(&replayed), Err(Refusal::Claims(_))));
    assert_eq!(verify(&signed(|_| {}, &strange)), Err(Refusal::Signature));
    let token = jws::sign(&own, "at+jwt", good.split('.').nth(1).unwrap().as_bytes()).unwrap();
    assert_eq!(verify(&token), Err(Refusal::Kind));
    // Nor is it a token.
    let expected = Expected {
        issuer: ISSUER.to_owned(),
        audience: ExpectedAudience::DangerAny,
        leeway: Duration::ZERO,
    };
    let clock = Arc::new(ManualClock::default());
    let tokens = Verifier::<AccessToken>::new(expected, &Memory::default(), clock);
    tokens.use_keys(keys.clone());
    assert_eq!(tokens.verify(&good).unwrap_err(), Refusal::Kind);
    for at in (0..good.len()).step_by(17) {
        let mut bytes = good.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let text = String::from_utf8(bytes).unwrap();
        assert!(verify(&text).is_err(), "byte {at}");
    }
}

#[test]
fn what_names_no_list_or_no_place_is_not_taken_over() {
    let bench = Bench::new(5);
    let view = bench.told.realm(&bench.realm);
    let now = tegata_core::Clock::now(bench.clock.as_ref());
    let of = |listed: &str| serde_json::from_str::<TakenBack>(listed).unwrap();
    for bad in [
        r#"{"status_lists": {"nonsense": {"idx": [1]}}}"#,
        r#"{"status_lists": {"1.2.3": {"lst": "e30"}}}"#,
    ] {
        assert!(of(bad).apply_to(&view, now).is_err(), "{bad}");
    }
    let beyond = of(r#"{"status_lists": {"1.4294967295.0": {"idx": [1048576, 4294967295]}}}"#);
    assert_eq!(beyond.apply_to(&view, now), Ok(false));
}
