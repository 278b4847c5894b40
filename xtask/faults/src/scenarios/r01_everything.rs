//! One thing after the other breaks, while tokens are taken back as fast as they can be, others are used
//! to call services, and it is measured how long each node goes on taking what another has taken back.

use std::{sync::Mutex, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{Mode, Redis, RedisCluster};

use crate::{
    http::Client,
    ledger::{Ledger, lock},
    plot::Plot,
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::{Latencies, Outcome, Series},
    stage::{self, Access, PATIENCE, Stage},
    time::{Ending, Stopwatch, let_pass, until},
};

/// How many clients take tokens back at each node.
const CLIENTS: usize = 2;

/// How long a client waits that was not answered well.
const PAUSE: Duration = Duration::from_millis(20);

/// How long somebody who calls waits before the next call.
const PACE: Duration = Duration::from_millis(8);

/// How long whoever looks whether a token is refused waits before the next look.
const LOOK: Duration = Duration::from_millis(2);

/// How soon nodes refuse what another has taken back, 99 times of 100, where all is well.
const WELL: Duration = Duration::from_millis(250);

/// How soon they do at the longest, where nothing is broken.
const LONGEST: Duration = Duration::from_secs(1);

/// How soon at most while they do not hear each other, and for how long any of them goes on taking it
/// whatever is broken, on a route that is `strict`.
const BOUND: Duration = Duration::from_secs(5);

/// How soon they must hear each other again.
const BACK: Duration = Duration::from_secs(10);

/// The least share of calls that must be served.
const SERVED: f64 = 0.9999;

/// What breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Breaks {
    /// A primary of Redis is killed, and comes back when its replica has its place.
    RedisKilled,
    /// A replica takes over that lacks the latest writes.
    RedisDropsWrites,
    /// NATS comes back without its streams.
    NatsEmpty,
    /// PostgreSQL is killed with all its processes.
    PostgresKilled,
    /// A node is killed (SIGKILL).
    NodeKilled,
    /// A node stands still (SIGSTOP).
    NodeHeld,
    /// A node reaches nothing of what it depends on.
    NodeAlone,
}

const ALL: [Breaks; 7] = [
    Breaks::RedisKilled,
    Breaks::RedisDropsWrites,
    Breaks::NatsEmpty,
    Breaks::PostgresKilled,
    Breaks::NodeKilled,
    Breaks::NodeHeld,
    Breaks::NodeAlone,
];

/// When something was broken: until all was well again.
#[derive(Debug, Clone, Copy)]
struct Fault {
    breaks: Breaks,
    from: Duration,
    to: Duration,
}

/// A token that one node took back and another was asked about.
#[derive(Debug, Clone, Copy)]
struct Learnt {
    /// When it was acknowledged.
    acknowledged: Duration,
    /// When the last question was asked that was answered as if it counted.
    taken: Option<Duration>,
    /// When the answer came that it does not count.
    refused: Duration,
}

impl Learnt {
    /// How long it took from the one to the other.
    const fn took(&self) -> Duration {
        self.refused.saturating_sub(self.acknowledged)
    }

    /// Whether this was broken in that time.
    fn met(&self, fault: &Fault) -> bool {
        self.acknowledged < fault.to && fault.from < self.refused
    }
}

/// What is done all the time, and what came of it.
struct World<'s> {
    stage: &'s Stage,
    ledger: Ledger,
    watch: Stopwatch,
    /// How long whoever calls waits for a node before the next one is asked.
    patience: Duration,
    ending: Ending,
    revoke: Series,
    calls: Series,
    refusals: Series,
    learnt: Mutex<Vec<Learnt>>,
}

