//! One thing after the other breaks, while tokens are taken back as fast as they can be.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{Mode, Redis, RedisCluster};

use crate::{
    ledger::Ledger,
    plot::Plot,
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::{Outcome, Series},
    stage::{self, PATIENCE, Stage},
    time::{Ending, Stopwatch, let_pass, until},
};

/// How many clients take tokens back at each node.
const CLIENTS: usize = 2;

/// How long a client waits that was not answered well.
const PAUSE: Duration = Duration::from_millis(20);

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

/// One round: every kind of break, again and again.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let watch = Stopwatch::start();
    let (ledger, ending) = (Ledger::default(), Ending::default());
    let revoke = Series::new("tokens taken back", watch);
    let mut seed = Seed::new(round.seed);
    let cycles = round.many(ALL.len(), 2 * ALL.len(), 200);
    let mut faults = Vec::new();
    let broken = thread::scope(|scope| -> Result<()> {
        let _over = ending.ends_with();
        for client in 0..CLIENTS * stage.nodes() {
            let (ledger, ending, revoke) = (&ledger, &ending, &revoke);
            scope.spawn(move || take_back(stage, client % stage.nodes(), ledger, revoke, ending));
        }
        // In turn, from a point of chance: none is left out.
        let first = seed.below(ALL.len());
        ALL.iter().cycle().skip(first).take(cycles).try_for_each(|breaks| {
            let began = watch.read();
            break_and_mend(stage, *breaks, &mut seed).with_context(|| format!("{breaks:?}"))?;
            faults.push((began, watch.read()));
            Ok(())
        })
    });
    let mut seen = Seen::default();
    if let Err(error) = broken {
        seen.broken.push(format!("{error:#}"));
    }
    let acknowledged = ledger.revocations();
    let all = revoke.within(Duration::ZERO, Duration::MAX);
    let good = all.count(|outcome| outcome == Outcome::Good);
    seen.fact(revoke.name, good, all.len());
    seen.number("each that was acknowledged", all.latencies(|outcome| outcome == Outcome::Good));
    seen.checked = ledger.check_revoked(stage);
    seen.broken.extend(ledger.all_broken());
    seen.must(acknowledged > 0, || "nothing was acknowledged".to_owned());
    seen.saw = format!("{cycles} breaks, {acknowledged} revocations acknowledged");
    seen.plot = Some(Plot::new("everything breaks in turn", &[&revoke], &faults));
    Ok(seen)
}

/// Gets tokens and takes them back. Whoever is not told that it is done asks again, for as long as it
/// takes.
fn take_back(stage: &Stage, node: usize, ledger: &Ledger, revoke: &Series, ending: &Ending) {
    let mut client = stage.public(node);
    while !ending.is_over() {
        let Ok(access) = stage::issued(&mut client) else {
            ending.pass(PAUSE);
            continue;
        };
        loop {
            let asked = revoke.ask(node, 200, || stage::revoke(&mut client, &access.token));
            if Outcome::of(&asked, 200) == Outcome::Good {
                ledger.revoked(access);
                break;
            }
            if ending.pass(PAUSE) {
                return;
            }
        }
    }
}

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
