//! The decision log: what was decided about each request, in files that show when something in them
//! was altered, cut off or removed.
//!
//! A log is a directory of segments, `0000000001.log` and so on. A segment is lines; a line is a
//! hash, a space and a record in JSON. The hash is SHA-256 over the hash before it (32 bytes) and the
//! record as it stands there, so every line vouches for all lines before it, across segments. Every
//! so often, and at the end of each segment, a record is a *checkpoint*: a signed statement of the
//! position and the hash. What stands before a checkpoint cannot be rewritten without the key; what
//! stands after the last one can be cut off, and [`verify()`] says how much that is. Whoever keeps the
//! last checkpoint elsewhere, and gives it to [`verify()`], learns of that too.
//!
//! One thread writes. Requests hand it their records through a bounded queue and do not wait, unless
//! the log is [`Mode::Required`]. What waits is written together and made durable once.

use std::{
    cell::RefCell,
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tegata_core::Node;
use tokio::sync::watch;

use crate::gate::Signer;

mod anchor;
mod find;
mod line;
mod queue;
mod reader;
mod record;
mod segment;
mod verify;
mod walk;
mod writer;

pub use anchor::{Anchor, name_in};
pub use find::{BYTES, Lost, Search, Seen, Stretch, find, is_given, is_name, moment_of};
pub use reader::{Entry, Position, Reader, Stopped};
pub use record::{Outcome, Record};
pub use verify::{Altered, Found, Known, Verified, verify, verify_segment};
pub use walk::{Ended, Evaluation, Inputs, Limit, Roles, Scopes, Steps, Thing, Walk};

use queue::Queue;

/// How the log is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The directory; made where it is not there.
    pub directory: PathBuf,
    /// What follows when a decision cannot be recorded.
    #[serde(default)]
    pub mode: Mode,
    /// The size, in bytes, after which a segment is ended.
    #[serde(default = "default_segment")]
    pub segment: u64,
    /// How many bytes of records may wait to be written.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// After how many records a checkpoint is made at the latest.
    #[serde(default = "default_checkpoint")]
    pub checkpoint: u64,
    /// How long a request waits for its record at most. A disk that takes longer does not answer, and until it
    /// does, nothing waits for it.
    #[serde(skip, default = "default_patience")]
    pub patience: Duration,
    /// The name of the log, which tells it from those of other nodes. Without one, nothing is said of where
    /// it is ([`DecisionLog::heads`]).
    #[serde(skip)]
    pub chain: Option<String>,
    /// Where it was when it was last heard of.
    #[serde(skip)]
    pub anchor: Option<Anchor>,
}

/// What follows when a decision cannot be recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The request goes on; what was lost is counted, and the count is recorded once it can be.
    #[default]
    BestEffort,
    /// The request is refused. A request goes on only after its decision is durable.
    Required,
}

const fn default_segment() -> u64 {
    64 * 1024 * 1024
}

const fn default_queue() -> usize {
    8 * 1024 * 1024
}

const fn default_checkpoint() -> u64 {
    10_000
}

const fn default_patience() -> Duration {
    Duration::from_secs(5)
}

impl Config {
    /// A log in this directory, with the defaults.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            mode: Mode::default(),
            segment: default_segment(),
            queue: default_queue(),
            checkpoint: default_checkpoint(),
            patience: default_patience(),
            chain: None,
            anchor: None,
        }
    }
}

/// How long records wait to be written together, where nobody waits for them and few come.
pub const GATHER: Duration = Duration::from_millis(200);

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The system refuses.
    #[error("the decision log at `{path}` cannot be used: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// The last segment does not end as a segment does.
    #[error(
        "the decision log at `{path}` is damaged: {detail}; move the directory away, so that it can \
         be examined, and start again"
    )]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// There is no key to sign checkpoints with.
    #[error("the decision log has no key to sign its checkpoints with")]
    NoKey,
}

