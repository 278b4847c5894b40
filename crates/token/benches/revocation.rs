//! What it costs to ask whether a token was taken back, by how many there are that could have been: the
//! exact answer, beside a Bloom filter that may be wrong once in a thousand times.
//!
//! Each question follows from the answer before, so that what is measured is how long one takes, and
//! not how many overlap.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot be set up has nothing to say"
)]

use std::{collections::BTreeMap, fs, hint::black_box, sync::Arc, time::Duration};

use fastbloom::BloomFilter;
use futures_util::FutureExt as _;
use tegata_core::{Epoch, FamilyId, Node, Realm, TokenId};
use tegata_rounds::{Effort, Finding, Findings, Only, Table, Turns, timed};
use tegata_store::MemoryRecords;
use tegata_token::{
    Algorithm, Claims, KeySet, ListId, Notice, RealmView, SigningKey, StatusIndex, VerifyingKey,
    View,
    revocation::{Entry, Target},
    status::LIST_LENGTH,
};

/// Of so many tokens, one has been taken back.
const ONE_IN: u64 = 100;

/// How many are asked about again and again, where that is so.
const HOT: u64 = 1000;

/// How many tokens are alive, in the smallest case, the middle one and the greatest.
const SIZES: [(&str, usize); 3] =
    [("1,000", 1000), ("1,000,000", 1_000_000), ("50,000,000", 50_000_000)];

fn main() {
    let effort = Effort::asked();
    let mut findings = Findings::of(Only::asked());
    let sizes = SIZES.map(|(name, whole)| {
        let tokens = u64::try_from(effort.size(whole, 1000)).unwrap();
        Size::made(name, tokens, effort, &mut findings)
    });
    let table = asked(&sizes, effort);
    for size in &sizes {
        for case in CASES {
            let figures = table.figures(&size.case(case)).iter().copied();
            let finding = Finding::new("check", case, "ns").values(figures);
            findings.note(finding.at(size.tokens as f64));
        }
    }
    let [small, _, great] = &sizes;
    for (case, anchor) in [(EXACT_MISS, FILTER_MISS), (EXACT_HIT, FILTER_HIT)] {
        let what = format!("{case}, of 50 million, beside a filter");
        let ratios = table.ratios(&great.case(case), &great.case(anchor));
        findings.note(Finding::new("G13", what, "x").values(ratios).limits(1.0, 0.5, 0.4));
    }
    for case in CASES {
        let what = format!("{case}: of 50 million, beside 1,000");
        let ratios = table.ratios(&great.case(case), &small.case(case));
        findings.note(Finding::new("flat", what, "x").values(ratios));
    }
    great.exact.hand_on(great.tokens, &mut findings);
    findings.tell("in-process").unwrap();
}

const EXACT_HOT_MISS: &str = "exact, not taken back, one of 1,000";
const EXACT_HOT_HIT: &str = "exact, taken back, one of 1,000";
const EXACT_MISS: &str = "exact, not taken back, any";
const EXACT_HIT: &str = "exact, taken back, any";
const FILTER_MISS: &str = "filter, not taken back, any";
const FILTER_HIT: &str = "filter, taken back, any";

const CASES: [&str; 6] =
    [EXACT_HOT_MISS, EXACT_HOT_HIT, EXACT_MISS, EXACT_HIT, FILTER_MISS, FILTER_HIT];

/// Both, for so many tokens.
struct Size {
    name: &'static str,
    tokens: u64,
    exact: Exact,
    filter: BloomFilter,
}

