//! Replicas of a Redis Cluster that lack the latest take over, where tokens of another issuer are asked for in
//! it: what was taken back of them stays refused.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{
    Dependencies, EchoServer, EventsKind, Member, Redis, RedisCluster, RedisKind,
};

use crate::{
    foreign::{self, counts_everywhere, status, take_back},
    http::{Ask, Client},
    ledger::{Checked, Ledger},
    plot::Plot,
    report::Seen,
    scenario::Round,
    series::{Outcome, Series},
    stage::{self, Access, PATIENCE, Stage},
    time::{Ending, Stopwatch, until},
};

/// How soon what was taken back is refused by the other node.
const LEARNT: Duration = Duration::from_secs(5);

/// How soon every node has noticed that a replica has taken over.
const NOTICED: Duration = Duration::from_secs(2);

/// How soon Redis has all of it again, after the last replica has taken over.
const FILLED: Duration = Duration::from_secs(5);

/// By how much longer both may take on a machine that others use, too.
const BUSY: u32 = 3;

/// How long a caller waits between two calls.
const PACE: Duration = Duration::from_millis(8);

/// One round: tokens are taken back, replicas without them take over, and everybody goes on asking.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let echo = EchoServer::start();
    let issuer = foreign::issuer(&round.program, echo.port())?;
    let dependencies = Dependencies { redis: RedisKind::Cluster, events: EventsKind::Nats };
    let stage = Stage::set(&foreign::plan(&round.program, &issuer, (2, dependencies), 10_000))?;
    let redis = match stage.cluster().redis() {
        Some(Redis::Cluster(cluster)) => cluster,
        _ => anyhow::bail!("this needs a cluster of Redis"),
    };
    let many = round.many(8, 40, 200);
    let mut robot = Client::new(issuer.ports().public);
    let issued = |robot: &mut Client, many| -> Result<Vec<Access>> {
        (0..many).map(|_| stage::issued(robot)).collect()
    };
    let (early, late) = (issued(&mut robot, many)?, issued(&mut robot, many)?);
    let good = issued(&mut robot, 20 * many)?;
    counts_everywhere(&stage, good.first().context("a token")?)?;

    let ledger = Ledger::default();
    let mut seen = Seen::default();
    // What Redis has been told, and its replicas too.
    for access in &early {
        take_back(&stage, access)?;
        ledger.revoked(access.clone());
    }
    let full = until(PATIENCE, || kept(redis) >= many).context("Redis is not told")?;
    seen.number("told to Redis after", [full].into_iter().collect());
    let primaries = redis.primaries();
    for primary in &primaries {
        primary.cut_replication();
    }
    for access in &late {
        take_back(&stage, access)?;
        ledger.revoked(access.clone());
    }
    until(PATIENCE, || kept(redis) >= 2 * many).context("Redis is not told of the latest")?;
    let all: Vec<&Access> = early.iter().chain(&late).collect();
    for node in 0..stage.nodes() {
        let mut gateway = stage.gateway(node);
        for access in &all {
            let refused = || status(&mut gateway, access) == Some(401);
            until(LEARNT, refused).with_context(|| format!("node {node} does not learn"))?;
        }
    }

    let (watch, ending) = (Stopwatch::start(), Ending::default());
    let refused = Series::new("what was taken back", watch);
    let served = Series::new("what was not", watch);
    let back = AtomicBool::new(false);
    let (lacked, from, to, (noticed, filled)) = thread::scope(|scope| -> Result<_> {
        let _over = ending.ends_with();
        for node in 0..stage.nodes() {
            let (stage, ending, all, good) = (&stage, &ending, &all, &good);
            let (refused, served, back) = (&refused, &served, &back);
            scope.spawn(move || {
                let mut gateway = stage.gateway(node);
                // One after the other, so that most are not known from a moment ago.
                for (bad, other) in all.iter().cycle().zip(good.iter().cycle()) {
                    let at = watch.read();
                    let answer = stage::call(&mut gateway, "/bounded", &bad.token);
                    back.fetch_or(
                        answer.as_ref().is_ok_and(|it| it.status == 200),
                        Ordering::SeqCst,
                    );
                    refused.note(node, at, Outcome::of(&answer, 401));
                    let _ = served
                        .ask(node, 200, || stage::call(&mut gateway, "/bounded", &other.token));
                    if ending.pass(PACE) {
                        return;
                    }
                }
            });
        }
        let from = watch.read();
        let (mut lacked, mut noticed, mut to) = (0, Vec::new(), from);
        for primary in &primaries {
            let (before, changes) = (kept(redis), changes(&stage));
            redis.fail_over(primary);
            to = watch.read();
            lacked += before.saturating_sub(kept(redis));
            let notice = || changes.iter().zip(self::changes(&stage)).all(|(old, new)| new > *old);
            until(PATIENCE, notice).context("not every node notices that a replica took over")?;
            noticed.push(watch.read().saturating_sub(to));
        }
        let filled = until(PATIENCE, || kept(redis) >= 2 * many);
        let filled = filled.map(|_| watch.read().saturating_sub(to));
        // Nothing of what was answered a moment ago is kept for longer than a minute; what is new is
        // asked about from the first moment on.
        for access in issued(&mut robot, many)? {
            ensure!(status(&mut stage.gateway(0), &access) == Some(200), "a new token is refused");
        }
        Ok((lacked, from, to, (noticed, filled)))
    })?;

    seen.must(lacked > 0, || "no replica lacked anything, so that nothing was tried".to_owned());
    seen.fact("entries that the replicas lacked", lacked, 2 * many);
    seen.must(!back.load(Ordering::SeqCst), || "what was taken back counts again".to_owned());
    let wrong = |outcome: Outcome| !matches!(outcome, Outcome::Good | Outcome::Later);
    for (series, least) in [(&refused, 0.0), (&served, 0.999)] {
        let all = series.within(Duration::ZERO, Duration::MAX);
        seen.fact(series.name, all.count(|outcome| outcome == Outcome::Good), all.len());
        let bad = all.count(wrong);
        seen.must(bad == 0 && !all.is_empty(), || {
            format!("{}: {bad} of {} were answered wrong", series.name, all.len())
        });
        let share = all.success();
        seen.must(share >= least, || format!("{}: {:.2} %", series.name, share * 100.0));
    }
    let longer = if round.hasty { BUSY } else { 1 };
    let name = "a replica has taken over: noticed by every node after";
    seen.promised(name, noticed.into_iter().collect(), NOTICED * longer);
    match filled {
        Some(took) => {
            let took = [took].into_iter().collect();
            seen.promised("the last has taken over: in Redis again after", took, FILLED * longer);
        }
        None => seen.broken.push(format!("Redis has {} of {}", kept(redis), 2 * many)),
    }
    for primary in &primaries {
        redis.launch(primary);
    }
    redis.settle();
    seen.checked = check(&stage, &ledger, &mut seen);
    seen.saw = format!("{lacked} of {} entries were not in the replicas", 2 * many);
    seen.plot =
        Some(Plot::new("replicas lack what was taken back", &[&refused, &served], &[(from, to)]));
    Ok(seen)
}

