//! New signing keys in place of all that there are.
//!
//! A store that was brought back from a backup does not know which keys were taken back since, because
//! somebody else has them, and lets them sign again. So none of its keys stays. Whoever verifies with a
//! key set alone, and knows nothing of epochs, then refuses what was issued before, too.

use std::time::Duration;

use tegata_core::{Event, Node, Realm, Records, port::Change, repository};

use super::{KeysRefused, Rings, events};
use crate::{
    Algorithm,
    revocation::{Entry, LONGEST_ACCESS, Order, Target},
    ring::Ring,
};

/// For how long a token may be taken for alive after it has ended.
const LEEWAY: Duration = Duration::from_secs(60);

/// What makes all signing keys be others, when it is committed.
#[derive(Debug)]
pub struct Renewal {
    /// Changes of the rings.
    pub changes: Vec<Change>,
    /// Events of the journal.
    pub events: Vec<Event>,
    /// Entries of the revocation log: each key that anybody verifies with is taken back.
    pub entries: Vec<Entry>,
}

impl Renewal {
    /// New keys of these rings. A ring of another algorithm goes: should it be chosen again, it is made
    /// anew. Making RSA keys takes seconds, and whoever asks waits for it.
    ///
    /// # Errors
    /// What the store says; [`KeysRefused::Key`] where no key can be made.
    pub async fn of(
        node: &Node,
        realm: &Realm,
        records: &dyn Records,
        rings: &Rings,
        order: &Order,
    ) -> Result<Self, KeysRefused> {
        let mut renewal = Self { changes: Vec::new(), events: Vec::new(), entries: Vec::new() };
        let now = node.now();
        for algorithm in Algorithm::ALL {
            let found = repository::load::<Ring>(records, realm, algorithm.name()).await?;
            let Some(found) = found else { continue };
            let published = found.value.keys().iter().filter(|key| key.state.is_published());
            renewal.entries.extend(published.map(|key| Entry {
                target: Target::Key(key.kid.clone()),
                places: Vec::new(),
                at: now,
                until: now + LONGEST_ACCESS + LEEWAY,
                reason: order.reason.clone(),
                actor: order.actor.clone(),
            }));
            if !rings.algorithms.contains(&algorithm) {
                renewal.changes.push(found.remove());
                continue;
            }
            let (current, next) = (rings.fresh(algorithm).await?, rings.fresh(algorithm).await?);
            let after = found.value.clone().renewed(&current, &next, now)?;
            renewal.changes.push(found.replace(&after));
            renewal.events.extend(events(node, realm, algorithm, &found.value, &after));
        }
        Ok(renewal)
    }
}
