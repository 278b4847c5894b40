//! Bounded connections. Nothing piles up when the server is gone: whoever asks is told so at once,
//! while one task tries to reach it again. When the server merely takes no more connections, those
//! that there are go from hand to hand.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tegata_core::StoreError;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, timeout, timeout_at},
};
use tokio_postgres::Row;

use super::{
    PostgresConfig,
    address::Address,
    fault::{self, Fault},
    lease::Lease,
    param::Param,
    session::{Session, Unreached},
    silence::{Ear, SILENT},
};

/// For how long no connection is tried in the place of one that the server did not take.
const REST: Duration = Duration::from_secs(1);

/// The connections to one database.
pub(super) struct Pool(Arc<Shared>);

/// What callers and tasks share.
pub(super) struct Shared {
    address: Address,
    pub(super) limits: PostgresConfig,
    /// One for each connection that is in use or being made.
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    /// How many connections are in callers' hands.
    pub(super) leased: AtomicUsize,
    /// How many connections are being made.
    connecting: AtomicUsize,
    pub(super) idle: Mutex<Vec<Session>>,
    /// Whether the server takes fewer connections than it may be asked for.
    crowded: AtomicBool,
    /// Why the server cannot be reached, while a task is trying to.
    down: watch::Sender<Option<String>>,
    /// When something was last heard of it.
    pub(super) ear: Ear,
}

impl Pool {
    /// A pool that connects when it is first asked.
    pub(super) fn new(address: Address, limits: PostgresConfig) -> Self {
        Self(Arc::new(Shared {
            address,
            permits: Arc::new(Semaphore::new(limits.connections.max(1))),
            limits,
            waiting: AtomicUsize::new(0),
            leased: AtomicUsize::new(0),
            connecting: AtomicUsize::new(0),
            idle: Mutex::default(),
            crowded: AtomicBool::new(false),
            down: watch::Sender::new(None),
            ear: Ear::default(),
        }))
    }

    /// Asks one statement on a connection of its own, and keeps to the deadline.
    pub(super) async fn ask(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Fault> {
        let lease = self.lease().await.map_err(|error| Fault::Unsent(detail(error)))?;
        lease.ask(sql, params).await
    }

    /// A connection for one caller, within its patience.
    async fn lease(&self) -> Result<Lease, StoreError> {
        let shared = &self.0;
        let deadline = Instant::now() + shared.limits.patience;
        let mut in_use = "all connections are in use".to_owned();
        loop {
            let permit = match shared.permits.clone().try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => shared.queue(deadline, &in_use).await?,
            };
            if let Some(session) = shared.take_idle() {
                return Ok(Lease::new(shared, permit, session));
            }
            let down = shared.down.borrow().clone();
            if let Some(why) = down {
                return Err(fault::unavailable(why));
            }
            match shared.connect(permit, deadline).await? {
                Ok(lease) => return Ok(lease),
                // Others have connections, and give them back.
                Err(Crowded(why)) => {
                    in_use = format!("all connections are in use, and it takes no more: {why}");
                }
            }
        }
    }
}

/// Why there is no further connection, though there are some.
struct Crowded(String);

impl Shared {
    /// Waits for a connection that another caller has.
    async fn queue(
        &self,
        deadline: Instant,
        in_use: &str,
    ) -> Result<OwnedSemaphorePermit, StoreError> {
        let _place = Place::take(&self.waiting, self.limits.waiting)
            .ok_or_else(|| fault::unavailable("too many calls wait for a connection"))?;
        let permit = async {
            let permit = self.permits.clone().acquire_owned().await;
            permit.map_err(|_| fault::unavailable("it has been closed"))
        };
        self.unless_down(deadline, permit, in_use).await
    }

    /// Waits for something until a deadline, as long as the server can be reached. `late` says why it
    /// did not come.
    async fn unless_down<T>(
        &self,
        deadline: Instant,
        wanted: impl Future<Output = Result<T, StoreError>>,
        late: &str,
    ) -> Result<T, StoreError> {
        let mut down = self.down.subscribe();
        let either = async {
            tokio::select! {
                biased;
                wanted = wanted => wanted,
                why = down.wait_for(Option::is_some) => {
                    let why = why.ok().and_then(|why| why.clone());
                    Err(fault::unavailable(why.unwrap_or_default()))
                }
            }
        };
        timeout_at(deadline, either).await.unwrap_or_else(|_| Err(fault::unavailable(late)))
    }

    fn take_idle(&self) -> Option<Session> {
        let mut idle = self.idle.lock();
        // The last that came back is the likeliest to be warm.
        while let Some(session) = idle.pop() {
            if !session.is_closed() {
                return Some(session);
            }
        }
        None
    }