impl Size {
    fn made(name: &'static str, tokens: u64, effort: Effort, findings: &mut Findings) -> Self {
        let before = resident();
        let (exact, built) = timed(|| Exact::of(tokens));
        let exact_size = mib(resident() - before);
        let before = resident();
        let (filter, filled) = timed(|| filter(tokens));
        let filter_size = mib(resident() - before);
        let this = Self { name, tokens, exact, filter };
        let (questions, [exactly, filtered]) = this.answers(effort);
        println!("\n{name} tokens, of which one in {ONE_IN} was taken back");
        println!("  exact   {exact_size:8.1} MiB, made in {:6.2} s", built.as_secs_f64());
        println!("  filter  {filter_size:8.1} MiB, made in {:6.2} s", filled.as_secs_f64());
        println!("  of {questions} answers, exact {exactly} wrong, filter {filtered}");
        if tokens > 1_000_000 {
            // What is smaller is lost among the pages that the process has anyway.
            let ratio = exact_size / filter_size;
            let seen = format!(
                "{exact_size:.1} and {filter_size:.1} MiB; the filter had {filtered} wrong"
            );
            let finding = Finding::new("G13", "memory of 50 million, beside a filter", "x");
            let finding = finding.values([ratio]).limits(0.6, 0.15, 0.07);
            findings.note(finding.checked(exactly, questions).seen(seen));
        } else {
            assert_eq!(exactly, 0, "the exact answer was wrong");
        }
        this
    }

    /// How many of many questions each answers wrongly. A quarter of them is about what was taken back.
    fn answers(&self, effort: Effort) -> (u64, [u64; 2]) {
        let questions = u64::try_from(effort.size(10_000_000, 10_000)).unwrap();
        let (mut walk, mut wrong) = (Walk::new(9), [0, 0]);
        for question in 0..questions {
            let token = walk.next(self.tokens);
            let token = if question % 4 == 0 { token / ONE_IN * ONE_IN } else { token };
            let taken_back = token.is_multiple_of(ONE_IN);
            wrong[0] += u64::from(self.exact.knows(token) != taken_back);
            wrong[1] += u64::from(self.filter.contains(&(token + self.tokens)));
        }
        (questions, wrong)
    }

    fn case(&self, case: &str) -> String {
        format!("{case}, of {}", self.name)
    }

    /// So many tokens by chance, all of which were taken back, or none.
    fn hot(&self, taken_back: bool) -> Vec<u64> {
        let mut walk = Walk::new(11);
        let any = std::iter::repeat_with(|| walk.next(self.tokens) / ONE_IN * ONE_IN);
        any.map(|token| token + u64::from(!taken_back))
            .take(usize::try_from(HOT).unwrap())
            .collect()
    }
}

