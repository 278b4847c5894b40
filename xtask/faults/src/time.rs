//! How long things take, and waiting that somebody can end.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Measures time from a beginning on.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a tool that tells how long things took")]
        let now = Instant::now();
        Self(now)
    }

    /// The time since it began.
    #[must_use]
    pub fn read(&self) -> Duration {
        self.0.elapsed()
    }
}

/// The end of something, for which many can wait.
#[derive(Debug, Default)]
pub struct Ending {
    over: Mutex<bool>,
    turned: Condvar,
}

impl Ending {
    /// Ends it.
    pub fn end(&self) {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.turned.notify_all();
    }

    /// Ends it when what is given is dropped: also where whoever holds it panics, for whom the others
    /// would wait for ever.
    pub fn ends_with(&self) -> EndsWith<'_> {
        EndsWith(self)
    }

    /// Lets a span pass; answers whether it is over.
    pub fn pass(&self, span: Duration) -> bool {
        let over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = self.turned.wait_timeout_while(over, span, |over| !*over);
        *passed.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        *self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an [`Ending`] ends with.
#[derive(Debug)]
#[must_use = "it ends at once"]
pub struct EndsWith<'a>(&'a Ending);

impl Drop for EndsWith<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Lets a span pass that is a part of what is tried: for how long something is away.
pub fn let_pass(span: Duration) {
    Ending::default().pass(span);
}

/// Looks again and again until it is so; answers how long that took, or `None` where it did not come
/// to be within `patience`.
pub fn until(patience: Duration, mut is_so: impl FnMut() -> bool) -> Option<Duration> {
    let (watch, never) = (Stopwatch::start(), Ending::default());
    loop {
        if is_so() {
            return Some(watch.read());
        }
        if watch.read() > patience {
            return None;
        }
        never.pass(Duration::from_millis(5));
    }
}
