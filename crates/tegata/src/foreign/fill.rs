//! What runs beside the requests where tokens of other issuers count: their keys are kept up to date,
//! the stores are told what was taken back, and the filter is made anew when it is full.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tegata_core::{
    Ephemeral, StoreError,
    port::{Put, Withdrawal},
};
use tegata_token::foreign::{Outbox, Told, WITHDRAWN};
use tokio::task::JoinSet;

use super::Foreign;
use crate::{
    background::{Rounds, every},
    compose::Composed,
};

/// How often the mark is moved while there is more to be told.
const MARKED: u64 = 10_000;

/// What shows that a nearer store has been filled and has lost nothing that it noticed.
const FULL: &str = "full";

/// Starts all of it.
pub(crate) fn start(composed: &Arc<Composed>, tasks: &mut JoinSet<()>) {
    let Some(foreign) = &composed.foreign else { return };
    tasks.spawn(keep_keys(Arc::clone(foreign)));
    tasks.spawn(tell(Arc::clone(composed), Arc::clone(foreign)));
    tasks.spawn(renew(Arc::clone(composed), Arc::clone(foreign)));
    if let Some(near) = foreign.near.clone() {
        tasks.spawn(refill(Arc::clone(composed), Arc::clone(foreign), near));
    }
}

/// Gives the verifiers the keys that count. Of an issuer that is away it is said once.
async fn keep_keys(foreign: Arc<Foreign>) {
    let fails = "the keys of another issuer cannot be had; its tokens do not count";
    let keeping = foreign.issuers.iter().map(async |issuer| {
        let mut rounds = Rounds::every(Duration::from_secs(1), fails);
        loop {
            rounds.next().await;
            rounds.ended(&issuer.refresh().await);
        }
    });
    join_all(keeping).await;
}

/// Tells the durable store, and the nearer one.
async fn tell(composed: Arc<Composed>, foreign: Arc<Foreign>) {
    let fails = "what was taken back of other issuers cannot be written; it is held in memory";
    let mut rounds = Rounds::every(Duration::from_millis(5), fails);
    let mut marked = 0;
    loop {
        rounds.next().await;
        let told = tell_all(&composed, &foreign, &mut marked).await;
        rounds.ended(&told);
    }
}

/// Tells everything that waits.
async fn tell_all(
    composed: &Composed,
    foreign: &Foreign,
    marked: &mut u64,
) -> Result<(), StoreError> {
    loop {
        let batch = foreign.view.untold();
        if batch.is_empty() {
            return Ok(());
        }
        let withdrawals: Vec<_> = batch.iter().map(Told::withdrawal).collect();
        let near = async {
            let near = foreign.near.as_ref()?;
            // It is a copy, which is filled anew where it lacks something.
            put(composed, foreign, near.as_ref(), &batch).await.err()
        };
        let durable = foreign.durable.record(&foreign.realm, &withdrawals);
        let (durable, near) = tokio::join!(durable, near);
        durable?;
        if let Some(error) = near {
            tracing::debug!(%error, "a nearer store was not told what was taken back");
            composed.refill.notify_one();
        }
        if let Some(position) = foreign.view.told(&batch)
            && (foreign.view.backlog() == 0 || position >= *marked + MARKED)
        {
            mark(composed, foreign, position).await?;
            *marked = position;
        }
    }
}

/// Has the durable store say up to which position of the log it has everything.
async fn mark(composed: &Composed, foreign: &Foreign, position: u64) -> Result<(), StoreError> {
    let until = composed.node.now() + Outbox::FILLED_FOR;
    let mark = Withdrawal { key: foreign.filled.clone(), mark: position, until };
    foreign.durable.record(&foreign.realm, &[mark]).await
}

async fn put(
    composed: &Composed,
    foreign: &Foreign,
    near: &dyn Ephemeral,
    batch: &[Told],
) -> Result<(), StoreError> {
    let now = composed.node.now();
    let puts = batch.iter().map(|told| told.put(now)).collect();
    near.put_all(&foreign.realm, &WITHDRAWN, puts).await
}

/// Makes the filter anew when it is full.
async fn renew(composed: Arc<Composed>, foreign: Arc<Foreign>) {
    let fails =
        "the filter of what was taken back cannot be made anew; stores are asked more often";
    let mut rounds = Rounds::every(Duration::from_secs(1), fails);
    let mut warned = 0;
    loop {
        rounds.next().await;
        let (count, capacity) = foreign.view.fullness();
        if count / 4 * 5 >= capacity && warned != capacity {
            warned = capacity;
            tracing::warn!(
                count,
                capacity,
                "the filter of what was taken back of other issuers is \
                nearly full and will be made anew; raise `tokens` of `[[issuer]]`"
            );
        }
        let renewed = foreign.view.renew(&composed.view, composed.records.as_ref()).await;
        if let Ok(true) = renewed {
            let (count, capacity) = foreign.view.fullness();
            tracing::info!(count, capacity, "the filter of what was taken back was made anew");
        }
        rounds.ended(&renewed);
    }
}

/// Fills the nearer store anew when it has lost something: when another server answers than before,
/// when it was not told something, and when it is empty.
async fn refill(composed: Arc<Composed>, foreign: Arc<Foreign>, near: Arc<dyn Ephemeral>) {
    let fails = "a nearer store cannot be told what was taken back; the durable one is asked";
    let mut changes = composed.backends.redis.as_ref().map(tegata_store::Redis::changes);
    let mut rounds = Rounds::every(Duration::from_secs(1), fails);
    let mut looks = every(Duration::from_secs(5));
    let mut due = false;
    loop {
        tokio::select! {
            () = changed(&mut changes) => due = true,
            () = composed.refill.notified() => due = true,
            _ = looks.tick() => {
                let full = near.get(&foreign.realm, &WITHDRAWN, FULL).await;
                due |= matches!(full, Ok(None));
            }
        }
        while due {
            rounds.next().await;
            let filled = fill(&composed, &foreign, near.as_ref()).await;
            due = filled.is_err();
            rounds.ended(&filled);
        }
    }
}

async fn changed(changes: &mut Option<tokio::sync::watch::Receiver<u64>>) {
    if let Some(receiver) = changes
        && receiver.changed().await.is_ok()
    {
        return;
    }
    // Whoever could tell is gone.
    *changes = None;
    std::future::pending().await
}

/// Tells the nearer store everything that the log holds.
async fn fill(
    composed: &Composed,
    foreign: &Foreign,
    near: &dyn Ephemeral,
) -> Result<(), StoreError> {
    // Whoever does not answer need not be read to.
    near.get(&foreign.realm, &WITHDRAWN, FULL).await?;
    let mut walk = composed.view.foreign_walk();
    while let Some(part) = walk.next(composed.records.as_ref(), composed.node.now()).await? {
        put(composed, foreign, near, &part).await?;
    }
    let lifetime = Duration::from_secs(30 * 86_400);
    let full = Put { key: FULL.to_owned(), value: vec![1], lifetime, index: None };
    near.put(&foreign.realm, &WITHDRAWN, full).await
}
