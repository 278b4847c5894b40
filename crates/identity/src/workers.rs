//! Where expensive work runs. A password hash takes tens of milliseconds of a core, so it runs on
//! workers of its own: few, with a short queue that refuses instead of growing.

use std::future::Future;

mod oneshot;
mod pool;

pub use pool::{Config, HashingPool};

/// Work that a worker does once. Dropped without being run, it tells whoever waits.
pub type Job = Box<dyn FnOnce() + Send>;

/// All workers have more to do than they will get done in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being checked at once: try again in a moment")]
pub struct Busy;

/// A bounded set of workers.
pub trait Workers: Send + Sync {
    /// Takes a job, to be run soon on a thread that may block, or to be dropped.
    ///
    /// # Errors
    /// [`Busy`] where it was not taken.
    fn submit(&self, job: Job) -> Result<(), Busy>;
}

/// Runs `work` on a worker and waits for it. If the future is dropped before the work was begun, it
/// is not begun.
///
/// # Errors
/// [`Busy`] where the work was refused, or was dropped because it had waited too long.
pub fn run<T, F>(
    workers: &dyn Workers,
    work: F,
) -> impl Future<Output = Result<T, Busy>> + Send + use<T, F>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let taken = workers.submit(Box::new(move || {
        if !sender.is_abandoned() {
            sender.send(work());
        }
    }));
    async move {
        taken?;
        receiver.await.ok_or(Busy)
    }
}
