use std::{collections::BTreeMap, sync::Arc};

use tegata_core::{
    Clock as _, Custody, Entropy as _, FamilyId, KeyId, ManualClock, SeededEntropy, SessionId,
    TokenId,
    port::{Append, Body, Page},
};
use tegata_store::{Adverse, FileCustody, MemoryRecords, Mischief, Sealed, sealed::DATA_KEYS};

use super::*;
use crate::{
    ForeignView, ListId, StatusIndex,
    foreign::{Looked, Names},
    revocation::{Entry, Target},
};

const ISSUER: &str = "https://idp.example";

const ROOT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A log that is written to, and everything that it took back.
struct Bench {
    clock: Arc<ManualClock>,
    bare: Arc<MemoryRecords>,
    records: Arc<dyn Records>,
    chance: SeededEntropy,
    /// For how long entries count at least.
    lives: Duration,
}

impl Bench {
    async fn new(seed: u64) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1_000_000));
        let kinds: Vec<_> = crate::KINDS.into_iter().chain([&DATA_KEYS]).collect();
        let bare = Arc::new(MemoryRecords::new(&kinds, clock.clone()).unwrap());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(seed)));
        let custody: Arc<dyn Custody> =
            Arc::new(FileCustody::from_text(ROOT_KEY, "the test", &node).unwrap());
        let sealed = Sealed::open(bare.clone(), custody, &node).await.unwrap();
        Self {
            clock,
            bare,
            records: Arc::new(sealed),
            chance: SeededEntropy::new(seed + 1),
            lives: Duration::ZERO,
        }
    }

    fn node(&self, seed: u64) -> Node {
        Node::with(self.clock.clone(), Arc::new(SeededEntropy::new(seed)))
    }

    fn view(&self) -> View {
        View::new(self.node(7))
    }

    /// One that accepts tokens of another issuer, whose durable store has everything up to there.
    fn view_with_foreign(&self, filled: u64) -> (View, Arc<ForeignView>) {
        let foreign = Arc::new(ForeignView::new(self.node(8), 10_000, filled));
        (self.view().with_foreign(Realm::default(), Arc::clone(&foreign)), foreign)
    }

    /// Makes one whenever something has come.
    fn eager(&self, seed: u64) -> Snapshots {
        Snapshots { node: self.node(seed), after: 1, apart: Duration::ZERO }
    }

    fn below(&self, most: u64) -> u64 {
        let mut bytes = [0; 8];
        self.chance.fill(&mut bytes);
        u64::from_be_bytes(bytes) % most
    }

    fn any_entry(&self) -> Entry {
        let (at, name) = (self.clock.now(), format!("1.9.n{}", self.below(500)));
        let up_to = at;
        let target = match self.below(12) {
            0 => Target::Token(TokenId::new(&name).unwrap()),
            1 => Target::Family(FamilyId::new(&name).unwrap()),
            2 => Target::Session(SessionId::new(&name).unwrap()),
            3 => Target::Subject { sub: name, up_to, tokens_only: false },
            4 => Target::Subject { sub: name, up_to, tokens_only: true },
            5 => Target::Client { client: "web".parse().unwrap(), up_to },
            6 => Target::Key(KeyId::new(&name).unwrap()),
            7 => Target::ForeignToken { issuer: ISSUER.into(), jti: name },
            8 => Target::ForeignSubject { issuer: ISSUER.into(), sub: name, up_to },
            9 => Target::ForeignClient { issuer: ISSUER.into(), client: name, up_to },
            10 => Target::ForeignKey { issuer: ISSUER.into(), kid: name },
            _ => Target::ForeignSession { issuer: ISSUER.into(), sid: name },
        };
        let slot = ListId::slot_at(at);
        let list = ListId { epoch: Epoch::FIRST, slot, number: u32::from(self.below(3) == 0) };
        let index = |_| StatusIndex { list, index: u32::try_from(self.below(5000)).unwrap() };
        let places = (0..self.below(3)).map(index).collect();
        let until = at + self.lives + Duration::from_secs(self.below(20_000));
        Entry { target, places, at, until, reason: "test".into(), actor: "system".into() }
    }

    async fn write(&self, many: u64) {
        for _ in 0..many {
            let realm =
                if self.below(4) == 0 { "other".parse().unwrap() } else { Realm::default() };
            let mut id = [0; 16];
            self.chance.fill(&mut id);
            let body = self.any_entry().to_bytes();
            let append = Append { log: Log::Revocations, id: EventId(id), body };
            self.records.commit(Batch::new(realm).append(append)).await.unwrap();
            self.clock.advance(Duration::from_secs(self.below(20)));
        }
        self.records.sequence(Log::Revocations, NodeId(1)).await.unwrap();
    }

    /// A view that has read all of the log.
    async fn reader(&self) -> View {
        let view = self.view();
        view.catch_up(self.records.as_ref()).await.unwrap();
        view
    }

    async fn parts(&self) -> Vec<String> {
        let page = Page { after: None, limit: 10_000 };
        let found = self.bare.scan(&Realm::default(), &SNAPSHOT_PARTS, page).await.unwrap();
        found.into_iter().map(|part| part.key).collect()
    }

    async fn current(&self) -> Versioned<Current> {
        current(self.records.as_ref()).await.unwrap().unwrap()
    }

    async fn put(&self, change: Change) {
        self.records.commit(of(change)).await.unwrap();
    }
}

