//! The readers: a few threads, each with a connection of its own.
//!
//! Reading on the caller's thread would be quicker, until the disk is slow: then the callers' threads,
//! which also answer everything that needs no store, would wait for it. What was read a moment ago
//! they [know](super::unchanged) without asking here.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::{Condvar, Mutex};
use rusqlite::Connection;
use tegata_core::StoreError;
use tokio::sync::oneshot;

use super::fault;

/// The reading end, as callers see it. Dropping it ends the threads.
pub(super) struct Readers(Arc<Queue>);

type Read = Box<dyn FnOnce(&Connection) + Send>;

struct Queue {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    most: usize,
}

#[derive(Default)]
struct Waiting {
    reads: VecDeque<Read>,
    closed: bool,
}

impl Readers {
    /// Starts a thread for each connection.
    pub(super) fn start(connections: Vec<Connection>, most: usize) -> Result<Self, StoreError> {
        let waiting = Mutex::new(Waiting::default());
        let readers = Self(Arc::new(Queue { waiting, arrived: Condvar::new(), most }));
        for connection in connections {
            let queue = readers.0.clone();
            std::thread::Builder::new()
                .name("sqlite-reader".to_owned())
                .spawn(move || queue.read(&connection))
                .map_err(|error| fault::unavailable(format!("no thread to read with: {error}")))?;
        }
        Ok(readers)
    }

    /// Reads something about `kind` at `key`.
    pub(super) async fn run<T, F>(
        &self,
        kind: &'static str,
        key: &str,
        act: F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        self.0.push(Box::new(move |connection| {
            // A caller that has gone needs no answer.
            if !caller.is_closed() {
                let _heard = caller.send(act(connection));
            }
        }))?;
        match answer.await {
            Ok(read) => read.map_err(|error| fault::fault(&error, kind, key)),
            Err(_) => Err(fault::unavailable("the reader has ended")),
        }
    }
}

impl Queue {
    fn push(&self, read: Read) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock();
        if waiting.reads.len() >= self.most {
            return Err(fault::unavailable("too many reads are waiting"));
        }
        waiting.reads.push_back(read);
        drop(waiting);
        self.arrived.notify_one();
        Ok(())
    }

    fn next(&self) -> Option<Read> {
        let mut waiting = self.waiting.lock();
        loop {
            if let Some(read) = waiting.reads.pop_front() {
                return Some(read);
            }
            if waiting.closed {
                return None;
            }
            self.arrived.wait(&mut waiting);
        }
    }

    fn read(&self, connection: &Connection) {
        while let Some(read) = self.next() {
            read(connection);
        }
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.0.waiting.lock().closed = true;
        self.0.arrived.notify_all();
    }
}
