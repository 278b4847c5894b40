//! A world of nodes, stepped by hand.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tegata_core::{
    Batch, BoxFuture, Clock, CommitRefused, Entropy as _, Feed, Kind, Log, ManualClock, Node,
    Realm, Records, SeededEntropy, StoreError, Subscription, Timestamp, TokenId,
    id::NodeId,
    port::{Message, Page, Pull, Record, Sequenced, Topic},
};
use tegata_store::MemoryRecords;
use tegata_token::{
    Circle, Claims, Entry, Revoker, Target, View,
    circle::{self, Standing},
};

/// How many places there are to run at. At the last, only commands run.
const PLACES: usize = 4;

/// What the nodes keep to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    /// Whether some acknowledge without being in the circle.
    pub(crate) outsiders: bool,
}

/// What happened in a world.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// Entries that were acknowledged.
    pub(crate) acknowledged: u64,
    /// Entries that were refused, because nothing could be acknowledged.
    pub(crate) refused: u64,
    /// How often a node knew more by the word of others than by the log.
    pub(crate) vouched: u64,
}

impl Told {
    pub(crate) fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.vouched += other.vouched;
    }
}

/// What is in the store, whoever knows that it is.
#[derive(Default)]
struct Taken {
    /// When each token was taken back: from then on, somebody may have been told so.
    at: Mutex<HashMap<String, Timestamp>>,
    /// How many entries of the log have positions, and when the others were written.
    positioned: Mutex<(u64, VecDeque<Timestamp>)>,
    acknowledged: AtomicU64,
    refused: AtomicU64,
}

/// Something that is under way at a node.
type Work = BoxFuture<'static, ()>;

/// A running process.
struct Process {
    node: Node,
    view: Arc<View>,
    circle: Arc<Circle>,
    revoker: Revoker,
    records: Arc<Door>,
    /// The same, as if the others did not count.
    alone: View,
    /// Two at once.
    pulling: [Option<Work>; 2],
    looking: Option<Work>,
    revoking: Vec<Work>,
    paused: bool,
}

pub(crate) struct World {
    rules: Rules,
    /// How rarely all is well again.
    patience: usize,
    chance: SeededEntropy,
    clock: Arc<ManualClock>,
    store: Arc<MemoryRecords>,
    bus: Arc<Bus>,
    processes: Vec<Option<Process>>,
    runs: u64,
    taken: Arc<Taken>,
    pub(crate) told: Told,
}

impl World {
    pub(crate) fn new(seed: u64, rules: Rules) -> Self {
        let clock = Arc::new(ManualClock::default());
        let kinds = [&circle::CIRCLE, &circle::CIRCLE_PLACES];
        let store = Arc::new(MemoryRecords::new(&kinds, clock.clone()).unwrap());
        let processes = (0..PLACES).map(|_| None).collect();
        let mut world = Self {
            rules,
            patience: [1, 4, 16][below(&SeededEntropy::new(!seed), 3)],
            chance: SeededEntropy::new(seed),
            clock,
            store,
            bus: Arc::default(),
            processes,
            runs: seed << 16,
            taken: Arc::default(),
            told: Told::default(),
        };
        for place in 0..PLACES - 1 {
            world.start(place);
        }
        // Most of the time, those who run have been admitted.
        for _ in 0..60 {
            let place = world.below(PLACES);
            world.work(place);
        }
        world
    }

