//! What the console sees, in its tests: what they say it does. A fake.

use std::sync::Mutex;

use tegata_core::{BoxFuture, SinceBoot};
use tegata_server::{
    Lookout,
    lookout::{Beat, Confirmed, Sighted, TakenBack},
};
use tegata_token::revocation::Taken;
use tokio::sync::watch;

/// Sees what it is told to see.
pub(crate) struct Told {
    pub(crate) sighted: Mutex<Sighted>,
    pub(crate) taken_back: Mutex<Vec<TakenBack>>,
    pub(crate) confirmed: Mutex<Confirmed>,
    pub(crate) beats: Mutex<Vec<Beat>>,
    news: watch::Sender<u64>,
    endings: watch::Sender<u64>,
}

impl Default for Told {
    fn default() -> Self {
        Self {
            sighted: Mutex::default(),
            taken_back: Mutex::default(),
            confirmed: Mutex::default(),
            beats: Mutex::default(),
            news: watch::Sender::new(0),
            endings: watch::Sender::new(0),
        }
    }
}

impl Told {
    /// Says that there is something new.
    pub(crate) fn stir(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    /// How many wait for news.
    pub(crate) fn readers(&self) -> usize {
        self.news.receiver_count()
    }
}

impl Lookout for Told {
    fn sighted(&self) -> Sighted {
        self.sighted.lock().unwrap().clone()
    }

    fn taken_back(&self) -> Vec<TakenBack> {
        self.taken_back.lock().unwrap().clone()
    }

    fn look(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn follow(&self, _: SinceBoot, _: Taken) -> BoxFuture<'_, u64> {
        Box::pin(std::future::ready(7))
    }

    fn followed(&self, order: u64) -> Option<Confirmed> {
        (order == 7).then(|| self.confirmed.lock().unwrap().clone())
    }

    fn pulse(&self) -> Vec<Beat> {
        self.beats.lock().unwrap().clone()
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    fn endings(&self) -> watch::Receiver<u64> {
        self.endings.subscribe()
    }
}
