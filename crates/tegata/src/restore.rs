//! Saying that a store was brought back from a backup: nothing that was issued before counts any more.
//!
//! What was revoked, spent or ended since the backup does not stand in the store, and nobody can say what
//! it was. So all of it falls: the epoch is raised, which tokens, families, sessions and codes begin with,
//! and all signing keys are replaced, which those verifiers notice that know nothing of epochs.

use std::time::Duration;

use serde_json::{Value, json};
use tegata_core::{
    Batch, CommitRefused, Epoch, Event, EventId, EventType, Log, Node, Realm, Records, StoreError,
    port::{Append, Sequenced},
};
use tegata_token::{
    Circle, KeysRefused, Order,
    keys::{Renewal, Rings},
};
use tokio::time::{interval, timeout};

use crate::installation::Installation;

/// For how long the lease of a process that has died may stand in the way: it is a second long.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why it was not declared. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDeclared {
    #[error(
        "a node runs on this database; stop every node, repeat this, and start them again: what they \
         hold in memory came from the store that was replaced"
    )]
    Served,
    #[error("the store is empty: there is nothing that was brought back")]
    Empty,
    #[error("the store was changed meanwhile; repeat this")]
    Raced,
    #[error(transparent)]
    Keys(#[from] KeysRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Declares that the store was brought back, where no node serves from it. `seen` is the latest epoch that
/// is known from elsewhere than the store.
pub(crate) async fn declare(
    records: &dyn Records,
    node: &Node,
    rings: &Rings,
    seen: Option<Epoch>,
) -> Result<Value, NotDeclared> {
    let realm = Realm::default();
    let found = Installation::find(records).await?.ok_or(NotDeclared::Empty)?;
    let before = found.value.epoch;
    let epoch = before.max(seen.unwrap_or(before)).after(node.now());
    let order = Order { reason: "restored".to_owned(), actor: "operator".to_owned() };
    let renewal = Renewal::of(node, &realm, records, rings, &order).await?;
    let raised = found.replace(&found.value.in_epoch(epoch));
    let mut batch = Batch::new(realm.clone()).with(raised);
    // Those that the backup names are gone, and those that run are not to take anything back.
    let disbanded = Circle::disbanded(records, &realm).await?;
    batch = disbanded.into_iter().chain(renewal.changes).fold(batch, Batch::with);
    let data = [("epoch", json!(epoch)), ("before", json!(before)), ("actor", json!(order.actor))];
    let event = Event::new(node, &realm, EventType::BackupRestored, data);
    batch = std::iter::once(&event).chain(&renewal.events).fold(batch, Batch::journal);
    // At the end, because to make keys takes long, and a node may have been started meanwhile.
    is_nobodys(records, node).await?;
    let keys = renewal.entries.len();
    for entry in renewal.entries {
        let id = EventId::generate(node.entropy());
        batch = batch.append(Append { log: Log::Revocations, id, body: entry.to_bytes() });
    }
    records.commit(batch).await.map_err(|refused| match refused {
        CommitRefused::Conflict { .. } => NotDeclared::Raced,
        CommitRefused::Store(error) => NotDeclared::Store(error),
    })?;
    let says = "what was issued before does not count any more; people sign in anew; recovery codes that \
                were used since count again";
    Ok(json!({"epoch": epoch, "before": before, "keys_replaced": keys, "says": says}))
}

/// Refuses a store from which a node serves: every node tries to get the lease of the log, many times a
/// second, so where this process gets it nobody else is there.
async fn is_nobodys(records: &dyn Records, node: &Node) -> Result<(), NotDeclared> {
    let ours = async {
        let mut ticks = interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            match records.sequence(Log::Revocations, node.id()).await? {
                Sequenced::NotOurs => {}
                Sequenced::Positioned(_) | Sequenced::AtCommit => return Ok(()),
            }
        }
    };
    timeout(PATIENCE, ours).await.unwrap_or(Err(NotDeclared::Served))
}