    /// One thing happens, and then all is looked at.
    pub(crate) fn step(&mut self) -> Result<(), String> {
        let place = self.below(PLACES);
        match self.below(100) {
            0..40 => self.work(place),
            40..57 => self.deliver(),
            57..72 => self.beat(place),
            72..80 => self.revoke(place),
            80..87 => self.clock.advance(Duration::from_millis(self.below(700) as u64)),
            88 | 89 => {
                for _ in 0..3 {
                    self.taken.position();
                }
            }
            // A client goes away.
            87 => {
                if let Some(process) = running(&mut self.processes[place]) {
                    process.revoking.pop();
                }
            }
            90 if self.below(2) == 0 => {
                self.clock.advance(Duration::from_secs(self.below(200) as u64));
            }
            91 | 92 => self.toggle(place, |process| &process.records.away),
            93 => self.toggle(place, |process| &process.records.mute),
            94 => {
                if let Some(process) = &mut self.processes[place] {
                    process.paused = !process.paused;
                }
            }
            95 => self.processes[place] = None,
            96 | 97 if self.processes[place].is_none() => self.start(place),
            98 => self.leave(place),
            // All is well again, in some worlds soon, in others hardly ever.
            _ if self.below(self.patience) == 0 => {
                for process in self.processes.iter_mut().flatten() {
                    process.records.away.store(false, Ordering::SeqCst);
                    process.paused = false;
                }
            }
            _ => self.work(place),
        }
        self.judge()
    }

    fn start(&mut self, place: usize) {
        self.runs += 1;
        let entropy = Arc::new(SeededEntropy::new(self.runs << 8));
        let node = Node::with(self.clock.clone(), entropy);
        let command = place == PLACES - 1;
        let chance = SeededEntropy::new(self.runs);
        let records = Arc::new(Door {
            store: self.store.clone(),
            taken: self.taken.clone(),
            clock: self.clock.clone(),
            away: AtomicBool::new(false),
            mute: AtomicBool::new(false),
            chance,
        });
        let view = Arc::new(View::new(node.clone()));
        let name = format!("place {place}");
        let circle = Arc::new(Circle::new(node.clone(), name.clone(), name, !command));
        let feed = Arc::new(Said(self.bus.clone()));
        let mut revoker = Revoker::new(node.clone(), records.clone(), feed, view.clone());
        if !(self.rules.outsiders && command) {
            revoker = revoker.within(circle.clone());
        }
        self.processes[place] = Some(Process {
            alone: View::new(node.clone()),
            node,
            view,
            circle,
            revoker,
            records,
            pulling: [None, None],
            looking: None,
            revoking: Vec::new(),
            paused: false,
        });
    }

    /// Something that is under way at a place goes on, or begins.
    fn work(&mut self, place: usize) {
        let (which, pull) = (self.below(3), self.below(2));
        let Some(process) = running(&mut self.processes[place]) else { return };
        process.revoking.retain_mut(|work| !is_done(work));
        match which {
            0 => {
                let (view, records) = (process.view.clone(), process.records.clone());
                let begin = || -> Work {
                    Box::pin(async move {
                        let _ = view.catch_up(records.as_ref()).await;
                    })
                };
                go_on(&mut process.pulling[pull], begin);
                // What the log alone says is asked without delay, so it is never known later.
                let store = process.records.store.as_ref();
                if !process.records.away.load(Ordering::SeqCst) {
                    let _ = process.alone.catch_up(store).now_or_never();
                }
            }
            _ => {
                let (circle, records) = (process.circle.clone(), process.records.clone());
                let begin = || -> Work {
                    Box::pin(async move {
                        let _ = circle.look(records.as_ref()).await;
                    })
                };
                go_on(&mut process.looking, begin);
            }
        }
    }

    fn beat(&self, place: usize) {
        let Some(process) = self.processes[place].as_ref().filter(|it| !it.paused) else { return };
        self.bus.say(Topic::Heartbeats, process.circle.beat(&process.view));
        for message in process.circle.repeats() {
            self.bus.say(Topic::Revocations, message);
        }
    }

    /// Something is taken back.
    fn revoke(&mut self, place: usize) {
        self.runs += 1;
        let name = format!("1.{}", self.runs);
        let taken = self.taken.clone();
        let Some(process) = running(&mut self.processes[place]) else { return };
        let at = process.node.now();
        let entry = Entry {
            target: Target::Token(TokenId::new(&name).unwrap()),
            places: Vec::new(),
            at,
            until: at + Duration::from_secs(86_400),
            reason: "stolen".into(),
            actor: "system".into(),
        };
        let revoker = process.revoker.clone();
        process.revoking.push(Box::pin(async move {
            let done = revoker.commit(Batch::new(Realm::default()), vec![entry]).await;
            let count = if done.is_ok() { &taken.acknowledged } else { &taken.refused };
            count.fetch_add(1, Ordering::SeqCst);
        }));
    }

