//! The store answers, and takes what it is given: something is really written and read back.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, BoxFuture, CommitRefused, Expect, Kind, Lifetime, Realm, Records, SinceBoot, Stored,
    Timestamp, repository,
};
use tegata_server::{Check, Severity, Unwell};
use tokio::sync::Mutex;

use crate::compose::Composed;

/// Where the check writes and reads.
pub(crate) static HEALTH: Kind =
    Kind { name: "health", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// How often it is written, however often somebody asks the same check.
const EVERY: Duration = Duration::from_secs(5);

/// What is written: always the same record.
#[derive(Debug, Serialize, Deserialize)]
struct Probe {
    /// When, in milliseconds since 1970.
    at: u64,
}

impl Stored for Probe {
    const KIND: &'static Kind = &HEALTH;
    const FORM: u8 = 1;

    fn key(&self) -> &'static str {
        "probe"
    }
}

/// The store answers.
pub(super) struct Store {
    composed: Arc<Composed>,
    last: Last,
}

/// When it was last written to, and what came of it.
#[derive(Default)]
struct Last(Mutex<Option<(SinceBoot, Option<Unwell>)>>);

impl Store {
    pub(super) fn new(composed: Arc<Composed>) -> Self {
        Self { composed, last: Last::default() }
    }

    async fn answers(&self) -> Result<(), Unwell> {
        let records = &self.composed.records;
        let pulled = records.pull(tegata_core::Log::Revocations, u64::MAX, 1).await;
        pulled.map(drop).map_err(|error| {
            Unwell::new(Severity::NotReady, "store_unreachable", error.to_string())
        })
    }
}

/// Writes something and reads it back. What is read may be what another node wrote.
async fn probe(records: &dyn Records, realm: &Realm, now: Timestamp) -> Result<(), Unwell> {
    // Without it, tokens are verified and calls forwarded; nothing begins or is taken back.
    let without = |reason, detail| Unwell::new(Severity::Without, reason, detail);
    let probe = Probe { at: now.millis() };
    let batch = Batch::new(realm.clone()).with(probe.put(Expect::Any));
    match records.commit(batch).await {
        Ok(()) => {}
        Err(CommitRefused::Store(error)) => {
            return Err(without("write_failed", error.to_string()));
        }
        Err(CommitRefused::Conflict { .. }) => {
            let detail = "a write that expects nothing was refused".to_owned();
            return Err(without("write_failed", detail));
        }
    }
    match repository::load::<Probe>(records, realm, probe.key()).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            let detail = "what was written was not there to be read".to_owned();
            Err(without("read_failed", detail))
        }
        Err(error) => Err(without("read_failed", error.to_string())),
    }
}

impl Last {
    /// What a probe finds, or what one found lately.
    async fn or(
        &self,
        now: SinceBoot,
        probe: impl Future<Output = Result<(), Unwell>>,
    ) -> Result<(), Unwell> {
        // Whoever asks meanwhile waits for what is found.
        let mut last = self.0.lock().await;
        if let Some((at, found)) = last.clone()
            && now.0.saturating_sub(at.0) < EVERY
        {
            return found.map_or(Ok(()), Err);
        }
        let found = probe.await;
        *last = Some((now, found.clone().err()));
        found
    }
}

impl Check for Store {
    fn name(&self) -> &'static str {
        "store"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        Box::pin(async {
            self.answers().await?;
            let Composed { node, records, realm, .. } = self.composed.as_ref();
            self.last.or(node.since_boot(), probe(records.as_ref(), realm, node.now())).await
        })
    }
}

#[cfg(test)]
mod tests;
