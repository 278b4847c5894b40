//! What comes beyond what can be carried: it is refused at once, so that what was let in is answered soon.
//!
//! Two things are counted. A node has no more requests in flight than `limits.requests` says: that bounds what
//! they hold. And each worker lets in what it can look at in time. No number that somebody writes down is right
//! for that: it depends on the machine, on what a request costs (a signature, a handshake, nothing), and on who
//! else works there. So it is measured what clients feel: how long something that could go on waits until its
//! worker comes to it. A worker is one thread that takes what is ready in turn, so a task that is put last says
//! so for all. As in `CoDel` (RFC 8289) the *shortest* wait of an interval counts: a burst comes and goes, and a
//! queue that was never short is one that stands. Where it stands, the worker lets in fewer at a time than it
//! had, an eighth with each interval (as TCP does, and limits of concurrency at Netflix and Envoy), and more
//! again while it does not. It never lets in fewer than [`FLOOR`], whatever it measures: else a machine that
//! stood still for a moment would refuse everybody, and one that refuses as fast as it can would serve nobody.
//!
//! What counts as in flight is a request whose answer has not begun, and that for [`COUNTS`] at most: whoever
//! waits for news, sends a film or holds a WebSocket takes up memory and a connection, which have limits of
//! their own, and is no work. So a thousand quiet streams starve nobody.
//!
//! A part of the places ([`RESERVE`]) is kept for Tegata's own pages, sign-in before all: who cannot sign in
//! cannot mend anything. `/health` is always answered.
//!
//! A refusal comes [`REST`] after it was asked for. Whoever asks again at once on the same connection would
//! otherwise have the worker do nothing but refuse: so each connection, or stream, does so a hundred times a
//! second at most. What it has waited for its worker counts: nobody who is refused waits twice.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicUsize,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    time::Duration,
};

use tegata_core::{Clock, SinceBoot};
use tokio::sync::Notify;

use crate::{
    config::{Config, Limits},
    memory::Memory,
};

/// Requests in flight for each worker, where nothing is said.
const EACH: u32 = 4096;
/// One place of so many is kept for Tegata's own pages.
const RESERVE: u32 = 8;
/// How long a request counts at most, in milliseconds.
pub(crate) const COUNTS: u64 = 1000;
/// In how many steps that is looked at.
const STEPS: u64 = 4;
const SLOTS: usize = 4;
/// How long what is ready may wait for its worker. An answer takes two or three such waits.
const TARGET: Duration = Duration::from_millis(15);
/// How long a queue must stand before fewer are let in, in milliseconds.
const INTERVAL: u64 = 100;
/// How often the wait is measured at most, in milliseconds.
const MEASURED: u64 = 5;
/// How few requests a worker lets in at least: what one connection of HTTP/2 may ask for at a time, and more.
/// Where a machine is so slow that these alone take long, a client waits for nothing but its own requests.
const FLOOR: u32 = 128;
/// How long after it was asked for a refusal comes.
const REST: Duration = Duration::from_millis(10);

/// Why somebody is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There are as many connections as there may be, and none of them is idle.
    Connections,
    /// There are as many requests in flight as there may be.
    Requests,
    /// What is ready waits for too long.
    Delay,
    /// What passes holds as much memory as it may.
    Memory,
}

impl Reason {
    /// All of them.
    pub(crate) const ALL: [Self; 4] =
        [Self::Connections, Self::Requests, Self::Delay, Self::Memory];

    /// Its name, for metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Requests => "requests",
            Self::Delay => "delay",
            Self::Memory => "memory",
        }
    }
}

/// What a request asks for, as far as that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// It costs nothing and is always answered.
    Health,
    /// Tegata's own pages.
    Public,
    /// A service.
    Service,
}

impl Class {
    /// By the path as it was sent. It is not normalised, which is not decided by: whoever writes it in another
    /// way stands in the other line, and is judged as always.
    pub(crate) fn of(path: &str, config: &Config) -> Self {
        if path == "/health" {
            return Self::Health;
        }
        if config.public.is_some() && config.is_public(path) { Self::Public } else { Self::Service }
    }
}

/// What the workers of a node carry, for all to see.
pub(crate) struct Load {
    workers: Box<[OfWorker]>,
    in_flight: AtomicU32,
    pub(crate) memory: Arc<Memory>,
}

/// What one of them carries. Each is written by few, and not beside another's.
#[derive(Debug, Default)]
#[repr(align(64))]
struct OfWorker {
    /// Connections, from when they are handed to it.
    connections: AtomicUsize,
    /// Those of them on which nothing is asked for.
    idle: AtomicUsize,
    /// How many requests it lets in at a time, where it has found that out.
    lets_in: AtomicU32,
    /// How many idle connections it is asked to close.
    spare: AtomicUsize,
    asked: Notify,
}

