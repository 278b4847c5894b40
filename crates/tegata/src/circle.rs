//! This process in the circle of those that may take things back: where several share a store.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use prometheus_client::metrics::histogram::Histogram;
use serde_json::{Value, json};
use tegata_core::{
    BoxFuture, Node, SinceBoot,
    port::{Heard, Message, Topic},
};
use tegata_mesh::RevocationMode;
use tegata_token::{
    Circle,
    circle::{Receipt, Standing, Stands},
    revocation::{MOST_STALE, Taken},
};
use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    background::{self, Rounds, every, subscribe},
    compose::{Composed, Startup},
    supervisor::{Tasks, Weight},
};

mod external;

use external::External;
pub(crate) use external::Shown;

/// How often the register is looked at.
const LOOKS: Duration = Duration::from_secs(1);

/// How often strangers make us look at most.
const STRANGERS: Duration = Duration::from_millis(250);

/// For how long whoever starts waits to be admitted before it goes on without.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it asks to be, meanwhile.
const KNOCKS: Duration = Duration::from_millis(50);

/// For how long whoever ends tries to leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// How many times sooner than the next heartbeat one is made when something was taken back.
const SOONER: u32 = 25;

/// How many of anybody may wait at once until others know something. Each holds a request for 5 s at most.
const MOST_WAITING: usize = 256;

/// How many operators may: so many others wait for nothing that keeps these from it.
const MOST_OPERATORS: usize = 64;

/// How often the log is read at most because somebody waits for it.
const AWAITED: Duration = Duration::from_millis(10);

/// The circle, and who waits for what is heard.
pub(crate) struct Part {
    pub(crate) circle: Arc<Circle>,
    /// How long it takes until another node knows what was taken back here.
    pub(crate) propagation: Histogram,
    /// Somebody took something back: the others want to know that it is known.
    nudged: Notify,
    /// Somebody spoke who is not in the register.
    stranger: Notify,
    /// Somebody spoke.
    heard: Notify,
    /// Somebody waits for this process to follow the log.
    awaited: Notify,
    /// Places for those who wait until others know something: anybody, and operators.
    waiting: Semaphore,
    operators: Semaphore,
}

/// Who wants to wait until others know something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// An operator or an administrator, who has proven it.
    Operator,
    /// A client or a browser.
    Anybody,
}

impl Part {
    /// The circle, for a process on this data directory. `speaks`: whether the others hear it.
    pub(crate) fn open(
        node: &Node,
        data: &Path,
        name: &str,
        speaks: bool,
    ) -> Result<Arc<Self>, Startup> {
        let path = data.join("tegata.place");
        let place = place(&path, node);
        let place = place.map_err(|source| Startup::File { path: path.clone(), source })?;
        let place = format!("{place}@{}", machine());
        let circle = Circle::new(node.clone(), place, name.to_owned(), speaks);
        Ok(Arc::new(Self {
            circle: Arc::new(circle),
            propagation: durations(),
            nudged: Notify::new(),
            stranger: Notify::new(),
            heard: Notify::new(),
            awaited: Notify::new(),
            waiting: Semaphore::new(MOST_WAITING),
            operators: Semaphore::new(MOST_OPERATORS),
        }))
    }

    /// A place for somebody who waits. INVARIANT: nobody takes that of an operator who is none. An operator
    /// who finds no place among the others takes any.
    fn place_for(&self, asks: Asks) -> Option<SemaphorePermit<'_>> {
        let own = match asks {
            Asks::Operator => self.operators.try_acquire().ok(),
            Asks::Anybody => None,
        };
        own.or_else(|| self.waiting.try_acquire().ok())
    }

    /// Answers when somebody else has spoken.
    pub(crate) async fn hears(&self) {
        self.heard.notified().await;
    }

    /// Says soon that what was taken back elsewhere is known here.
    pub(crate) fn nudge(&self) {
        self.nudged.notify_one();
    }
}

/// How long it takes until something is known elsewhere, in seconds.
pub(crate) fn durations() -> Histogram {
    Histogram::new([0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0])
}

