//! Who fetches the key set, at whichever node: told to all of them, for whoever is about to rotate a key.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tegata_core::{
    StoreError,
    port::{Put, Space},
};
use tegata_token::keys::Reader;

use crate::{background::Rounds, compose::Composed};

/// Where it is kept who came: what each node knows, under its id. Strangers choose names, but not how many
/// entries there are.
static READERS: Space = Space { name: "key_readers", indexed: true };

/// The one index value.
const ALL: &str = "all";

/// How often the other nodes are told.
const TOLD: Duration = Duration::from_secs(10);

/// For how long it is remembered: whoever has not come for so long does not keep a key set any more.
const KEPT: Duration = Duration::from_secs(24 * 3600);

/// How many nodes are looked at. A process that starts anew is another one.
const MOST: u32 = 200;

/// Tells the other nodes who came.
pub(crate) async fn tell(composed: Arc<Composed>) {
    let mut rounds = Rounds::every(TOLD, "who fetches the keys is known to this node alone");
    let mut told = 0;
    loop {
        rounds.next().await;
        let flushed = flush(&composed, &mut told).await;
        rounds.ended(&flushed);
    }
}

/// Tells who came, if somebody did since `told`. What could not be told is told the next time.
async fn flush(composed: &Composed, told: &mut u64) -> Result<(), StoreError> {
    let (readers, visits) = composed.keys.readers();
    if visits == *told {
        return Ok(());
    }
    let put = Put {
        key: composed.node.id().to_string(),
        value: serde_json::to_vec(&readers).unwrap_or_default(),
        lifetime: KEPT,
        index: Some(ALL.to_owned()),
    };
    composed.ephemeral.put(&composed.realm, &READERS, put).await?;
    *told = visits;
    Ok(())
}

/// Everybody who fetched the keys within a day, at whichever node. Where the store does not answer, at this
/// one.
pub(crate) async fn all(composed: &Composed) -> Vec<Reader> {
    let found = composed.ephemeral.find(&composed.realm, &READERS, ALL, None, MOST).await;
    let found = found.unwrap_or_else(|error| {
        tracing::warn!(%error, "who fetched the keys from other nodes is not known");
        Vec::new()
    });
    let list = |value: &[u8]| serde_json::from_slice::<Vec<Reader>>(value).ok();
    let theirs = found.iter().filter_map(|(_, held)| list(&held.value)).flatten();
    let mut all: BTreeMap<String, Reader> = BTreeMap::new();
    let now = composed.node.now();
    for reader in theirs.chain(composed.keys.readers().0) {
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

#[cfg(test)]
mod tests {
    use tegata_core::Timestamp;

    use super::*;

    #[tokio::test]
    async fn a_node_has_one_entry_whatever_strangers_call_themselves() {
        let place = tempfile::tempdir().unwrap();
        let composed = crate::compose::for_tests(place.path()).await;
        let mut told = 0;
        for number in 0..50 {
            composed.keys.given_to(format!("192.0.2.0/24 r{number}"));
            composed.keys.given_to(format!("198.51.100.0/24 r{number}"));
            flush(&composed, &mut told).await.unwrap();
        }
        let find = || composed.ephemeral.find(&composed.realm, &READERS, ALL, None, 1000);
        assert_eq!((find().await.unwrap().len(), told), (1, 100));
        assert_eq!(all(&composed).await.len(), 16);
        // What another node knows comes beside it.
        let last = composed.node.now();
        let name = "203.0.113.0/24 orders".to_owned();
        let theirs = vec![Reader { name, last, newest: Timestamp::default() }];
        let put = Put {
            key: "another".to_owned(),
            value: serde_json::to_vec(&theirs).unwrap(),
            lifetime: KEPT,
            index: Some(ALL.to_owned()),
        };
        composed.ephemeral.put(&composed.realm, &READERS, put).await.unwrap();
        let all = all(&composed).await;
        assert!(all.len() == 17 && all.contains(&theirs[0]), "{all:?}");
    }
}
