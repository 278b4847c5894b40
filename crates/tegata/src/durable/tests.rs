use std::sync::atomic::{AtomicBool, AtomicU32};

use tegata_core::{
    Clock as _, EventId, ManualClock, SeededEntropy, Timestamp,
    port::{Append, BoxFuture},
};
use tegata_store::{MemoryBackstop, MemoryRecords};
use tegata_token::Target;

use super::*;

/// A home that can be away, lose its answers, or take only some of many; and counts.
struct Home {
    inner: MemoryBackstop,
    away: AtomicBool,
    loses: AtomicBool,
    takes: AtomicU32,
    written: AtomicU32,
}

impl Home {
    fn new(clock: &Arc<ManualClock>) -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryBackstop::new(Arc::clone(clock) as Arc<_>),
            away: AtomicBool::new(false),
            loses: AtomicBool::new(false),
            takes: AtomicU32::new(u32::MAX),
            written: AtomicU32::new(0),
        })
    }

    fn written(&self) -> u32 {
        self.written.load(Ordering::SeqCst)
    }

    async fn has(&self, number: u64) -> bool {
        let key = subject(number).backstop_key();
        self.inner.withdrawn(&Realm::default(), &key).await.unwrap().is_some()
    }
}

impl Backstop for Home {
    fn record<'a>(
        &'a self,
        realm: &'a Realm,
        withdrawals: &'a [Withdrawal],
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            let (backend, detail) = ("the home", String::new());
            if self.away.load(Ordering::SeqCst) {
                return Err(StoreError::Unavailable { backend, detail });
            }
            for (number, one) in (0..).zip(withdrawals) {
                if number >= self.takes.load(Ordering::SeqCst) {
                    return Err(StoreError::Indeterminate { backend, detail });
                }
                self.inner.record(realm, std::slice::from_ref(one)).await?;
                self.written.fetch_add(1, Ordering::SeqCst);
            }
            if self.loses.load(Ordering::SeqCst) {
                return Err(StoreError::Indeterminate { backend, detail });
            }
            Ok(())
        })
    }

    fn withdrawn<'a>(
        &'a self,
        realm: &'a Realm,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Withdrawal>, StoreError>> {
        self.inner.withdrawn(realm, key)
    }
}

/// An installation: a log, its other home, and a clock.
struct Bed {
    clock: Arc<ManualClock>,
    records: MemoryRecords,
    home: Arc<Home>,
    appended: AtomicU64,
}

impl Bed {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::default());
        let records = MemoryRecords::new(&[&COPIED], clock.clone()).unwrap();
        let home = Home::new(&clock);
        Self { clock, records, home, appended: AtomicU64::new(0) }
    }

    /// A node, which begins to follow.
    fn node(&self, seed: u64) -> Follower {
        self.node_for(seed, "home")
    }

    fn node_for(&self, seed: u64, home: &str) -> Follower {
        let node = Node::with(self.clock.clone(), Arc::new(SeededEntropy::new(seed)));
        let backstop = Arc::clone(&self.home) as Arc<dyn Backstop>;
        Follower::new(node, home.to_owned(), backstop, Arc::default())
    }

    /// How far the log goes.
    fn head(&self) -> u64 {
        self.appended.load(Ordering::SeqCst)
    }

    /// Takes something back that lives for an hour.
    async fn revoke(&self) -> u64 {
        self.revoke_until(self.clock.now() + Duration::from_secs(3600)).await
    }

    async fn revoke_until(&self, until: Timestamp) -> u64 {
        let number = self.head() + 1;
        let entry = Entry {
            target: subject(number),
            places: vec![],
            at: self.clock.now(),
            until,
            reason: "test".to_owned(),
            actor: "system".to_owned(),
        };
        self.append(entry.to_bytes()).await
    }

    async fn append(&self, body: Vec<u8>) -> u64 {
        let number = self.appended.fetch_add(1, Ordering::SeqCst) + 1;
        let id = EventId(u128::from(number).to_be_bytes());
        let append = Append { log: Log::Revocations, id, body };
        self.records.commit(Batch::new(Realm::default()).append(append)).await.unwrap();
        number
    }

    /// Lets a node follow until there is nothing more.
    async fn all(&self, node: &mut Follower) -> Result<(), Stopped> {
        while node.follow(&self.records, self.head()).await? {}
        Ok(())
    }
}

fn subject(number: u64) -> Target {
    let up_to = Timestamp::from_millis(1);
    Target::Subject { sub: format!("s{number}"), up_to, tokens_only: false }
}

#[tokio::test]
async fn everything_is_recorded_once_while_nothing_fails_and_a_restart_goes_on() {
    let bed = Bed::new();
    for _ in 0..200 {
        bed.revoke().await;
    }
    let mut node = bed.node(1);
    bed.all(&mut node).await.unwrap();
    assert_eq!((bed.home.written(), node.standing.position()), (200, 200));
    assert!(bed.home.has(1).await && bed.home.has(200).await);
    let late = bed.revoke().await;
    // The same process, started again: it is another node, and waits for the turn of the one before.
    let mut again = bed.node(2);
    bed.all(&mut again).await.unwrap();
    assert!(!bed.home.has(late).await);
    bed.clock.advance(TURN);
    bed.all(&mut again).await.unwrap();
    assert_eq!((bed.home.written(), bed.home.has(late).await), (201, true));
}

