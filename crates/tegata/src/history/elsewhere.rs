//! What the second durable home of revocations remembers of the store: a node whose data directory is new,
//! or was brought back with the store, has nothing else to compare it with.

use std::{sync::Arc, time::Duration};

use tegata_core::{Backstop, Log, Node, Realm, Records, port::Withdrawal};

use super::Doubt;
use crate::{
    background::Rounds,
    compose::{Composed, Startup},
    installation::Installation,
};

/// How often it is told, where there is something to tell.
const TOLD: Duration = Duration::from_secs(60);

/// For how long it remembers.
const REMEMBERED: Duration = Duration::from_secs(400 * 86_400);

/// The epoch, and how far the log of revocations has come in it, as what only grows.
fn past(installation: &Installation, position: u64, node: &Node) -> Withdrawal {
    let position = u32::try_from(position).unwrap_or(u32::MAX);
    Withdrawal {
        key: format!("past.{}", installation.made.millis()),
        mark: u64::from(installation.epoch.0) << 32 | u64::from(position),
        until: node.now() + REMEMBERED,
    }
}

/// Refuses a store that is older than what its second home remembers. That this cannot be asked keeps
/// nobody from starting.
pub(crate) async fn check(
    installation: &Installation,
    records: &dyn Records,
    home: &dyn Backstop,
    node: &Node,
) -> Result<(), Startup> {
    let head = records.pull(Log::Revocations, u64::MAX, 1).await?.head;
    let now = past(installation, head, node);
    match home.withdrawn(&Realm::default(), &now.key).await {
        Ok(Some(known)) if known.mark > now.mark => {
            let (epoch, position) = (known.mark >> 32, known.mark & u64::from(u32::MAX));
            let why = format!(
                "the store is older than what `durable` of `[revocation]` remembers: its log \
                 `revocations` ends at {head} in epoch {}, and went up to {position} in epoch {epoch}",
                installation.epoch
            );
            Err(Startup::SetBack(Doubt::SetBack(why).to_string()))
        }
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::warn!(%error, "the second home of revocations does not say what it remembers");
            Ok(())
        }
    }
}

/// Tells the second home how far the log has come, as far as it has all of that.
pub(crate) async fn tell(composed: Arc<Composed>) {
    let Some(elsewhere) = &composed.elsewhere else { return };
    let installation = composed.history.installation();
    let fails = "the second home of revocations is not told how far the log has come";
    let (mut rounds, mut told) = (Rounds::every(TOLD, fails), None);
    loop {
        rounds.next().await;
        let position = elsewhere.standing.position();
        if position == 0 || told == Some(position) {
            continue;
        }
        let past = past(&installation, position, &composed.node);
        let recorded = composed.backstop.record(&composed.realm, &[past]).await;
        told = recorded.is_ok().then_some(position).or(told);
        rounds.ended(&recorded);
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::{Batch, Epoch, EventId, ManualClock, port::Append};
    use tegata_store::{MemoryBackstop, MemoryRecords};

    use super::*;
    use crate::compose::kinds;

    #[tokio::test]
    async fn a_store_that_is_older_than_its_second_home_is_refused() {
        let (node, clock) = (Node::for_tests(1), Arc::new(ManualClock::default()));
        let records = MemoryRecords::new(&kinds(), Arc::clone(&clock) as Arc<_>).unwrap();
        let home = MemoryBackstop::new(clock);
        let installation = Installation::open(&records, &node).await.unwrap();
        let realm = Realm::default();
        for body in 0..5 {
            let id = EventId::generate(node.entropy());
            let append = Append { log: Log::Revocations, id, body: vec![body] };
            records.commit(Batch::new(realm.clone()).append(append)).await.unwrap();
        }
        let is_refused = async |installation: &Installation| {
            let checked = check(installation, &records, &home, &node).await;
            checked.is_err_and(|error| error.to_string().contains("tegata restore --declare"))
        };
        assert!(!is_refused(&installation).await);
        home.record(&realm, &[past(&installation, 5, &node)]).await.unwrap();
        assert!(!is_refused(&installation).await);
        home.record(&realm, &[past(&installation, 6, &node)]).await.unwrap();
        assert!(is_refused(&installation).await);
        // A restore that was declared begins anew, and is remembered however short its log is.
        let declared = installation.in_epoch(Epoch(9));
        assert!(!is_refused(&declared).await);
        home.record(&realm, &[past(&declared, 0, &node)]).await.unwrap();
        assert!(!is_refused(&declared).await && is_refused(&installation).await);
    }
}
