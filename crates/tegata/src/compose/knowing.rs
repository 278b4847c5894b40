//! What a start waits for: to know what had been taken back before it.

use std::{pin::pin, time::Duration};

use tegata_core::{Log, Node, Records};
use tegata_token::{View, revocation::Snapshots};
use tokio::time::{interval, timeout};

use super::Startup;

/// For how long the way to the end of the log may make no step.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// Has a view begin with what nodes keep of the log. Without it the log is read from its beginning, which
/// takes longer and brings the same.
pub(super) async fn begin_with_what_was_kept(
    view: &View,
    snapshots: &Snapshots,
    records: &dyn Records,
) {
    match snapshots.begin(view, records).await {
        Ok(Some(position)) => {
            tracing::debug!(position, "begins with a snapshot of what was taken back");
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(%error, "the snapshot of what was taken back cannot be used; the log is read");
        }
    }
}

/// Brings a view to where it knows everything that had been taken back when this was called.
///
/// What was acknowledged last may have no position yet, and so not be in the log: whoever gave
/// positions may have died right after the acknowledgement. Then this node gives them, as soon as
/// the other's lease has ended.
///
/// A long log takes as long as it takes; it is given up when nothing was read for `patience`, or when
/// its end has been reached for as long and something before it is still without a position.
pub(super) async fn know_what_was_taken_back(
    view: &View,
    records: &dyn Records,
    node: &Node,
    patience: Duration,
) -> Result<(), Startup> {
    let began = node.since_boot();
    let mut known = pin!(async {
        let mut ticks = interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            records.sequence(Log::Revocations, node.id()).await?;
            view.catch_up(records).await?;
            if view.knows_all_until(began) {
                return Ok(());
            }
        }
    });
    let mut way = Way { reached: view.position(), at_end: false };
    loop {
        if let Ok(known) = timeout(patience, &mut known).await {
            return known;
        }
        let position = view.position();
        if !way.goes_on(position, view.staleness().is_some()) {
            return Err(Startup::Behind(patience));
        }
        tracing::info!(position, "the revocation log is being read");
    }
}

/// How far the reading of a log has come.
struct Way {
    reached: u64,
    at_end: bool,
}

