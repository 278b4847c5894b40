//! How many questions go out: at once and in a minute, to one host and to all together.
//!
//! Whoever sends a request chooses who is asked, and need not be known: without this, somebody else's
//! server would bear it, and those who are asked for good reason would wait behind.

use std::{collections::HashMap, fmt, num::NonZeroU32, sync::Arc};

use parking_lot::Mutex;
use tegata_core::{Limiter, RateLimit, SinceBoot};

/// How many hosts are counted.
const HOSTS: usize = 10_000;

/// How much is let out.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// At once, to all hosts together.
    pub at_once: usize,
    /// At once, to one host.
    pub at_once_of_host: usize,
    /// In a time, to one host.
    pub of_host: RateLimit,
    /// In a time, to all hosts together, where that is bounded.
    pub of_all: Option<RateLimit>,
}

impl Bounds {
    /// Of clients that describe themselves and that nobody knows: anybody chooses who is asked.
    pub const STRANGERS: Self = Self {
        at_once: 16,
        at_once_of_host: 4,
        of_host: RateLimit::a_minute(NonZeroU32::MIN.saturating_add(59)),
        of_all: Some(RateLimit::a_minute(NonZeroU32::MIN.saturating_add(299))),
    };
}

/// What is let out, and is under way.
pub struct Crowd {
    bounds: Bounds,
    under_way: Arc<Mutex<UnderWay>>,
    /// All together under no name, which no host has.
    asked: Limiter<String>,
}

#[derive(Default)]
struct UnderWay {
    all: usize,
    hosts: HashMap<String, usize>,
}

/// A place among those that are under way, until it is dropped.
pub struct Place {
    under_way: Arc<Mutex<UnderWay>>,
    host: String,
}

impl Crowd {
    /// Within these bounds, with nothing under way.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, under_way: Arc::default(), asked: Limiter::new(HOSTS) }
    }

    /// Lets a question to a host go out, and counts it. `None`: there are too many.
    #[must_use]
    pub fn place(&self, host: &str, now: SinceBoot) -> Option<Place> {
        // One host, however it is written.
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let place = self.take(&host)?;
        let Bounds { of_host, of_all, .. } = self.bounds;
        // The narrower first: what it refuses costs the others nothing.
        let passes = self.asked.count(host, of_host, now).passes
            && of_all.is_none_or(|limit| self.asked.count(String::new(), limit, now).passes);
        passes.then_some(place)
    }

    fn take(&self, host: &str) -> Option<Place> {
        let mut under_way = self.under_way.lock();
        let of_host = under_way.hosts.get(host).copied().unwrap_or_default();
        if under_way.all >= self.bounds.at_once || of_host >= self.bounds.at_once_of_host {
            return None;
        }
        under_way.all += 1;
        under_way.hosts.insert(host.to_owned(), of_host + 1);
        Some(Place { under_way: Arc::clone(&self.under_way), host: host.to_owned() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under_way = self.under_way.lock();
        under_way.all = under_way.all.saturating_sub(1);
        let left = under_way.hosts.get(&self.host).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            under_way.hosts.remove(&self.host);
        } else {
            under_way.hosts.insert(self.host.clone(), left);
        }
    }
}

impl fmt::Debug for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Crowd({} under way)", self.under_way.lock().all)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.host)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: u64) -> SinceBoot {
        SinceBoot(Duration::from_secs(secs))
    }

    fn a_minute(count: u32) -> RateLimit {
        RateLimit::a_minute(NonZeroU32::new(count).unwrap())
    }

    #[test]
    fn so_many_are_under_way_at_one_host_and_at_all() {
        let (of_host, of_all) = (a_minute(60), None);
        let crowd = Crowd::new(Bounds { at_once: 16, at_once_of_host: 4, of_host, of_all });
        let ask = |host: usize| crowd.place(&format!("h{host}.example"), at(0));
        let held: Vec<_> = (0..10).filter_map(|_| ask(0)).collect();
        assert_eq!(held.len(), 4);
        let others: Vec<_> = (1..50).filter_map(ask).collect();
        assert_eq!(held.len() + others.len(), 16);
        drop((held, others));
        let under_way = crowd.under_way.lock();
        assert!(under_way.all == 0 && under_way.hosts.is_empty());
        drop(under_way);
        assert!(ask(0).is_some());
    }

    #[test]
    fn so_many_go_out_in_a_minute_to_one_host_and_to_all() {
        let (of_host, of_all) = (a_minute(60), Some(a_minute(300)));
        let crowd = Crowd::new(Bounds { at_once: 16, at_once_of_host: 4, of_host, of_all });
        let ask = |host: &str, secs| crowd.place(host, at(secs)).is_some();
        assert_eq!((0..200).filter(|_| ask("victim", 0)).count(), 60);
        assert!(ask("victim", 1) && !ask("victim", 1));
        let all = (0..1000).filter(|host| ask(&format!("h{host}"), 1)).count();
        assert!((230..=245).contains(&all), "{all}");
        assert!(!ask("another", 1) && ask("another", 60));
    }
}