    /// One message arrives at one process: any, in any order, some again and again.
    fn deliver(&mut self) {
        let messages = self.bus.0.lock().len();
        if messages == 0 {
            return;
        }
        // The latest are likelier.
        let back = self.below(messages).min(self.below(messages)).min(self.below(messages));
        let (topic, body) = self.bus.0.lock()[messages - 1 - back].clone();
        let to = self.below(PLACES + 2);
        for place in 0..PLACES {
            if to != place && to < PLACES {
                continue;
            }
            let Some(process) = running(&mut self.processes[place]) else { continue };
            if process.records.mute.load(Ordering::SeqCst) {
                continue;
            }
            match topic {
                Topic::Revocations => process.revoker.hear(&body),
                _ => drop(process.circle.hear(&body, &process.view)),
            }
        }
    }

    fn toggle(&mut self, place: usize, which: impl Fn(&Process) -> &AtomicBool) {
        if let Some(process) = &self.processes[place] {
            which(process).fetch_xor(true, Ordering::SeqCst);
        }
    }

    /// A process leaves in good order, as far as the store answers.
    fn leave(&mut self, place: usize) {
        let Some(process) = running(&mut self.processes[place]) else { return };
        if process.circle.standing() == Standing::Member {
            let (circle, records) = (process.circle.clone(), process.records.clone());
            let mut leaving: Option<Work> = None;
            for _ in 0..10 {
                let (circle, records) = (circle.clone(), records.clone());
                go_on(&mut leaving, || {
                    Box::pin(async move {
                        let _ = circle.leave(records.as_ref()).await;
                    })
                });
            }
        }
        self.processes[place] = None;
    }

    /// Nobody says that it knows more than it does.
    fn judge(&mut self) -> Result<(), String> {
        let at = self.taken.at.lock();
        self.told.acknowledged = self.taken.acknowledged.load(Ordering::SeqCst);
        self.told.refused = self.taken.refused.load(Ordering::SeqCst);
        for (place, process) in self.processes.iter().enumerate() {
            let Some(process) = process.as_ref() else { continue };
            let Some(staleness) = process.view.staleness() else { continue };
            let log_alone = process.alone.staleness();
            if log_alone.is_none_or(|alone| alone > staleness + Duration::from_secs(1)) {
                self.told.vouched += 1;
            }
            let until = process.node.now() - staleness;
            let realm = process.view.realm(&Realm::default());
            for (name, at) in at.iter().filter(|(_, at)| **at < until) {
                let claims = Claims { jti: name.clone(), ..Claims::default() };
                if realm.check_claims(&claims, None, "key").is_none() {
                    return Err(format!(
                        "place {place} says that it knows everything until {until}, and does not \
                         know {name}, which was taken back at {at}"
                    ));
                }
            }
        }
        Ok(())
    }

    fn below(&self, limit: usize) -> usize {
        below(&self.chance, limit)
    }
}

fn below(chance: &SeededEntropy, limit: usize) -> usize {
    let mut bytes = [0_u8; 8];
    chance.fill(&mut bytes);
    usize::try_from(u64::from_le_bytes(bytes) % limit as u64).unwrap()
}

/// A process, unless it stands still or is none.
fn running(process: &mut Option<Process>) -> Option<&mut Process> {
    process.as_mut().filter(|process| !process.paused)
}

fn is_done(work: &mut Work) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(work.as_mut().poll(&mut context), Poll::Ready(()))
}

/// Goes on with what is under way, or begins it.
fn go_on(work: &mut Option<Work>, begin: impl FnOnce() -> Work) {
    if is_done(work.get_or_insert_with(begin)) {
        *work = None;
    }
}

