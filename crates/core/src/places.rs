//! How many connections one client holds: a limit to each, so that nobody takes the places of all.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use parking_lot::Mutex;

use crate::network::Network;

/// The places that clients have taken.
#[derive(Debug)]
pub struct Places(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    each: usize,
    unlimited: Vec<Network>,
    taken: HashMap<Network, usize>,
}

/// A place that has been taken, until it is dropped.
#[derive(Debug)]
#[must_use = "the place is given back when this is dropped"]
pub struct Place {
    of: Arc<Places>,
    address: Option<IpAddr>,
}

impl Places {
    /// `each` client may take so many places; those of the `unlimited` networks, such as proxies that
    /// bring everybody, any number.
    #[must_use]
    pub fn new(each: usize, unlimited: Vec<Network>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Inner { each, unlimited, taken: HashMap::new() })))
    }

    /// From now on each client may take `each`, and those of the `unlimited` networks any number. Who has
    /// more than that keeps what it has, and is given nothing before it has less.
    pub fn allow(&self, each: usize, unlimited: Vec<Network>) {
        let mut inner = self.0.lock();
        (inner.each, inner.unlimited) = (each, unlimited);
    }

    /// Takes a place for a client at this address. `None`: it has taken all that it may. A client is
    /// each network of [`Network::counted`].
    #[must_use]
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut inner = self.0.lock();
        let Inner { each, unlimited, taken } = &mut *inner;
        if unlimited.iter().any(|network| network.contains(address)) {
            return Some(Place { of: Arc::clone(self), address: None });
        }
        let has_room = Network::counted(address).all(|(network, callers)| {
            let most = usize::try_from(callers.get()).unwrap_or(1).saturating_mul(*each);
            taken.get(&network).is_none_or(|taken| *taken < most)
        });
        if !has_room {
            return None;
        }
        for (network, _) in Network::counted(address) {
            *taken.entry(network).or_default() += 1;
        }
        Some(Place { of: Arc::clone(self), address: Some(address) })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let taken = &mut self.of.0.lock().taken;
        for (network, _) in Network::counted(address) {
            if let Some(count) = taken.get_mut(&network) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    taken.remove(&network);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Arc<Places>, address: &str) -> Option<Place> {
        places.take(address.parse().unwrap())
    }

    #[test]
    fn a_client_takes_its_own_places_and_nobody_elses() {
        let places = Places::new(2, vec!["127.0.0.0/8".parse().unwrap()]);
        let first = take(&places, "192.0.2.1").unwrap();
        let _second = take(&places, "::ffff:192.0.2.1").unwrap();
        assert!(take(&places, "192.0.2.1").is_none());
        let _neighbour = take(&places, "192.0.2.2").unwrap();
        drop(first);
        let _third = take(&places, "192.0.2.1").unwrap();
        assert!(take(&places, "192.0.2.1").is_none());
        let proxy: Vec<_> = (0..9).map(|_| take(&places, "127.0.0.1").unwrap()).collect();
        assert_eq!(proxy.len(), 9);
    }

    #[test]
    fn a_limit_below_what_is_taken_takes_nothing_away_and_gives_nothing_more() {
        let places = Places::new(3, Vec::new());
        let mut held: Vec<_> = (0..3).map(|_| take(&places, "192.0.2.1").unwrap()).collect();
        places.allow(1, vec!["127.0.0.1/32".parse().unwrap()]);
        while let Some(place) = held.pop() {
            assert!(take(&places, "192.0.2.1").is_none());
            drop(place);
        }
        let _one = take(&places, "192.0.2.1").unwrap();
        assert!(take(&places, "192.0.2.1").is_none());
        let exempt = [take(&places, "127.0.0.1"), take(&places, "127.0.0.1")];
        assert!(exempt.iter().all(Option::is_some));
        // Those who are counted again are counted from now on.
        places.allow(1, Vec::new());
        let place = take(&places, "127.0.0.1");
        assert!(place.is_some());
        drop(exempt);
        assert!(take(&places, "127.0.0.1").is_none());
    }

    #[test]
    fn many_ipv6_networks_of_one_owner_take_no_more_than_a_few_of_many() {
        let places = Places::new(2, Vec::new());
        let held: Vec<_> = (0..1000)
            .filter_map(|subnet| take(&places, &format!("2001:db8:1:{subnet:x}::1")))
            .collect();
        assert_eq!(held.len(), 32);
        assert!(take(&places, "2001:db8:2::1").is_some());
    }

    #[test]
    fn nothing_is_remembered_of_who_has_gone() {
        let places = Places::new(2, Vec::new());
        let held: Vec<_> = ["192.0.2.1", "2001:db8::1"].map(|it| take(&places, it)).into();
        assert_eq!(places.0.lock().taken.len(), 3);
        drop(held);
        assert!(places.0.lock().taken.is_empty());
    }
}
