//! Committing what takes something back.

use std::{fmt, sync::Arc};

use tegata_core::{
    Batch, CommitRefused, EventId, Feed, Log, Node, Realm, Records, StoreError,
    port::{Append, Message, Topic},
};

use super::{Entry, History, MOST_STALE, Pushed, Target, Unknowable, View};
use crate::circle::{self, Begun, CIRCLE_PLACES, Circle, Standing};

/// What errors name as what did not answer.
const CIRCLE: &str = "the circle of nodes that take things back";

/// How often somebody else may change who is in the circle meanwhile.
const TRIES: u32 = 20;

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
        let since = since(entries.iter().map(|entry| &entry.target));
        let Some(circle) = self.circle.as_ref().filter(|_| since > 0) else {
            return self.commit_once(batch, entries).await;
        };
        for _ in 0..TRIES {
            let (ignorant, unchanged) = circle.ignorant(self.records.as_ref(), since).await?;
            if !ignorant.is_empty() {
                return Err(StoreError::Unavailable {
                    backend: CIRCLE,
                    detail: too_old(&ignorant),
                }
                .into());
            }
            // INVARIANT: whoever enters the circle changes the register, so nobody does in between.
            let batch = batch.clone().with(unchanged);
            match self.commit_once(batch, entries.clone()).await {
                Err(CommitRefused::Conflict { kind, .. }) if kind == circle::CIRCLE.name => {}
                committed => return committed,
            }
        }
        let detail = "others changed who is in it again and again".to_owned();
        Err(StoreError::Unavailable { backend: CIRCLE, detail }.into())
    }

    /// As [`Self::commit`], of a batch of which nothing expects anything, so that nobody can be first.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_freely(&self, batch: Batch, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.commit(batch, entries).await.map_err(|refused| match refused {
            CommitRefused::Store(error) => error,
            CommitRefused::Conflict { kind, .. } => StoreError::Misused {
                detail: format!("entries of the log came into conflict with `{kind}`"),
            },
        })
    }

    /// Why such a thing cannot be taken back at the moment: some nodes run a version that could not read
    /// that it was. `None`: all can.
    ///
    /// # Errors
    /// What the store says.
    pub async fn unreadable(&self, target: &Target) -> Result<Option<String>, StoreError> {
        let since = target.known_since();
        let Some(circle) = self.circle.as_ref().filter(|_| since > 0) else { return Ok(None) };
        let (ignorant, _) = circle.ignorant(self.records.as_ref(), since).await?;
        Ok(Some(ignorant).filter(|some| !some.is_empty()).map(|some| too_old(&some)))
    }

    /// As [`Self::commit`], of what the log has said before: whoever cannot read it stops at it once more.
    pub(crate) async fn commit_once(
        &self,
        batch: Batch,
        entries: Vec<Entry>,
    ) -> Result<(), CommitRefused> {
        let realm = batch.realm.clone();
        let begun = self.begin(&realm, &entries).await?;
        let mut batch = entries.iter().fold(batch, |batch, entry| {
            let id = EventId::generate(self.node.entropy());
            batch.append(Append { log: Log::Revocations, id, body: entry.to_bytes() })
        });
        if let Some(begun) = &begun {
            batch = batch.with(begun.requires());
        }
        let committed = self.records.commit(batch).await;
        match (&committed, begun) {
            (Ok(()), Some(begun)) => self.push(begun.done()).await,
            (Ok(()), None) => {
                entries.iter().for_each(|entry| self.view.apply(&realm, entry));
                let pushed = entries.into_iter().map(|entry| {
                    Pushed { realm: realm.clone(), entry, by: None, perhaps: false }.to_bytes()
                });
                self.push(pushed.collect()).await;
            }
            (Err(CommitRefused::Store(StoreError::Indeterminate { .. })), Some(begun)) => {
                self.push(begun.unknown()).await;
            }
            (Err(_), Some(begun)) => begun.void(),
            (Err(_), None) => {}
        }
        committed.map_err(|refused| self.as_told(refused))
    }

    /// What the caller is told: that this process is not in the circle is no lost race.
    fn as_told(&self, refused: CommitRefused) -> CommitRefused {
        match (refused, &self.circle) {
            (CommitRefused::Conflict { kind, .. }, Some(circle)) if kind == CIRCLE_PLACES.name => {
                circle.is_out();
                not_in_circle(circle).into()
            }
            (refused, _) => refused,
        }
    }

    /// Tells the others. The push is a hint: every view also pulls, so a feed that is away loses
    /// nothing, and whoever waits for this answer does not wait for it again and again.
    async fn push(&self, messages: Vec<Vec<u8>>) {
        for message in messages {
            if self.feed.publish(Message::new(Topic::Revocations, message)).await.is_err() {
                break;
            }
        }
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
        self.view.know(self.records.as_ref(), MOST_STALE).await?;
        if knows() {
            return Ok(());
        }
        let detail = "what was taken back lately is not in it yet".to_owned();
        Err(StoreError::Unavailable { backend: "the revocation log", detail })
    }

    /// Reads from the log what there is to know of how lists stood.
    ///
    /// # Errors
    /// What cannot be known.
    pub async fn recall(&self, history: &mut History) -> Result<(), Unknowable> {
        history.read(self.records.as_ref(), self.node.now()).await
    }

    /// Gives numbers to entries, where others must be able to tell that they know them.
    async fn begin(&self, realm: &Realm, entries: &[Entry]) -> Result<Option<Begun>, StoreError> {
        let Some(circle) = self.circle.as_ref().filter(|_| !entries.is_empty()) else {
            return Ok(None);
        };
        if circle.standing() != Standing::Member {
            circle.look(self.records.as_ref()).await?;
        }
        circle.begin(&self.view, realm, entries).map(Some).ok_or_else(|| not_in_circle(circle))
    }

    /// Applies what another node pushed. A message that is none is ignored.
    pub fn hear(&self, message: &[u8]) {
        let Some(pushed) = Pushed::from_bytes(message) else { return };
        if pushed.perhaps {
            self.view.apply_perhaps(&pushed.realm, &pushed.entry);
        } else {
            self.view.apply(&pushed.realm, &pushed.entry);
        }
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

/// What all must know who are to read these.
fn since<'t>(targets: impl Iterator<Item = &'t Target>) -> u32 {
    targets.map(Target::known_since).max().unwrap_or_default()
}

fn too_old(names: &[String]) -> String {
    format!(
        "nothing was taken back: {} would not understand it and stop following what is taken back, \
         because they run an older version, or have not said yet which they run; update them, or, \
         where they have ended, wait until nobody counts on them: seven minutes at most",
        names.join(", ")
    )
}

fn not_in_circle(circle: &Circle) -> StoreError {
    StoreError::Unavailable { backend: CIRCLE, detail: circle.standing().to_string() }
}

impl fmt::Debug for Revoker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revoker({:?})", self.node)
    }
}
