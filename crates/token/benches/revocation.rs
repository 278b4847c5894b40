//! What it costs to ask whether a token was taken back, by how many there are that could have been: the
//! exact answer, beside a Bloom filter that may be wrong once in a thousand times.
//!
//! Each question follows from the answer before, so that what is measured is how long one takes, and
//! not how many overlap.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::{collections::BTreeMap, fs, hint::black_box, sync::Arc, time::Duration};

use fastbloom::BloomFilter;
use futures_util::FutureExt as _;
use tegata_core::{Epoch, FamilyId, Node, Realm, TokenId};
use tegata_rounds::{Effort, Turns, timed};
use tegata_store::MemoryRecords;
use tegata_token::{
    Algorithm, Claims, KeySet, ListId, Notice, RealmView, SigningKey, StatusIndex, VerifyingKey,
    View,
    revocation::{Entry, Target},
    status::LIST_LENGTH,
};

/// Of so many tokens, one has been taken back.
const ONE_IN: u64 = 100;

fn main() {
    let effort = Effort::asked();
    let sizes = [("1,000", 1000), ("1,000,000", 1_000_000), ("50,000,000", 50_000_000)];
    for (name, whole) in sizes {
        let tokens = u64::try_from(effort.size(whole, 1000)).unwrap();
        compare(name, tokens, effort);
    }
}

/// Both, for so many tokens.
fn compare(name: &str, tokens: u64, effort: Effort) {
    let before = resident();
    let (exact, built) = timed(|| Exact::of(tokens));
    let exact_size = resident() - before;
    let before = resident();
    let (filter, filled) = timed(|| filter(tokens));
    let filter_size = resident() - before;
    println!("\n{name} tokens, of which one in {ONE_IN} was taken back");
    println!("  exact   {:8.1} MiB, made in {:6.2} s", mib(exact_size), built.as_secs_f64());
    println!("  filter  {:8.1} MiB, made in {:6.2} s", mib(filter_size), filled.as_secs_f64());
    println!("  {}", answers(&exact, &filter, tokens, effort));
    println!("  {}", exact.handed_on());

    let [mut hits, mut misses, mut held, mut strange] = [1, 2, 3, 4].map(Walk::new);
    Turns::new(format!("is it taken back? of {name} tokens"))
        .case("filter, a token that is not", || {
            strange.step(tokens, |token| filter.contains(&(token + tokens)))
        })
        .case("filter, a token that is", || held.step(tokens, |token| filter.contains(&token)))
        .case("exact, a token that is not", || misses.step(tokens, |token| exact.knows(token)))
        .case("exact, a token that is", || {
            hits.step(tokens, |token| exact.knows(token / ONE_IN * ONE_IN))
        })
        .measure(effort);
}

/// The view of a node.
struct Exact {
    all: View,
    view: Arc<RealmView>,
    claims: Claims,
    first: ListId,
}

impl Exact {
    /// Of so many tokens, one in [`ONE_IN`] of which was taken back.
    fn of(tokens: u64) -> Self {
        let node = Node::start();
        let (view, realm) = (View::new(node.clone()), Realm::default());
        let first = ListId { epoch: Epoch::FIRST, slot: ListId::slot_at(node.now()), number: 0 };
        let until = node.now() + Duration::from_secs(1800);
        let target = FamilyId::generate(Epoch::FIRST, until, node.entropy());
        let mut taken = (0..tokens).step_by(usize::try_from(ONE_IN).unwrap()).peekable();
        while taken.peek().is_some() {
            let places = taken.by_ref().take(16).map(|token| place(first, token)).collect();
            let target = Target::Token(TokenId::new(target.as_str()).unwrap());
            let (at, reason, actor) = (node.now(), "logout".to_owned(), "system".to_owned());
            view.apply(&realm, &Entry { target, places, at, until, reason, actor });
        }
        let claims = Claims {
            sub: "usr_1".to_owned(),
            jti: "1.0".to_owned(),
            fid: Some("1.f".to_owned()),
            sid: Some("1.s".to_owned()),
            client_id: Some("web".to_owned()),
            ..Claims::default()
        };
        let known = view.realm(&realm);
        Self { all: view, view: known, claims, first }
    }

    /// What it takes to hand it on whole, signed, to a verifier that begins.
    fn handed_on(&self) -> String {
        let node = Node::start();
        let log = MemoryRecords::new(&[], Arc::clone(node.clock())).unwrap();
        self.all.catch_up(&log).now_or_never().unwrap().unwrap();
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let public = VerifyingKey::from_jwk(key.jwk()).unwrap();
        let keys = KeySet::new(vec![Arc::new(public)]);
        let (realm, nobody) = (Realm::default(), BTreeMap::new());
        let (text, made) = timed(|| self.all.notice(&realm, &nobody).unwrap().sign(&key).unwrap());
        let (_, taken) = timed(|| {
            let notice = Notice::verify(&text, &keys, "", "").unwrap();
            View::new(node.clone()).take_over(&realm, &notice, node.since_boot()).unwrap();
        });
        let (size, made, taken) = (
            mib(f64::from(u32::try_from(text.len()).unwrap())),
            made.as_secs_f64(),
            taken.as_secs_f64(),
        );
        format!("handed on whole: {size:.1} MiB, made in {made:.2} s, taken over in {taken:.2} s")
    }

    fn knows(&self, token: u64) -> bool {
        self.view.check_claims(&self.claims, Some(place(self.first, token)), "key").is_some()
    }
}

fn place(first: ListId, token: u64) -> StatusIndex {
    let length = u64::from(LIST_LENGTH);
    let number = u32::try_from(token / length).unwrap();
    // Each odd number gives an order in which places follow each other without a pattern.
    let index = u32::try_from(token % length).unwrap().wrapping_mul(0x9E37_79B1) % LIST_LENGTH;
    StatusIndex { list: ListId { number, ..first }, index }
}

/// A filter that holds as many as it was made for, so that it is wrong as often as it may be.
fn filter(tokens: u64) -> BloomFilter {
    let all = usize::try_from(tokens).unwrap();
    let mut filter = BloomFilter::with_false_pos(0.001).seed(&7).expected_items(all);
    (0..tokens).for_each(|token| {
        filter.insert(&token);
    });
    filter
}

/// How many of many questions each answers wrongly.
fn answers(exact: &Exact, filter: &BloomFilter, tokens: u64, effort: Effort) -> String {
    let questions = effort.size(10_000_000, 10_000);
    let (mut walk, mut exactly, mut filtered) = (Walk::new(9), 0, 0);
    for _ in 0..questions {
        let token = walk.next(tokens);
        exactly += u32::from(exact.knows(token) != token.is_multiple_of(ONE_IN));
        filtered += u32::from(filter.contains(&(token + tokens)));
    }
    assert_eq!(exactly, 0, "the exact answer was wrong");
    format!("of {questions} answers, exact {exactly} wrong, filter {filtered}")
}

/// A walk over tokens, each step of which depends on the answer before.
struct Walk(u64);

impl Walk {
    const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A token below a number.
    fn next(&mut self, tokens: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let wide = u128::from(self.0) * u128::from(tokens);
        u64::try_from(wide >> 64).unwrap()
    }

    fn step(&mut self, tokens: u64, ask: impl FnOnce(u64) -> bool) -> bool {
        let answer = black_box(ask(self.next(tokens)));
        self.0 ^= u64::from(answer);
        answer
    }
}

/// What the process has in memory, in bytes.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}
