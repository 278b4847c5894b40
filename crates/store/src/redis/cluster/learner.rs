//! Who learns which node has which slot: from some nodes at first, and anew when somebody doubts it.
//!
//! Several are asked at once, and who answers first is believed, unless it knows of less than is known
//! already: one that is silent keeps nobody waiting, and one that was cut off, and still tells of the
//! primaries of before, leads nobody astray while there are others. One that is wrong for a moment is
//! found out by the next command: the node it leads to says that it is not the one.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use futures_util::{FutureExt as _, StreamExt as _, stream::FuturesUnordered};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use super::{
    map::Map,
    node::Node,
    told::{Member, Told},
};
use crate::{
    pause::wait,
    redis::{
        RedisConfig, RedisRefused,
        address::{Address, Place, refused},
        fault::Fault,
        reach::Access,
    },
};

/// How many nodes are asked at once, of those that are connected.
const ASKED: usize = 5;

/// For how long others are listened to when one was believed: longer where nothing is known yet that
/// could show it wrong ([`FIRST`]).
const LISTEN: Duration = Duration::from_millis(20);

/// How soon it is asked for anew, at the earliest. It is twice as long each time that nothing new is
/// learnt while the doubts go on, up to the other: somebody may have slots that nobody serves.
const GAP: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_millis(100);

/// How long those that are connected have to answer, before all others are asked, too; and how long
/// these have.
const FIRST: Duration = Duration::from_millis(250);
const LAST: Duration = Duration::from_secs(2);

/// How many nodes are remembered that others name, and the map does not have.
const STRANGERS: usize = 256;

/// Who learns.
pub(super) struct Learner {
    map: ArcSwap<Map>,
    /// Nodes that others name, and the map does not have.
    strangers: Mutex<HashMap<Place, Arc<Node>>>,
    doubts: Notify,
    news: Notify,
    turn: AtomicUsize,
    seeds: Vec<Place>,
    /// Where the nodes at some places are reached instead.
    reached: HashMap<Place, Place>,
    access: Arc<Access>,
    count: usize,
    config: RedisConfig,
}

impl Learner {
    /// One that knows nothing yet but the address.
    pub(super) fn new(address: &Address, config: &RedisConfig) -> Result<Self, RedisRefused> {
        let places = config.address_map.iter();
        let reached = places.map(|(announced, reached)| Ok((place(announced)?, place(reached)?)));
        Ok(Self {
            map: ArcSwap::from_pointee(Map::empty()),
            strangers: Mutex::default(),
            doubts: Notify::new(),
            news: Notify::new(),
            turn: AtomicUsize::new(0),
            seeds: address.places.clone(),
            reached: reached.collect::<Result<_, RedisRefused>>()?,
            access: Arc::new(Access::new(address)?),
            count: (config.connections / address.places.len().max(1)).max(1),
            config: config.clone(),
        })
    }

    /// What is known.
    pub(super) fn map(&self) -> Arc<Map> {
        self.map.load_full()
    }

    /// A number that is another each time.
    pub(super) fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Says that what is known may be wrong. It is asked for anew soon.
    pub(super) fn doubt(&self) {
        self.doubts.notify_one();
    }

    /// Waits until something else is known than `map`.
    pub(super) async fn news(&self, map: &Arc<Map>) {
        let news = self.news.notified();
        if Arc::ptr_eq(map, &self.map.load()) {
            news.await;
        }
    }

    /// Learns anew whenever somebody doubts, for ever.
    pub(super) async fn learn(self: Arc<Self>) {
        let mut gap = GAP;
        loop {
            if self.doubts.notified().now_or_never().is_none() {
                gap = GAP;
                self.doubts.notified().await;
            }
            let before = self.map();
            // Whoever doubts learns from what they are answered that nobody knew.
            let _learnt = self.refresh(LAST.min(self.config.connect)).await;
            let is_new = !Arc::ptr_eq(&before, &self.map.load());
            gap = if is_new { GAP } else { gap.saturating_mul(2).min(LONGEST) };
            wait(gap).await;
        }
    }

    /// Learns anew. The last who are asked may take `patience` to connect, and as long to answer.
    ///
    /// # Errors
    /// Nobody answers. That somebody does not let us in says more than that others are silent.
    pub(super) async fn refresh(&self, patience: Duration) -> Result<(), Fault> {
        match self.hear(self.some(), FIRST.min(patience)).await {
            Ok(None) => Ok(()),
            _ => match self.hear(self.all(), patience).await? {
                None => Ok(()),
                // Nobody knows better: the cluster is not whole, or another one than before.
                Some(doubtful) => {
                    self.believe(doubtful);
                    Ok(())
                }
            },
        }
    }