#[tokio::test]
async fn one_node_records_and_another_takes_over_when_it_is_gone() {
    let bed = Bed::new();
    let (mut one, mut other) = (bed.node(1), bed.node(2));
    for _ in 0..10 {
        bed.revoke().await;
        for node in [&mut one, &mut other] {
            bed.all(node).await.unwrap();
        }
        bed.clock.advance(Duration::from_secs(60));
    }
    // However much time passes, what one records the other does not.
    assert_eq!(bed.home.written(), 10);
    let late = bed.revoke().await;
    bed.all(&mut other).await.unwrap();
    assert!(!bed.home.has(late).await);
    bed.clock.advance(TURN);
    bed.all(&mut other).await.unwrap();
    assert!(bed.home.has(late).await);
    assert!(other.standing.behind(bed.clock.since_boot()).is_zero());
    // The first, back again, leaves it to the other.
    bed.revoke().await;
    bed.all(&mut one).await.unwrap();
    assert_eq!(bed.home.written(), 11);
    bed.all(&mut other).await.unwrap();
    assert_eq!(bed.home.written(), 12);
}

#[tokio::test]
async fn the_position_moves_only_when_all_before_it_is_acknowledged() {
    let bed = Bed::new();
    let mut node = bed.node(1);
    for _ in 0..3 {
        bed.revoke().await;
    }
    bed.home.loses.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        assert!(matches!(bed.all(&mut node).await, Err(Stopped::Home(_))));
        assert_eq!(node.standing.position(), 0);
    }
    assert!(node.standing.why().is_some() && node.standing.errors() == 3);
    bed.home.loses.store(false, Ordering::SeqCst);
    bed.all(&mut node).await.unwrap();
    assert_eq!((node.standing.position(), node.standing.why()), (3, None));
}

#[tokio::test]
async fn whoever_was_away_is_told_all_of_it() {
    let bed = Bed::new();
    let mut node = bed.node(1);
    bed.home.away.store(true, Ordering::SeqCst);
    for _ in 0..300 {
        bed.revoke().await;
        assert!(bed.all(&mut node).await.is_err());
    }
    bed.clock.advance(Duration::from_secs(600));
    assert!(node.standing.behind(bed.clock.since_boot()) >= Duration::from_secs(600));
    bed.home.away.store(false, Ordering::SeqCst);
    bed.all(&mut node).await.unwrap();
    for number in 1..=300 {
        assert!(bed.home.has(number).await, "{number}");
    }
    assert!(node.standing.behind(bed.clock.since_boot()).is_zero());
}

#[tokio::test]
async fn a_home_that_takes_few_at_a_time_gets_all() {
    let bed = Bed::new();
    let mut node = bed.node(1);
    for _ in 0..50 {
        bed.revoke().await;
    }
    bed.home.takes.store(2, Ordering::SeqCst);
    let mut rounds = 0;
    while node.standing.position() < 50 {
        let _ = bed.all(&mut node).await;
        rounds += 1;
        assert!(rounds < 100, "it stays at {}", node.standing.position());
    }
    // What is taken again and again is little.
    assert!(bed.home.written() < 150, "{}", bed.home.written());
}

#[tokio::test]
async fn what_was_trimmed_away_keeps_nobody() {
    let bed = Bed::new();
    bed.home.away.store(true, Ordering::SeqCst);
    let mut node = bed.node(1);
    for _ in 0..5 {
        bed.revoke().await;
    }
    assert!(bed.all(&mut node).await.is_err());
    bed.clock.advance(Duration::from_secs(40 * 86_400));
    let now = bed.clock.now();
    bed.records.purge(now, now - Duration::from_secs(31 * 86_400)).await.unwrap();
    bed.home.away.store(false, Ordering::SeqCst);
    let alive = bed.revoke().await;
    bed.all(&mut node).await.unwrap();
    bed.all(&mut node).await.unwrap();
    assert!(bed.home.has(alive).await);
    assert_eq!((node.standing.position(), bed.home.written()), (alive, 1));
}

#[tokio::test]
async fn what_is_long_past_is_not_recorded() {
    let bed = Bed::new();
    let now = bed.clock.now();
    bed.revoke_until(now - Duration::from_secs(2 * 86_400)).await;
    // A clock that is an hour wrong skips nothing.
    bed.revoke_until(now - Duration::from_secs(3600)).await;
    let mut node = bed.node(1);
    bed.all(&mut node).await.unwrap();
    assert_eq!((bed.home.written(), node.standing.position()), (1, 2));
}

#[tokio::test]
async fn nobody_goes_past_what_cannot_be_read() {
    let bed = Bed::new();
    bed.revoke().await;
    let mut node = bed.node(1);
    bed.all(&mut node).await.unwrap();
    bed.append(b"of a newer release".to_vec()).await;
    bed.revoke().await;
    assert!(matches!(bed.all(&mut node).await, Err(Stopped::Log(StoreError::Corrupt { .. }))));
    assert_eq!(node.standing.position(), 1);
}

#[tokio::test]
async fn another_home_begins_at_the_beginning() {
    let bed = Bed::new();
    bed.revoke().await;
    bed.all(&mut bed.node(1)).await.unwrap();
    bed.all(&mut bed.node_for(1, "another")).await.unwrap();
    assert_eq!(bed.home.written(), 2);
}