/// One round: every kind of break, again and again.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let living = if round.hasty { young(stage)? } else { stage.old_tokens()? };
    let watch = Stopwatch::start();
    let world = World {
        stage,
        ledger: Ledger::default(),
        watch,
        // Where others need the machine, too, a second is nothing to go by.
        patience: if round.hasty { BOUND } else { Duration::from_secs(1) },
        ending: Ending::default(),
        revoke: Series::new("tokens taken back", watch),
        calls: Series::new("calls of services", watch),
        refusals: Series::new("refused elsewhere", watch),
        learnt: Mutex::default(),
    };
    let cycles = round.many(ALL.len(), 2 * ALL.len(), 200);
    let mut seen = Seen::default();
    let mut faults = Vec::new();
    let broken = thread::scope(|scope| {
        let (world, living) = (&world, &living);
        let _over = world.ending.ends_with();
        for client in 0..CLIENTS * stage.nodes() {
            scope.spawn(move || world.take_back(client % stage.nodes()));
        }
        for node in 0..stage.nodes() {
            scope.spawn(move || world.call(node, living));
            scope.spawn(move || world.learn(node, (node + 1) % stage.nodes()));
        }
        let broken = world.break_all(round, cycles, &mut faults, &mut seen);
        world.ending.end();
        broken
    });
    if let Err(error) = broken {
        seen.broken.push(format!("{error:#}"));
    }
    world.judge(&mut seen, round, &faults);
    let acknowledged = world.ledger.revocations();
    seen.checked = world.ledger.check_revoked_telling(stage, round.progress);
    seen.broken.extend(world.ledger.all_broken());
    seen.must(acknowledged > 0, || "nothing was acknowledged".to_owned());
    seen.saw = format!("{cycles} breaks, {acknowledged} revocations acknowledged");
    let spans: Vec<_> = faults.iter().map(|fault| (fault.from, fault.to)).collect();
    let all = [&world.revoke, &world.calls, &world.refusals];
    seen.plot = Some(Plot::new("everything breaks in turn", &all, &spans));
    Ok(seen)
}

/// A few tokens to call services with.
fn young(stage: &Stage) -> Result<Vec<Access>> {
    let mut client = stage.public(0);
    (0..5).map(|_| stage::issued(&mut client)).collect()
}