impl Load {
    pub(crate) fn new(workers: usize, memory: Arc<Memory>) -> Arc<Self> {
        let of_worker = || OfWorker { lets_in: AtomicU32::new(u32::MAX), ..OfWorker::default() };
        let workers = (0..workers).map(|_| of_worker()).collect();
        Arc::new(Self { workers, in_flight: AtomicU32::new(0), memory })
    }

    /// How many requests there may be in flight.
    pub(crate) fn most(&self, limits: &Limits) -> u32 {
        let workers = u32::try_from(self.workers.len()).unwrap_or(u32::MAX);
        match limits.requests {
            0 => EACH.saturating_mul(workers),
            requests => requests,
        }
    }

    /// How many are let in at the moment, as far as that has been found out.
    pub(crate) fn lets_in(&self, limits: &Limits) -> u32 {
        let all = self.workers.iter().map(|it| it.lets_in.load(Relaxed));
        all.fold(0, u32::saturating_add).min(self.most(limits))
    }

    /// How many requests are in flight.
    pub(crate) fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        self.workers.iter().map(|it| it.connections.load(Relaxed)).sum()
    }

    /// Those of one worker, and how many of them are idle.
    pub(crate) fn of(&self, worker: usize) -> (usize, usize) {
        let of = self.workers.get(worker);
        of.map_or((0, 0), |it| (it.connections.load(Acquire), it.idle.load(Acquire)))
    }

    /// Asks every worker to close so many of its idle connections.
    pub(crate) fn spare(&self, many: usize) {
        for worker in &self.workers {
            worker.spare.store(many, Relaxed);
            worker.asked.notify_one();
        }
    }

    /// Waits until a worker is asked to close idle connections; answers how many.
    pub(crate) async fn asked(&self, worker: usize) -> usize {
        match self.workers.get(worker) {
            None => std::future::pending().await,
            Some(worker) => {
                worker.asked.notified().await;
                worker.spare.swap(0, Relaxed)
            }
        }
    }

    /// A place at a worker.
    pub(crate) fn seat(self: &Arc<Self>, worker: usize) -> Seat {
        if let Some(of) = self.workers.get(worker) {
            of.connections.fetch_add(1, AcqRel);
        }
        Seat { load: Arc::clone(self), worker }
    }
}

/// A connection that a worker has, until it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    load: Arc<Load>,
    worker: usize,
}

impl Seat {
    /// One on which nothing is asked for, until it is dropped. Said by the worker's own thread alone.
    pub(crate) fn idle(&self) -> Idle {
        let idle =
            Idle { load: Arc::clone(&self.load), worker: self.worker, counts: Cell::new(false) };
        idle.set(true);
        idle
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(of) = self.load.workers.get(self.worker) {
            of.connections.fetch_sub(1, AcqRel);
        }
    }
}

/// Whether a connection counts among the idle ones.
#[derive(Debug)]
pub(crate) struct Idle {
    load: Arc<Load>,
    worker: usize,
    counts: Cell<bool>,
}

