//! A fake for tests: a store or a feed that is within its contract and as unhelpful as it can be.
//!
//! [`Adverse`] wraps any adapter. It holds up calls and answers, so that others come in between; it
//! fails calls, loses answers of writes that happened, and delivers messages late, in another order
//! and more than once. What it does follows from its seed, apart from what the scheduler adds.

use std::sync::Arc;

use tegata_core::{Entropy as _, SeededEntropy, StoreError};

mod ephemeral;
mod feed;
mod records;

const BACKEND: &str = "the adverse fake";

/// What an [`Adverse`] does. Chances are per thousand calls.
#[derive(Debug, Clone, Copy)]
pub struct Mischief {
    /// The most times that a call, and its answer, let other tasks go first.
    pub delay: u32,
    /// The chance that a call fails, and nothing happens.
    pub fail: u32,
    /// The chance that the answer of a write is lost. Half of those writes have happened.
    pub lose: u32,
    /// The chance that a message is delivered twice.
    pub repeat: u32,
}

impl Mischief {
    /// Delays, repetitions and another order of messages: what every caller must bear without
    /// noticing.
    #[must_use]
    pub const fn delays() -> Self {
        Self { delay: 5, fail: 0, lose: 0, repeat: 200 }
    }

    /// Delays, and every tenth call fails or loses its answer.
    #[must_use]
    pub const fn failures() -> Self {
        Self { delay: 5, fail: 50, lose: 50, repeat: 200 }
    }
}

/// An adapter that is as unhelpful as its contract allows. A fake, for tests.
pub struct Adverse<P: ?Sized> {
    inner: Arc<P>,
    chance: Arc<SeededEntropy>,
    mischief: Mischief,
}

/// What becomes of the answer of a write.
enum Answer {
    Told,
    /// Lost; the write is not done.
    LostBefore,
    /// Lost; the write is done.
    LostAfter,
}

impl<P: ?Sized> Adverse<P> {
    /// Wraps an adapter.
    #[must_use]
    pub fn new(inner: Arc<P>, seed: u64, mischief: Mischief) -> Self {
        Self { inner, chance: Arc::new(SeededEntropy::new(seed)), mischief }
    }

    /// A number below `bound`, or 0.
    fn draw(&self, bound: u32) -> u32 {
        draw(&self.chance, bound)
    }

    /// Lets others go first, then lets the call through or fails it.
    async fn call(&self) -> Result<(), StoreError> {
        self.hold_up().await;
        if self.draw(1000) < self.mischief.fail {
            let detail = "this call was chosen to fail".to_owned();
            return Err(StoreError::Unavailable { backend: BACKEND, detail });
        }
        Ok(())
    }

    async fn hold_up(&self) {
        hold_up(&self.chance, self.mischief.delay).await;
    }

    fn answer(&self) -> Answer {
        match (self.draw(1000) < self.mischief.lose, self.draw(2)) {
            (false, _) => Answer::Told,
            (true, 0) => Answer::LostBefore,
            (true, _) => Answer::LostAfter,
        }
    }

    /// Does a write, as a call whose answer may be lost.
    async fn write<T, E, F>(&self, act: impl FnOnce() -> F + Send) -> Result<T, E>
    where
        E: From<StoreError>,
        F: Future<Output = Result<T, E>> + Send,
    {
        self.call().await?;
        let detail = "this answer was chosen to be lost".to_owned();
        let lost = StoreError::Indeterminate { backend: BACKEND, detail };
        let told = match self.answer() {
            Answer::LostBefore => return Err(lost.into()),
            Answer::LostAfter => act().await.and(Err(lost.into())),
            Answer::Told => act().await,
        };
        self.hold_up().await;
        told
    }

    /// Does a read, as a call whose answer may come late.
    async fn read<T, F>(&self, act: impl FnOnce() -> F + Send) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        self.call().await?;
        let told = act().await;
        self.hold_up().await;
        told
    }
}

fn draw(chance: &SeededEntropy, bound: u32) -> u32 {
    let mut bytes = [0; 4];
    chance.fill(&mut bytes);
    u32::from_be_bytes(bytes).checked_rem(bound).unwrap_or(0)
}

async fn hold_up(chance: &SeededEntropy, most: u32) {
    for _ in 0..draw(chance, most.saturating_add(1)) {
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests;
