//! Lists as they were (Token Status List §8.4): made from the log, so that they are exact.
//!
//! Whoever asks need not be known, and reading the log costs the store something. So one reads at a
//! time, after each reading there is a pause, what was read is kept, and what one network asks for is
//! counted. A reading goes on when whoever asked for it goes away: the next who asks has it, and nobody can
//! have that of one list begun again and again.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tegata_core::{SinceBoot, StoreError, Timestamp};
use tegata_token::{
    ListId, StatusBits,
    revocation::{History, Unknowable, history::SETTLED},
};
use tracing::Instrument as _;

use super::NoList;
use crate::{app::App, caller::Caller};

/// How many quarters of an hour are kept: of each at most 3 MiB.
const KEPT: usize = 8;

/// How long it takes at least from the end of one reading of the log to the next.
const PAUSE: Duration = Duration::from_secs(2);

/// For how long one reading goes on. What it has read by then, the next goes on from.
const LONGEST: Duration = Duration::from_secs(60);

/// What was read lately.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// The one that was asked for last stands last.
    known: Mutex<VecDeque<Arc<History>>>,
    /// When the log was read last. Held by whoever reads.
    reading: Arc<tokio::sync::Mutex<Option<SinceBoot>>>,
}

/// The list as it was in a second.
pub(super) async fn bits(
    app: &App,
    caller: &Caller,
    id: ListId,
    at: Timestamp,
) -> Result<StatusBits, NoList> {
    count(app, caller)?;
    let opened = id.closes() - Duration::from_secs(tegata_token::status::SLOT_SECS);
    if at < opened || at >= id.closes() + app.config().longest_token {
        return Err(NoList::Earlier("there was no such status list then"));
    }
    if at + SETTLED > app.node().now() {
        return Err(NoList::Earlier(
            "what was revoked by then may still become known: ask without `time`, or 20 minutes after it",
        ));
    }
    let past = &app.published().past;
    let so = |history: &History| history.bits(id, at);
    if let Some(bits) = past.known(app, id).and_then(|known| so(&known)) {
        return Ok(bits);
    }
    let reading = Arc::clone(&past.reading).try_lock_owned();
    let mut last = reading.map_err(|_| NoList::Busy(Duration::from_secs(1)))?;
    let now = app.node().since_boot();
    if let Some(ended) = *last
        && let Some(wait) = PAUSE.checked_sub(now.since(ended)).filter(|wait| !wait.is_zero())
    {
        return Err(NoList::Busy(wait.max(Duration::from_secs(1))));
    }
    let reader = app.clone();
    // INVARIANT: whoever reads has the lock until what was read is kept.
    let reading = async move {
        let read = read(&reader, id).await;
        *last = Some(reader.node().since_boot());
        drop(last);
        read
    };
    let read = tokio::spawn(reading.in_current_span());
    let read = read.await.unwrap_or_else(|_| {
        let detail = "it was read no further".to_owned();
        Err(StoreError::Unavailable { backend: "the revocation log", detail }.into())
    });
    read.map_err(|refused| match refused {
        Unknowable::Forgotten | Unknowable::TooMuch | Unknowable::Disordered => {
            NoList::Earlier("what was revoked then is not known any more")
        }
        Unknowable::Store(error) => NoList::Store(error),
    })?;
    // The store is behind with what it was given, or there is more to read.
    let bits = past.known(app, id).and_then(|known| so(&known));
    bits.ok_or(NoList::Busy(Duration::from_secs(1)))
}

/// Reads the log for the quarter of a list, and keeps what it says.
async fn read(app: &App, id: ListId) -> Result<(), Unknowable> {
    let past = &app.published().past;
    let mut history = match past.known(app, id) {
        Some(known) => History::clone(&known),
        None => History::of(app.realm().clone(), id),
    };
    let recall = app.provider().revoker().recall(&mut history);
    let read = tokio::time::timeout(LONGEST, recall).await;
    past.keep(app, id, history);
    read.unwrap_or(Ok(()))
}

impl Past {
    fn known(&self, app: &App, id: ListId) -> Option<Arc<History>> {
        let mut known = self.known.lock();
        let index = known.iter().position(|history| history.is_of(app.realm(), id))?;
        let found = known.remove(index)?;
        known.push_back(Arc::clone(&found));
        Some(found)
    }

    fn keep(&self, app: &App, id: ListId, history: History) {
        let mut known = self.known.lock();
        known.retain(|other| !other.is_of(app.realm(), id));
        known.push_back(Arc::new(history));
        while known.len() > KEPT {
            known.pop_front();
        }
    }
}

fn count(app: &App, caller: &Caller) -> Result<(), NoList> {
    let limits = &app.config().limits;
    let Some(limit) = limits.past.filter(|_| limits.count(caller.address)) else { return Ok(()) };
    let now = app.node().since_boot();
    let answer = app.past().count_address(caller.address, |network| network, limit, now);
    if answer.passes {
        Ok(())
    } else {
        Err(NoList::TooMany(answer.wait.max(Duration::from_secs(1))))
    }
}
