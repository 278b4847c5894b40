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

/// Records that wait.
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    capacity: usize,
    lost: AtomicU64,
    done: watch::Sender<Done>,
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
}

/// How far the writer is.
#[derive(Debug, Clone, Copy, Default)]
struct Done {
    /// So many records are durable.
    count: u64,
    /// Whether the last attempt failed.
    failing: bool,
    /// Nothing will be written any more.
    ended: bool,
    /// That is because the writer panicked.
    fallen: bool,
}

/// What the writer takes.
pub(super) struct Taken {
    /// The number of the last record among them.
    pub(super) count: u64,
    pub(super) closed: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            capacity,
            lost: AtomicU64::new(0),
            done: watch::Sender::default(),
        }
    }

    /// Takes in a record. Answers its number, or `None` where there is no room.
    pub(super) fn push(&self, record: &[u8], urgent: bool) -> Option<u64> {
        let len = u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes();
        let mut waiting = self.waiting.lock();
        if waiting.closed
            || waiting.buffer.len() >= self.capacity
            || (urgent && self.done.borrow().failing)
        {
            drop(waiting);
            self.lost.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        waiting.buffer.extend_from_slice(&len);
        waiting.buffer.extend_from_slice(record);
        waiting.count += 1;
        waiting.urgent |= urgent;
        let (number, half) = (waiting.count, waiting.buffer.len() >= self.capacity / 2);
        drop(waiting);
        if urgent || half {
            self.arrived.notify_one();
        }
        Some(number)
    }

    /// Exchanges `buffer`, which must be empty, for what waits; after at most `longest`.
    pub(super) fn take(&self, buffer: &mut Vec<u8>, longest: Duration) -> Taken {
        let mut waiting = self.waiting.lock();
        if !waiting.urgent && !waiting.closed {
            self.arrived.wait_for(&mut waiting, longest);
        }
        waiting.urgent = false;
        std::mem::swap(&mut waiting.buffer, buffer);
        Taken { count: waiting.count, closed: waiting.closed }
    }

    /// All records up to this number are durable.
    pub(super) fn note_written(&self, count: u64) {
        self.done.send_modify(|done| (done.count, done.failing) = (count, false));
    }

    /// Records could not be written. They wait for the next attempt.
    pub(super) fn note_failing(&self) {
        self.done.send_modify(|done| done.failing = true);
    }

    pub(super) fn note_ended(&self) {
        self.close();
        self.done.send_modify(|done| done.ended = true);
    }

    /// Waits until the writer has panicked.
    pub(super) async fn fallen(&self) {
        if self.done.subscribe().wait_for(|done| done.fallen).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the record of this number is durable.
    pub(super) async fn written(&self, number: u64) -> Result<(), NotRecorded> {
        let mut done = self.done.subscribe();
        let settled =
            done.wait_for(|done| done.count >= number || done.failing || done.ended).await;
        match settled {
            Ok(done) if done.count >= number => Ok(()),
            _ => Err(NotRecorded),
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
