//! Keys of other issuers that were taken back, for as long as that is so.
//!
//! What a key signs can be new for as long as its issuer publishes it. So that it was taken back must
//! outlive the log, of which is dropped what is older than anything can be that was issued here. A record
//! holds it, and the log is told again before it forgets.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, CommitRefused, Expect, Kind, Lifetime, Realm, Records, Stored, Timestamp,
    port::{Change, Page},
    repository,
};

use super::Name;
use crate::revocation::{CLOCK_ERROR, Entry, Revoker, Target};

/// Where they are held.
pub static FOREIGN_KEYS: Kind =
    Kind { name: "foreign_keys", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// For how long an entry of the log says it: ten years, so that it counts also where all nodes stood still
/// for longer than the log is kept.
const SAID_FOR: Duration = Duration::from_secs(10 * 365 * 86_400);

/// A key of another issuer that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Lasting {
    key: String,
    /// What the log was told.
    entry: Entry,
    /// When it was told last.
    told: Timestamp,
}

impl Stored for Lasting {
    const KIND: &'static Kind = &FOREIGN_KEYS;
    const FORM: u8 = 1;

    fn key(&self) -> &str {
        &self.key
    }
}

/// The entry as it stands in the log, and the change that has it outlast the log, where it is of a key of
/// another issuer. Of others nothing is changed.
#[must_use]
pub fn lasting(entry: Entry, now: Timestamp) -> (Entry, Option<Change>) {
    let Target::ForeignKey { issuer, kid } = &entry.target else { return (entry, None) };
    let key = Name::key_of(issuer, kid).key();
    let entry = Entry { until: now + SAID_FOR, ..entry };
    let held = Lasting { key, entry: entry.clone(), told: now };
    // Whoever says it again, says it again.
    (entry, Some(held.put(Expect::Any)))
}

