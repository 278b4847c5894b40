//! Which address of a service a request goes to: of two, the one that has fewer requests. What is
//! learnt of addresses belongs to the node; all workers share it.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tegata_core::{Clock, SinceBoot};
use tegata_mesh::{Reach, Upstream};

use super::{
    breaker::Guarded,
    health::{Leave, Standing},
    retry::Budget,
    waiting::Waiting,
};
use crate::tls::Outward;

/// A service, with what is learnt of it.
pub(crate) struct Balanced {
    pub(crate) name: Arc<str>,
    addresses: Vec<Arc<Address>>,
    /// How many requests there are, where there is a limit to them.
    running: Arc<AtomicU32>,
    /// Those who wait for one of them to end.
    pub(super) waiting: Arc<Waiting>,
    pub(crate) reach: Reach,
    pub(crate) retry: Budget,
    pub(crate) breaker: Option<Arc<Guarded>>,
    /// For how long an address that failed is left alone, the first time.
    rest: Duration,
    clock: Arc<dyn Clock>,
}

/// One of its addresses.
pub(crate) struct Address {
    pub(crate) upstream: Upstream,
    /// That of no other in this process.
    id: u64,
    /// How it proves who it is. `None`: nobody can tell, or it is spoken to in the clear.
    outward: Option<Arc<Outward>>,
    running: AtomicU32,
    pub(crate) standing: Standing,
}

/// Where connections to an address are kept: none is used that was made with other certificates.
pub(crate) type PoolKey = (u64, u64);

/// A request that an address has, until it is dropped: with the last byte of the answer.
pub(crate) struct Claim {
    pub(crate) address: Arc<Address>,
    index: usize,
    leave: Leave,
    rest: Duration,
}

/// A place among the requests that a service may have, until it is dropped.
pub(crate) struct Room(Arc<Balanced>);

impl Balanced {
    /// A service. What was learnt of the one `before` it is kept where it is about the same thing.
    pub(crate) fn new(
        name: &str,
        upstreams: &[Upstream],
        reach: &Reach,
        outward: Option<&Arc<Outward>>,
        (rest, clock): (Duration, &Arc<dyn Clock>),
        before: Option<&Arc<Self>>,
    ) -> Arc<Self> {
        let same = |it: &&Arc<Self>| {
            let kept = it.addresses.iter().map(|address| &address.upstream);
            it.reach == *reach
                && it.rest == rest
                && kept.eq(upstreams)
                && it.addresses.iter().all(|address| address.is_with(outward))
        };
        if let Some(same) = before.filter(same) {
            return Arc::clone(same);
        }
        let known = |upstream: &Upstream| {
            let all = before.into_iter().flat_map(|before| &before.addresses);
            all.into_iter()
                .find(|it| it.upstream == *upstream && it.is_with(outward))
                .map(Arc::clone)
        };
        let addresses: Vec<_> = upstreams
            .iter()
            .map(|upstream| {
                known(upstream).unwrap_or_else(|| Arc::new(Address::new(upstream, outward)))
            })
            .collect();
        if reach.health.is_none() {
            addresses.iter().for_each(|address| address.standing.is_not_checked());
        }
        let kept = before.filter(|before| before.reach.breaker == reach.breaker);
        let breaker = match kept {
            Some(before) => before.breaker.clone(),
            None => reach.breaker.as_ref().map(|rule| Arc::new(Guarded::new(rule, clock))),
        };
        Arc::new(Self {
            name: name.into(),
            addresses,
            // Whoever was let in before the change counts still.
            running: before.map_or_else(Arc::default, |it| Arc::clone(&it.running)),
            waiting: before.map_or_else(Arc::default, |it| Arc::clone(&it.waiting)),
            retry: Budget::new(&reach.retry),
            reach: reach.clone(),
            breaker,
            rest,
            clock: Arc::clone(clock),
        })
    }

    /// Whether it is spoken to in HTTP/1.1. All its addresses speak the same.
    pub(crate) fn speaks_http1(&self) -> bool {
        self.addresses.first().is_none_or(|it| it.upstream.protocol().is_http1())
    }

    pub(crate) fn addresses(&self) -> &[Arc<Address>] {
        &self.addresses
    }

    /// Whether requests go to an address at the moment, for those who look.
    pub(crate) fn sends_to(&self, address: &Address) -> bool {
        address.standing.is_up(self.clock.since_boot())
    }

