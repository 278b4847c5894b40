//! Committing what takes something back.

use std::{fmt, sync::Arc};

use tegata_core::{
    Batch, CommitRefused, EventId, Feed, Log, Node, NodeId, Records, StoreError,
    port::{Append, Message, Topic},
};

use super::{Entry, MOST_STALE, Pushed, View};
use crate::circle::{Circle, Standing};

/// What errors name as what did not answer.
const CIRCLE: &str = "the circle of nodes that take things back";

/// Commits batches that take something back: first durably, then in this node's own view, then to
/// the others. Whoever is answered `Ok` can rely on it: no request that begins on this node
/// afterwards is served.
#[derive(Clone)]
pub struct Revoker {
    node: Node,
    records: Arc<dyn Records>,
    feed: Arc<dyn Feed>,
    view: Arc<View>,
    circle: Option<Arc<Circle>>,
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
        Self { node, records, feed, view, circle: None }
    }

    /// One of several that commit to the same store, and know of each other by this circle.
    #[must_use]
    pub fn within(mut self, circle: Arc<Circle>) -> Self {
        self.circle = Some(circle);
        self
    }

    /// Commits `batch` together with `entries`.
    ///
    /// # Errors
    /// Nothing is taken back, except under [`tegata_core::StoreError::Indeterminate`], where nobody
    /// knows: then the log will tell every view, this one too.
    pub async fn commit(&self, batch: Batch, entries: Vec<Entry>) -> Result<(), CommitRefused> {
        if !entries.is_empty() {
            self.enter().await?;
        }
        let realm = batch.realm.clone();
        let batch = entries.iter().fold(batch, |batch, entry| {
            let id = EventId::generate(self.node.entropy());
            batch.append(Append { log: Log::Revocations, id, body: entry.to_bytes() })
        });
        self.records.commit(batch).await?;
        for entry in &entries {
            self.view.apply(&realm, entry);
        }
        let numbered = self.acknowledge(entries.len());
        let mut by = numbered.clone().unwrap_or_default();
        for entry in entries {
            let pushed = Pushed { realm: realm.clone(), entry, by };
            by = by.map(|(node, number)| (node, number.saturating_add(1)));
            // The push is a hint: every view also pulls, so a feed that is away loses nothing, and
            // whoever waits for this answer does not wait for it again and again.
            let message = Message::new(Topic::Revocations, pushed.to_bytes());
            if self.feed.publish(message).await.is_err() {
                break;
            }
        }
        Ok(numbered.map(drop)?)
    }

    /// Makes sure that enough is known to say that something was not taken back: what was acknowledged
    /// more than [`MOST_STALE`] ago.
    ///
    /// # Errors
    /// It is not, and the log cannot be read at the moment.
    pub async fn know_enough(&self) -> Result<(), StoreError> {
        let knows = || self.view.staleness().is_some_and(|age| age <= MOST_STALE);
        if knows() {
            return Ok(());
        }
        self.view.catch_up(self.records.as_ref()).await?;
        if knows() {
            return Ok(());
        }
        let detail = "what was taken back lately is not in it yet".to_owned();
        Err(StoreError::Unavailable { backend: "the revocation log", detail })
    }

    /// Makes sure that this process may acknowledge something.
    async fn enter(&self) -> Result<(), StoreError> {
        let Some(circle) = &self.circle else { return Ok(()) };
        if circle.may_acknowledge() || circle.look(self.records.as_ref()).await? == Standing::Member
        {
            return Ok(());
        }
        let standing = circle.standing();
        Err(StoreError::Unavailable { backend: CIRCLE, detail: standing.to_string() })
    }

    /// Counts what is durable by now as acknowledged. Answers who acknowledged it under which number,
    /// the first of them.
    fn acknowledge(&self, count: usize) -> Result<Option<(NodeId, u64)>, StoreError> {
        let Some(circle) = self.circle.as_ref().filter(|_| count > 0) else { return Ok(None) };
        let first = circle.acknowledge(count).ok_or_else(|| {
            let detail = "this process lost its place while it waited for the store".to_owned();
            StoreError::Indeterminate { backend: CIRCLE, detail }
        })?;
        Ok(Some((self.node.id(), first)))
    }

    /// Applies what another node pushed. A message that is none is ignored.
    pub fn hear(&self, message: &[u8]) {
        let Some(pushed) = Pushed::from_bytes(message) else { return };
        self.view.apply(&pushed.realm, &pushed.entry);
        if let (Some(circle), Some((by, number))) = (&self.circle, pushed.by) {
            circle.learn(by, number, &self.view);
        }
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
