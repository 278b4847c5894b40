//! How much to doubt that somebody is there: the phi accrual failure detector (Hayashibara et al.,
//! 2004).
//!
//! From the times between the heartbeats that were heard, it tells how unlikely the silence since the
//! last one is: phi is the negative decimal logarithm of the probability that one comes yet. So how
//! long a silence must be depends on how regularly that node is heard, and a slow network or a busy
//! machine is learned.

use std::{collections::VecDeque, time::Duration};

use tegata_core::SinceBoot;

/// How many intervals are remembered.
const WINDOW: usize = 200;

/// When the heartbeats of one node were heard.
#[derive(Debug, Clone)]
pub(super) struct Arrivals {
    last: SinceBoot,
    /// In seconds.
    intervals: VecDeque<f64>,
}

impl Arrivals {
    /// A first heartbeat, of a node that is expected to be heard every `expected`, give or take half of
    /// it.
    pub(super) fn first(now: SinceBoot, expected: Duration) -> Self {
        let expected = expected.as_secs_f64();
        Self { last: now, intervals: VecDeque::from([expected / 2.0, expected * 1.5]) }
    }

    /// Another one.
    pub(super) fn hear(&mut self, now: SinceBoot) {
        if self.intervals.len() >= WINDOW {
            self.intervals.pop_front();
        }
        self.intervals.push_back(now.since(self.last).as_secs_f64());
        self.last = now;
    }

    /// Begins to wait anew: it was us who did not listen.
    pub(super) fn excuse(&mut self, now: SinceBoot) {
        self.last = now;
    }

    /// The doubt, when a silence may be longer than usual by `pause`.
    pub(super) fn phi(&self, now: SinceBoot, pause: Duration) -> f64 {
        let count = f64::from(u32::try_from(self.intervals.len()).unwrap_or(u32::MAX)).max(1.0);
        let mean = self.intervals.iter().sum::<f64>() / count;
        let variance = self.intervals.iter().map(|it| (it - mean).powi(2)).sum::<f64>() / count;
        // However regular the past was, a scheduler may be late by that much.
        let deviation = variance.sqrt().max(0.1);
        let silence = now.since(self.last).as_secs_f64();
        let excess = (silence - mean - pause.as_secs_f64()) / deviation;
        // The normal distribution by a logistic one, which is near enough and knows no underflow where
        // it matters (Bowling et al., 2009).
        let power = excess * (1.5976 + 0.070_566 * excess * excess);
        if power > 700.0 { f64::INFINITY } else { power.exp().ln_1p() / std::f64::consts::LN_10 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(2);

    fn at(millis: u64) -> SinceBoot {
        SinceBoot(Duration::from_millis(millis))
    }

    /// For how long somebody who was heard at these intervals may be silent.
    fn patience(intervals: impl IntoIterator<Item = u64>) -> u64 {
        let mut arrivals = Arrivals::first(at(0), Duration::from_millis(500));
        let mut now = 0;
        for interval in intervals {
            now += interval;
            arrivals.hear(at(now));
        }
        (0..).find(|silence| arrivals.phi(at(now + silence), PAUSE) > 8.0).unwrap()
    }

    #[test]
    fn the_doubt_grows_with_the_silence() {
        let arrivals = Arrivals::first(at(0), Duration::from_millis(500));
        let phi = (0..100).map(|n| arrivals.phi(at(n * 100), PAUSE)).collect::<Vec<_>>();
        assert!(phi.is_sorted() && phi[0] < 0.1 && phi[99] > 100.0, "{phi:?}");
        assert!(arrivals.phi(at(u64::MAX), PAUSE).is_infinite());
    }

    #[test]
    fn who_is_heard_regularly_is_missed_soon_and_who_is_not_is_not() {
        let (regular, slow) = (patience([500; 300]), patience([3000; 300]));
        let wild = patience((0..300).map(|n| if n % 7 == 0 { 4000 } else { 200 }));
        let unknown = patience([]);
        assert!((2500..4000).contains(&regular), "{regular} ms");
        assert!((2500..6000).contains(&unknown), "{unknown} ms");
        assert!((5000..8000).contains(&slow), "{slow} ms");
        assert!((6000..20_000).contains(&wild), "{wild} ms");
    }

    #[test]
    fn whoever_did_not_listen_suspects_nobody() {
        let mut arrivals = Arrivals::first(at(0), Duration::from_millis(500));
        arrivals.excuse(at(100_000));
        assert!(arrivals.phi(at(100_500), PAUSE) < 1.0);
    }
}
