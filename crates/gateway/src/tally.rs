//! How often which callers have come: counted here, and where there is a store for it, together with the
//! other nodes.
//!
//! A request that is far from its limit waits for nobody: it is counted here, and the store is told
//! within moments. Near the limit the store is asked, for a few milliseconds at most. What passes before
//! the store knows is a twentieth of what may come at once, divided by the nodes, so that all of them
//! together let pass little more than one would. While the store is away each node has its share of
//! what is left; when it is back, all that passed is told before the shares end.

use std::{
    fmt,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    net::IpAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::hmac;
use futures_util::{StreamExt as _, stream};
use tegata_core::{
    Counts, Network, Node, Quota, Secret, SinceBoot, StoreError,
    port::{Take, Taken},
    rate::{Answer, Counted, Ledger, Name, Question, Way},
};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{config::Limits, gate::Gates, metrics::Limited};

/// Which part of what may come at once passes before the store knows of it, on all nodes together.
const AHEAD: u32 = 20;
/// How often the store is told.
const TOLD: Duration = Duration::from_millis(20);
/// Every so many times it is asked whether it is back, and whether it still knows what it was told.
const PROBED: u64 = 5;
const LOOKED: u64 = 50;
/// For how long a store is silent that is away.
const SILENT: Duration = Duration::from_millis(250);
/// For how long a store is told by all nodes what it missed, before it decides again.
const SETTLES: Duration = Duration::from_secs(1);
/// How much is told at a time, and how much of that at once.
const BATCH: usize = 4096;
const AT_ONCE: usize = 128;
/// How long is told at the end.
const LAST: Duration = Duration::from_millis(500);

/// How limits are shared with other nodes.
#[derive(Clone)]
pub struct Sharing {
    /// Where they are counted together.
    pub counts: Arc<dyn Counts>,
    /// What names are hashed with, the same on all nodes.
    pub key: Secret<[u8; 32]>,
    /// How many nodes there are, where that is known.
    pub nodes: Arc<dyn Fn() -> Option<NonZeroU32> + Send + Sync>,
}

impl fmt::Debug for Sharing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sharing")
    }
}

/// What is counted apart, so that a flood of the one forgets nothing of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Networks.
    Address,
    /// Networks that sign in.
    SignIn,
    /// Those who are known.
    Caller,
    /// All together.
    All,
}

/// A limit that applies to a request.
#[derive(Debug, Clone)]
pub(crate) struct Policy {
    /// What clients are told it is called.
    pub(crate) label: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) name: Name,
    pub(crate) quota: Quota,
}

/// What a limit said.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    pub(crate) label: Arc<str>,
    pub(crate) quota: Quota,
    pub(crate) answer: Answer,
}

/// All counts.
pub(crate) struct Tally {
    ledgers: [Ledger; 4],
    namer: Namer,
    store: Option<Store>,
    node: Node,
    limited: Limited,
}

/// What makes names.
enum Namer {
    /// For this process alone.
    Own([RandomState; 2]),
    /// The same on all nodes.
    Shared(Box<hmac::Key>),
}

/// The store that nodes share, and how it stands.
struct Store {
    sharing: Sharing,
    standing: AtomicU8,
    /// Since when, and since when it is silent, in milliseconds since boot; 0: it is not.
    since: AtomicU64,
    silent: AtomicU64,
    /// How many nodes there were when it was last looked; 0: nobody knows.
    nodes: AtomicU32,
}

/// It answers, and decides.
const TOGETHER: u8 = 0;
/// It answers again, and is told what it missed.
const SETTLING: u8 = 1;
/// It does not answer, or not in time.
const AWAY: u8 = 2;

/// A question that is lost where nobody says what became of it: whoever asked it went away.
struct Asked<'l> {
    ledger: &'l Ledger,
    question: Option<Question>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(question) = self.question.take() {
            self.ledger.lost(question);
        }
    }
}