impl Way {
    /// Whether it is worth to go on, a while after it was looked at the last time.
    const fn goes_on(&mut self, position: u64, at_end: bool) -> bool {
        let goes_on = position > self.reached && !self.at_end;
        (self.reached, self.at_end) = (position, at_end);
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tegata_core::{Batch, Realm, SessionId, SystemClock, TokenId, port::Sequenced};
    use tegata_engines::PostgresServer;
    use tegata_store::{MemoryFeed, Postgres, PostgresConfig};
    use tegata_token::{Claims, Entry, Revoker, Target};

    use super::{super::kinds, *};
    use crate::config::Config;

    #[test]
    fn a_long_log_is_read_to_its_end_and_one_that_stands_still_is_given_up() {
        let begun = || Way { reached: 0, at_end: false };
        assert!(!begun().goes_on(0, false));
        let mut long = begun();
        assert!((1..100).all(|step| long.goes_on(1000 * step, false)));
        assert!(!long.goes_on(99_000, false));
        // Its end was reached: what is added to it afterwards is no reason to wait longer.
        let mut ended = begun();
        assert!(ended.goes_on(1000, true) && !ended.goes_on(1001, true));
    }

    /// A token taken back by a process that gave positions and died before it gave this one.
    async fn taken_back_by_a_dead_process(records: &Arc<dyn Records>) -> Claims {
        let dead = Node::start();
        let leased = records.sequence(Log::Revocations, dead.id()).await.unwrap();
        assert_eq!(leased, Sequenced::Positioned(0));
        let view = Arc::new(View::new(dead.clone()));
        let feed = Arc::new(MemoryFeed::new(16));
        let revoker = Revoker::new(dead.clone(), Arc::clone(records), feed, view);
        let claims = Claims { jti: "1.a".into(), ..Claims::default() };
        let entry = Entry {
            target: Target::Token(TokenId::new(&claims.jti).unwrap()),
            places: Vec::new(),
            at: dead.now(),
            until: dead.now() + Duration::from_secs(900),
            reason: "stolen".into(),
            actor: "system".into(),
        };
        revoker.commit(Batch::new(Realm::default()), vec![entry]).await.unwrap();
        claims
    }

    #[tokio::test]
    async fn a_start_knows_what_a_dead_process_acknowledged_last() {
        let database = PostgresServer::shared().database();
        let (settings, clock) = (PostgresConfig::default(), Arc::new(SystemClock));
        let opened = Postgres::open(&database.url(), settings, &kinds(), clock).await.unwrap();
        let records: Arc<dyn Records> = Arc::new(opened.records());
        let claims = taken_back_by_a_dead_process(&records).await;

        let node = Node::start();
        let view = View::new(node.clone());
        let is_refused = || {
            let view = view.realm(&Realm::default());
            view.check_claims(&claims, None, "key").is_some()
        };
        let hasty = know_what_was_taken_back(&view, records.as_ref(), &node, Duration::ZERO).await;
        let said = hasty.unwrap_err().to_string();
        assert!(said.contains("revocation log"), "{said}");
        // To have read the log is not enough.
        view.catch_up(records.as_ref()).await.unwrap();
        assert!(!is_refused());

        know_what_was_taken_back(&view, records.as_ref(), &node, PATIENCE).await.unwrap();
        assert!(is_refused());
    }

    /// How many are taken back after a snapshot was kept.
    const LATER: u64 = 500;

    /// Takes back so many sessions on a new node, has it keep a snapshot, and takes back some more. Answers how long a start
    /// took before, and after, and what both refuse.
    async fn starts(many: u64) -> [Duration; 2] {
        let place = tempfile::tempdir().unwrap();
        let compose = async || super::super::for_tests_with(place.path(), Config::default()).await;
        let composed = compose().await;
        let (now, realm) = (composed.node.now(), Realm::default());
        let sid = |number: u64| format!("1.9.s{number}");
        let entry = |number: u64| Entry {
            target: Target::Session(SessionId::new(&sid(number)).unwrap()),
            places: vec![],
            at: now,
            until: now + Duration::from_secs(if number.is_multiple_of(10) { 86_400 } else { 60 }),
            reason: "test".to_owned(),
            actor: "system".to_owned(),
        };
        let all: Vec<_> = (0..many).map(entry).collect();
        for part in all.chunks(1000) {
            composed.revoker.commit(Batch::new(realm.clone()), part.to_vec()).await.unwrap();
        }
        drop(composed);
        let timed = async |known: u64| {
            let clock = Node::start();
            let began = clock.since_boot();
            let composed = compose().await;
            let took = clock.elapsed(began);
            let view = composed.view.realm(&realm);
            assert!((0..known).step_by(10).all(|number| view.session_ended(&sid(number))));
            assert!(!view.session_ended(&sid(known)));
            assert_eq!(composed.view.position(), known);
            (composed, took)
        };
        let (composed, before) = timed(many).await;
        let snapshots = Snapshots::new(composed.node.clone());
        let records = composed.records.as_ref();
        assert!(snapshots.keep(&composed.view, records).await.unwrap());
        let fresh = View::new(composed.node.clone()).of_epoch(composed.epoch);
        assert_eq!(snapshots.begin(&fresh, records).await.unwrap(), Some(many));
        // What came later than the snapshot is read from the log.
        let later: Vec<_> = (many..many + LATER).map(entry).collect();
        composed.revoker.commit(Batch::new(realm.clone()), later).await.unwrap();
        drop(composed);
        let (_composed, after) = timed(many + LATER).await;
        [before, after]
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_start_goes_on_from_the_snapshot_that_a_node_kept() {
        starts(20_000).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "measures, in a release build, what the one before does with two million"]
    async fn a_start_after_two_million_revocations_takes_seconds() {
        let [read, begun] = starts(2_000_000).await;
        println!("a start took {read:?} with the log, and {begun:?} with a snapshot");
        assert!(begun < Duration::from_secs(5) && begun * 3 < read, "{read:?}, {begun:?}");
    }
}
