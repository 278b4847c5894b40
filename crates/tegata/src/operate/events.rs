//! The journal of events, for whoever hands it on.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tegata_core::{Log, port::Positioned};

use crate::compose::Composed;

/// How many are answered at once at most.
const MOST: u32 = 500;

/// A part of the journal.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Events {
    /// In order, without a gap.
    pub(crate) entries: Vec<Entry>,
    /// The greatest position there is.
    pub(crate) head: u64,
    /// The smallest that has not been trimmed away.
    pub(crate) tail: u64,
}

/// An event with its position.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) position: u64,
    pub(crate) event: Value,
}

impl From<Positioned> for Entry {
    fn from(entry: Positioned) -> Self {
        // What an older version wrote and this one cannot read is handed on as a text.
        let event = serde_json::from_slice(&entry.body)
            .unwrap_or_else(|_| String::from_utf8_lossy(&entry.body).into_owned().into());
        Self { position: entry.position, event }
    }
}

/// What the journal holds after a position.
pub(super) async fn events(composed: &Composed, after: u64, limit: u32) -> Result<Value, String> {
    let limit = limit.clamp(1, MOST);
    let pulled = composed.records.pull(Log::Journal, after, limit).await;
    let pulled = pulled.map_err(|error| error.to_string())?;
    let entries = pulled.entries.into_iter().map(Entry::from).collect();
    let events = Events { entries, head: pulled.head, tail: pulled.tail };
    serde_json::to_value(events).map_err(|error| error.to_string())
}