thread_local! {
    /// The record that a thread puts together.
    static TEXT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A decision was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the decision could not be recorded")]
pub struct NotRecorded;

/// An open log. Cheap to clone; it is ended when the last clone is dropped, or by [`Self::close`].
#[derive(Clone)]
pub struct DecisionLog {
    inner: Arc<Inner>,
    mode: Mode,
    /// Whether whoever has this may end the log.
    ends: bool,
}

struct Inner {
    queue: Arc<Queue>,
    chain: Option<String>,
    heads: watch::Sender<Option<Anchor>>,
    writer: parking_lot::Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl DecisionLog {
    /// Opens the log of a directory and goes on where it ends. Each checkpoint is signed with the key
    /// that `signer` has then, or the one before it where it has none.
    ///
    /// # Errors
    /// The directory cannot be written, its last segment is damaged, or there is no key.
    pub fn open(config: &Config, node: &Node, signer: Signer) -> Result<Self, Unusable> {
        let queue = Arc::new(Queue::new(config.queue, config.patience));
        let heads = watch::Sender::new(None);
        let ends = (Arc::clone(&queue), heads.clone());
        let writer = writer::Writer::open(config, node, signer, ends)?;
        let thread = std::thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn({
                let falling = queue::Falling(Arc::clone(&queue));
                move || {
                    let _falling = falling;
                    writer.run();
                }
            })
            .map_err(|error| Unusable::Io { path: config.directory.clone(), error })?;
        let writer = parking_lot::Mutex::new(Some(thread));
        let inner = Arc::new(Inner { queue, chain: config.chain.clone(), heads, writer });
        Ok(Self { inner, mode: config.mode, ends: true })
    }

    /// The same log for somebody else who writes to it under this mode, and does not end it.
    #[must_use]
    pub fn lent(&self, mode: Mode) -> Self {
        Self { inner: Arc::clone(&self.inner), mode, ends: false }
    }

    /// The name of the log, if it has one.
    #[must_use]
    pub fn chain(&self) -> Option<&str> {
        self.inner.chain.as_deref()
    }

    /// Where the log is, each time that a segment begins and a checkpoint is made, as soon as that is
    /// durable. `None`: nothing is, or the log has no name.
    #[must_use]
    pub fn heads(&self) -> watch::Receiver<Option<Anchor>> {
        self.inner.heads.subscribe()
    }

    /// Whether the last attempt to write failed, and no other has worked since; or goes on for longer than
    /// somebody could wait.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.inner.queue.is_failing()
    }

    /// Whether records can be written: where the last attempt failed, the next one says.
    pub async fn works(&self) -> bool {
        self.inner.queue.works().await
    }

    /// What follows when a decision cannot be recorded.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Hands over a record and does not wait. Answers whether there was room for it.
    pub fn append(&self, record: &Record<'_>) -> bool {
        self.push(record, false).is_some()
    }

    /// Hands over a record and waits until it is durable.
    ///
    /// # Errors
    /// There was no room, or it could not be written, or not in time: then it may be written yet.
    pub async fn commit(&self, record: &Record<'_>) -> Result<(), NotRecorded> {
        self.committing(record).await
    }

    /// The same for whoever cannot wait with the record in hand: it is handed over at once, whether anybody waits
    /// or not.
    pub(crate) fn committing(
        &self,
        record: &Record<'_>,
    ) -> impl Future<Output = Result<(), NotRecorded>> + use<> {
        let (number, inner) = (self.push(record, true), Arc::clone(&self.inner));
        async move { inner.queue.written(number.ok_or(NotRecorded)?).await }
    }

    /// Puts a record together before anything is locked: others who have one wait no longer than it takes to
    /// copy it.
    fn push(&self, record: &Record<'_>, urgent: bool) -> Option<u64> {
        let push = |text: &mut Vec<u8>| {
            text.clear();
            record.write(text);
            self.inner.queue.push(text, urgent)
        };
        // A thread that is about to end has none to spare.
        TEXT.try_with(|text| push(&mut text.borrow_mut())).unwrap_or_else(|_| push(&mut Vec::new()))
    }

    /// How many records were lost because there was no room.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inner.queue.lost()
    }

    /// Answers when the thread that writes has ended with a panic. Nothing is recorded from then on.
    pub async fn fallen(&self) {
        self.inner.queue.fallen().await;
    }

    /// Writes what waits, makes a last checkpoint and ends the log. Records that come later are
    /// lost. Blocks until all of it is durable, or the disk does not answer. Of a log that was [lent](Self::lent), nothing: whoever lent
    /// it ends it.
    pub fn close(&self) {
        if !self.ends {
            return;
        }
        let writer = self.inner.writer.lock().take();
        self.inner.end(writer);
    }
}

impl Inner {
    fn end(&self, writer: Option<std::thread::JoinHandle<()>>) {
        self.queue.close();
        let Some(writer) = writer else { return };
        if self.queue.is_over_in_time() {
            // The writer does not panic, and if it did, there is nothing left to write.
            let _ = writer.join();
        } else {
            tracing::error!("the decision log is left as it is: its disk does not answer");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let writer = self.writer.get_mut().take();
        self.end(writer);
    }
}

impl fmt::Debug for DecisionLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecisionLog({:?})", self.mode)
    }
}

#[cfg(test)]
mod tests;