impl Tally {
    /// One that remembers about `callers` of each kind.
    pub(crate) fn new(
        callers: usize,
        sharing: Option<Sharing>,
        node: &Node,
        limited: Limited,
    ) -> Self {
        let namer = match &sharing {
            None => Namer::Own([RandomState::new(), RandomState::new()]),
            Some(sharing) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, sharing.key.expose());
                Namer::Shared(Box::new(key))
            }
        };
        let store = sharing.map(|sharing| Store {
            nodes: AtomicU32::new((sharing.nodes)().map_or(0, NonZeroU32::get)),
            sharing,
            standing: AtomicU8::new(TOGETHER),
            since: AtomicU64::new(0),
            silent: AtomicU64::new(0),
        });
        limited.shared(store.is_some());
        let ledgers = std::array::from_fn(|_| Ledger::new(callers));
        Self { ledgers, namer, store, node: node.clone(), limited }
    }

    /// Whether other nodes count, too.
    pub(crate) const fn is_shared(&self) -> bool {
        self.store.is_some()
    }

    /// The name of what is said in parts.
    pub(crate) fn name(&self, parts: &[&[u8]]) -> Name {
        let mut name = Name::default();
        match &self.namer {
            Namer::Own(states) => {
                for (half, state) in name.chunks_exact_mut(8).zip(states) {
                    let mut hasher = state.build_hasher();
                    for part in parts {
                        hasher.write_usize(part.len());
                        hasher.write(part);
                    }
                    half.copy_from_slice(&hasher.finish().to_be_bytes());
                }
            }
            Namer::Shared(key) => {
                let mut context = hmac::Context::with_key(key);
                for part in parts {
                    context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                    context.update(part);
                }
                for (to, from) in name.iter_mut().zip(context.sign().as_ref()) {
                    *to = *from;
                }
            }
        }
        name
    }

    /// The limits of an address: one for each network that it is counted in, the narrowest first.
    pub(crate) fn of_address(
        &self,
        (label, kind, place): (&Arc<str>, Kind, &str),
        address: IpAddr,
        quota: Quota,
    ) -> impl Iterator<Item = Policy> {
        Network::counted(address).map(move |(network, callers)| {
            let bits = [network.bits()];
            let name = match network.address() {
                IpAddr::V4(it) => self.name(&[place.as_bytes(), b"address", &it.octets(), &bits]),
                IpAddr::V6(it) => self.name(&[place.as_bytes(), b"address", &it.octets(), &bits]),
            };
            Policy { label: Arc::clone(label), kind, name, quota: quota.times(callers) }
        })
    }

    /// Counts a request, which began to be counted at `began`. Waits for the store where it has to, no
    /// longer than `limits` say since then.
    pub(crate) async fn count(
        &self,
        limits: &Limits,
        policy: &Policy,
        began: SinceBoot,
    ) -> Verdict {
        let answer = self.decide(limits, policy, began).await;
        policy.told(answer)
    }

    /// Counts a request, and waits for nobody.
    pub(crate) fn note(&self, limits: &Limits, policy: &Policy, now: SinceBoot) {
        let way = match self.way(limits, policy.quota) {
            Way::Together { .. } => Way::Together { ahead: u32::MAX },
            way => way,
        };
        match self.ledger(policy.kind).count(policy.name, policy.quota, way, now) {
            Counted::Here(_) => {}
            Counted::Asks(question) => self.ledger(policy.kind).untaken(question),
        }
    }

    /// What counting would say, as far as is known here.
    pub(crate) fn look(&self, policy: &Policy, now: SinceBoot) -> Verdict {
        policy.told(self.ledger(policy.kind).look(&policy.name, policy.quota, now))
    }

    /// A request is refused by a limit of this name.
    pub(crate) fn refused(&self, label: &str) {
        self.limited.refused(label);
    }

    /// Forgets who has the whole allowance again. To be called now and then.
    pub(crate) fn forget(&self) {
        let now = self.node.since_boot();
        self.ledgers.iter().for_each(|ledger| ledger.forget(now));
        self.limited.remembers(self.ledgers.iter().map(Ledger::len).sum());
    }

    async fn decide(&self, limits: &Limits, policy: &Policy, began: SinceBoot) -> Answer {
        let (ledger, way) = (self.ledger(policy.kind), self.way(limits, policy.quota));
        let question = match ledger.count(policy.name, policy.quota, way, began) {
            Counted::Here(answer) => {
                let layer = if matches!(way, Way::Apart { .. }) { "share" } else { "local" };
                self.limited.note(layer, answer.passes);
                return answer;
            }
            Counted::Asks(question) => question,
        };
        let Some(store) = &self.store else {
            // Nobody asks who counts alone.
            return ledger.unanswered(question, 1, began);
        };
        let left = limits.store_wait.saturating_sub(self.node.elapsed(began));
        let (name, take) = (question.name, question.take);
        let mut asked = Asked { ledger, question: Some(question) };
        let answer = timeout(left, store.sharing.counts.take(&name, &take)).await;
        let now = self.node.since_boot();
        let Some(question) = asked.question.take() else { return self.look(policy, now).answer };
        match answer {
            Ok(Ok(taken)) => {
                self.heard(store, taken, now);
                let answer = ledger.answered(question, taken, now);
                self.limited.note("store", answer.passes);
                answer
            }
            Ok(Err(error)) => {
                returned(ledger, question, &error);
                self.leave(store, &error, now);
                let apart = Way::Apart { nodes: store.nodes(limits) };
                let answer = match ledger.count(policy.name, policy.quota, apart, now) {
                    Counted::Here(answer) => answer,
                    Counted::Asks(question) => ledger.unanswered(question, 1, now),
                };
                self.limited.note("share", answer.passes);
                answer
            }
            Err(_late) => {
                self.is_late(store, now);
                let answer = ledger.unanswered(question, store.ahead(limits, policy.quota), now);
                self.limited.note("late", answer.passes);
                answer
            }
        }
    }

    const fn ledger(&self, kind: Kind) -> &Ledger {
        let [address, sign_in, caller, all] = &self.ledgers;
        match kind {
            Kind::Address => address,
            Kind::SignIn => sign_in,
            Kind::Caller => caller,
            Kind::All => all,
        }
    }

    fn way(&self, limits: &Limits, quota: Quota) -> Way {
        match &self.store {
            None => Way::Alone,
            Some(store) if store.standing.load(Ordering::Acquire) == TOGETHER => {
                Way::Together { ahead: store.ahead(limits, quota) }
            }
            Some(store) => Way::Apart { nodes: store.nodes(limits) },
        }
    }

    /// The store has answered.
    fn heard(&self, store: &Store, taken: Taken, now: SinceBoot) {
        store.silent.store(0, Ordering::Release);
        if taken.forgot {
            self.tell_all(store, now, "the store of the limits has lost what it knew");
        }
    }

    fn is_late(&self, store: &Store, now: SinceBoot) {
        let at = millis(now).max(1);
        let silent = store.silent.compare_exchange(0, at, Ordering::AcqRel, Ordering::Acquire);
        let since = silent.err().unwrap_or(at);
        if u128::from(at.saturating_sub(since)) >= SILENT.as_millis() {
            self.leave(store, &"it does not answer in time", now);
        }
    }

    /// The store is away.
    fn leave(&self, store: &Store, why: &dyn fmt::Display, now: SinceBoot) {
        let before = store.standing.swap(AWAY, Ordering::AcqRel);
        if before != AWAY {
            store.since.store(millis(now), Ordering::Release);
            self.limited.shared(false);
        }
        if before == TOGETHER {
            tracing::warn!(%why, "limits are not counted together: this node has its share of them");
        }
    }

    /// The store is told all that is known here, before it decides again.
    fn tell_all(&self, store: &Store, now: SinceBoot, why: &'static str) {
        // INVARIANT: since when it settles is known before it does.
        if store.standing.load(Ordering::Acquire) != SETTLING {
            store.since.store(millis(now), Ordering::Release);
        }
        let before = store.standing.swap(SETTLING, Ordering::AcqRel);
        if before == SETTLING {
            return;
        }
        store.silent.store(0, Ordering::Release);
        self.limited.shared(false);
        self.ledgers.iter().for_each(|ledger| ledger.tell_all(now));
        if before == TOGETHER {
            tracing::info!("{why}: it is told what is known here");
        }
    }

    /// Tells the store what it does not know, until it is told to stop.
    pub(crate) async fn keep(&self, gates: &Gates, mut stop: watch::Receiver<bool>) {
        let Some(store) = &self.store else { return };
        let mut ticks = interval(TOLD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut round, mut changes) = (0_u64, store.sharing.counts.changes());
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
            round = round.wrapping_add(1);
            let now_changes = store.sharing.counts.changes();
            if std::mem::replace(&mut changes, now_changes) != now_changes
                && store.standing.load(Ordering::Acquire) == TOGETHER
            {
                let why = "another server of the store of the limits answers";
                self.tell_all(store, self.node.since_boot(), why);
            }
            if round.is_multiple_of(LOOKED) {
                let nodes = (store.sharing.nodes)().map_or(0, NonZeroU32::get);
                store.nodes.store(nodes, Ordering::Relaxed);
            }
            self.round(store, gates, round).await;
        }
        // What another node is to know of this one.
        let _ = timeout(LAST, self.tell(store, BATCH)).await;
    }

    async fn round(&self, store: &Store, gates: &Gates, round: u64) {
        let standing = store.standing.load(Ordering::Acquire);
        let began = self.node.since_boot();
        match standing {
            AWAY if round.is_multiple_of(PROBED) => {
                let cost = Duration::from_secs(1);
                let (counted, asks, known) = (0, false, Duration::ZERO);
                let take = Take { cost, room: cost, counted, asks, known };
                if store.sharing.counts.take(&Name::default(), &take).await.is_err() {
                    return;
                }
                let now = self.node.since_boot();
                if now.since(began) <= gates.now().config.limits.store_wait {
                    self.tell_all(store, now, "the store of the limits answers again");
                }
                // One that is slow is told all the same.
                self.tell(store, BATCH).await;
            }
            AWAY => {}
            _ => {
                if round.is_multiple_of(LOOKED) {
                    self.ledgers.iter().for_each(|ledger| ledger.tell_one(began));
                }
                self.tell(store, BATCH).await;
                let since = store.since.load(Ordering::Acquire);
                let settles = u128::from(millis(began).saturating_sub(since)) < SETTLES.as_millis();
                if standing == SETTLING && !settles && !self.ledgers.iter().any(Ledger::lags) {
                    let back = store.standing.compare_exchange(
                        SETTLING,
                        TOGETHER,
                        Ordering::AcqRel,
                        Ordering::Acquire,
                    );
                    if back.is_ok() {
                        self.ledgers.iter().for_each(Ledger::level);
                        self.limited.shared(true);
                        tracing::info!("limits are counted together again");
                    }
                }
            }
        }
    }

    /// Tells the store what waits to be told.
    async fn tell(&self, store: &Store, most: usize) {
        let now = self.node.since_boot();
        let all = self.ledgers.iter().flat_map(|ledger| {
            ledger.to_tell(most, now).into_iter().map(move |question| (ledger, question))
        });
        stream::iter(all.collect::<Vec<_>>())
            .for_each_concurrent(AT_ONCE, |(ledger, question)| async move {
                let mut asked = Asked { ledger, question: Some(question) };
                let Some((name, take)) = asked.question.as_ref().map(|it| (it.name, it.take))
                else {
                    return;
                };
                let answer = store.sharing.counts.take(&name, &take).await;
                let Some(question) = asked.question.take() else { return };
                let now = self.node.since_boot();
                match answer {
                    Ok(taken) => {
                        self.heard(store, taken, now);
                        if store.standing.load(Ordering::Acquire) == TOGETHER {
                            let _ = ledger.answered(question, taken, now);
                        } else {
                            ledger.heard(question, taken, now);
                        }
                    }
                    Err(error) => {
                        returned(ledger, question, &error);
                        self.leave(store, &error, now);
                    }
                }
            })
            .await;
    }
}

impl Policy {
    fn told(&self, answer: Answer) -> Verdict {
        Verdict { label: Arc::clone(&self.label), quota: self.quota, answer }
    }
}

impl Store {
    fn nodes(&self, limits: &Limits) -> NonZeroU32 {
        NonZeroU32::new(self.nodes.load(Ordering::Relaxed)).unwrap_or(limits.nodes)
    }

    /// How many pass on this node before the store knows of them.
    fn ahead(&self, limits: &Limits, quota: Quota) -> u32 {
        quota.burst.get() / AHEAD / self.nodes(limits).get()
    }
}

/// The store did not say what was asked.
fn returned(ledger: &Ledger, question: Question, error: &StoreError) {
    match error {
        StoreError::Indeterminate { .. } => ledger.lost(question),
        _ => ledger.untaken(question),
    }
}

fn millis(at: SinceBoot) -> u64 {
    u64::try_from(at.0.as_millis()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tally")
    }
}
