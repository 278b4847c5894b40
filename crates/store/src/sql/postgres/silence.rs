//! Whether the server has fallen silent: its connections stay open, and nothing is heard on any.
//!
//! A statement may be slow for many reasons, and a server that answers anybody else is not silent. So
//! whoever has waited for a while, in which nothing at all was heard, has the server asked for a sign
//! of life beside: on an idle connection, or by knocking where the others lead to, and then by knocking
//! once more, because a packet may get lost. Any answer will do, also a refusal. When none comes, all
//! who wait are told at once.

use std::{
    future::pending,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout, timeout_at},
};

use super::{
    door::Door,
    lease::Lease,
    pool::{Shared, pause},
};

/// What callers are told of a silent server.
pub(super) const SILENT: &str = "nothing is heard from it any more";

/// For which part of the time after which a server counts as silent it is not asked for a sign of life
/// yet: one in so many.
const QUIET: u32 = 3;

/// In how many steps a sign of life is waited for.
const STEPS: u32 = 12;

/// What was heard of the server, and who is to be told that nothing is heard any more.
pub(super) struct Ear {
    origin: Instant,
    /// When something was heard last, in microseconds after the origin.
    heard: AtomicU64,
    /// Whether somebody is asking for a sign of life.
    asking: AtomicBool,
    silence: Notify,
}

impl Default for Ear {
    fn default() -> Self {
        let (heard, asking) = (AtomicU64::default(), AtomicBool::default());
        Self { origin: Instant::now(), heard, asking, silence: Notify::new() }
    }
}

impl Ear {
    /// Something is heard.
    pub(super) fn hears(&self) {
        let now = u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.heard.fetch_max(now, Ordering::Relaxed);
    }

    /// Nothing is heard any more: whoever waits is told.
    pub(super) fn tell(&self) {
        self.silence.notify_waiters();
    }

    fn heard(&self) -> Instant {
        self.origin + Duration::from_micros(self.heard.load(Ordering::Relaxed))
    }
}

/// Why an answer is not waited for any longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unheard {
    /// A statement has its time, and that is over.
    Late,
    /// The server is silent.
    Silent,
}

impl Shared {
    /// Waits for what comes through a door, for as long as a statement may take and the server is not
    /// silent.
    pub(super) async fn hear<T>(
        self: &Arc<Self>,
        door: &Door,
        answer: impl Future<Output = T>,
    ) -> Result<T, Unheard> {
        let (mut answer, mut silence) = (pin!(answer), pin!(self.ear.silence.notified()));
        let mut since = Instant::now();
        let deadline = since + self.limits.statement;
        loop {
            let either = async {
                tokio::select! {
                    biased;
                    answer = &mut answer => Ok(answer),
                    () = &mut silence => Err(Unheard::Silent),
                }
            };
            let quiet = self.ear.heard().max(since) + self.limits.silence / QUIET;
            if let Ok(heard) = timeout_at(quiet.min(deadline), either).await {
                return heard;
            }
            let now = Instant::now();
            if now >= deadline {
                return Err(Unheard::Late);
            }
            if now >= self.ear.heard() + self.limits.silence / QUIET {
                self.ask_for_life(door);
                since = now;
            }
        }
    }

    /// Has the server asked for a sign of life, unless somebody is asking.
    fn ask_for_life(self: &Arc<Self>, door: &Door) {
        if !self.ear.asking.swap(true, Ordering::SeqCst) {
            let (asking, door) = (Asking(self.clone()), door.clone());
            tokio::spawn(async move { asking.ask(&door).await });
        }
    }
}

/// That somebody is asking for a sign of life, until this is dropped.
struct Asking(Arc<Shared>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.ear.asking.store(false, Ordering::SeqCst);
    }
}

impl Asking {
    async fn ask(&self, door: &Door) {
        let mut idle = self.0.lease_idle();
        if self.is_answered(door, idle.as_mut()).await {
            self.0.ear.hears();
            return;
        }
        if let Some(idle) = idle {
            idle.end();
        }
        self.0.is_silent();
    }

    /// Whether there is a sign of life while one is waited for.
    ///
    /// On a machine that has no time for us, an answer may long be there when we are. So what counts
    /// is not how much time has passed but how much of it we were there to listen: of a step, no more
    /// than twice as long as it was to be.
    async fn is_answered(&self, door: &Door, idle: Option<&mut Lease>) -> bool {
        let (ear, limits) = (&self.0.ear, &self.0.limits);
        let patience = limits.silence - limits.silence / QUIET;
        let step = (patience / STEPS).max(Duration::from_millis(1));
        let (begun, mut listened) = (Instant::now(), Duration::ZERO);
        let mut sign = pin!(sign_of_life(door, idle, patience / 3));
        while listened < patience {
            let step_begun = Instant::now();
            if timeout(step, &mut sign).await.is_ok() || ear.heard() > begun {
                return true;
            }
            listened += step_begun.elapsed().min(step * 2);
        }
        false
    }
}

/// Waits for a sign of life: for the first that comes.
async fn sign_of_life(door: &Door, idle: Option<&mut Lease>, later: Duration) {
    let first = async {
        match idle {
            Some(idle) => idle.settle().await,
            None => door.knock().await.is_ok(),
        }
    };
    let second = async {
        pause(later).await;
        door.knock().await.is_ok()
    };
    tokio::select! {
        true = first => {}
        true = second => {}
        else => pending().await,
    }
}
