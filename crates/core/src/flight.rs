//! One computation for many callers who ask the same at once.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Weak},
};

use futures_util::future::{FutureExt as _, Shared, WeakShared};
use parking_lot::Mutex;

use crate::port::BoxFuture;

/// Joins callers: while a computation for a key is under way, whoever asks for the same key waits
/// for it instead of starting another. Nothing is remembered once it is done.
pub struct Flights<K, V: Clone>(Arc<Mutex<Board<K, V>>>);

struct Board<K, V: Clone> {
    flying: HashMap<K, Flight<V>>,
    started: u64,
}

struct Flight<V: Clone> {
    number: u64,
    work: WeakShared<BoxFuture<'static, V>>,
}

impl<K: Eq + Hash + Clone + Send + 'static, V: Clone + Send + Sync + 'static> Flights<K, V> {
    /// No computation is under way.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Board { flying: HashMap::new(), started: 0 })))
    }

    /// The answer for `key`: of the computation under way, or of `start` if there is none.
    ///
    /// A caller that goes away (its client hung up) does not stop the computation for the others;
    /// when all have gone, it is dropped.
    pub async fn join<F>(&self, key: K, start: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        let shared = self.board(key, start);
        shared.await
    }

    fn board<F>(&self, key: K, start: impl FnOnce() -> F) -> Shared<BoxFuture<'static, V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut board = self.0.lock();
        if let Some(shared) = board.flying.get(&key).and_then(|flight| flight.work.upgrade())
            && shared.peek().is_none()
        {
            return shared;
        }
        board.started += 1;
        let number = board.started;
        let landing = Landing { board: Arc::downgrade(&self.0), key: key.clone(), number };
        let work = start();
        let shared = async move {
            let _landing = landing;
            work.await
        }
        .boxed()
        .shared();
        if let Some(work) = shared.downgrade() {
            board.flying.insert(key, Flight { number, work });
        }
        shared
    }

    #[cfg(test)]
    fn under_way(&self) -> usize {
        self.0.lock().flying.len()
    }
}

impl<K: Eq + Hash + Clone + Send + 'static, V: Clone + Send + Sync + 'static> Default
    for Flights<K, V>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V: Clone> fmt::Debug for Flights<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flights")
    }
}

/// Takes a finished or abandoned computation off the board when it is dropped.
struct Landing<K: Eq + Hash, V: Clone> {
    board: Weak<Mutex<Board<K, V>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, V: Clone> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let Some(board) = self.board.upgrade() else {
            return;
        };
        let mut board = board.lock();
        // A newer computation for the key may stand there already: it is not ours to remove.
        if board.flying.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            board.flying.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::{
        future::{join_all, poll_immediate},
        pin_mut,
    };

    use tokio::sync::oneshot;

    use super::*;

    /// A computation that counts how often it was started and ends when `gate` opens.
    fn work(
        started: &Arc<AtomicU32>,
        gate: Shared<oneshot::Receiver<()>>,
    ) -> impl Future<Output = u32> + Send + 'static {
        let number = started.fetch_add(1, Ordering::SeqCst) + 1;
        async move {
            let _ = gate.await;
            number
        }
    }

    #[test]
    fn many_callers_share_one_computation_and_the_next_caller_starts_anew() {
        let (flights, started) = (Flights::<&str, u32>::new(), Arc::new(AtomicU32::new(0)));
        let (open, gate) = oneshot::channel();
        let gate = gate.shared();
        let callers = (0..100).map(|_| flights.join("k", || work(&started, gate.clone())));
        let all = join_all(callers);
        pin_mut!(all);
        futures_util::FutureExt::now_or_never(poll_immediate(&mut all));
        assert_eq!(flights.under_way(), 1);
        open.send(()).unwrap();
        let answers = futures_util::FutureExt::now_or_never(all).unwrap();
        assert_eq!(answers, vec![1; 100]);
        assert_eq!(flights.under_way(), 0);
        let later = flights.join("k", || work(&started, gate.clone())).now_or_never();
        assert_eq!(later, Some(2));
    }

    #[test]
    fn an_abandoned_computation_leaves_nothing_behind() {
        let (flights, started) = (Flights::<&str, u32>::new(), Arc::new(AtomicU32::new(0)));
        let (_open, gate) = oneshot::channel();
        let gate = gate.shared();
        assert!(flights.join("k", || work(&started, gate.clone())).now_or_never().is_none());
        assert_eq!(flights.under_way(), 0);
    }
}