/// How many of them the primaries of Redis have.
fn kept(redis: &RedisCluster) -> usize {
    let of = |port: &tegata_engines::redis::Node| {
        let keys = port.try_ask(&["KEYS", "*foreign_withdrawn*"]).map(|it| it.list());
        keys.unwrap_or_default().iter().filter(|key| key.text().contains(":foreign.")).count()
    };
    redis.primaries().into_iter().map(of).sum()
}

/// How often each node has noticed that another Redis answers than before.
fn changes(stage: &Stage) -> Vec<u64> {
    let of = |member: &Member| {
        let told = Client::new(member.node.ports().operations).ask(&Ask::get("/metrics")).ok()?;
        let text = told.text();
        let line = text.lines().find_map(|line| line.strip_prefix("redis_changes_total "));
        line.and_then(|count| count.trim().parse().ok())
    };
    stage.cluster().members().iter().map(|member| of(member).unwrap_or_default()).collect()
}

/// Looks at every promise, on the gateway of every node: introspection does not know other issuers.
fn check(stage: &Stage, ledger: &Ledger, seen: &mut Seen) -> Checked {
    let revoked = ledger.all_revoked();
    let mut looks = 0;
    for node in 0..stage.nodes() {
        let mut gateway = stage.gateway(node);
        for access in &revoked {
            for route in stage::ROUTES {
                looks += 1;
                let answer = stage::call(&mut gateway, route, &access.token).map(|it| it.status);
                seen.must(matches!(answer, Ok(401)), || {
                    format!("node {node} answers a revoked token {answer:?} at {route}")
                });
            }
        }
    }
    Checked { promises: revoked.len(), looks }
}
