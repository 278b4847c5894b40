//! Asking for documents: once for all who need one at the same time, not again for a while, and no host
//! oftener than it would bear.
//!
//! Whoever sends a request chooses who is asked, and need not be known. So what people have agreed to
//! does not wait behind what nobody knows: addresses that are known are counted apart from the others, and
//! kept apart.

use std::{sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tegata_core::{ClientId, SinceBoot, flight::Flights};

use super::{Address, NotDescribed};
use crate::{
    client::Client,
    provider::Provider,
    remote::{AtMost, Bounds, Crowd},
};

/// The most bytes of a document (§8.7).
pub(super) const LONGEST: usize = 5 * 1024;
/// How long it is waited for: a person waits, too.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// For how long a document is kept that says nothing of it; at least, so that one sign-in asks once; and
/// at most, so that what it takes back does not count for long.
const USUAL: Duration = Duration::from_secs(300);
const LEAST: Duration = Duration::from_secs(60);
const MOST: Duration = Duration::from_secs(3600);
/// How long an address is left alone that gave no document that is taken. Nothing of the answer is kept
/// for that (§5.2), but that there was none: somebody else may be behind the address.
const PAUSE: Duration = Duration::from_secs(10);

/// How many documents are kept on each side, and how many addresses that gave none.
const KEPT: usize = 1_000;
const LEFT_ALONE: usize = 10_000;

/// How many documents are asked for of clients that people have agreed to. Anybody with an account may have agreed to many, so one
/// host has no more of them.
const KNOWN: Bounds = Bounds { at_once: 64, of_all: None, ..Bounds::STRANGERS };

/// What is known of documents, and who is being asked.
pub(crate) struct Documents {
    known: Side,
    strangers: Side,
    left_alone: Cache<ClientId, LeftAlone>,
    asking: Flights<ClientId, Result<Arc<Client>, NotDescribed>>,
}

/// The clients that people have agreed to, or the others: neither takes the place of the other.
struct Side {
    kept: Cache<ClientId, Kept>,
    crowd: Crowd,
}

#[derive(Clone)]
struct Kept {
    client: Arc<Client>,
    since: SinceBoot,
    fresh_for: Duration,
}

#[derive(Clone)]
struct LeftAlone {
    why: NotDescribed,
    since: SinceBoot,
}

impl Side {
    fn new(bounds: Bounds) -> Self {
        Self { kept: Cache::new(KEPT), crowd: Crowd::new(bounds) }
    }
}

impl Documents {
    pub(crate) fn new() -> Self {
        Self {
            known: Side::new(KNOWN),
            strangers: Side::new(Bounds::STRANGERS),
            left_alone: Cache::new(LEFT_ALONE),
            asking: Flights::new(),
        }
    }

    const fn side(&self, known: bool) -> &Side {
        if known { &self.known } else { &self.strangers }
    }

    /// What is kept of a client. Once it is known, it is kept with those.
    fn kept(&self, id: &ClientId, known: bool) -> Option<Kept> {
        let own = self.side(known).kept.get(id);
        if own.is_some() || !known {
            return own;
        }
        let found = self.strangers.kept.get(id)?;
        self.known.kept.insert(id.clone(), found.clone());
        Some(found)
    }
}

impl Provider {
    /// The client at an address, as its document describes it. `known`: something is kept of it.
    pub(super) async fn document_of(
        &self,
        address: &Address,
        known: bool,
    ) -> Result<Arc<Client>, NotDescribed> {
        if let Some(found) = self.document_at_hand(address, known) {
            return found;
        }
        let (id, provider, address) = (address.id().clone(), self.clone(), address.clone());
        let ask = || async move { provider.ask_for_document(&address, known).await };
        self.documents().asking.join(id, ask).await
    }

    /// What needs no question.
    pub(super) fn document_at_hand(
        &self,
        address: &Address,
        known: bool,
    ) -> Option<Result<Arc<Client>, NotDescribed>> {
        let (documents, node) = (self.documents(), self.node());
        if let Some(kept) = documents.kept(address.id(), known)
            && node.elapsed(kept.since) < kept.fresh_for
        {
            return Some(Ok(kept.client));
        }
        let left_alone = documents.left_alone.get(address.id())?;
        (node.elapsed(left_alone.since) < PAUSE).then_some(Err(left_alone.why))
    }

    /// What a client that people have agreed to said of itself before, where it cannot be asked because too
    /// many are: whoever keeps us busy does not keep its people out.
    fn document_of_before(&self, id: &ClientId, known: bool) -> Option<Arc<Client>> {
        let kept = self.documents().kept(id, known).filter(|_| known)?;
        (self.node().elapsed(kept.since) < MOST.max(kept.fresh_for)).then_some(kept.client)
    }

    async fn ask_for_document(
        &self,
        address: &Address,
        known: bool,
    ) -> Result<Arc<Client>, NotDescribed> {
        // Somebody may have been answered after this one looked, and before it asked.
        if let Some(found) = self.document_at_hand(address, known) {
            return found;
        }
        let (documents, id) = (self.documents(), address.id());
        let since = self.node().since_boot();
        let Some(_place) = documents.side(known).crowd.place(address.host(), since) else {
            return self.document_of_before(id, known).ok_or(NotDescribed::Busy);
        };
        let within = AtMost { longest: LONGEST, time: PATIENCE };
        let read = match self.published().description(id.as_str(), within).await {
            Ok(fetched) => {
                let fresh_for = fetched.fresh_for.unwrap_or(USUAL).clamp(LEAST, MOST);
                self.read_document(address, &fetched.body).map(|client| (client, fresh_for))
            }
            Err(error) => {
                tracing::info!(client = %id, %error, "the document of a client cannot be had");
                Err(NotDescribed::Away)
            }
        };
        match read {
            Ok((client, fresh_for)) => {
                let client = Arc::new(client);
                let kept = Kept { client: Arc::clone(&client), since, fresh_for };
                documents.side(known).kept.insert(id.clone(), kept);
                Ok(client)
            }
            Err(why) => {
                // As it is for programs: the words are partly somebody else's.
                tracing::info!(client = %id, ?why, "a client that describes itself is not taken");
                let left_alone = LeftAlone { why: why.clone(), since: self.node().since_boot() };
                documents.left_alone.insert(id.clone(), left_alone);
                Err(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_that_are_known_do_not_wait_for_strangers() {
        let documents = Documents::new();
        let at = SinceBoot(Duration::ZERO);
        let ask = |known: bool, host: usize| {
            documents.side(known).crowd.place(&format!("h{host}.example"), at)
        };
        let strangers: Vec<_> = (0..50).filter_map(|host| ask(false, host)).collect();
        assert_eq!(strangers.len(), Bounds::STRANGERS.at_once);
        let known: Vec<_> = (0..100).filter_map(|host| ask(true, host)).collect();
        assert_eq!(known.len(), KNOWN.at_once);
    }
}
