//! What the console sees of this node and of the others, and who refuses what was taken back.
//!
//! Nothing is followed that nobody looks at: while no page of the console is open, this reads nothing, and
//! counts once a second.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tegata_core::{BoxFuture, Log, NodeId, SinceBoot, StoreError, Timestamp};
use tegata_server::{
    Lookout,
    lookout::{Beat, Checked, Confirmed, Sight, Sighted, TakenBack},
};
use tegata_token::{
    Entry, Target,
    circle::{Receipt, Stands},
    revocation::{MOST_STALE, Taken},
};
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

use crate::{background, canary, circle, compose::Composed, gauges::health::Found};

/// For how long what is taken back is followed after somebody has looked.
const WATCHED: Duration = Duration::from_secs(15);

/// How many of the latest revocations are kept.
const KEPT: usize = 50;

/// How far back the log is read for them, and how much at once.
const BACK: u64 = 2000;
const READ: u32 = 200;

/// How many orders are followed, and for how long each.
const ORDERS: usize = 64;
const FOLLOWED: Duration = Duration::from_secs(60);

/// What was taken back longer ago when it is first seen here was not seen to spread.
const FRESH: Duration = Duration::from_secs(10);

/// Within which time the log was read before, where somebody has looked all the while.
const LATELY: Duration = Duration::from_secs(3);

/// How many seconds are remembered.
const BEATS: usize = 120;

/// How often the log is read at most, and how soon again where something may have no position yet.
const APART: Duration = Duration::from_millis(100);
const AGAIN: Duration = Duration::from_millis(30);

/// How often again.
const TIMES: u32 = 8;

