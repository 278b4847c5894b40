//! Records that wait to be written: two buffers that change places, so that in the long run nothing
//! is allocated.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::NotRecorded;

/// How many bytes are written at once at most, where they come quickly: hashing and writing them takes the
/// processor for a millisecond, which requests may have to wait for.
const AT_ONCE: usize = 512 * 1024;

/// Records that wait.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    capacity: usize,
    /// How long somebody waits for the writer at most.
    patience: Duration,
    lost: AtomicU64,
    done: watch::Sender<Done>,
    /// The writer has ended.
    over: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// Records, each after its length.
    buffer: Vec<u8>,
    /// How many records were ever taken in.
    count: u64,
    /// Whether somebody waits for one of them.
    urgent: bool,
    closed: bool,
    /// Nobody writes any more.
    over: bool,
}

/// How far the writer is.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    /// So many records are durable.
    count: u64,
    /// Whether the last attempt failed.
    failing: bool,
    /// Somebody waited in vain for an attempt that is still going on: a disk that does not answer.
    stuck: bool,
    /// Nothing will be written any more.
    ended: bool,
    /// That is because the writer panicked.
    fallen: bool,
}

impl Done {
    /// Whether it is no use to wait.
    const fn is_in_vain(self) -> bool {
        self.failing || self.stuck || self.ended
    }
}

/// What the writer takes.
pub(super) struct Taken {
    /// The number of the last record among them.
    pub(super) count: u64,
    pub(super) closed: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize, patience: Duration) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            capacity,
            patience,
            lost: AtomicU64::new(0),
            done: watch::Sender::default(),
            over: Condvar::new(),
        }
    }

    /// Takes in a record. Answers its number, or `None` where there is no room.
    pub(super) fn push(&self, record: &[u8], urgent: bool) -> Option<u64> {
        let len = u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut waiting = self.waiting.lock();
        if waiting.closed
            || waiting.buffer.len() >= self.capacity
            || (urgent && self.done.borrow().is_in_vain())
        {
            drop(waiting);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let was_due = self.is_due(&waiting);
        waiting.buffer.extend_from_slice(&len);
        waiting.buffer.extend_from_slice(record);
        waiting.count += 1;
        waiting.urgent |= urgent;
        let (number, is_due) = (waiting.count, self.is_due(&waiting));
        drop(waiting);
        if urgent || (is_due && !was_due) {
            self.arrived.notify_one();
        }
        Some(number)
    }

    /// Whether what waits is to be written now.
    fn is_due(&self, waiting: &Waiting) -> bool {
        waiting.urgent || waiting.closed || waiting.buffer.len() >= AT_ONCE.min(self.capacity / 2)
    }

    /// Exchanges `buffer`, which must be empty, for what waits; after at most `longest`.
    pub(super) fn take(&self, buffer: &mut Vec<u8>, longest: Duration) -> Taken {
        let mut waiting = self.waiting.lock();
        if !self.is_due(&waiting) {
            self.arrived.wait_for(&mut waiting, longest);
        }
        waiting.urgent = false;
        std::mem::swap(&mut waiting.buffer, buffer);
        Taken { count: waiting.count, closed: waiting.closed }
    }

    /// All records up to this number are durable.
    pub(super) fn note_written(&self, count: u64) {
        self.note(|done| (done.count, done.failing) = (count, false));
    }

    /// Records could not be written. They wait for the next attempt.
    pub(super) fn note_failing(&self) {
        self.note(|done| done.failing = true);
    }

    /// Records can be written again, and none waits.
    pub(super) fn note_working(&self) {
        self.note(|done| done.failing = false);
    }

    /// An attempt has ended, so that the disk answers.
    fn note(&self, how: impl FnOnce(&mut Done)) {
        let mut was_stuck = false;
        self.done.send_modify(|done| {
            was_stuck = std::mem::take(&mut done.stuck);
            how(done);
        });
        if was_stuck {
            tracing::info!("over: the disk of the decision log answers");
        }
    }

    /// Somebody has waited for long enough, unless what they waited for has come after all.
    fn note_stuck(&self, has_come: impl Fn(&Done) -> bool) {
        let noted = self.done.send_if_modified(|done| {
            let is_new = !has_come(done) && !done.stuck && !done.ended;
            done.stuck |= is_new;
            is_new
        });
        if noted {
            tracing::error!(
                waited = ?self.patience,
                "the disk of the decision log does not answer: what must be recorded is refused"
            );
        }
    }

    /// Whether nothing can be written at the moment, or ever again.
    pub(super) fn is_failing(&self) -> bool {
        self.done.borrow().is_in_vain()
    }

    /// Whether records can be written; where the last attempt failed, what an attempt shows that begins from
    /// now on. They follow each other within moments.
    pub(super) async fn works(&self) -> bool {
        let now = *self.done.borrow();
        if !now.is_in_vain() {
            return true;
        }
        if now.stuck || now.ended {
            return false;
        }
        match tokio::time::timeout(self.patience, self.tried()).await {
            Ok(works) => works,
            Err(_) => {
                self.note_stuck(|done| !done.failing);
                false
            }
        }
    }

    /// What an attempt shows that begins from now on.
    async fn tried(&self) -> bool {
        let mut done = self.done.subscribe();
        // The first that ends may have begun before.
        for _ in 0..2 {
            let now = *done.borrow_and_update();
            if !now.failing || now.ended {
                return !now.ended;
            }
            if done.changed().await.is_err() {
                return false;
            }
        }
        !self.is_failing()
    }

    pub(super) fn note_ended(&self) {
        self.close();
        self.done.send_modify(|done| done.ended = true);
        self.waiting.lock().over = true;
        self.over.notify_all();
    }

    /// Waits until the writer has ended, which is told to: blocks. Answers whether it has; a disk that does not
    /// answer is not waited for.
    pub(super) fn is_over_in_time(&self) -> bool {
        let mut waiting = self.waiting.lock();
        // What goes on when it is told to, and what waits then.
        self.over.wait_while_for(&mut waiting, |waiting| !waiting.over, self.patience * 2);
        waiting.over
    }

    /// Waits until the writer has panicked.
    pub(super) async fn fallen(&self) {
        if self.done.subscribe().wait_for(|done| done.fallen).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the record of this number is durable; no longer than is reasonable.
    pub(super) async fn written(&self, number: u64) -> Result<(), NotRecorded> {
        let mut done = self.done.subscribe();
        let is_there = |done: &Done| done.count >= number;
        let settled = done.wait_for(|done| is_there(done) || done.is_in_vain());
        match tokio::time::timeout(self.patience, settled).await {
            Ok(Ok(done)) if is_there(&done) => Ok(()),
            Ok(_) => Err(NotRecorded),
            Err(_) => {
                self.note_stuck(is_there);
                Err(NotRecorded)
            }
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits a moment, or until the queue is closed.
    pub(super) fn pause(&self, span: Duration) {
        let mut waiting = self.waiting.lock();
        if !waiting.closed {
            self.arrived.wait_for(&mut waiting, span);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.waiting.lock().closed
    }

    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrived.notify_one();
    }
}

/// Has nobody wait for a writer that panicked.
pub(super) struct Falling(pub(super) Arc<Queue>);

impl Drop for Falling {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.note_ended();
            self.0.done.send_modify(|done| done.fallen = true);
        }
    }
}

/// The records of a buffer.
pub(super) fn records(mut buffer: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = buffer.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (record, rest) = rest.split_at_checked(len)?;
        buffer = rest;
        Some(record)
    })
}