/// Lets others come in between, once.
async fn step_aside() {
    let mut waited = false;
    std::future::poll_fn(|_| {
        let ready = std::mem::replace(&mut waited, true);
        if ready { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// The store, as a process reaches it.
struct Door {
    store: Arc<MemoryRecords>,
    taken: Arc<Taken>,
    clock: Arc<ManualClock>,
    away: AtomicBool,
    /// Whether the process hears nobody.
    mute: AtomicBool,
    chance: SeededEntropy,
}

impl Door {
    /// The way there or back, in which others come in between.
    async fn pass(&self) -> Result<(), StoreError> {
        for _ in 0..below(&self.chance, 3) {
            step_aside().await;
        }
        if self.away.load(Ordering::SeqCst) || below(&self.chance, 50) == 0 {
            return Err(StoreError::Unavailable { backend: "store", detail: "away".into() });
        }
        Ok(())
    }
}

impl Records for Door {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            self.pass().await?;
            let loaded = self.store.load(realm, kind, key).await;
            self.pass().await?;
            loaded
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(async move {
            self.pass().await?;
            let names = self.taken.names(&batch);
            let committed = self.store.commit(batch).await;
            if committed.is_ok() {
                self.taken.note(names, Clock::now(self.clock.as_ref()));
            }
            if self.pass().await.is_err() {
                let detail = "lost".into();
                return Err(StoreError::Indeterminate { backend: "store", detail }.into());
            }
            committed
        })
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        Box::pin(async move {
            self.pass().await?;
            let pulled = self.store.pull(log, after, limit).await;
            let pulled = pulled.map(|pull| self.taken.as_positioned(pull, self.clock.as_ref()));
            self.pass().await?;
            pulled
        })
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.store.find(realm, kind, index, value, page)
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.store.scan(realm, kind, page)
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        self.store.sequence(log, node)
    }

    fn purge(
        &self,
        now: Timestamp,
        logs_before: Timestamp,
    ) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.store.purge(now, logs_before)
    }
}

impl Taken {
    /// What a batch takes back.
    fn names(&self, batch: &Batch) -> Vec<String> {
        let entries = batch.appends.iter().map(|append| Entry::from_bytes(&append.body).unwrap());
        entries
            .filter_map(|entry| match entry.target {
                Target::Token(jti) => Some(jti.as_str().to_owned()),
                _ => None,
            })
            .collect()
    }

    fn note(&self, names: Vec<String>, now: Timestamp) {
        let mut positioned = self.positioned.lock();
        for name in names {
            self.at.lock().insert(name, now);
            positioned.1.push_back(now);
        }
    }

    /// One more entry gets its position.
    fn position(&self) {
        let mut positioned = self.positioned.lock();
        if positioned.1.pop_front().is_some() {
            positioned.0 += 1;
        }
    }

    /// The log as it looks while some entries have no position yet.
    fn as_positioned(&self, pull: Pull, clock: &ManualClock) -> Pull {
        let (head, waiting) = &*self.positioned.lock();
        let oldest = waiting.front();
        Pull {
            entries: pull.entries.into_iter().filter(|it| it.position <= *head).collect(),
            head: *head,
            waiting: oldest.map_or(Duration::ZERO, |oldest| {
                Clock::now(clock).since(*oldest).max(Duration::from_micros(1))
            }),
            ..pull
        }
    }
}

/// Everything that was ever said.
#[derive(Default)]
struct Bus(Mutex<Vec<(Topic, Vec<u8>)>>);

impl Bus {
    fn say(&self, topic: Topic, body: Vec<u8>) {
        self.0.lock().push((topic, body));
    }
}

/// The bus, as a process speaks there.
struct Said(Arc<Bus>);

impl Feed for Said {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            // Whoever waits for the answer may be told any time later.
            step_aside().await;
            self.0.say(message.topic, message.body);
            Ok(())
        })
    }

    fn subscribe(&self, _: Topic) -> BoxFuture<'_, Result<Box<dyn Subscription>, StoreError>> {
        Box::pin(async {
            Err(StoreError::Unavailable { backend: "bus", detail: "not in this world".into() })
        })
    }

    fn outage(&self) -> Option<String> {
        None
    }
}