/// What a view refuses, in every realm, of what can be alive.
fn refuses(view: &View) -> BTreeMap<String, TakenBack> {
    view.forget();
    let all = view.all_realms();
    let told = all.iter().map(|(realm, of_realm)| (realm.to_string(), TakenBack::all_of(of_realm)));
    told.filter(|(_, told)| *told != TakenBack::default()).collect()
}

#[tokio::test]
async fn whoever_begins_with_a_snapshot_refuses_what_a_reader_of_all_refuses() {
    for seed in 0..60 {
        let bench = Bench::new(seed).await;
        let maker = bench.view();
        for _ in 0..3 {
            bench.write(bench.below(80)).await;
            maker.catch_up(bench.records.as_ref()).await.unwrap();
            let kept = bench.eager(2).keep(&maker, bench.records.as_ref()).await.unwrap();
            assert!(kept || maker.position() == 0 || bench.parts().await.len() > 1, "seed {seed}");
        }
        bench.write(1 + bench.below(40)).await;

        let view = bench.view();
        let from = bench.eager(3).begin(&view, bench.records.as_ref()).await.unwrap();
        assert_eq!(from.unwrap_or_default(), view.position(), "seed {seed}");
        // It knows a part only, and says so by not saying how old it is.
        assert_eq!(view.staleness(), None);
        view.catch_up(bench.records.as_ref()).await.unwrap();
        let all = bench.reader().await;
        assert_eq!(view.position(), all.position(), "seed {seed}");
        assert_eq!(refuses(&view), refuses(&all), "seed {seed}");
    }
}

