//! Committing what takes something back.

use std::{fmt, sync::Arc};

use tegata_core::{
    Batch, CommitRefused, EventId, Feed, Log, Node, Records,
    port::{Append, Message, Topic},
};

use super::{Entry, Pushed, View};

/// Commits batches that take something back: first durably, then in this node's own view, then to
/// the others. Whoever is answered `Ok` can rely on it: no request that begins on this node
/// afterwards is served.
#[derive(Clone)]
pub struct Revoker {
    node: Node,
    records: Arc<dyn Records>,
    feed: Arc<dyn Feed>,
    view: Arc<View>,
}

impl Revoker {
    /// A revoker on this store, feed and view.
    #[must_use]
    pub fn new(
        node: Node,
        records: Arc<dyn Records>,
        feed: Arc<dyn Feed>,
        view: Arc<View>,
    ) -> Self {
        Self { node, records, feed, view }
    }

    /// Commits `batch` together with `entries`.
    ///
    /// # Errors
    /// Nothing is taken back, except under [`tegata_core::StoreError::Indeterminate`], where nobody
    /// knows: then the log will tell every view, this one too.
    pub async fn commit(&self, batch: Batch, entries: Vec<Entry>) -> Result<(), CommitRefused> {
        let realm = batch.realm.clone();
        let batch = entries.iter().fold(batch, |batch, entry| {
            let id = EventId::generate(self.node.entropy());
            batch.append(Append { log: Log::Revocations, id, body: entry.to_bytes() })
        });
        self.records.commit(batch).await?;
        for entry in &entries {
            self.view.apply(&realm, entry);
        }
        for entry in entries {
            let pushed = Pushed { realm: realm.clone(), entry };
            // The push is a hint: every view also pulls, so a feed that is away loses nothing, and
            // whoever waits for this answer does not wait for it again and again.
            let message = Message::new(Topic::Revocations, pushed.to_bytes());
            if self.feed.publish(message).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Applies what another node pushed. A message that is none is ignored.
    pub fn hear(&self, message: &[u8]) {
        self.view.hear(message);
    }

    /// The view that commits are applied to.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }
}

impl fmt::Debug for Revoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revoker({:?})", self.node)
    }
}