/// The name of a data directory among those of all nodes, made where there is none.
fn place(path: &Path, node: &Node) -> io::Result<String> {
    match fs::read_to_string(path) {
        // What was cut short while it was written is none.
        Ok(name) if name.ends_with('\n') => return Ok(name.trim_end().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let name = Circle::name_place(node.entropy());
    let mut options = fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{name}")?;
    file.sync_all()?;
    Ok(name)
}

/// On which machine the directory's lock is held. Whoever has it on another machine knows nothing of
/// who has it on this one: that may still run.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let name = read("/etc/machine-id").filter(|name| !name.is_empty());
    name.or_else(|| read("/proc/sys/kernel/random/boot_id")).unwrap_or_default()
}

/// What is done in the circle. It ends when this is dropped.
#[must_use]
pub(crate) struct Kept(#[expect(dead_code, reason = "what it does ends with it")] Tasks);

/// Enters the circle, and waits a while to be admitted. Where that fails, it is tried again and again,
/// and until then nothing can be taken back here.
pub(crate) async fn enter(composed: &Arc<Composed>) -> Kept {
    let mut tasks = composed.supervisor.tasks();
    let Some(part) = &composed.circle else { return Kept(tasks) };
    type Done = fn(Arc<Composed>, Arc<Part>) -> BoxFuture<'static, ()>;
    let each: [(&'static str, Done); 4] = [
        ("circle_look", |all, part| Box::pin(look(all, part))),
        ("circle_speak", |all, part| Box::pin(speak(all, part))),
        ("circle_hear", |all, part| Box::pin(hear(all, part))),
        ("circle_follow", |all, part| Box::pin(follow(all, part))),
    ];
    for (name, task) in each {
        let (all, part) = (Arc::clone(composed), Arc::clone(part));
        tasks.keep(name, Weight::Essential, move || task(Arc::clone(&all), Arc::clone(&part)));
    }
    let admitted = async {
        let mut ticks = interval(KNOCKS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match part.circle.look(composed.records.as_ref()).await {
                Ok(Standing::Candidate | Standing::Outside) | Err(_) => part.nudge(),
                Ok(Standing::Member | Standing::Replaced | Standing::Left) => return,
            }
        }
    };
    let admitted = timeout(PATIENCE, admitted).await;
    let standing = part.circle.standing();
    if admitted.is_err() || standing != Standing::Member {
        tracing::warn!(why = %standing, "nothing can be taken back on this node yet");
    }
    Kept(tasks)
}

/// Leaves the circle, so that nobody waits for this process.
pub(crate) async fn leave(composed: &Composed) {
    let Some(part) = &composed.circle else { return };
    // Whoever cannot leave is missed until its lease is over, or until it comes back.
    let _ = timeout(FAREWELL, part.circle.leave(composed.records.as_ref())).await;
}

async fn look(composed: Arc<Composed>, part: Arc<Part>) {
    let fails = "it cannot be seen which nodes take things back";
    let mut rounds = Rounds::every(LOOKS, fails);
    let mut apart = every(STRANGERS);
    loop {
        tokio::select! {
            () = rounds.next() => {}
            () = part.stranger.notified() => { apart.tick().await; }
        }
        rounds.ended(&part.circle.look(composed.records.as_ref()).await);
    }
}

async fn speak(composed: Arc<Composed>, part: Arc<Part>) {
    loop {
        let pause = part.circle.pause();
        let message = Message::new(Topic::Heartbeats, part.circle.beat(&composed.view));
        // Whoever does not hear this hears the next one, or does not believe us.
        let _ = composed.feed.publish(message).await;
        // Nobody asks for the next one so soon.
        background::pause(pause / SOONER).await;
        if timeout(pause, part.nudged.notified()).await.is_err() {
            for message in part.circle.repeats() {
                let _ = composed.feed.publish(Message::new(Topic::Revocations, message)).await;
            }
        }
    }
}

async fn hear(composed: Arc<Composed>, part: Arc<Part>) {
    loop {
        let mut heartbeats = subscribe(&composed, Topic::Heartbeats).await;
        while let Some(heard) = heartbeats.next().await {
            let Heard::Message(message) = heard else { continue };
            let heard = part.circle.hear(&message, &composed.view);
            if heard.stranger {
                part.stranger.notify_one();
            }
            if heard.awaited {
                part.awaited.notify_one();
            }
            heard.confirmed.iter().for_each(|age| part.propagation.observe(age.as_secs_f64()));
            part.heard.notify_waiters();
        }
    }
}

/// Reads the log when somebody waits for this process to have done so, and says that it has.
async fn follow(composed: Arc<Composed>, part: Arc<Part>) {
    let mut apart = every(AWAITED);
    loop {
        part.awaited.notified().await;
        apart.tick().await;
        // Whoever cannot read it says nothing new, and is asked again.
        if composed.view.catch_up(composed.records.as_ref()).await.is_ok() {
            part.nudge();
        }
    }
}

/// Which nodes refuse what was taken back since `began`, or, where nothing had to be written for it, what
/// had been before; and from when on. Answers when all do: after [`MOST_STALE`], whoever has not said that
/// it knows serves nothing that it would have to know it for. Where too many wait already, nobody waits:
/// the answer names who may not know it yet, and until when.
pub(crate) async fn confirm(
    composed: &Composed,
    asks: Asks,
    began: SinceBoot,
    taken: Taken,
) -> Confirmation {
    let place = composed.circle.as_ref().map(|part| part.place_for(asks));
    let patience = if matches!(place, Some(None)) { Duration::ZERO } else { MOST_STALE };
    confirm_within(composed, began, taken, patience).await
}

/// The same, with so much patience.
pub(crate) async fn confirm_within(
    composed: &Composed,
    began: SinceBoot,
    taken: Taken,
    patience: Duration,
) -> Confirmation {
    let own = composed.cluster.name();
    let Some(part) = &composed.circle else {
        // This node knew before it was acknowledged, and there is no other.
        let after = composed.node.elapsed(began);
        let says = refused_by_all(1, after.as_millis());
        let (by, late) = (vec![own.to_owned()], Late::Fenced(Vec::new()));
        let (now, shown) = (composed.node.now(), Shown::Listed);
        let external = External::of(now, now);
        return Confirmation { by, late, after, says, unchecked: false, external, shown };
    };
    let (asked, asked_at) = (composed.node.since_boot(), composed.node.now());
    // From now on, at the latest, everybody grows stale who does not hear of it.
    let until = asked_at + MOST_STALE;
    let written = part.circle.receipt(began).filter(|_| taken == Taken::Now);
    let receipt = match written {
        Some(receipt) => Some(receipt),
        None => timeout(patience, of_the_log(composed, part, began)).await.ok(),
    };
    let knows = receipt.is_some();
    // Nobody has said that they know more than there is.
    let receipt = receipt.unwrap_or_else(|| part.circle.receipt_of_log(u64::MAX));
    let stand = |how| {
        let all = receipt.points.iter();
        all.filter(|it| part.circle.stands(&receipt, it) == how)
            .map(|it| it.name.clone())
            .collect::<Vec<_>>()
    };
    let all = async {
        while !stand(Stands::Pending).is_empty() {
            let _ = timeout(LOOKS / 10, part.heard.notified()).await;
        }
    };
    let left = patience.saturating_sub(composed.node.elapsed(asked));
    let spoke = timeout(left, all).await.is_ok() && knows;
    let after = composed.node.elapsed(began);
    let (mut by, gone, mut pending) =
        (stand(Stands::Confirmed), stand(Stands::Gone), stand(Stands::Pending));
    if knows { &mut by } else { &mut pending }.push(own.to_owned());
    let waited = patience >= MOST_STALE;
    let (many, count) = (by.len() + gone.len() + pending.len(), by.len());
    let millis = after.as_millis();
    let unchecked = !spoke && serves_unchecked(composed).await;
    let but = match unchecked {
        true => ", but on routes that are `available` until they have heard of it",
        false => "",
    };
    let late = if waited || pending.is_empty() {
        Late::Fenced([gone, pending].concat())
    } else {
        Late::Pending { gone, pending, until: until.to_string() }
    };
    let says = match &late {
        Late::Fenced(none) if none.is_empty() => refused_by_all(many, millis),
        Late::Fenced(names) => {
            let (names, since) = (names.join(", "), composed.node.now());
            format!(
                "refused by {count} of {many} points after {millis} ms; {names} did not say so, and \
                 accept nothing since {since} for which they would have to know it{but}"
            )
        }
        Late::Pending { pending, .. } => {
            let names = pending.join(", ");
            format!(
                "refused by {count} of {many} points after {millis} ms; too many wait for others to \
                 wait for {names}, which have not said so yet, and accept nothing after {until} for \
                 which they would have to know it{but}"
            )
        }
    };
    let known = if spoke { composed.node.now() } else { until };
    let (external, shown) = (External::of(asked_at, known), Shown::Listed);
    Confirmation { by, late, after, says, unchecked, external, shown }
}

fn refused_by_all(many: usize, millis: u128) -> String {
    match many {
        1 => format!("refused by the only point after {millis} ms"),
        many => format!("refused by all {many} points after {millis} ms"),
    }
}

/// Everything that had been taken back anywhere when something `began`, and who is to know it. It waits
/// until this node does.
pub(crate) async fn of_the_log(composed: &Composed, part: &Part, began: SinceBoot) -> Receipt {
    let records = composed.records.as_ref();
    // What was acknowledged a moment ago may have no position yet.
    while !composed.view.know_until(records, began).await.unwrap_or_default() {
        background::pause(KNOCKS / 5).await;
    }
    let position = composed.view.position();
    part.circle.await_log(position);
    part.nudge();
    part.circle.receipt_of_log(position)
}

/// Who refuses what was taken back.
pub(crate) struct Confirmation {
    /// Those that have said so, by their names.
    by: Vec<String>,
    late: Late,
    /// How long after it was begun all did.
    pub(crate) after: Duration,
    /// The same in words.
    says: String,
    /// Whether those that have not said so serve some routes without knowing.
    unchecked: bool,
    /// Those that were not asked.
    external: External,
    shown: Shown,
}

/// Those that have not said so.
enum Late {
    /// They serve nothing for which they would have to know it.
    Fenced(Vec<String>),
    /// They were not waited for.
    Pending {
        /// They have ended.
        gone: Vec<String>,
        pending: Vec<String>,
        /// Until when they may accept it.
        until: String,
    },
}

impl Confirmation {
    /// The same of what is shown so to verifiers that are no nodes.
    #[must_use]
    pub(crate) const fn shown(mut self, shown: Shown) -> Self {
        self.shown = shown;
        self
    }

    pub(crate) fn json(self) -> Value {
        let after = u64::try_from(self.after.as_millis()).unwrap_or(u64::MAX);
        let says = self.says + &self.external.says(self.shown);
        let mut told = json!({"by": self.by, "after_ms": after, "says": says});
        let (fenced, pending) = match self.late {
            Late::Fenced(fenced) => (fenced, None),
            Late::Pending { gone, pending, until } => (gone, Some((pending, until))),
        };
        if let Some(members) = told.as_object_mut() {
            if self.unchecked {
                members.insert("unchecked".to_owned(), true.into());
            }
            if let Some(external) = self.external.json(self.shown) {
                members.insert("external".to_owned(), external);
            }
            if !fenced.is_empty() {
                members.insert("fenced".to_owned(), fenced.into());
            }
            if let Some((pending, until)) = pending {
                members.insert("pending".to_owned(), pending.into());
                members.insert("until".to_owned(), until.into());
            }
        }
        told
    }
}

/// Whether some route serves what nobody knows to be taken back.
pub(crate) async fn serves_unchecked(composed: &Composed) -> bool {
    let map = composed.registry.map(&composed.realm).await;
    map.map_or(true, |map| map.routes().any(|route| route.revocation == RevocationMode::Available))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anybody_who_waits_keeps_no_operator_from_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let part = Part::open(&Node::for_tests(1), dir.path(), "a node", true).unwrap();
        let crowd: Vec<_> = std::iter::from_fn(|| part.place_for(Asks::Anybody)).collect();
        assert_eq!(crowd.len(), MOST_WAITING);
        let operators: Vec<_> = std::iter::from_fn(|| part.place_for(Asks::Operator)).collect();
        assert_eq!(operators.len(), MOST_OPERATORS);
        assert!(part.place_for(Asks::Anybody).is_none(), "no operator's place is anybody's");
        drop(crowd);
        assert!(part.place_for(Asks::Operator).is_some());
        // And many operators leave room for the others.
        assert!(part.place_for(Asks::Anybody).is_some());
        drop(operators);
    }

    #[test]
    fn a_directory_keeps_its_name_and_no_two_have_the_same() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let node = Node::for_tests(1);
        let of = |dir: &tempfile::TempDir| place(&dir.path().join("tegata.place"), &node).unwrap();
        let name = of(&one);
        assert_eq!(name.len(), 32);
        assert_eq!(of(&one), name);
        assert_ne!(of(&other), name);
        // One that was cut short counts for nothing.
        fs::write(one.path().join("tegata.place"), &name[..7]).unwrap();
        assert_ne!(of(&one), name[..7]);
    }
}