    /// A place for one more request, or that there is none.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Option<Room>, ()> {
        // Whoever came before and waits is let in before.
        if self.reach.max_requests.is_some() && self.waiting.is_there() {
            return Err(());
        }
        self.take()
    }

    /// A place, whoever waits.
    pub(super) fn take(self: &Arc<Self>) -> Result<Option<Room>, ()> {
        let Some(most) = self.reach.max_requests else { return Ok(None) };
        let more = |running: u32| (running < most.get()).then_some(running + 1);
        match self.running.fetch_update(SeqCst, SeqCst, more) {
            Ok(_) => Ok(Some(Room(Arc::clone(self)))),
            Err(_) => Err(()),
        }
    }

    /// An address for a request, none of those in `tried` where there is another. `turn` is whose turn it
    /// is, and what chance is made of.
    pub(crate) fn choose(&self, turn: usize, tried: u64, now: SinceBoot) -> Option<Claim> {
        if let [only] = self.addresses.as_slice() {
            // There is nothing to choose; what is learnt is for those who look.
            return Some(self.claim(only, 0, only.standing.last_resort()));
        }
        // Whoever has just been taken by another worker as a trial is passed over the next time.
        for _ in 0..3 {
            let is_up = |(index, it): &(usize, &Arc<Address>)| {
                !is_in(tried, *index) && it.standing.is_up(now)
            };
            let Some((index, address)) = self.lesser_of_two(turn, is_up) else { break };
            if let Some(leave) = address.standing.admit(now, self.rest) {
                return Some(self.claim(address, index, leave));
            }
        }
        // None is well. To refuse all would be worse than to try, and whoever answers is well.
        let (index, address) = self
            .lesser_of_two(turn, |(index, _)| !is_in(tried, *index))
            .or_else(|| self.lesser_of_two(turn, |_| true))?;
        Some(self.claim(address, index, address.standing.last_resort()))
    }

    /// Whether there is another address than these that is well.
    pub(crate) fn has_another(&self, tried: u64, now: SinceBoot) -> bool {
        let mut all = self.addresses.iter().enumerate();
        all.any(|(index, address)| !is_in(tried, index) && address.standing.is_up(now))
    }

    /// Whether there is one that was not tried.
    pub(crate) fn has_untried(&self, tried: u64) -> bool {
        (0..self.addresses.len()).any(|index| !is_in(tried, index))
    }

    /// The one whose turn it is and another: the one of them that has fewer requests.
    fn lesser_of_two(
        &self,
        turn: usize,
        counts: impl Fn(&(usize, &Arc<Address>)) -> bool,
    ) -> Option<(usize, &Arc<Address>)> {
        let all = || self.addresses.iter().enumerate().filter(&counts);
        let count = all().count();
        let first = turn.checked_rem(count)?;
        let second = match count {
            1 => first,
            _ => (first + 1 + scatter(turn).checked_rem(count - 1)?) % count,
        };
        // What stands there may have changed since it was counted.
        let one = all().nth(first).or_else(|| all().next())?;
        let two = all().nth(second).unwrap_or(one);
        let running = |(_, it): &(usize, &Arc<Address>)| it.running.load(Relaxed);
        Some(if running(&two) < running(&one) { two } else { one })
    }

    fn claim(&self, address: &Arc<Address>, index: usize, leave: Leave) -> Claim {
        address.running.fetch_add(1, Relaxed);
        Claim { address: Arc::clone(address), index, leave, rest: self.rest }
    }
}

impl Address {
    fn new(upstream: &Upstream, outward: Option<&Arc<Outward>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            upstream: upstream.clone(),
            id: NEXT.fetch_add(1, Relaxed),
            outward: outward.cloned(),
            running: AtomicU32::new(0),
            standing: Standing::default(),
        }
    }

    fn is_with(&self, outward: Option<&Arc<Outward>>) -> bool {
        match (&self.outward, outward) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, None) => true,
            _ => false,
        }
    }

    /// Where connections to it are kept.
    pub(crate) fn pool_key(&self) -> PoolKey {
        (self.id, self.outward.as_ref().map_or(0, |outward| outward.generation()))
    }

    /// TLS toward it, where all that it needs is there.
    pub(crate) fn outward(&self) -> Option<&Outward> {
        self.outward.as_deref()
    }

    /// The same, to be shared with what comes after it.
    pub(crate) fn outward_shared(&self) -> Option<Arc<Outward>> {
        self.outward.clone()
    }

    /// How many requests it has at the moment.
    pub(crate) fn running(&self) -> u32 {
        self.running.load(Relaxed)
    }
}

impl Claim {
    /// With those that were tried, this one.
    pub(crate) const fn among(&self, tried: u64) -> u64 {
        // Beyond 64 addresses some are tried again, which costs a request nothing but time.
        tried | (1 << (self.index % 64))
    }

    /// The address answered.
    pub(crate) fn succeeded(&self) {
        self.address.standing.succeeded(self.leave);
    }

    /// It did not, or with an error. `at_once`: it could not even be reached.
    pub(crate) fn failed(&self, now: SinceBoot, at_once: bool) {
        self.address.standing.failed(self.leave, now, self.rest, at_once);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.address.running.fetch_sub(1, Relaxed);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // INVARIANT: before it is looked whether somebody waits, as whoever waits does it the other way round.
        self.0.running.fetch_sub(1, SeqCst);
        self.0.waiting.go_on();
    }
}

const fn is_in(tried: u64, index: usize) -> bool {
    tried & (1 << (index % 64)) != 0
}

