//! Threads with a bounded queue.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tegata_core::{Clock, SinceBoot};

use super::{Busy, Job, Workers};

/// How a [`HashingPool`] is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// How many threads; never more than there are cores. `None`: one for each core.
    pub workers: Option<usize>,
    /// How many jobs may wait.
    pub queue: usize,
    /// How long a job may wait; after that, its client has given up or soon will.
    pub deadline: Duration,
    /// By how much the threads yield to the rest of the process (the `nice` value of Linux), so
    /// that a flood of sign-ins does not slow the checking of tokens.
    pub niceness: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self { workers: None, queue: 64, deadline: Duration::from_secs(2), niceness: 5 }
    }
}

/// Workers on threads of their own. They end when the pool is dropped; what waits then is dropped.
pub struct HashingPool {
    shared: Arc<Shared>,
    workers: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    ready: Condvar,
    clock: Arc<dyn Clock>,
    config: Config,
}

struct Queue {
    jobs: VecDeque<(SinceBoot, Job)>,
    closed: bool,
}

impl HashingPool {
    /// Starts the threads.
    ///
    /// # Errors
    /// What the system says where it gives no thread.
    pub fn start(config: Config, clock: Arc<dyn Clock>) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let workers = config.workers.unwrap_or(cores).clamp(1, cores);
        let queue = Mutex::new(Queue { jobs: VecDeque::new(), closed: false });
        let shared = Arc::new(Shared { queue, ready: Condvar::new(), clock, config });
        // Made first, so that the threads end if one of them cannot be started.
        let pool = Self { shared, workers };
        for number in 0..workers {
            let shared = Arc::clone(&pool.shared);
            thread::Builder::new().name(format!("hash-{number}")).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// How many threads there are.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// How many jobs wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.queue.lock().jobs.len()
    }
}

impl Workers for HashingPool {
    fn submit(&self, job: Job) -> Result<(), Busy> {
        let since = self.shared.clock.since_boot();
        let mut queue = self.shared.queue.lock();
        if queue.closed || queue.jobs.len() >= self.shared.config.queue {
            return Err(Busy);
        }
        queue.jobs.push_back((since, job));
        drop(queue);
        self.shared.ready.notify_one();
        Ok(())
    }
}

impl Shared {
    /// The life of a thread.
    fn work(&self) {
        // On Linux this concerns the calling thread alone. Where it is not allowed, nothing is lost
        // but the courtesy.
        let _ = rustix::process::nice(i32::from(self.config.niceness));
        while let Some((since, job)) = self.next() {
            if self.clock.since_boot().since(since) > self.config.deadline {
                continue; // dropping the job tells its client
            }
            // A job that panics ends for its client as if it had been dropped, not for the others.
            let _ = catch_unwind(AssertUnwindSafe(job));
        }
    }

    /// The oldest job; `None` when the pool is gone.
    fn next(&self) -> Option<(SinceBoot, Job)> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            self.ready.wait(&mut queue);
        }
    }
}

impl Drop for HashingPool {
    fn drop(&mut self) {
        let left = {
            let mut queue = self.shared.queue.lock();
            queue.closed = true;
            std::mem::take(&mut queue.jobs)
        };
        self.shared.ready.notify_all();
        drop(left);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use futures_util::FutureExt as _;
    use tegata_core::ManualClock;

    use super::*;
    use crate::workers::run;

    fn pool(queue: usize) -> (HashingPool, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        let config = Config { workers: Some(1), queue, ..Config::default() };
        (HashingPool::start(config, clock.clone()).unwrap(), clock)
    }

    /// Occupies the only worker until the sender is dropped, and waits until it has begun.
    fn occupy(pool: &HashingPool) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel();
        let (began, begun) = mpsc::channel();
        pool.submit(Box::new(move || {
            began.send(()).unwrap();
            let _ = released.recv();
        }))
        .unwrap();
        begun.recv().unwrap();
        release
    }

    #[tokio::test]
    async fn answers_what_the_work_answers() {
        let (pool, _) = pool(4);
        assert_eq!(run(&pool, || 6 * 7).await, Ok(42));
    }

    #[tokio::test]
    async fn refuses_when_the_queue_is_full_and_takes_again_when_it_is_not() {
        let (pool, _) = pool(2);
        let release = occupy(&pool);
        let (first, second) = (run(&pool, || 1), run(&pool, || 2));
        assert_eq!(run(&pool, || 3).now_or_never(), Some(Err(Busy)));
        assert_eq!(pool.waiting(), 2);
        drop(release);
        assert_eq!((first.await, second.await), (Ok(1), Ok(2)));
        assert_eq!(run(&pool, || 4).await, Ok(4));
    }

    #[tokio::test]
    async fn does_not_begin_what_was_given_up() {
        let (pool, _) = pool(8);
        let release = occupy(&pool);
        let begun = Arc::new(AtomicUsize::new(0));
        for _ in 0..5 {
            let begun = Arc::clone(&begun);
            drop(run(&pool, move || begun.fetch_add(1, Ordering::SeqCst)));
        }
        drop(release);
        assert_eq!(run(&pool, || ()).await, Ok(()));
        assert_eq!(begun.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn drops_what_has_waited_too_long() {
        let (pool, clock) = pool(8);
        let release = occupy(&pool);
        let late = run(&pool, || "late");
        clock.advance(Duration::from_secs(3));
        let fresh = run(&pool, || "fresh");
        drop(release);
        assert_eq!((late.await, fresh.await), (Err(Busy), Ok("fresh")));
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_client_alone() {
        let (pool, _) = pool(8);
        assert_eq!(run(&pool, || panic!("on purpose")).await, Err::<(), _>(Busy));
        assert_eq!(run(&pool, || 1).await, Ok(1));
    }

    #[tokio::test]
    async fn whoever_waits_when_the_pool_ends_is_told() {
        let (pool, _) = pool(8);
        let release = occupy(&pool);
        let waiting = run(&pool, || 1);
        drop(pool);
        assert_eq!(waiting.await, Err(Busy));
        drop(release);
    }

    #[test]
    fn never_has_more_threads_than_cores() {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let config = Config { workers: Some(1000), ..Config::default() };
        let pool = HashingPool::start(config, Arc::new(ManualClock::default())).unwrap();
        assert_eq!(pool.workers(), cores);
    }
}