impl Idle {
    pub(crate) fn set(&self, counts: bool) {
        if self.counts.replace(counts) == counts {
            return;
        }
        let Some(of) = self.load.workers.get(self.worker) else { return };
        // One thread writes it.
        let before = of.idle.load(Relaxed);
        of.idle.store(if counts { before + 1 } else { before.saturating_sub(1) }, Relaxed);
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// What one worker lets in.
pub(crate) struct Shed {
    load: Arc<Load>,
    worker: usize,
    /// How many are in flight here.
    here: Cell<u32>,
    /// How many of those came in each of the last steps, and which step it is.
    came: [Cell<u32>; SLOTS],
    step: Cell<u64>,
    pressure: RefCell<Pressure>,
    measuring: Cell<bool>,
    measured: Cell<u64>,
    /// The last wait.
    wait: Cell<Duration>,
}

/// A request that counts as in flight, until it is dropped or has been long.
pub(crate) struct InFlight {
    shed: Rc<Shed>,
    step: u64,
}

impl Shed {
    pub(crate) fn new(load: &Arc<Load>, worker: usize) -> Rc<Self> {
        Rc::new(Self {
            load: Arc::clone(load),
            worker,
            here: Cell::new(0),
            came: std::array::from_fn(|_| Cell::new(0)),
            step: Cell::new(0),
            pressure: RefCell::default(),
            measuring: Cell::new(false),
            measured: Cell::new(0),
            wait: Cell::new(Duration::ZERO),
        })
    }

    /// Lets a request in, or not.
    pub(crate) fn enter(
        self: &Rc<Self>,
        class: Class,
        limits: &Limits,
        now: SinceBoot,
    ) -> Result<InFlight, Reason> {
        self.pass_time(now);
        let (here, all) = (self.here.get(), self.load.most(limits));
        let own = self.pressure.borrow().lets_in;
        let reserve = |of: u32| if of > 1 { (of / RESERVE).max(1) } else { 0 };
        let (own, most) = match class {
            Class::Health | Class::Public => (own.saturating_add(reserve(own)), all),
            Class::Service => (own, all - reserve(all)),
        };
        if here >= own {
            return Err(Reason::Delay);
        }
        if self.load.memory.is_short(class != Class::Service) {
            return Err(Reason::Memory);
        }
        let more = |in_flight: u32| (in_flight < most).then_some(in_flight + 1);
        self.load.in_flight.fetch_update(AcqRel, Relaxed, more).map_err(|_| Reason::Requests)?;
        self.here.set(here + 1);
        let step = self.step.get();
        if let Some(came) = self.slot(step) {
            came.set(came.get() + 1);
        }
        self.pressure.borrow_mut().see(here + 1);
        Ok(InFlight { shed: Rc::clone(self), step })
    }

    /// Has the wait measured, where it is time to: begins when something is there to be done, as `now` says.
    pub(crate) fn measure(self: &Rc<Self>, now: SinceBoot, clock: &Arc<dyn Clock>) {
        let at = millis(now);
        if at.saturating_sub(self.measured.get()) < MEASURED || self.measuring.replace(true) {
            return;
        }
        self.measured.set(at);
        let (shed, clock) = (Rc::clone(self), Arc::clone(clock));
        // It comes to be behind all that is ready.
        tokio::task::spawn_local(async move {
            shed.measuring.set(false);
            let then = clock.since_boot();
            shed.waited(then.since(now), then);
        });
    }

    /// Answers when a refusal is to come.
    pub(crate) async fn rest(&self) {
        if let Some(left) = self.left() {
            // Nobody waits for anything here, so that the time is all there is to wait for.
            let _ = tokio::time::timeout(left, std::future::pending::<()>()).await;
        }
    }

    /// What is left of [`REST`] for who has just come to its turn.
    fn left(&self) -> Option<Duration> {
        REST.checked_sub(self.wait.get()).filter(|left| !left.is_zero())
    }

    fn waited(&self, wait: Duration, now: SinceBoot) {
        self.wait.set(wait);
        let mut pressure = self.pressure.borrow_mut();
        pressure.note(wait, millis(now));
        if let Some(of) = self.load.workers.get(self.worker) {
            of.lets_in.store(pressure.lets_in, Relaxed);
        }
    }

    /// Lets those go that have been there for long.
    pub(crate) fn pass_time(&self, now: SinceBoot) {
        let (step, before) = (millis(now) / (COUNTS / STEPS), self.step.get());
        if step <= before {
            return;
        }
        for old in (before + 1..=step).take(self.came.len()) {
            // Where those are counted that come in this step, others were one round before.
            let gone = self.slot(old).map_or(0, |came| came.replace(0));
            self.leave(gone);
        }
        self.step.set(step);
    }

    fn leave(&self, many: u32) {
        if many > 0 {
            self.here.set(self.here.get().saturating_sub(many));
            self.load.in_flight.fetch_sub(many, AcqRel);
        }
    }

    fn slot(&self, step: u64) -> Option<&Cell<u32>> {
        usize::try_from(step % STEPS).ok().and_then(|slot| self.came.get(slot))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let shed = &self.shed;
        if shed.step.get() - self.step >= STEPS {
            // It does not count any more.
            return;
        }
        if let Some(came) = shed.slot(self.step) {
            came.set(came.get().saturating_sub(1));
        }
        shed.leave(1);
    }
}

/// How many a worker lets in, and what that is learnt from.
#[derive(Debug)]
struct Pressure {
    lets_in: u32,
    /// When the interval began.
    since: u64,
    /// The shortest wait in it, how many there were, and how many requests at most.
    shortest: Duration,
    measured: u32,
    peak: u32,
}

impl Default for Pressure {
    fn default() -> Self {
        Self { lets_in: u32::MAX, since: 0, shortest: Duration::MAX, measured: 0, peak: 0 }
    }
}

impl Pressure {
    fn see(&mut self, in_flight: u32) {
        self.peak = self.peak.max(in_flight);
    }

    fn note(&mut self, wait: Duration, now: u64) {
        self.shortest = self.shortest.min(wait);
        self.measured += 1;
        // One measurement may have met a moment in which the machine did something else.
        if now.saturating_sub(self.since) < INTERVAL || self.measured < 2 {
            return;
        }
        if self.shortest > TARGET {
            let had = self.lets_in.min(self.peak);
            self.lets_in = (had - had / 8).max(FLOOR);
        } else if self.shortest < TARGET / 2 {
            self.lets_in = self.lets_in.saturating_add((self.lets_in / 8).max(1));
        }
        *self = Self { lets_in: self.lets_in, since: now, ..Self::default() };
    }
}

fn millis(at: SinceBoot) -> u64 {
    u64::try_from(at.0.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Load({} in flight)", self.in_flight())
    }
}

impl fmt::Debug for Shed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shed({} in flight)", self.here.get())
    }
}

#[cfg(test)]
mod tests;