    /// Asks these nodes, and believes them. What is answered is the best of what none should believe
    /// who has not asked all; `None`: what can be believed was heard.
    async fn hear(&self, nodes: Vec<Arc<Node>>, patience: Duration) -> Result<Option<Told>, Fault> {
        let asked = nodes.iter().map(|node| node.tell(patience));
        let mut asked = asked.collect::<FuturesUnordered<_>>();
        let mut silence = Fault::Unsent("no node of the cluster is known".to_owned());
        let (mut is_believed, mut doubtful) = (false, None::<Told>);
        let listen = if self.map.load().nodes().next().is_none() { FIRST } else { LISTEN };
        loop {
            let heard = match (is_believed, &doubtful) {
                (true, _) => timeout(listen, asked.next()).await.unwrap_or_default(),
                // Who is dead is not waited for when somebody has answered.
                (false, Some(_)) => timeout(FIRST, asked.next()).await.unwrap_or_default(),
                (false, None) => asked.next().await,
            };
            match heard {
                None => break,
                Some(Err(fault)) => silence = silence.or(fault),
                // It was taken out, or is in nothing yet: whatever is known is better.
                Some(Ok(told)) if told.ranges.is_empty() => {
                    let nobody = "it knows nobody who has slots".to_owned();
                    silence = silence.or(Fault::Refused(nobody));
                }
                Some(Ok(told)) if told.is_well && told.epoch >= self.map.load().epoch() => {
                    self.believe(told);
                    is_believed = true;
                }
                Some(Ok(told)) => {
                    let rank = |told: &Told| (told.is_well, told.epoch);
                    if doubtful.as_ref().is_none_or(|other| rank(other) < rank(&told)) {
                        doubtful = Some(told);
                    }
                }
            }
        }
        match doubtful {
            _ if is_believed => Ok(None),
            Some(told) => Ok(Some(told)),
            None => Err(silence),
        }
    }

    fn believe(&self, mut told: Told) {
        for range in &mut told.ranges {
            let places = [&mut range.primary].into_iter().chain(&mut range.replicas);
            for place in places {
                if let Some(reached) = self.reached.get(place) {
                    *place = reached.clone();
                }
            }
        }
        let before = self.map();
        if before.says(&told) {
            return;
        }
        let strangers = std::mem::take(&mut *self.strangers.lock());
        let known = |place: &Place| before.node(place).or_else(|| strangers.get(place)).cloned();
        let map = Map::new(told, |place| known(place).unwrap_or_else(|| self.stranger(place)));
        self.map.store(Arc::new(map));
        self.news.notify_waiters();
    }

    fn stranger(&self, place: &Place) -> Arc<Node> {
        Arc::new(Node::new(&self.access, place.clone(), self.count, &self.config))
    }

    /// The node that is announced at a place.
    pub(super) fn node(&self, announced: Place) -> Arc<Node> {
        let place = self.reached.get(&announced).cloned().unwrap_or(announced);
        if let Some(node) = self.map.load().node(&place) {
            return Arc::clone(node);
        }
        let mut strangers = self.strangers.lock();
        if strangers.len() >= STRANGERS {
            strangers.clear();
        }
        Arc::clone(strangers.entry(place).or_insert_with_key(|place| self.stranger(place)))
    }

    /// A node of which the one at `answered` tells.
    pub(super) fn member(&self, member: Member, answered: &str) -> Arc<Node> {
        let (mut host, port) = member.place;
        if host.is_empty() {
            answered.clone_into(&mut host);
        }
        // It may be known by its name, which its certificate may name alone.
        let named = member.name.map(|name| (name, port));
        let named = named.filter(|place| {
            let place = self.reached.get(place).unwrap_or(place);
            self.map.load().node(place).is_some()
        });
        self.node(named.unwrap_or((host, port)))
    }

    /// Some nodes, each time others, of those that are connected and answer.
    pub(super) fn some(&self) -> Vec<Arc<Node>> {
        let map = self.map.load();
        let mut nodes: Vec<_> = map.nodes().filter(|node| node.is_there()).cloned().collect();
        let turn = self.turn() % nodes.len().max(1);
        nodes.rotate_left(turn);
        nodes.truncate(ASKED);
        nodes
    }

    /// All nodes, and those that the address names.
    pub(super) fn all(&self) -> Vec<Arc<Node>> {
        let map = self.map.load();
        let known: Vec<_> = map.nodes().cloned().collect();
        let reached = |seed: &Place| self.reached.get(seed).unwrap_or(seed).clone();
        let strange = |seed: &&Place| map.node(&reached(seed)).is_none();
        let seeds: Vec<_> = self.seeds.iter().filter(strange).cloned().collect();
        let seeds = seeds.into_iter().map(|seed| self.node(seed));
        known.into_iter().chain(seeds).collect()
    }
}

/// A place in `address_map`.
fn place(text: &str) -> Result<Place, RedisRefused> {
    let bad = || refused(&format!("`{text}` in `address_map` is not `host:port`"));
    let (host, port) = text.rsplit_once(':').ok_or_else(bad)?;
    let host = host.trim_matches(['[', ']']);
    match port.parse() {
        Ok(port) if port > 0 && !host.is_empty() => Ok((host.to_owned(), port)),
        _ => Err(bad()),
    }
}