impl World<'_> {
    /// Breaks one thing after the other. Before each, all is well for as long as it takes to see how soon
    /// nodes learn then.
    fn break_all(
        &self,
        round: &Round,
        cycles: usize,
        faults: &mut Vec<Fault>,
        seen: &mut Seen,
    ) -> Result<()> {
        let mut seed = Seed::new(round.seed);
        let calm = round.many(3, 30, 30);
        let mut again = Vec::new();
        // In turn, from a point of chance: none is left out.
        let first = seed.below(ALL.len());
        for (n, breaks) in ALL.iter().cycle().skip(first).take(cycles).enumerate() {
            round.progress.at(&self.watch, n, cycles, "breaks");
            self.be_calm(calm)?;
            let from = self.watch.read();
            break_and_mend(self.stage, *breaks, &mut seed)
                .with_context(|| format!("{breaks:?}"))?;
            let heard = until(PATIENCE, || self.all_hear());
            again.push(heard.with_context(|| format!("nodes do not hear each other: {breaks:?}"))?);
            faults.push(Fault { breaks: *breaks, from, to: self.watch.read() });
        }
        let again: Latencies = again.into_iter().collect();
        let name = "ready, until nodes hear each other too";
        if round.hasty {
            seen.number(name, again);
        } else {
            seen.promised(name, again, BACK);
        }
        self.be_calm(calm)
    }

    /// Waits until so many more were learnt.
    fn be_calm(&self, many: usize) -> Result<()> {
        let before = lock(&self.learnt).len();
        let enough = || lock(&self.learnt).len() >= before + many;
        let enough = until(PATIENCE, enough);
        enough.map(drop).context("all is well, and nodes do not learn what is taken back")
    }

    fn all_hear(&self) -> bool {
        let hears = |said: String| !said.contains("events_unreachable");
        let members = self.stage.cluster().members();
        members.iter().all(|member| member.node.readiness().is_some_and(hears))
    }

    /// Gets tokens and takes them back. Whoever is not told that it is done asks again, for as long as it
    /// takes.
    fn take_back(&self, node: usize) {
        let mut client = self.stage.public(node);
        while !self.ending.is_over() {
            let Ok(access) = stage::issued(&mut client) else {
                self.ending.pass(PAUSE);
                continue;
            };
            if self.until_taken_back(node, &mut client, &access).is_none() {
                return;
            }
        }
    }

    /// Takes one back, whatever comes between. Answers when it was acknowledged; `None`: all is over.
    fn until_taken_back(
        &self,
        node: usize,
        client: &mut Client,
        access: &Access,
    ) -> Option<Duration> {
        loop {
            let asked = self.revoke.ask(node, 200, || stage::revoke(client, &access.token));
            if Outcome::of(&asked, 200) == Outcome::Good {
                let acknowledged = self.watch.read();
                self.ledger.revoked(access.clone());
                return Some(acknowledged);
            }
            if self.ending.pass(PAUSE) {
                return None;
            }
        }
    }

    /// Calls a service, again and again. Where a node does not answer well the others are asked, each
    /// once, as whoever balances load does; what a node says of the token itself is an answer.
    fn call(&self, first: usize, tokens: &[Access]) {
        let client = |node| self.stage.gateway(node).waiting(self.patience);
        let mut clients: Vec<Client> = (0..self.stage.nodes()).map(client).collect();
        clients.rotate_left(first);
        for access in tokens.iter().cycle() {
            let (at, mut outcome) = (self.watch.read(), Outcome::NotSent);
            for client in &mut clients {
                outcome = Outcome::of(&stage::call(client, "/bounded", &access.token), 200);
                if matches!(outcome, Outcome::Good | Outcome::Bad(..500)) {
                    break;
                }
            }
            self.calls.note(first, at, outcome);
            if self.ending.pass(PACE) {
                return;
            }
        }
    }

    /// Takes tokens back at one node, and sees how long another goes on taking them. The route is
    /// `strict`: where it is served, the node knew enough.
    fn learn(&self, from: usize, to: usize) {
        let (mut public, mut gateway) = (self.stage.public(from), self.stage.gateway(to));
        while !self.ending.is_over() {
            let access = stage::issued(&mut public).ok();
            let counts = access.filter(|it| self.status(&mut gateway, it) == Some(200));
            let Some(access) = counts else {
                self.ending.pass(PAUSE);
                continue;
            };
            let Some(acknowledged) = self.until_taken_back(from, &mut public, &access) else {
                return;
            };
            let mut taken = None;
            loop {
                let asked = self.watch.read();
                match self.status(&mut gateway, &access) {
                    Some(401) => break,
                    Some(200) => taken = Some(asked),
                    _ => {}
                }
                if asked.saturating_sub(acknowledged) > PATIENCE {
                    self.ledger
                        .broken(format!("node {to} never refuses what node {from} took back"));
                    break;
                }
                if self.ending.pass(LOOK) {
                    return;
                }
            }
            self.refusals.note(to, acknowledged, Outcome::Good);
            let refused = self.watch.read();
            lock(&self.learnt).push(Learnt { acknowledged, taken, refused });
        }
    }

    fn status(&self, gateway: &mut Client, access: &Access) -> Option<u16> {
        stage::call(gateway, "/strict", &access.token).ok().map(|answer| answer.status)
    }

    /// What must hold of all that was done.
    fn judge(&self, seen: &mut Seen, round: &Round, faults: &[Fault]) {
        let good = |outcome| outcome == Outcome::Good;
        for series in [&self.revoke, &self.calls] {
            let all = series.within(Duration::ZERO, Duration::MAX);
            seen.fact(series.name, all.count(good), all.len());
        }
        let calls = self.calls.within(Duration::ZERO, Duration::MAX);
        let share = calls.success();
        seen.must(share >= SERVED && !calls.is_empty(), || {
            format!("calls of services: {:.3} % of {} are served", share * 100.0, calls.len())
        });
        seen.number("each call of a service", calls.latencies(good));
        let revoke = self.revoke.within(Duration::ZERO, Duration::MAX);
        seen.number("each that was acknowledged", revoke.latencies(good));

        let learnt = lock(&self.learnt).clone();
        let met = |it: &Learnt, is: fn(Breaks) -> bool| {
            faults.iter().any(|fault| is(fault.breaks) && it.met(fault))
        };
        let nats = |breaks| breaks == Breaks::NatsEmpty;
        let of = |is_so: &dyn Fn(&Learnt) -> bool| -> Latencies {
            learnt.iter().filter(|it| is_so(it)).map(Learnt::took).collect()
        };
        let well = of(&|it| !met(it, |_| true));
        // What PostgreSQL acknowledged shortly before it was killed, too, waits for PostgreSQL.
        let other = |it: &Learnt| met(it, |breaks| breaks != Breaks::NatsEmpty);
        let silent = of(&|it| met(it, nats) && !other(it));
        let other = of(&other);
        seen.must(!silent.is_empty(), || "nothing was learnt while NATS was away".to_owned());
        // A machine that others use, too, cannot be held to a quarter of a second.
        let (most, longest) = if round.hasty { (BOUND, BOUND) } else { (WELL, LONGEST) };
        seen.must(!well.is_empty(), || "nothing was learnt while all was well".to_owned());
        let p99 = well.percentile(99);
        seen.must(p99 <= most, || format!("refused elsewhere: all is well: p99 is {p99:?}"));
        seen.promised("refused elsewhere: all is well", well, longest);
        seen.promised("refused elsewhere: NATS is away", silent, BOUND);
        seen.number("refused elsewhere: something else is broken", other);
        let taken = |it: &Learnt| it.taken.map(|at| at.saturating_sub(it.acknowledged));
        let taken = learnt.iter().filter_map(taken).collect();
        seen.promised("taken elsewhere, after the acknowledgement", taken, BOUND);
    }
}