#[tokio::test]
async fn many_names_and_full_lists_are_kept_in_parts() {
    let bench = Bench::new(1).await;
    bench.write(1).await;
    let maker = bench.reader().await;
    let realm = Realm::default();
    for number in 0..NAMES * 2 + 1 {
        let mut entry = bench.any_entry();
        entry.target = Target::Session(SessionId::new(&format!("1.9.s{number}")).unwrap());
        entry.until = bench.clock.now() + Duration::from_secs(3600);
        let list =
            ListId { epoch: Epoch::FIRST, slot: ListId::slot_at(bench.clock.now()), number: 9 };
        entry.places = vec![StatusIndex { list, index: u32::try_from(number * 7).unwrap() }];
        maker.apply(&realm, &entry);
    }
    assert!(bench.eager(2).keep(&maker, bench.records.as_ref()).await.unwrap());
    assert!((4..10).contains(&bench.parts().await.len()), "{:?}", bench.parts().await);
    let view = bench.view();
    bench.eager(3).begin(&view, bench.records.as_ref()).await.unwrap().unwrap();
    assert_eq!(refuses(&view), refuses(&maker));
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_took_for_dead_is_in_the_snapshot() {
    let mut bench = Bench::new(1).await;
    bench.lives = Duration::from_secs(30 * 86_400);
    bench.write(300).await;
    let (maker, _) = bench.view_with_foreign(0);
    maker.catch_up(bench.records.as_ref()).await.unwrap();
    assert!(bench.eager(2).keep(&maker, bench.records.as_ref()).await.unwrap());
    let (view, foreign) = bench.view_with_foreign(300);
    let view = view.with_snapshots(bench.eager(3));
    view.catch_up(bench.records.as_ref()).await.unwrap();
    bench.write(20).await;
    view.catch_up(bench.records.as_ref()).await.unwrap();
    let (right, known) = (bench.clock.now(), refuses(&view));
    let held = foreign.filter();
    bench.clock.jump(right + Duration::from_secs(60 * 86_400));
    assert_eq!(refuses(&view), BTreeMap::new());
    // A verifier with a right clock that asks now is told too little, and must hear the rest later.
    let told = view.notice(&Realm::default(), &BTreeMap::new()).unwrap();
    let told = BTreeMap::from([(told.instance, told.news)]);
    bench.clock.jump(right);
    // Of the log, only what came after the snapshot is there to be read, and the entry that it ends with.
    bench.clock.advance(Duration::from_secs(1));
    let written = bench.records.pull(Log::Revocations, 299, 1).await.unwrap().entries[0].at;
    bench.records.purge(right, written).await.unwrap();
    assert!(bench.records.pull(Log::Revocations, 0, 1).await.unwrap().tail > 200);
    view.catch_up(bench.records.as_ref()).await.unwrap();
    assert_eq!(view.position(), 320);
    assert_eq!(refuses(&view), known);
    assert!(view.has_news(&told));
    assert!(view.notice(&Realm::default(), &told).unwrap().whole);
    // Nothing of other issuers was let go of meanwhile.
    assert!(Arc::ptr_eq(&held, &foreign.filter()));
}

#[tokio::test]
async fn what_has_another_past_or_epoch_is_not_begun_with() {
    let bench = Bench::new(1).await;
    bench.write(50).await;
    let maker = bench.reader().await;
    assert!(bench.eager(2).keep(&maker, bench.records.as_ref()).await.unwrap());
    let begins = async || {
        let view = bench.view();
        let begun = bench.eager(3).begin(&view, bench.records.as_ref()).await.unwrap();
        assert_eq!(begun.is_none(), view.position() == 0);
        if begun.is_none() {
            assert_eq!(refuses(&view), BTreeMap::new());
        }
        begun
    };
    assert_eq!(begins().await, Some(50));

    let honest = bench.current().await;
    let twists: [fn(&mut Kept); 4] = [
        // The entry at its end is another: the log went on from somewhere else.
        |kept| kept.last = EventId([7; 16]),
        |kept| kept.position = 49,
        // The log is shorter than it was.
        |kept| kept.position = 51,
        // The store was brought back since.
        |kept| kept.epoch = kept.epoch.after(Timestamp::from_secs(0)),
    ];
    for (number, twist) in twists.into_iter().enumerate() {
        let mut twisted = honest.value.clone();
        twist(twisted.kept.as_mut().unwrap());
        bench.put(twisted.put(Expect::Any)).await;
        assert_eq!(begins().await, None, "{number}");
    }
    bench.put(honest.value.put(Expect::Any)).await;
    assert_eq!(begins().await, Some(50));
    // Of a log that was trimmed beyond it nothing shows that it is of this past.
    bench.clock.advance(Duration::from_secs(86_400));
    bench.records.purge(bench.clock.now(), bench.clock.now()).await.unwrap();
    assert_eq!(begins().await, None);
}

#[tokio::test]
async fn an_older_snapshot_that_somebody_puts_back_hides_nothing() {
    let bench = Bench::new(1).await;
    let stored = async || {
        let mut all = Vec::new();
        for (kind, key) in std::iter::once((&SNAPSHOTS, "current".to_owned()))
            .chain(bench.parts().await.into_iter().map(|key| (&SNAPSHOT_PARTS, key)))
        {
            let found = bench.bare.load(&Realm::default(), kind, &key).await.unwrap().unwrap();
            all.push((kind, key, found.body));
        }
        all
    };
    bench.write(50).await;
    let maker = bench.reader().await;
    assert!(bench.eager(2).keep(&maker, bench.records.as_ref()).await.unwrap());
    let old = stored().await;
    bench.write(200).await;
    let maker = bench.reader().await;
    assert!(bench.eager(2).keep(&maker, bench.records.as_ref()).await.unwrap());
    assert_eq!(bench.current().await.value.kept.unwrap().position, 250);
    let all = refuses(&maker);

    // As it was written: it is sealed, and opens.
    for (kind, key, body) in old {
        let put = Change::Put { kind, key, expect: Expect::Any, body, indexes: vec![] };
        bench.bare.commit(of(put)).await.unwrap();
    }
    let view = bench.view();
    let begun = bench.eager(3).begin(&view, bench.records.as_ref()).await.unwrap();
    assert_eq!(begun, Some(50));
    // Whoever begins with it knows too little, and judges nobody before the log was read.
    assert_eq!(view.staleness(), None);
    assert_ne!(refuses(&view), all);
    view.catch_up(bench.records.as_ref()).await.unwrap();
    assert_eq!((view.position(), refuses(&view)), (250, all.clone()));
    // Whoever knows more already is taught nothing by it.
    maker.catch_up(bench.records.as_ref()).await.unwrap();
    assert_eq!((maker.position(), refuses(&maker)), (250, all));
}

#[tokio::test]
async fn a_part_that_is_damaged_moved_or_not_ours_costs_time_and_nothing_else() {
    let bench = Bench::new(1).await;
    bench.write(300).await;
    let maker = bench.reader().await;
    assert!(bench.eager(2).keep(&maker, bench.records.as_ref()).await.unwrap());
    let (parts, all) = (bench.parts().await, refuses(&maker));
    let sealed = async |key: &str| {
        let found = bench.bare.load(&Realm::default(), &SNAPSHOT_PARTS, key).await.unwrap();
        match found.unwrap().body {
            Body::Sealed(bytes) | Body::Plain(bytes) => bytes,
        }
    };
    let (first, other) = (sealed(&parts[0]).await, sealed(&parts[1]).await);
    let mut flipped = first.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for body in [flipped, other, vec![], first[..first.len() / 2].to_vec()] {
        let put = Change::Put {
            kind: &SNAPSHOT_PARTS,
            key: parts[0].clone(),
            expect: Expect::Any,
            body: Body::Sealed(body),
            indexes: vec![],
        };
        bench.bare.commit(of(put)).await.unwrap();
        let view = bench.view();
        let begun = bench.eager(3).begin(&view, bench.records.as_ref()).await;
        assert!(matches!(begun, Err(StoreError::Corrupt { .. })), "{begun:?}");
        assert_eq!(view.position(), 0);
        view.catch_up(bench.records.as_ref()).await.unwrap();
        assert_eq!(refuses(&view), all);
    }
    // One that is gone, for good: somebody removed it.
    let key = parts[0].clone();
    let gone = Change::Remove { kind: &SNAPSHOT_PARTS, key, expect: Expect::Any };
    bench.put(gone).await;
    let view = bench.view();
    assert_eq!(bench.eager(3).begin(&view, bench.records.as_ref()).await.unwrap(), None);
    view.catch_up(bench.records.as_ref()).await.unwrap();
    assert_eq!(refuses(&view), all);
}

#[tokio::test]
async fn one_node_makes_it_and_another_where_that_one_died() {
    let bench = Bench::new(1).await;
    bench.write(50).await;
    let maker = bench.reader().await;
    let records = bench.records.as_ref();
    // Somebody has claimed it, written a part, and died.
    let making = EventId([4; 16]);
    let dead = Claim { by: NodeId(9), at: bench.clock.now(), making, parts: 0 };
    let claimed = Current { generation: 4, claimed: Some(dead), ..Current::default() };
    bench.put(claimed.put(Expect::Absent)).await;
    let says = Says::Own(Realm::default(), TakenBack::default());
    bench.put(Part { key: Part::key_of(4, 0), making, says }.put(Expect::Absent)).await;
    assert!(!bench.eager(2).keep(&maker, records).await.unwrap());
    bench.clock.advance(LEASE);
    assert!(bench.eager(2).keep(&maker, records).await.unwrap());
    // What it left is gone.
    let left = bench.parts().await;
    assert!(left.iter().all(|key| key.starts_with("0000000000000005-")), "{left:?}");
    // A clock that was a year ahead is not waited for.
    let mut ahead = bench.current().await.value;
    let at = bench.clock.now() + Duration::from_secs(365 * 86_400);
    ahead.claimed = Some(Claim { at, ..dead });
    ahead.kept.as_mut().unwrap().made = bench.clock.now() + Duration::from_secs(365 * 86_400);
    bench.put(ahead.put(Expect::Any)).await;
    bench.write(50).await;
    maker.catch_up(records).await.unwrap();
    assert!(bench.eager(2).keep(&maker, records).await.unwrap());
    assert_eq!(bench.current().await.value.kept.unwrap().position, 100);
}

#[tokio::test]
async fn what_a_clock_that_was_ahead_took_for_dead_is_missing_to_nobody() {
    let bench = Bench { lives: Duration::from_secs(3600), ..Bench::new(1).await };
    bench.write(60).await;
    let all = refuses(&bench.reader().await);
    // A node whose clock is a day ahead has forgotten everything, and says so.
    let ahead = Arc::new(ManualClock::default());
    ahead.advance(Duration::from_secs(2_000_000));
    let node = Node::with(ahead, Arc::new(SeededEntropy::new(5)));
    let view = View::new(node.clone());
    view.catch_up(bench.records.as_ref()).await.unwrap();
    assert_eq!(refuses(&view), BTreeMap::new());
    let keeper = Snapshots { node, after: 1, apart: Duration::ZERO };
    assert!(keeper.keep(&view, bench.records.as_ref()).await.unwrap());
    let fresh = bench.view();
    assert_eq!(bench.eager(3).begin(&fresh, bench.records.as_ref()).await.unwrap(), None);
    fresh.catch_up(bench.records.as_ref()).await.unwrap();
    assert_eq!(refuses(&fresh), all);
    // Whose clock is right makes another at once; whose was wrong makes none afterwards.
    let late = Snapshots { node: bench.node(6), after: 1, apart: Duration::ZERO };
    assert!(!late.keep(&view, bench.records.as_ref()).await.unwrap());
    assert!(bench.eager(4).keep(&fresh, bench.records.as_ref()).await.unwrap());
    let next = bench.view();
    let begun = bench.eager(3).begin(&next, bench.records.as_ref()).await.unwrap();
    assert_eq!((begun, refuses(&next)), (Some(60), all));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_replaced_and_old_parts_need_not_be() {
    let bench = Bench::new(1).await;
    bench.write(60).await;
    let (maker, records) = (bench.reader().await, bench.records.as_ref());
    assert!(bench.eager(2).keep(&maker, records).await.unwrap());
    let spoil = async |kind, key: &str| {
        let (key, body) = (key.to_owned(), Body::Sealed(vec![1, 2, 3]));
        let put = Change::Put { kind, key, expect: Expect::Any, body, indexes: vec![] };
        bench.bare.commit(of(put)).await.unwrap();
    };
    // A part of before that is damaged is removed all the same.
    spoil(&SNAPSHOT_PARTS, &bench.parts().await[0]).await;
    bench.write(60).await;
    maker.catch_up(records).await.unwrap();
    assert!(bench.eager(3).keep(&maker, records).await.unwrap());
    let parts = bench.parts().await;
    assert!(parts.iter().all(|key| key.starts_with("0000000000000002-")), "{parts:?}");
    assert!(bench.current().await.value.left.is_empty());
    spoil(&SNAPSHOTS, "current").await;
    assert!(!bench.eager(4).keep(&maker, records).await.unwrap());
    assert!(bench.eager(4).keep(&maker, records).await.unwrap());
    let view = bench.view();
    assert_eq!(bench.eager(5).begin(&view, records).await.unwrap(), Some(120));
    assert_eq!(refuses(&view), refuses(&maker));
}

#[tokio::test]
async fn parts_of_two_makers_are_never_taken_for_one_snapshot() {
    let bench = Bench::new(1).await;
    bench.write(60).await;
    let (maker, records) = (bench.reader().await, bench.records.as_ref());
    assert!(bench.eager(2).keep(&maker, records).await.unwrap());
    // A store that lost a claim let another write under the same names.
    let key = bench.parts().await[0].clone();
    let found = repository::load::<Part>(records, &Realm::default(), &key).await.unwrap().unwrap();
    let foreign = Part { making: EventId([9; 16]), ..found.value };
    bench.put(foreign.put(Expect::Any)).await;
    let view = bench.view();
    assert_eq!(bench.eager(3).begin(&view, records).await.unwrap(), None);
    assert_eq!(view.position(), 0);
}

#[tokio::test]
async fn a_durable_store_is_told_what_a_clock_that_is_ahead_takes_for_dead() {
    let bench = Bench::new(1).await;
    bench.write(100).await;
    let (honest, told) = bench.view_with_foreign(0);
    honest.catch_up(bench.records.as_ref()).await.unwrap();
    // Ten hours later nothing of it is alive here.
    bench.clock.advance(Duration::from_secs(36_000));
    let (late, untold) = bench.view_with_foreign(0);
    late.catch_up(bench.records.as_ref()).await.unwrap();
    assert_eq!(refuses(&late), BTreeMap::new());
    assert_eq!(untold.backlog(), told.backlog());
    bench.clock.advance(Duration::from_secs(3 * 86_400));
    let (later, none) = bench.view_with_foreign(0);
    later.catch_up(bench.records.as_ref()).await.unwrap();
    assert_eq!(none.backlog(), 0);
}

#[tokio::test]
async fn it_is_made_when_the_log_has_grown_and_not_more_often() {
    let bench = Bench::new(1).await;
    let keeper = Snapshots::new(bench.node(2)).after(40);
    bench.write(39).await;
    let maker = bench.reader().await;
    let keep = async || {
        maker.catch_up(bench.records.as_ref()).await.unwrap();
        keeper.keep(&maker, bench.records.as_ref()).await.unwrap()
    };
    assert!(!keep().await);
    bench.write(1).await;
    assert!(keep().await && !keep().await);
    bench.clock.advance(Duration::from_secs(301));
    assert!(!keep().await, "nothing has come");
    bench.write(40).await;
    assert!(keep().await);
}

#[tokio::test]
async fn whoever_reads_while_others_replace_it_misses_nothing() {
    for (seed, mischief) in
        (0..4).flat_map(|seed| [(seed, Mischief::delays()), (seed + 100, Mischief::failures())])
    {
        // What has died in the meantime is in the one and not in the other, and does no harm.
        let bench = Bench { lives: Duration::from_secs(86_400), ..Bench::new(seed).await };
        bench.write(60).await;
        let adverse: Arc<dyn Records> =
            Arc::new(Adverse::new(Arc::clone(&bench.records), seed, mischief));
        let tolerant = async |view: &View| {
            while view.catch_up(adverse.as_ref()).await.is_err() {}
        };
        let keeping = async |number: u64| {
            let view = bench.view();
            tolerant(&view).await;
            for _ in 0..3 {
                bench.write(30).await;
                tolerant(&view).await;
                // It may fail at any step.
                let _ = bench.eager(number).keep(&view, adverse.as_ref()).await;
                // Whoever fails holds the claim for a while.
                bench.clock.advance(LEASE);
            }
        };
        let reading = async |number: u64| {
            for _ in 0..4 {
                let view = bench.view();
                let _ = bench.eager(number).begin(&view, adverse.as_ref()).await;
                let until = bench.reader().await;
                tolerant(&view).await;
                let (has, needs) = (refuses(&view), refuses(&until));
                // The other may have read later or earlier: what it knew, this one knows.
                tolerant(&until).await;
                assert!(view.position() >= 60, "seed {seed}");
                if view.position() == until.position() {
                    assert_eq!(refuses(&view), refuses(&until), "seed {seed}");
                }
                assert!(has.len() >= needs.len(), "seed {seed}");
            }
        };
        tokio::join!(keeping(11), keeping(12), reading(13), reading(14));
        let (view, all) = (bench.view(), bench.reader().await);
        bench.eager(15).begin(&view, bench.records.as_ref()).await.unwrap();
        view.catch_up(bench.records.as_ref()).await.unwrap();
        assert_eq!(refuses(&view), refuses(&all), "seed {seed}");
    }
}

#[tokio::test]
async fn of_other_issuers_nothing_is_missed_that_the_durable_store_was_not_told() {
    let bench = Bench::new(1).await;
    bench.write(200).await;
    let (maker, told) = bench.view_with_foreign(0);
    maker.catch_up(bench.records.as_ref()).await.unwrap();
    assert!(bench.eager(2).keep(&maker, bench.records.as_ref()).await.unwrap());
    let backlog = told.backlog();
    assert!(backlog > 20, "{backlog}");
    // The durable store had been told up to 120 when everything ended.
    let (view, foreign) = bench.view_with_foreign(120);
    assert_eq!(bench.eager(3).begin(&view, bench.records.as_ref()).await.unwrap(), Some(120));
    view.catch_up(bench.records.as_ref()).await.unwrap();
    let (whole, untold) = bench.view_with_foreign(120);
    whole.catch_up(bench.records.as_ref()).await.unwrap();
    assert_eq!(foreign.backlog(), untold.backlog());
    assert_eq!(foreign.fullness(), untold.fullness());
    // The filter knows what is before that, too.
    for number in 0..500 {
        let claims = crate::Claims {
            iss: ISSUER.into(),
            jti: format!("1.9.n{number}"),
            sub: "nobody".into(),
            ..crate::Claims::default()
        };
        let names = Names::of(&claims, None, "key-1");
        let [one, other] = [&foreign, &untold]
            .map(|it| matches!(it.look(&names), Looked::Ask(..) | Looked::Known(Some(_), _)));
        assert_eq!(one, other, "{number}");
    }
    // Whoever does not know of clients and keys at other issuers reads none of it: its filter would say
    // "no" of what it does not look for.
    #[derive(Deserialize)]
    #[expect(dead_code, reason = "read, as before")]
    enum Before {
        Own(Realm, TakenBack),
        Foreign(FilterPart),
    }
    let filter = told.filter().parts().next().unwrap();
    let bytes = |says: &Says| repository::encode(1, says);
    let before = |bytes: &[u8]| repository::decode_bytes::<Before>(1, bytes).is_ok();
    assert!(before(&bytes(&Says::Foreign(filter.clone()))));
    assert!(!before(&bytes(&Says::ForeignToo(filter))));
    let mut kinds = Vec::new();
    for key in bench.parts().await {
        let realm = Realm::default();
        let part = repository::load::<Part>(bench.records.as_ref(), &realm, &key);
        kinds.push(part.await.unwrap().unwrap().value.says);
    }
    assert!(kinds.iter().any(|says| matches!(says, Says::ForeignToo(_))));
    assert!(!kinds.iter().any(|says| matches!(says, Says::Foreign(_))));
    // What was made without other issuers is no beginning for who accepts them.
    let plain = bench.reader().await;
    bench.write(100).await;
    plain.catch_up(bench.records.as_ref()).await.unwrap();
    assert!(bench.eager(4).keep(&plain, bench.records.as_ref()).await.unwrap());
    let (view, _) = bench.view_with_foreign(120);
    assert_eq!(bench.eager(3).begin(&view, bench.records.as_ref()).await.unwrap(), None);
}

#[tokio::test]
async fn how_far_the_durable_store_was_told_moves_with_the_log() {
    let bench = Bench::new(1).await;
    bench.write(100).await;
    let (view, foreign) = bench.view_with_foreign(0);
    view.catch_up(bench.records.as_ref()).await.unwrap();
    assert_eq!(foreign.filled_up_to(&view, 1), None, "it was not told everything");
    loop {
        let batch = foreign.untold();
        if batch.is_empty() {
            break;
        }
        foreign.told(&batch);
    }
    assert_eq!(foreign.filled_up_to(&view, 1000), None);
    let before = foreign.filled();
    let moved = foreign.filled_up_to(&view, 1);
    assert_eq!(moved, (before < 100).then_some(100));
    assert_eq!(foreign.filled(), 100);
    assert_eq!(foreign.filled_up_to(&view, 1), None);
}