/// Tells the log again which keys of other issuers were taken back, of which it drops what is older than
/// `kept`. To be called before anything is dropped. Answers how many it told of.
///
/// # Errors
/// What the store says, or the circle. INVARIANT: then nothing may be dropped.
pub async fn tell_again(
    revoker: &Revoker,
    records: &dyn Records,
    (realm, now): (&Realm, Timestamp),
    kept: Duration,
) -> Result<usize, CommitRefused> {
    let page = Page { after: None, limit: u32::MAX };
    let mut told = 0;
    for held in repository::scan::<Lasting>(records, realm, page).await? {
        let last = held.value.told;
        // One that was told by a clock that was ahead would wait for it.
        if now.since(last) < kept / 2 && last <= now + CLOCK_ERROR {
            continue;
        }
        let entry = Entry { until: now + SAID_FOR, ..held.value.entry.clone() };
        let next = Lasting { entry: entry.clone(), told: now, ..held.value.clone() };
        let batch = Batch::new(realm.clone()).with(held.replace(&next));
        match revoker.commit_once(batch, vec![entry]).await {
            Ok(()) => told += 1,
            // Another node did.
            Err(CommitRefused::Conflict { .. }) => {}
            Err(refused) => return Err(refused),
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tegata_core::{Log, ManualClock, Node, SeededEntropy};
    use tegata_store::{MemoryFeed, MemoryRecords};

    use super::*;
    use crate::{
        Claims, ForeignView, View,
        foreign::{Looked, Names},
        revocation::Revoked,
    };

    const ISSUER: &str = "https://idp.example";
    const KEPT: Duration = Duration::from_secs(31 * 86_400);

    struct Bench {
        clock: Arc<ManualClock>,
        store: Arc<MemoryRecords>,
        node: Node,
        view: Arc<View>,
        foreign: Arc<ForeignView>,
        revoker: Revoker,
    }

    impl Bench {
        /// A node that starts, on what another left.
        fn of(clock: &Arc<ManualClock>, store: &Arc<MemoryRecords>, seed: u64) -> Self {
            let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(seed)));
            let foreign = Arc::new(ForeignView::new(node.clone(), 100, 0));
            let view = View::new(node.clone()).with_foreign(Realm::default(), foreign.clone());
            let (view, feed) = (Arc::new(view), Arc::new(MemoryFeed::new(16)));
            let revoker = Revoker::new(node.clone(), store.clone(), feed, view.clone());
            Self { clock: clock.clone(), store: store.clone(), node, view, foreign, revoker }
        }

        fn new() -> Self {
            let clock = Arc::new(ManualClock::default());
            let store = MemoryRecords::new(&[&FOREIGN_KEYS], clock.clone()).unwrap();
            Self::of(&clock, &Arc::new(store), 1)
        }

        async fn take_back(&self) {
            let (at, issuer, kid) = (self.node.now(), ISSUER.to_owned(), "k1".to_owned());
            let (reason, actor) = ("stolen".to_owned(), "operator".to_owned());
            let target = Target::ForeignKey { issuer, kid };
            let entry = Entry { target, places: vec![], at, until: at, reason, actor };
            let (entry, held) = lasting(entry, at);
            let batch = Batch::new(Realm::default()).with(held.unwrap());
            self.revoker.commit(batch, vec![entry]).await.unwrap();
        }

        async fn tell_again(&self) -> usize {
            let at = (&Realm::default(), self.node.now());
            tell_again(&self.revoker, self.store.as_ref(), at, KEPT).await.unwrap()
        }

        async fn purge(&self) {
            let now = self.node.now();
            self.store.purge(now, now - KEPT).await.unwrap();
        }

        /// By what a token is refused that the key signed a moment ago.
        fn refused(&self) -> Option<Revoked> {
            let (iss, iat) = (ISSUER.to_owned(), self.node.now().secs());
            let claims = Claims { iss, iat, jti: "t".into(), sub: "a".into(), ..Claims::default() };
            match self.foreign.look(&Names::of(&claims, None, "k1")) {
                Looked::Known(by, _) => by,
                Looked::Ask(..) => panic!("nothing was told to another store"),
            }
        }
    }

    #[tokio::test]
    async fn a_key_is_refused_for_longer_than_the_log_is_kept() {
        let bench = Bench::new();
        bench.take_back().await;
        let mut told = 0;
        for _ in 0..100 {
            bench.clock.advance(Duration::from_secs(86_400));
            told += bench.tell_again().await;
            bench.purge().await;
        }
        assert!((3..=8).contains(&told), "{told}");
        let next = Bench::of(&bench.clock, &bench.store, 2);
        next.view.catch_up(next.store.as_ref()).await.unwrap();
        assert_eq!(next.refused(), Some(Revoked::Key));
        // What else it held is gone by then.
        let pull = bench.store.pull(Log::Revocations, 0, 100).await.unwrap();
        assert!(pull.entries.len() < 4, "{}", pull.entries.len());
    }

    #[tokio::test]
    async fn where_all_stood_still_it_is_known_at_the_next_start() {
        let bench = Bench::new();
        bench.take_back().await;
        bench.clock.advance(KEPT * 12);
        let next = Bench::of(&bench.clock, &bench.store, 2);
        next.view.catch_up(next.store.as_ref()).await.unwrap();
        assert_eq!(next.refused(), Some(Revoked::Key));
        assert_eq!(next.tell_again().await, 1);
        next.purge().await;
        let third = Bench::of(&bench.clock, &bench.store, 3);
        third.view.catch_up(third.store.as_ref()).await.unwrap();
        assert_eq!(third.refused(), Some(Revoked::Key));
        assert_eq!(third.tell_again().await, 0, "it was told a moment ago");
    }

    #[tokio::test]
    async fn a_clock_that_was_ahead_is_not_waited_for() {
        let bench = Bench::new();
        bench.clock.advance(KEPT * 100);
        bench.take_back().await;
        let set_back = (&Realm::default(), bench.node.now() - KEPT * 50);
        let told = tell_again(&bench.revoker, bench.store.as_ref(), set_back, KEPT).await;
        assert_eq!(told, Ok(1));
    }

    #[test]
    fn of_what_dies_nothing_is_held() {
        let at = Timestamp::from_secs(1_800_000_000);
        let target = Target::ForeignToken { issuer: ISSUER.into(), jti: "t".into() };
        let (reason, actor) = ("stolen".to_owned(), "operator".to_owned());
        let entry = Entry { target, places: vec![], at, until: at, reason, actor };
        let (same, held) = lasting(entry.clone(), at);
        assert_eq!(same, entry);
        assert!(held.is_none());
    }
}
