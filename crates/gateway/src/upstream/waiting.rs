//! Those who wait for a place at a service that has as many requests as it may have: a few, for a moment, so
//! that a short rush is served. The others are refused at once.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{
            AtomicU32,
            Ordering::{AcqRel, Relaxed, SeqCst},
        },
    },
};

use tokio::sync::Notify;

use super::{Balanced, Room};

/// Who waits, on all workers.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    count: AtomicU32,
    freed: Notify,
}

/// One who waits, until it is dropped.
struct Waits<'w>(&'w Waiting);

impl Waiting {
    /// Whether anybody waits.
    pub(super) fn is_there(&self) -> bool {
        self.count.load(SeqCst) > 0
    }

    /// A place has come free: whoever has waited for longest looks for it.
    pub(super) fn go_on(&self) {
        if self.is_there() {
            self.freed.notify_one();
        }
    }

    fn join(&self, most: u32) -> Option<Waits<'_>> {
        let more = |count: u32| (count < most).then_some(count + 1);
        self.count.fetch_update(SeqCst, Relaxed, more).ok().map(|_| Waits(self))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, AcqRel);
        // Several places may have come free at once, of which one was told.
        self.0.go_on();
    }
}

impl Balanced {
    /// Waits for a place for one more request; `None`: as many wait as may. How long is for the caller to say.
    pub(crate) async fn wait(self: &Arc<Self>) -> Option<Option<Room>> {
        let most = self.reach.max_waiting?.get();
        let _waits = self.waiting.join(most)?;
        loop {
            let mut freed = pin!(self.waiting.freed.notified());
            // From here on nothing is missed.
            freed.as_mut().enable();
            if let Ok(room) = self.take() {
                return Some(room);
            }
            freed.await;
        }
    }
}