/// A number that nobody would have expected (SplitMix64).
pub(crate) fn scatter(turn: usize) -> usize {
    let mut z = (turn as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    usize::try_from((z ^ (z >> 31)) >> 1).unwrap_or(turn)
}

impl fmt::Debug for Balanced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Balanced({}, {:?})", self.name, self.addresses)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({}, {} running)", self.upstream, self.running())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use tegata_core::ManualClock;

    use super::*;

    const REST: Duration = Duration::from_secs(2);

    fn service(count: u16, reach: &Reach, before: Option<&Arc<Balanced>>) -> Arc<Balanced> {
        let upstreams: Vec<Upstream> =
            (1..=count).map(|n| format!("http://10.0.0.1:{n}").parse().unwrap()).collect();
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::default());
        Balanced::new("orders", &upstreams, reach, None, (REST, &clock), before)
    }

    fn at(secs: u64) -> SinceBoot {
        SinceBoot(Duration::from_secs(secs))
    }

    #[test]
    fn whoever_is_slow_gets_little_and_whoever_is_idle_gets_a_turn() {
        let of = service(3, &Reach::default(), None);
        let mut got = [0; 3];
        for turn in 0..300 {
            got[of.choose(turn, 0, at(1)).unwrap().index] += 1;
        }
        assert_eq!(got, [100; 3]);
        // The first does not answer, the others at once; eight requests are under way.
        let (mut got, mut slow) = ([0; 3], Vec::new());
        for turn in 0..1000 {
            let claim = of.choose(turn, 0, at(1)).unwrap();
            got[claim.index] += 1;
            if claim.index == 0 {
                slow.push(claim);
            }
            if slow.len() == 8 {
                slow.clear();
            }
        }
        assert!(got[0] < 50 && got[1] > 300 && got[2] > 300, "{got:?}");
        drop(slow);
        assert!(of.addresses.iter().all(|address| address.running() == 0));
    }

    #[test]
    fn whoever_is_left_alone_gets_nothing_and_where_all_are_nobody_is() {
        let of = service(2, &Reach::default(), None);
        of.addresses[0].standing.failed(Leave::Well, at(1), REST, true);
        assert!((0..50).all(|turn| of.choose(turn, 0, at(2)).unwrap().index == 1));
        let trials = (0..50).filter(|turn| of.choose(*turn, 0, at(3)).unwrap().index == 0).count();
        assert_eq!(trials, 1);
        of.addresses[1].standing.failed(Leave::Well, at(3), REST, true);
        let both: Vec<_> = (0..4).map(|turn| of.choose(turn, 0, at(4)).unwrap().index).collect();
        assert!(both.contains(&0) && both.contains(&1));
        // What was tried is not tried again while there is another.
        for turn in 0..10 {
            let first = of.choose(turn, 0, at(4)).unwrap();
            let second = of.choose(turn, first.among(0), at(4)).unwrap();
            assert_ne!(first.index, second.index);
        }
    }

    #[test]
    fn a_service_has_no_more_requests_than_it_may_have() {
        let limited = Reach { max_requests: NonZeroU32::new(3), ..Reach::default() };
        let of = service(1, &limited, None);
        let most = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        if let Ok(room) = of.enter() {
                            most.fetch_max(of.running.load(Relaxed), Relaxed);
                            drop(room);
                        }
                    }
                });
            }
        });
        assert_eq!(of.running.load(Relaxed), 0);
        assert!((1..=3).contains(&most.into_inner()));
        let rooms: Vec<_> = (0..5).filter_map(|_| of.enter().ok()).collect();
        assert_eq!(rooms.len(), 3);
        // What is changed about the service lets nobody in beside those who are there.
        let resting = Reach { max_requests: NonZeroU32::new(4), ..Reach::default() };
        let changed = service(1, &resting, Some(&of));
        let more: Vec<_> = (0..5).filter_map(|_| changed.enter().ok()).collect();
        assert_eq!(more.len(), 1);
        drop((rooms, more));
        assert_eq!(changed.running.load(Relaxed), 0);
    }

    #[test]
    fn what_was_learnt_is_kept_where_it_is_about_the_same() {
        let first = service(2, &Reach::default(), None);
        assert!(Arc::ptr_eq(&first, &service(2, &Reach::default(), Some(&first))));
        first.addresses[1].standing.failed(Leave::Well, at(1), REST, true);
        let more = service(3, &Reach::default(), Some(&first));
        assert!(!more.addresses[1].standing.is_up(at(2)));
        let keys = |of: &Balanced| of.addresses.iter().map(|it| it.pool_key()).collect::<Vec<_>>();
        assert_eq!(keys(&more)[..2], keys(&first)[..]);
        assert_ne!(keys(&more)[2], keys(&more)[1]);
        // Another service at the same place is another one.
        assert_ne!(keys(&service(2, &Reach::default(), None)), keys(&first));
    }
}
