//! Replicas of a Redis Cluster that lack the latest take over, where tokens of another issuer are asked for in
//! it: what was taken back of them stays refused.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{
    Dependencies, EchoServer, EventsKind, Plan, Redis, RedisCluster, RedisKind, TegataNode,
    tegata::{Own, Shared, root_key},
};

use crate::{
    http::Client,
    ledger::{Checked, Ledger},
    plot::Plot,
    report::Seen,
    scenario::Round,
    series::{Outcome, Series},
    stage::{self, Access, PATIENCE, Stage},
    time::{Ending, Stopwatch, until},
};

/// What the other issuer says it is, and what its tokens are for.
const ISSUER: &str = "http://localhost:8000";
const AUDIENCE: &str = "http://localhost:8080";

/// How soon what was taken back is refused by the other node.
const LEARNT: Duration = Duration::from_secs(5);

/// How soon Redis has all of it again, after the last replica has taken over.
const FILLED: Duration = Duration::from_secs(15);

/// How long a caller waits between two calls.
const PACE: Duration = Duration::from_millis(8);

/// One round: tokens are taken back, replicas without them take over, and everybody goes on asking.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let echo = EchoServer::start();
    let issuer = issuer(round);
    stage::declare(&issuer, echo.port())?;
    let stage = Stage::set(&plan(round, issuer.ports().public))?;
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
    counts_everywhere(&stage, &good)?;

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
    let (lacked, from, to, filled) = thread::scope(|scope| -> Result<_> {
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
        let mut lacked = 0;
        for primary in &primaries {
            let before = kept(redis);
            redis.fail_over(primary);
            lacked += before.saturating_sub(kept(redis));
        }
        let to = watch.read();
        let filled = until(PATIENCE, || kept(redis) >= 2 * many);
        // Nothing of what was answered a moment ago is kept for longer than a minute; what is new is
        // asked about from the first moment on.
        for access in issued(&mut robot, many)? {
            ensure!(status(&mut stage.gateway(0), &access) == Some(200), "a new token is refused");
        }
        Ok((lacked, from, to, filled))
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
    match filled {
        Some(took) if round.hasty => {
            seen.number("in Redis again after", [took].into_iter().collect());
        }
        Some(took) => seen.promised("in Redis again after", [took].into_iter().collect(), FILLED),
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

/// An installation of its own.
fn issuer(round: &Round) -> TegataNode {
    let shared = Shared {
        root_key: root_key(&round.program),
        program: round.program.clone(),
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
    };
    let own = Own { store: "sqlite://tegata.db".to_owned(), ..Own::default() };
    TegataNode::start("issuer", &shared, &own)
}

/// Another, whose gateways take its tokens.
fn plan(round: &Round, issuer: u16) -> Plan {
    let dependencies = Dependencies { redis: RedisKind::Cluster, events: EventsKind::Nats };
    let more = format!(
        "[[issuer]]\nissuer = \"{ISSUER}\"\naudience = [\"{AUDIENCE}\"]\ntokens = 10000\n\
         jwks_uri = \"http://127.0.0.1:{issuer}/.well-known/jwks.json\"\n"
    );
    Plan { dependencies, more, ..Plan::new(&round.program, 2) }
}

fn status(gateway: &mut Client, access: &Access) -> Option<u16> {
    stage::call(gateway, "/bounded", &access.token).ok().map(|answer| answer.status)
}

/// Waits until every node has the keys of the other issuer.
fn counts_everywhere(stage: &Stage, good: &[Access]) -> Result<()> {
    let first = good.first().context("a token")?;
    for node in 0..stage.nodes() {
        let mut gateway = stage.gateway(node);
        let counts = until(PATIENCE, || status(&mut gateway, first) == Some(200));
        counts.with_context(|| format!("node {node} takes no token of the other issuer"))?;
    }
    Ok(())
}

/// Takes one back, as an operator orders it.
fn take_back(stage: &Stage, access: &Access) -> Result<()> {
    let claims = stage::claims(&access.token).context("a token that cannot be read")?;
    let jti = claims.get("jti").and_then(|it| it.as_str()).context("a token without `jti`")?;
    let node = &stage.cluster().member(0).node;
    let order = ["revoke", "--issuer", ISSUER, "--jti", jti, "--reason", "test"];
    let done = node.run(&order);
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "it cannot be taken back: {said}");
    Ok(())
}

/// How many of them the primaries of Redis have.
fn kept(redis: &RedisCluster) -> usize {
    let of = |port: &tegata_engines::redis::Node| {
        let keys = port.try_ask(&["KEYS", "*foreign_withdrawn*"]).map(|it| it.list());
        keys.unwrap_or_default().iter().filter(|key| key.text().contains(":foreign.")).count()
    };
    redis.primaries().into_iter().map(of).sum()
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
