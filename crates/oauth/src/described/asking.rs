//! Asking for documents: once for all who need one at the same time, not again for a while, and no host
//! oftener than it would bear.
//!
//! Whoever sends a request chooses who is asked, and need not be known. So what people have agreed to
//! does not wait behind what nobody knows: addresses that are known are counted apart from the others.

use std::{collections::HashMap, num::NonZeroU32, sync::Arc, time::Duration};

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tegata_core::{ClientId, Limiter, RateLimit, SinceBoot, flight::Flights};

use super::{Address, NotDescribed};
use crate::{client::Client, provider::Provider, remote::Within};

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

/// How many documents are kept, and how many addresses that gave none.
const KEPT: usize = 1_000;
const LEFT_ALONE: usize = 10_000;

/// How many documents are asked for at once: of those that are known, and of the others.
const AT_ONCE: usize = 16;
/// How many of them at one host.
const AT_ONCE_OF_HOST: usize = 4;
/// How many are asked for at one host in a minute.
const OF_HOST: RateLimit = RateLimit::a_minute(NonZeroU32::MIN.saturating_add(59));
/// How many in a minute that nobody knows, at all hosts together.
const OF_STRANGERS: RateLimit = RateLimit::a_minute(NonZeroU32::MIN.saturating_add(299));
/// How many hosts are counted.
const HOSTS: usize = 10_000;

/// What is known of documents, and who is being asked.
pub(crate) struct Documents {
    kept: Cache<ClientId, Kept>,
    left_alone: Cache<ClientId, LeftAlone>,
    asking: Flights<ClientId, Result<Arc<Client>, NotDescribed>>,
    under_way: Arc<UnderWay>,
    asked: Limiter<Whose>,
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

/// Whose questions are counted together: all, or those at a host; of clients that are known, or not.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    All { known: bool },
    Host { name: String, known: bool },
}

/// How many questions are under way.
type UnderWay = Mutex<HashMap<Whose, usize>>;

/// A place among those that are under way, until it is dropped.
struct Place {
    under_way: Arc<UnderWay>,
    whose: [Whose; 2],
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        for whose in &self.whose {
            if let Some(count) = under_way.get_mut(whose) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    under_way.remove(whose);
                }
            }
        }
    }
}

impl Documents {
    pub(crate) fn new() -> Self {
        Self {
            kept: Cache::new(KEPT),
            left_alone: Cache::new(LEFT_ALONE),
            asking: Flights::new(),
            under_way: Arc::default(),
            asked: Limiter::new(HOSTS),
        }
    }

    /// Lets a question go out, and counts it.
    fn place(&self, address: &Address, known: bool, now: SinceBoot) -> Result<Place, NotDescribed> {
        let all = Whose::All { known };
        let host = Whose::Host { name: address.host().to_owned(), known };
        let place = self.take([(host.clone(), AT_ONCE_OF_HOST), (all.clone(), AT_ONCE)]);
        let place = place.ok_or(NotDescribed::Busy)?;
        // The narrower first: what it refuses costs the others nothing.
        let passes = self.asked.count(host, OF_HOST, now).passes
            && (known || self.asked.count(all, OF_STRANGERS, now).passes);
        if passes { Ok(place) } else { Err(NotDescribed::Busy) }
    }

    fn take(&self, wanted: [(Whose, usize); 2]) -> Option<Place> {
        let mut under_way = self.under_way.lock();
        let is_full = |(whose, most): &(Whose, usize)| {
            under_way.get(whose).is_some_and(|count| count >= most)
        };
        if wanted.iter().any(is_full) {
            return None;
        }
        let whose = wanted.map(|(whose, _)| whose);
        for whose in &whose {
            *under_way.entry(whose.clone()).or_default() += 1;
        }
        Some(Place { under_way: Arc::clone(&self.under_way), whose })
    }
}

impl Provider {
    /// The client at an address, as its document describes it. `known`: something is kept of it.
    pub(super) async fn document_of(
        &self,
        address: &Address,
        known: bool,
    ) -> Result<Arc<Client>, NotDescribed> {
        if let Some(found) = self.document_at_hand(address) {
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
    ) -> Option<Result<Arc<Client>, NotDescribed>> {
        let (documents, node) = (self.documents(), self.node());
        if let Some(kept) = documents.kept.get(address.id())
            && node.elapsed(kept.since) < kept.fresh_for
        {
            return Some(Ok(kept.client));
        }
        let left_alone = documents.left_alone.get(address.id())?;
        (node.elapsed(left_alone.since) < PAUSE).then_some(Err(left_alone.why))
    }

    async fn ask_for_document(
        &self,
        address: &Address,
        known: bool,
    ) -> Result<Arc<Client>, NotDescribed> {
        // Somebody may have been answered after this one looked, and before it asked.
        if let Some(found) = self.document_at_hand(address) {
            return found;
        }
        let (documents, id) = (self.documents(), address.id());
        let since = self.node().since_boot();
        let _place = documents.place(address, known, since)?;
        let within = Within { longest: LONGEST, time: PATIENCE };
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
                documents.kept.insert(id.clone(), kept);
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
    use tegata_core::ClientId;

    use super::*;
    use crate::described::Rules;

    fn address(text: &str) -> Address {
        Address::read(&ClientId::new(text).unwrap(), &Rules::default()).unwrap()
    }

    fn at(secs: u64) -> SinceBoot {
        SinceBoot(Duration::from_secs(secs))
    }

    #[test]
    fn one_host_is_not_asked_by_everybody_at_once_and_those_that_are_known_do_not_wait() {
        let documents = Documents::new();
        let of = |host: usize| address(&format!("https://h{host}.example/c"));
        let ask = |host, known| documents.place(&of(host), known, at(0)).ok();
        let held: Vec<_> = (0..10).filter_map(|_| ask(0, false)).collect();
        assert_eq!(held.len(), AT_ONCE_OF_HOST);
        let others: Vec<_> = (1..50).filter_map(|host| ask(host, false)).collect();
        assert_eq!(held.len() + others.len(), AT_ONCE);
        let known: Vec<_> = (0..50).filter_map(|host| ask(host, true)).collect();
        assert_eq!(known.len(), AT_ONCE);
        drop((held, others, known));
        assert!(documents.under_way.lock().is_empty());
        assert!(ask(0, false).is_some());
    }

    #[test]
    fn a_host_is_asked_so_often_and_strangers_together_so_often() {
        let documents = Documents::new();
        let ask = |host: &str, known, secs| {
            documents.place(&address(&format!("https://{host}.example/c")), known, at(secs)).is_ok()
        };
        assert_eq!((0..200).filter(|_| ask("victim", false, 0)).count(), 60);
        // Those that people have agreed to are none of them.
        assert!(ask("victim", true, 0));
        assert!(ask("victim", false, 1) && !ask("victim", false, 1));
        let all = (0..1000).filter(|host| ask(&format!("h{host}"), false, 1)).count();
        assert!((230..=245).contains(&all), "{all}");
        assert!(!ask("another", false, 1) && ask("another", true, 1));
        assert!(ask("another", false, 60));
    }
}
