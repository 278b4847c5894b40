//! Who fetches the key set, at whichever node: told to all of them, for whoever is about to rotate a key.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tegata_core::{
    StoreError,
    port::{Put, Space},
};
use tegata_token::keys::Reader;

use crate::{background::Rounds, compose::Composed};

/// Where it is kept who came.
static READERS: Space = Space { name: "key_readers", indexed: true };

/// The one index value.
const ALL: &str = "all";

/// How often the other nodes are told.
const TOLD: Duration = Duration::from_secs(10);

/// For how long it is remembered: whoever has not come for so long does not keep a key set any more.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How many are looked at.
const MOST: u32 = 2000;

/// Tells the other nodes who came.
pub(crate) async fn tell(composed: Arc<Composed>) {
    let mut rounds = Rounds::every(TOLD, "who fetches the keys is known to this node alone");
    loop {
        rounds.next().await;
        let told = flush(&composed).await;
        rounds.ended(&told);
    }
}

async fn flush(composed: &Composed) -> Result<(), StoreError> {
    let new = composed.keys.new_readers();
    if new.is_empty() {
        return Ok(());
    }
    let node = composed.node.id();
    let puts = new.iter().map(|reader| Put {
        key: format!("{} {node}", reader.name),
        value: serde_json::to_vec(reader).unwrap_or_default(),
        lifetime: KEPT,
        index: Some(ALL.to_owned()),
    });
    composed.ephemeral.put_all(&composed.realm, &READERS, puts.collect()).await
}

/// Everybody who fetched the keys within a day, at whichever node. Where the store does not answer, at this
/// one.
pub(crate) async fn all(composed: &Composed) -> Vec<Reader> {
    let found = composed.ephemeral.find(&composed.realm, &READERS, ALL, None, MOST).await;
    let found = found.unwrap_or_else(|error| {
        tracing::warn!(%error, "who fetched the keys from other nodes is not known");
        Vec::new()
    });
    let theirs = found.iter().filter_map(|(_, held)| serde_json::from_slice(&held.value).ok());
    let mut all: BTreeMap<String, Reader> = BTreeMap::new();
    let now = composed.node.now();
    for reader in theirs.chain(composed.keys.readers()) {
        if reader.last + KEPT < now {
            continue;
        }
        let known = match all.remove(&reader.name) {
            Some(known) => reader.and(&known),
            None => reader,
        };
        all.insert(known.name.clone(), known);
    }
    all.into_values().collect()
}