/// All questions, of all sizes in turn.
fn asked(sizes: &[Size], effort: Effort) -> Table {
    let mut turns = Turns::new("is it taken back?");
    for size in sizes {
        let Size { tokens, exact, filter, .. } = size;
        let (tokens, [good, bad]) = (*tokens, [false, true].map(|taken_back| size.hot(taken_back)));
        let [mut a, mut b, mut c, mut d, mut e, mut f] = [1, 2, 3, 4, 5, 6].map(Walk::new);
        let of = |hot: &[u64], at: u64| hot[usize::try_from(at).unwrap()];
        turns = turns
            .case(size.case(EXACT_HOT_MISS), move || a.step(HOT, |at| exact.knows(of(&good, at))))
            .case(size.case(EXACT_HOT_HIT), move || b.step(HOT, |at| exact.knows(of(&bad, at))))
            .case(size.case(EXACT_MISS), move || {
                // Odd numbers are none that were taken back.
                c.step(tokens, |token| exact.knows(token | 1))
            })
            .case(size.case(EXACT_HIT), move || {
                d.step(tokens, |token| exact.knows(token / ONE_IN * ONE_IN))
            })
            .case(size.case(FILTER_MISS), move || {
                e.step(tokens, |token| filter.contains(&(token + tokens)))
            })
            .case(size.case(FILTER_HIT), move || f.step(tokens, |token| filter.contains(&token)));
    }
    turns.measure(effort)
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

    /// What it takes to hand it on whole, signed, to a verifier that begins; and what each takes that
    /// comes after.
    fn hand_on(&self, tokens: u64, findings: &mut Findings) {
        let node = Node::start();
        let log = MemoryRecords::new(&[], Arc::clone(node.clock())).unwrap();
        self.all.catch_up(&log).now_or_never().unwrap().unwrap();
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let public = VerifyingKey::from_jwk(key.jwk()).unwrap();
        let keys = KeySet::new(vec![Arc::new(public)]);
        let (realm, nobody) = (Realm::default(), BTreeMap::new());
        let (text, made) = timed(|| self.all.notice(&realm, &nobody).unwrap().sign(&key).unwrap());
        let taken_over = View::new(node.clone());
        let (notice, taken) = timed(|| {
            let notice = Notice::verify(&text, &keys, "", "").unwrap();
            taken_over.take_over(&realm, &notice, node.since_boot()).unwrap();
            notice
        });
        let view = taken_over.realm(&realm);
        let other = Self { all: taken_over, view, claims: self.claims.clone(), first: self.first };
        let looked = tokens.min(1_000_000);
        let mut walk = Walk::new(17);
        let wrong = (0..looked).map(|_| walk.next(tokens));
        let wrong =
            wrong.filter(|token| other.knows(*token) != token.is_multiple_of(ONE_IN)).count();
        let share = 1.0 / ONE_IN as f64;
        let entropy = -(share * share.log2() + (1.0 - share) * (1.0 - share).log2());
        let bound = entropy * tokens as f64 / 8.0;
        let seen = format!(
            "{} bytes; the bound is {bound:.0}; made in {:.2} s, taken over in {:.2} s",
            text.len(),
            made.as_secs_f64(),
            taken.as_secs_f64()
        );
        let what = "everything of 50 million, 1 % taken back, beside what it says at least";
        let finding = Finding::new("G18", what, "x").values([text.len() as f64 / bound]);
        let finding = finding.limits(3.0, 1.5, 1.2).seen(seen);
        findings.note(finding.checked(u64::try_from(wrong).unwrap(), looked));

        // What comes after: so many tokens, in a list that nothing was in before.
        let news = |many: u32, told: &Notice| {
            let fresh = ListId { number: 9999, ..self.first };
            let until = node.now() + Duration::from_secs(1800);
            for number in 0..many {
                let index = number.wrapping_mul(0x9E37_79B1) % LIST_LENGTH;
                let target = TokenId::generate(Epoch::FIRST, node.entropy());
                let (at, reason, actor) = (node.now(), "logout".to_owned(), "system".to_owned());
                let places = vec![StatusIndex { list: fresh, index }];
                let target = Target::Token(target);
                self.all.apply(&realm, &Entry { target, places, at, until, reason, actor });
            }
            let told = BTreeMap::from([(told.instance.clone(), told.news)]);
            let notice = self.all.notice(&realm, &told).unwrap();
            assert!(!notice.whole);
            (notice.sign(&key).unwrap().len() as f64, notice)
        };
        let (nothing, notice) = news(0, &notice);
        let (one, notice) = news(1, &notice);
        let (many, _) = news(1000, &notice);
        let seen = format!(
            "the first of a message takes {one:.0} bytes, a message without any {nothing:.0}"
        );
        let finding = Finding::new("G18", "each token that is taken back later", "bytes");
        findings
            .note(finding.values([(many - nothing) / 1000.0]).limits(64.0, 16.0, 8.0).seen(seen));
    }

    fn knows(&self, token: u64) -> bool {
        self.view.check_claims(&self.claims, Some(place(self.first, token)), "key").is_some()
    }
}

fn place(first: ListId, token: u64) -> StatusIndex {
    let length = u64::from(LIST_LENGTH);
    let number = u32::try_from(token / length).unwrap();
    let index = mixed(u32::try_from(token % length).unwrap());
    StatusIndex { list: ListId { number, ..first }, index }
}

/// Another place for each of a list, in an order without a pattern: otherwise notices would be smaller than
/// they are.
fn mixed(mut index: u32) -> u32 {
    for factor in [0x9E37_79B1, 0x85EB_CA6B, 0xC2B2_AE35] {
        index = (index ^ index >> 10).wrapping_mul(factor) % LIST_LENGTH;
    }
    index ^ index >> 10
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
