//! What a start waits for: to know what had been taken back before it.

use std::{pin::pin, time::Duration};

use tegata_core::{Log, Node, Records};
use tegata_token::View;
use tokio::time::{interval, timeout};

use super::Startup;

/// For how long the way to the end of the log may make no step.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

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

    use tegata_core::{Batch, Realm, SystemClock, TokenId, port::Sequenced};
    use tegata_engines::PostgresServer;
    use tegata_store::{MemoryFeed, Postgres, PostgresConfig};
    use tegata_token::{Claims, Entry, Revoker, Target};

    use super::{super::kinds, *};

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
}