/// Breaks something and mends it; all nodes are ready then.
fn break_and_mend(stage: &Stage, breaks: Breaks, seed: &mut Seed) -> Result<()> {
    let cluster = stage.cluster();
    let outage = Duration::from_millis(500 + 100 * u64::try_from(seed.below(25))?);
    let member = cluster.member(seed.below(stage.nodes()));
    match breaks {
        Breaks::RedisKilled => {
            let (redis, primary) = (redis(stage)?, seed.below(3));
            let primaries = redis.primaries();
            let primary = primaries.get(primary).copied().context("three primaries")?;
            redis.kill(primary);
            let_pass(outage);
            redis.launch(primary);
            redis.settle();
        }
        Breaks::RedisDropsWrites => {
            let (redis, primary) = (redis(stage)?, seed.below(3));
            let primaries = redis.primaries();
            let primary = primaries.get(primary).copied().context("three primaries")?;
            primary.cut_replication();
            let_pass(outage);
            redis.fail_over(primary);
            redis.launch(primary);
            redis.settle();
        }
        Breaks::NatsEmpty => {
            let nats = cluster.nats().context("an installation with NATS")?;
            nats.kill();
            let_pass(outage);
            nats.launch_empty();
        }
        Breaks::PostgresKilled => {
            cluster.postgres().kill();
            let_pass(outage);
            cluster.postgres().launch();
        }
        Breaks::NodeKilled => {
            member.node.kill();
            let_pass(outage);
            member.node.launch();
        }
        Breaks::NodeHeld => {
            member.node.process().hold();
            let_pass(outage);
            member.node.process().go_on();
        }
        Breaks::NodeAlone => {
            member.set_all(Mode::BlackHole);
            let_pass(outage);
            member.set_all(Mode::Sound);
        }
    }
    let well = || cluster.members().iter().all(|member| member.node.is_ready());
    ensure!(until(PATIENCE, well).is_some(), "not all nodes become ready again");
    Ok(())
}

fn redis(stage: &Stage) -> Result<&RedisCluster> {
    match stage.cluster().redis() {
        Some(Redis::Cluster(cluster)) => Ok(cluster),
        _ => anyhow::bail!("this needs a cluster of Redis"),
    }
}
