//! Whoever is asked about a token while this node cannot learn what was taken back.

use std::{fmt, sync::Arc, time::Duration};

use tegata_core::BoxFuture;
use tokio::{sync::Semaphore, time::timeout};

/// How many tokens are asked about at once. Whoever comes then is refused.
const AT_ONCE: usize = 64;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// Knows whether a token counts, where this node does not (RFC 7662).
pub trait Introspection: Send + Sync {
    /// Whether a token counts, by the word of somebody who knows by now what was taken back. `None`:
    /// nobody says.
    fn is_active<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Option<bool>>;
}

/// Asks, within bounds.
pub(crate) struct Asking {
    of: Arc<dyn Introspection>,
    places: Semaphore,
}

impl Asking {
    pub(crate) fn new(of: Arc<dyn Introspection>) -> Self {
        Self { of, places: Semaphore::new(AT_ONCE) }
    }

    /// Whether a token counts. `None`: nobody says, or says so in time.
    pub(crate) async fn is_active(&self, token: &str) -> Option<bool> {
        let _place = self.places.try_acquire().ok()?;
        timeout(PATIENCE, self.of.is_active(token)).await.ok().flatten()
    }
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asking")
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    /// Never answers. A fake.
    struct Silent;

    impl Introspection for Silent {
        fn is_active<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<bool>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test]
    async fn who_would_be_one_too_many_is_answered_at_once() {
        let asking = Asking::new(Arc::new(Silent));
        let mut nobody = Context::from_waker(Waker::noop());
        let mut waiting: Vec<_> = (0..AT_ONCE).map(|_| Box::pin(asking.is_active("t"))).collect();
        assert!(waiting.iter_mut().all(|it| it.as_mut().poll(&mut nobody).is_pending()));
        assert_eq!(asking.is_active("t").await, None);
        // Whoever goes away leaves its place.
        drop(waiting);
        let mut next = Box::pin(asking.is_active("t"));
        assert!(next.as_mut().poll(&mut nobody).is_pending());
    }
}