/// What this node sees.
pub(crate) struct Tower {
    composed: Arc<Composed>,
    found: watch::Receiver<Found>,
    counts: (tegata_server::Metrics, tegata_gateway::Metrics),
    listeners: Vec<(&'static str, String)>,
    since: Timestamp,
    state: Mutex<State>,
    /// The log is read by one at a time.
    reading: tokio::sync::Mutex<()>,
    told: watch::Sender<u64>,
    ended: watch::Sender<u64>,
    stirred: Notify,
}

#[derive(Default)]
struct State {
    /// When somebody looked last.
    looked: Option<SinceBoot>,
    /// Up to where the log was read, and when.
    read: Option<(u64, SinceBoot)>,
    /// The latest, the newest first.
    latest: VecDeque<(Seen, Waited)>,
    /// Orders, by names that no other node gives.
    orders: VecDeque<(u64, Waited)>,
    beats: VecDeque<Beat>,
    /// What was counted a second ago.
    counted: Option<(u64, u64)>,
    /// Whether routes are served without asking.
    unchecked: bool,
}

/// Something that was taken back.
struct Seen {
    position: u64,
    kind: &'static str,
    name: String,
    entry: Entry,
}

/// What others are to refuse.
struct Waited {
    receipt: Option<Receipt>,
    learnt: SinceBoot,
    until: Timestamp,
    /// Since when it is measured how long it takes. `None`: it is not.
    began: Option<Began>,
    known: Confirmed,
    over: bool,
}

#[derive(Clone, Copy)]
enum Began {
    Here(SinceBoot),
    /// By the clock of whoever took it back.
    At(Timestamp),
}

impl Tower {
    pub(crate) fn new(
        composed: &Arc<Composed>,
        found: watch::Receiver<Found>,
        counts: (tegata_server::Metrics, tegata_gateway::Metrics),
        listeners: Vec<(&'static str, String)>,
    ) -> Self {
        Self {
            composed: Arc::clone(composed),
            found,
            counts,
            listeners,
            since: composed.node.now(),
            state: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
            told: watch::Sender::new(0),
            ended: watch::Sender::new(0),
            stirred: Notify::new(),
        }
    }

    fn tell(&self) {
        self.told.send_modify(|news| *news = news.wrapping_add(1));
    }

    /// Whether somebody looks.
    fn is_watched(&self) -> bool {
        let looked = self.state.lock().looked;
        looked.is_some_and(|at| self.composed.node.elapsed(at) < WATCHED)
    }

    /// Whether something has not been confirmed yet.
    fn waits(&self) -> bool {
        let state = self.state.lock();
        let mut all =
            state.latest.iter().map(|(_, it)| it).chain(state.orders.iter().map(|(_, it)| it));
        all.any(|it| !it.over)
    }

    /// Counts what happened in the last second.
    fn count(&self) {
        let (server, gateway) = &self.counts;
        let now = (server.sign_ins(), server.refusals() + gateway.refused());
        let mut state = self.state.lock();
        if let Some(before) = state.counted.replace(now) {
            let beat = Beat {
                sign_ins: now.0.saturating_sub(before.0),
                refusals: now.1.saturating_sub(before.1),
            };
            state.beats.push_back(beat);
        }
        while state.beats.len() > BEATS {
            state.beats.pop_front();
        }
        let node = &self.composed.node;
        state.orders.retain(|(_, it)| node.elapsed(it.learnt) < FOLLOWED);
    }

    /// Reads what the log has gained. Answers whether it was anything.
    async fn read(&self) -> Result<bool, StoreError> {
        let (composed, _only) = (&self.composed, self.reading.lock().await);
        // What is shown to be refused here is.
        composed.view.catch_up(composed.records.as_ref()).await?;
        let before = self.state.lock().read;
        let now = composed.node.since_boot();
        // Who begins to look did not see how what is there came to be known.
        let saw = before.is_some_and(|(_, at)| now.since(at) < LATELY);
        // Most of it is what nodes take back to see how long it takes.
        let oldest = composed.view.position().saturating_sub(BACK);
        let mut last = before.map_or(oldest, |(read, _)| read.max(oldest));
        let mut entries = Vec::new();
        loop {
            let pull = composed.records.pull(Log::Revocations, last, READ).await?;
            let Some(end) = pull.entries.last() else { break };
            last = end.position;
            entries.extend(pull.entries);
        }
        let (now, learnt) = (composed.node.now(), composed.node.since_boot());
        let mut new = Vec::new();
        for positioned in &entries {
            // Of other realms, other administrators are told; what cannot be read stops the view.
            let Ok(entry) = Entry::from_bytes(&positioned.body) else { continue };
            if positioned.realm != composed.realm {
                continue;
            }
            let (kind, name) = named(&entry.target);
            if name == canary::NOBODY {
                continue;
            }
            let is_fresh = saw && now.since(entry.at) < FRESH;
            let waited = Waited {
                receipt: None,
                learnt,
                until: now + MOST_STALE,
                began: is_fresh.then_some(Began::At(entry.at)),
                // Until it is known who refuses it, nobody is said to.
                known: Confirmed {
                    pending: vec![composed.cluster.name().to_owned()],
                    until: Some(now + MOST_STALE),
                    ..Confirmed::default()
                },
                over: false,
            };
            new.push((Seen { position: positioned.position, kind, name, entry }, waited));
        }
        let part = composed.circle.as_ref();
        let mut state = self.state.lock();
        state.read = Some((last, learnt));
        let found = !new.is_empty();
        let ends = new.iter().any(|(seen, _)| matches!(seen.kind, "session" | "user"));
        for (seen, mut waited) in new {
            waited.receipt = part.map(|part| part.circle.receipt_of_log(seen.position));
            state.latest.push_front((seen, waited));
        }
        state.latest.truncate(KEPT);
        drop(state);
        if ends {
            self.ended.send_modify(|endings| *endings = endings.wrapping_add(1));
        }
        if let (Some(part), true) = (part, found) {
            part.circle.await_log(last);
            part.nudge();
        }
        Ok(found)
    }

    /// Looks who refuses what by now. Answers whether that is more than before.
    fn judge(&self) -> bool {
        let mut state = self.state.lock();
        let unchecked = state.unchecked;
        let State { latest, orders, .. } = &mut *state;
        let all = latest.iter_mut().map(|(_, it)| it).chain(orders.iter_mut().map(|(_, it)| it));
        let mut changed = false;
        for it in all.filter(|it| !it.over) {
            changed |= self.judge_one(it, unchecked);
        }
        changed
    }

    fn judge_one(&self, it: &mut Waited, unchecked: bool) -> bool {
        let composed = &self.composed;
        let mut now =
            Confirmed { by: vec![composed.cluster.name().to_owned()], ..Confirmed::default() };
        if let (Some(part), Some(receipt)) = (&composed.circle, &it.receipt) {
            for point in &receipt.points {
                let names = match part.circle.stands(receipt, point) {
                    Stands::Confirmed => &mut now.by,
                    Stands::Gone => &mut now.fenced,
                    Stands::Pending => &mut now.pending,
                };
                names.push(point.name.clone());
            }
        }
        if composed.node.elapsed(it.learnt) >= MOST_STALE {
            now.fenced.append(&mut now.pending);
        }
        it.over = now.pending.is_empty();
        if it.over {
            now.after = it.began.map(|began| match began {
                Began::Here(began) => composed.node.elapsed(began),
                Began::At(at) => composed.node.now().since(at),
            });
        } else {
            now.until = Some(it.until);
        }
        now.unchecked = unchecked && !(now.pending.is_empty() && now.fenced.is_empty());
        let changed = it.known != now;
        it.known = now;
        changed
    }
}

/// What is taken back, in a word, and how it is called.
fn named(target: &Target) -> (&'static str, String) {
    match target {
        Target::Token(jti) => ("jti", jti.to_string()),
        Target::Family(family) => ("family", family.to_string()),
        Target::Session(sid) => ("session", sid.to_string()),
        Target::Subject { sub, tokens_only: true, .. } => ("permissions", sub.clone()),
        Target::Subject { sub, .. } => ("user", sub.clone()),
        Target::Client { client, .. } => ("client", client.to_string()),
        Target::Key(kid) => ("key", kid.to_string()),
        Target::ForeignToken { issuer, jti } => ("foreign", format!("{issuer} {jti}")),
        Target::ForeignSession { issuer, sid } => ("foreign", format!("{issuer} {sid}")),
        Target::ForeignSubject { issuer, sub, .. } => ("foreign", format!("{issuer} {sub}")),
        Target::ForeignClient { issuer, client, .. } => ("foreign", format!("{issuer} {client}")),
        Target::ForeignKey { issuer, kid } => ("foreign", format!("{issuer} {kid}")),
    }
}

/// Follows what is taken back, as long as somebody looks. It ends when it is dropped.
pub(crate) async fn keep(tower: Arc<Tower>) {
    let weak: Weak<Tower> = Arc::downgrade(&tower);
    tower.composed.view.listen(move || {
        if let Some(tower) = weak.upgrade() {
            tower.stirred.notify_one();
        }
    });
    let part = tower.composed.circle.clone();
    let hears = async || match &part {
        Some(part) => part.hears().await,
        None => std::future::pending().await,
    };
    let (mut seconds, mut apart) =
        (background::every(Duration::from_secs(1)), background::every(APART));
    let mut times = 0;
    loop {
        let waits = tower.waits();
        let reads = tokio::select! {
            _ = seconds.tick() => {
                tower.count();
                true
            }
            () = tower.stirred.notified() => {
                times = TIMES;
                true
            }
            () = background::pause(AGAIN), if times > 0 => {
                times -= 1;
                true
            }
            () = hears(), if waits => false,
        };
        if !tower.is_watched() && !waits {
            times = 0;
            continue;
        }
        if reads && tower.is_watched() {
            apart.tick().await;
            // A store that does not answer says nothing new.
            if tower.read().await.unwrap_or_default() {
                times = 0;
            }
        }
        if tower.waits() {
            let unchecked = reads && circle::serves_unchecked(&tower.composed).await;
            if reads {
                tower.state.lock().unchecked = unchecked;
            }
            if tower.judge() {
                tower.tell();
            }
        }
    }
}

impl Lookout for Tower {
    fn sighted(&self) -> Sighted {
        let composed = &self.composed;
        let found = self.found.borrow();
        let check = |(name, unwell): &(&'static str, Option<tegata_server::Unwell>)| Checked {
            name,
            severity: unwell.as_ref().map(|it| it.severity),
            detail: unwell.as_ref().map_or_else(String::new, |it| {
                let texts = it.reasons.iter().map(|(_, text)| text.as_str());
                texts.collect::<Vec<_>>().join("; ")
            }),
        };
        let own = Sight {
            name: composed.cluster.name().to_owned(),
            own: true,
            position: composed.view.position(),
            stale: composed.view.staleness(),
            heard: None,
        };
        let others = composed.circle.iter().flat_map(|part| part.circle.sighted());
        let others = others.map(|it| Sight {
            name: it.name,
            own: false,
            position: it.position,
            stale: None,
            heard: it.heard,
        });
        Sighted {
            node: composed.cluster.name().to_owned(),
            version: env!("CARGO_PKG_VERSION"),
            since: self.since,
            listeners: self.listeners.clone(),
            checks: found.iter().map(check).collect(),
            breakers: composed
                .backends
                .breakers
                .iter()
                .map(|(name, breaker)| ((*name).to_owned(), breaker.state().name()))
                .collect(),
            points: std::iter::once(own).chain(others).collect(),
            sessions: composed.sessions.in_use(),
        }
    }