    /// An idle connection, if there is one and nobody waits for it.
    pub(super) fn lease_idle(self: &Arc<Self>) -> Option<Lease> {
        let permit = self.permits.clone().try_acquire_owned().ok()?;
        Some(Lease::new(self, permit, self.take_idle()?))
    }

    /// Takes back a connection whose caller has done.
    pub(super) fn give_back(&self, session: Session) {
        let mut idle = self.idle.lock();
        if !session.is_closed() && idle.len() < self.limits.connections.max(1) {
            idle.push(session);
        }
    }

    /// Makes a connection. The caller waits no longer than its patience; a connection that comes
    /// later is for the next caller.
    async fn connect(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        deadline: Instant,
    ) -> Result<Result<Lease, Crowded>, StoreError> {
        let (send, receive) = oneshot::channel();
        let shared = self.clone();
        shared.connecting.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(async move {
            let connected = Session::connect(&shared.address, &shared.limits).await;
            // If nobody waits any more, the lease comes back and is dropped into the pool.
            let _ = send.send(shared.connected(connected, permit));
        });
        let connected = async {
            let given_up = || Err(fault::unavailable("the connection attempt was given up"));
            receive.await.unwrap_or_else(|_| given_up())
        };
        self.unless_down(deadline, connected, "it does not answer").await
    }

    /// What follows from an attempt to connect.
    fn connected(
        self: &Arc<Self>,
        connected: Result<Session, Unreached>,
        permit: OwnedSemaphorePermit,
    ) -> Result<Result<Lease, Crowded>, StoreError> {
        let unreached = match connected {
            Ok(session) => {
                self.crowded.store(false, Ordering::SeqCst);
                let lease = Lease::new(self, permit, session);
                self.connecting.fetch_sub(1, Ordering::SeqCst);
                return Ok(Ok(lease));
            }
            Err(unreached) => unreached,
        };
        // Of many that connect at once, the first to be refused may be before the first that is not.
        let others = self.connecting.fetch_sub(1, Ordering::SeqCst) > 1;
        if self.has_connections() || (unreached.full && others) {
            return Ok(Err(self.is_crowded(unreached.why, permit)));
        }
        self.is_down(unreached.why.clone());
        Err(unreached.error())
    }

    /// Whether there are connections that may be of use.
    fn has_connections(&self) -> bool {
        self.leased.load(Ordering::SeqCst) > 0
            || self.idle.lock().iter().any(|session| !session.is_closed())
    }

    /// Notes that the server takes no more connections. For a while there is one fewer to ask for,
    /// so that callers wait for those that there are. Answers why.
    fn is_crowded(&self, why: String, permit: OwnedSemaphorePermit) -> Crowded {
        if !self.crowded.swap(true, Ordering::SeqCst) {
            tracing::warn!(error = %why, "PostgreSQL takes fewer connections than are configured");
        }
        tokio::spawn(async move {
            pause(REST).await;
            drop(permit);
        });
        Crowded(why)
    }

    /// Notes that the server cannot be reached, and begins to try.
    fn is_down(self: &Arc<Self>, why: String) {
        let mut first = false;
        self.down.send_modify(|down| first = down.replace(why).is_none());
        if first {
            tracing::warn!(error = %self.down.borrow().as_deref().unwrap_or_default(),
                "PostgreSQL cannot be reached");
            tokio::spawn(probe(Arc::downgrade(self), self.limits.probe));
        }
    }

    /// Notes that the server has fallen silent: those who wait need not wait any longer, and what is
    /// idle is of no more use.
    pub(super) fn is_silent(self: &Arc<Self>) {
        self.is_down(SILENT.to_owned());
        self.idle.lock().clear();
        self.ear.tell();
    }
}

/// Tries to connect until it succeeds or the pool is gone.
async fn probe(shared: Weak<Shared>, pause: Duration) {
    let mut ticks = interval(pause.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        match Session::connect(&shared.address, &shared.limits).await {
            Ok(session) => {
                shared.give_back(session);
                shared.down.send_replace(None);
                tracing::info!("PostgreSQL can be reached again");
                return;
            }
            Err(Unreached { why, .. }) => {
                shared.down.send_replace(Some(why));
            }
        }
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let one_more = |now: usize| (now < most).then_some(now + 1);
        waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok()?;
        Some(Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Lets time pass.
pub(super) async fn pause(span: Duration) {
    let _ = timeout(span, std::future::pending::<()>()).await;
}

fn detail(error: StoreError) -> String {
    match error {
        StoreError::Unavailable { detail, .. } | StoreError::Refused { detail, .. } => detail,
        other => other.to_string(),
    }
}