    fn taken_back(&self) -> Vec<TakenBack> {
        let state = self.state.lock();
        let told = |(seen, waited): &(Seen, Waited)| TakenBack {
            position: seen.position,
            kind: seen.kind,
            name: seen.name.clone(),
            at: seen.entry.at,
            reason: seen.entry.reason.clone(),
            actor: seen.entry.actor.clone(),
            confirmed: waited.known.clone(),
        };
        state.latest.iter().map(told).collect()
    }

    fn look(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            let now = self.composed.node.since_boot();
            let before = self.state.lock().looked.replace(now);
            // Whoever comes first sees what there is.
            if before.is_none_or(|at| now.since(at) >= WATCHED) {
                let _ = self.read().await;
                self.judge();
                self.stirred.notify_one();
            }
        })
    }

    fn follow(&self, began: SinceBoot, taken: Taken) -> BoxFuture<'_, u64> {
        Box::pin(async move {
            let composed = &self.composed;
            let receipt = match &composed.circle {
                None => None,
                Some(part) => {
                    let written = part.circle.receipt(began).filter(|_| taken == Taken::Now);
                    Some(match written {
                        Some(receipt) => receipt,
                        // What the log says by now is what the others are asked about. Where it cannot be
                        // read in time, nobody is said to know it.
                        None => timeout(MOST_STALE, circle::of_the_log(composed, part, began))
                            .await
                            .unwrap_or_else(|_| part.circle.receipt_of_log(u64::MAX)),
                    })
                }
            };
            let mut waited = Waited {
                receipt,
                learnt: composed.node.since_boot(),
                until: composed.node.now() + MOST_STALE,
                began: Some(Began::Here(began)),
                known: Confirmed::default(),
                over: false,
            };
            let mut state = self.state.lock();
            self.judge_one(&mut waited, state.unchecked);
            while state.orders.len() >= ORDERS {
                state.orders.pop_front();
            }
            let order = NodeId::generate(composed.node.entropy()).0;
            state.orders.push_back((order, waited));
            drop(state);
            self.stirred.notify_one();
            order
        })
    }

    fn followed(&self, order: u64) -> Option<Confirmed> {
        let state = self.state.lock();
        let found = state.orders.iter().find(|(name, _)| *name == order);
        found.map(|(_, it)| it.known.clone())
    }

    fn pulse(&self) -> Vec<Beat> {
        self.state.lock().beats.iter().copied().collect()
    }

    fn news(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    fn endings(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::TokenId;
    use tegata_token::Tally;

    use super::*;
    use crate::{
        compose, gauges,
        operate::{self, Order, What},
    };

    /// Takes a token back. Answers its name.
    async fn take_back(composed: &Composed) -> String {
        let jti = TokenId::generate(composed.epoch, composed.node.entropy()).to_string();
        let order =
            Order::Revoke { what: What::Jti(jti.clone()), reason: "test".to_owned(), wait: false };
        operate::perform(composed, "operator", order, &Tally::default()).await.unwrap();
        composed.records.sequence(Log::Revocations, composed.node.id()).await.unwrap();
        jti
    }

    #[tokio::test]
    async fn what_is_taken_back_is_measured_by_who_looks_on_meanwhile_alone() {
        let place = tempfile::tempdir().unwrap();
        let composed = Arc::new(compose::for_tests(place.path()).await);
        let (_found, health) = watch::channel(Found::new());
        let (_, server, gateway) = gauges::register(&composed, health.clone());
        let tower = Tower::new(&composed, health, (server, gateway), Vec::new());
        let before = take_back(&composed).await;
        assert!(tower.taken_back().is_empty());
        tower.look().await;
        let seen = tower.taken_back();
        assert_eq!((seen[0].name.as_str(), seen[0].kind), (before.as_str(), "jti"));
        assert_eq!((seen[0].actor.as_str(), seen[0].reason.as_str()), ("operator", "test"));
        assert_eq!(seen[0].confirmed.by, [composed.cluster.name()]);
        assert!(seen[0].confirmed.is_over() && seen[0].confirmed.after.is_none());

        let during = take_back(&composed).await;
        assert!(tower.read().await.unwrap() && tower.judge());
        let seen = tower.taken_back();
        assert_eq!(seen.iter().map(|it| &it.name).collect::<Vec<_>>(), [&during, &before]);
        assert!(seen[0].confirmed.after.is_some());
        // What is read twice stands once.
        tower.read().await.unwrap();
        assert_eq!(tower.taken_back().len(), 2);

        let began = composed.node.since_boot();
        let (one, other) =
            (tower.follow(began, Taken::Now).await, tower.follow(began, Taken::Now).await);
        assert_ne!(one, other);
        assert!(tower.followed(one).unwrap().is_over());
        assert_eq!(tower.followed(one.wrapping_add(1)), None);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let place = tempfile::tempdir().unwrap();
        let composed = Arc::new(compose::for_tests(place.path()).await);
        let (_found, health) = watch::channel(Found::new());
        let (_, server, gateway) = gauges::register(&composed, health.clone());
        let tower = Tower::new(&composed, health, (server, gateway), Vec::new());
        tower.look().await;
        for _ in 0..KEPT + 5 {
            take_back(&composed).await;
        }
        tower.read().await.unwrap();
        assert_eq!(tower.taken_back().len(), KEPT);
        let began = composed.node.since_boot();
        for _ in 0..ORDERS + 5 {
            tower.follow(began, Taken::Now).await;
        }
        assert_eq!(tower.state.lock().orders.len(), ORDERS);
        for _ in 0..BEATS + 5 {
            tower.count();
        }
        assert_eq!(tower.pulse().len(), BEATS);
    }
}
