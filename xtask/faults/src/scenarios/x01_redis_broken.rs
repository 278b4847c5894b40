//! A server of Redis or NATS is killed, stands still or cannot be heard, while everything goes on.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, bail};
use tegata_engines::{Mode, Redis, RedisCluster, RedisServer};

use crate::{
    bus::Bystander,
    http::{Ask, Client},
    ledger::Ledger,
    load::{Amount, Load, propagation},
    plot::Plot,
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::{Latencies, Outcome, Series},
    stage::{self, Stage},
    time::{Ending, Stopwatch, let_pass, until},
};

/// How long a revocation may take to be known while something is broken, and when all is well again.
const DURING: Duration = Duration::from_secs(5);
const WELL: Duration = Duration::from_millis(250);

/// How soon all must be well again.
const BACK: Duration = Duration::from_secs(10);

/// How soon a Redis that does not answer is left alone, and how soon it is asked again when it does: a breaker
/// stays open for 30 s at most.
const OPEN: Duration = Duration::from_secs(1);
const CLOSED: Duration = Duration::from_secs(35);

/// A primary is killed; its replica takes over; it comes back empty.
pub(super) fn killed(stage: &Stage, round: &Round) -> Result<Seen> {
    let cluster = cluster(stage)?;
    let number = Seed::new(round.seed).below(3);
    let outage = round.outage(8, 30);
    broken(stage, round, "a primary of Redis is killed", || {
        let primaries = cluster.primaries();
        let primary = primaries.get(number).copied().context("three primaries")?;
        cluster.kill(primary);
        let_pass(outage);
        cluster.launch(primary);
        Ok(())
    })
}

/// A primary stands still, is replaced, and does not know it when it goes on.
pub(super) fn held(stage: &Stage, round: &Round) -> Result<Seen> {
    let cluster = cluster(stage)?;
    let number = Seed::new(round.seed).below(3);
    let outage = round.outage(8, 60);
    let session = Session::begin(stage)?;
    let mut seen = broken(stage, round, "a primary of Redis stands still", || {
        let primaries = cluster.primaries();
        let primary = primaries.get(number).copied().context("three primaries")?;
        primary.process().hold();
        // Somebody signs out while it stands still.
        let ended = session.end(stage);
        let_pass(outage);
        primary.process().go_on();
        ended
    })?;
    session.must_be_over(stage, &mut seen)?;
    Ok(seen)
}

/// The only server is killed, and comes back without what it held.
pub(super) fn gone(stage: &Stage, round: &Round) -> Result<Seen> {
    let server = alone(stage)?;
    let outage = round.outage(8, 600);
    let session = Session::begin(stage)?;
    let mut seen = broken(stage, round, "Redis is gone, and comes back empty", || {
        let ended = session.end(stage);
        server.kill();
        let_pass(outage);
        server.launch();
        ended
    })?;
    session.must_be_over(stage, &mut seen)?;
    // One that forgets by itself is refused.
    server.node().ask(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let node = &stage.cluster().member(0).node;
    node.stop();
    let started = node.try_launch();
    seen.must(!started, || "a node starts on a Redis that forgets values by itself".to_owned());
    server.node().ask(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    if !started {
        node.launch();
    }
    Ok(seen)
}

/// Replicas learn nothing more, codes are redeemed, and all primaries are replaced by them.
pub(super) fn dropped(stage: &Stage, round: &Round) -> Result<Seen> {
    let cluster = cluster(stage)?;
    let ledger = Ledger::default();
    let mut client = stage.public(0);
    let codes: Result<Vec<String>> =
        (0..round.many(4, 20, 100)).map(|_| stage.code(&mut client)).collect();
    let codes = codes?;
    let tokens: Result<Vec<_>> =
        (0..round.many(4, 20, 100)).map(|_| stage::issued(&mut client)).collect();
    let primaries = cluster.primaries();
    for primary in &primaries {
        primary.cut_replication();
    }
    let mut redeemed = 0;
    for code in &codes {
        redeemed += usize::from(stage::redeem(&mut client, code)?.status == 200);
    }
    for access in tokens? {
        let asked = stage::revoke(&mut client, &access.token);
        if Outcome::of(&asked, 200) == Outcome::Good {
            ledger.revoked(access);
        }
    }
    for primary in &primaries {
        cluster.fail_over(primary);
    }
    let mut seen = Seen::default();
    let works = || stage.family_of(&mut stage.public(0)).is_ok();
    match until(BACK * 2, works) {
        Some(took) => {
            seen.promised("people sign in again after", [took].into_iter().collect(), BACK);
        }
        None => seen.broken.push("nobody can sign in after the failover".to_owned()),
    }
    let mut again = 0;
    for (number, code) in codes.iter().enumerate() {
        let mut client = stage.public(number % stage.nodes());
        again += usize::from(stage::redeem(&mut client, code)?.status == 200);
    }
    seen.must(redeemed == codes.len(), || format!("{redeemed} of {} codes count", codes.len()));
    seen.must(again == 0, || format!("{again} codes are redeemed twice"));
    seen.fact("codes redeemed before and not again", redeemed - again.min(redeemed), codes.len());
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    for primary in &primaries {
        cluster.launch(primary);
    }
    cluster.settle();
    seen.saw = format!("{} primaries replaced", primaries.len());
    Ok(seen)
}

/// NATS is killed, and comes back without its streams.
pub(super) fn nats_gone(stage: &Stage, round: &Round) -> Result<Seen> {
    let nats = stage.cluster().nats().context("an installation with NATS")?;
    let outage = round.outage(8, 600);
    let (mut bystander, mut again) = (Bystander::come(nats)?, 0);
    let mut seen = broken(stage, round, "NATS is gone, and comes back empty", || {
        nats.kill();
        let_pass(outage);
        nats.launch_empty();
        // What was said before comes once more: late, out of order, and some of it twice.
        bystander.come_back()?;
        again = bystander.play(&mut Seed::new(round.seed))?;
        Ok(())
    })?;
    seen.must(again > 0, || "nothing was heard, so that nothing came late".to_owned());
    seen.saw = format!("{again} messages came late, out of order and twice");
    Ok(seen)
}

/// Nothing of NATS is heard, and its connections stay open: it stands still, or all ways to it swallow what
/// they are given.
pub(super) fn nats_silent(stage: &Stage, round: &Round) -> Result<Seen> {
    let nats = stage.cluster().nats().context("an installation with NATS")?;
    let outage = round.outage(8, 600);
    let swallow = |mode| {
        let members = stage.cluster().members().iter();
        members.filter_map(|member| member.nats.as_ref()).for_each(|way| way.set(mode));
    };
    let stands_still = Seed::new(round.seed).below(2) == 0;
    let mut seen = broken(stage, round, "nothing of NATS is heard", || {
        if stands_still {
            nats.hold();
            let_pass(outage);
            nats.go_on();
        } else {
            swallow(Mode::BlackHole);
            let_pass(outage);
            swallow(Mode::Sound);
        }
        Ok(())
    })?;
    let how = if stands_still { "it stands still" } else { "its ways swallow everything" };
    how.clone_into(&mut seen.saw);
    Ok(seen)
}

/// Nothing of the only Redis is heard, and its connections stay open: it is left alone soon, and asked again
/// when it answers.
pub(super) fn silent(stage: &Stage, round: &Round) -> Result<Seen> {
    alone(stage)?;
    let outage = round.outage(8, 600).max(OPEN * 2);
    let set = |mode| {
        let ways = stage.cluster().members().iter().flat_map(|member| &member.redis);
        ways.for_each(|way| way.set(mode));
    };
    let begun = Stopwatch::start();
    let (mut opened, mut closed) = (None, None);
    let ending = Ending::default();
    let mut seen = thread::scope(|scope| {
        let _over = ending.ends_with();
        // What is kept nowhere but in Redis: who wants a code, and has not signed in.
        for n in 0..8 {
            let ending = &ending;
            scope.spawn(move || {
                let mut public = stage.public(n % stage.nodes());
                while !ending.pass(Duration::from_millis(20)) {
                    let _ = public.ask(&stage::authorization());
                }
            });
        }
        broken(stage, round, "nothing of Redis is heard", || {
            set(Mode::BlackHole);
            let silent = begun.read();
            opened = until(OPEN * 10, || all_breakers(stage, 2));
            let_pass(outage.saturating_sub(begun.read().saturating_sub(silent)));
            set(Mode::Sound);
            closed = until(stage::PATIENCE, || all_breakers(stage, 0));
            Ok(())
        })
    })?;
    for (name, took, most) in
        [("the breaker opens after", opened, OPEN), ("and closes after", closed, CLOSED)]
    {
        match took {
            Some(took) => seen.promised(name, [took].into_iter().collect(), most),
            None => seen.broken.push(format!("{name}: never")),
        }
    }
    Ok(seen)
}

/// Whether the breakers before Redis are all in a state, as metrics say it.
fn all_breakers(stage: &Stage, state: u8) -> bool {
    let line = format!("circuit_breaker_state{{name=\"redis\"}} {state}");
    stage.cluster().members().iter().all(|member| {
        let mut client = Client::new(member.node.ports().operations);
        client.ask(&Ask::get("/metrics")).is_ok_and(|answer| answer.text().contains(&line))
    })
}

fn broken(
    stage: &Stage,
    round: &Round,
    title: &str,
    breaks: impl FnOnce() -> Result<()> + Send,
) -> Result<Seen> {
    let calm = Duration::from_secs(if round.hasty { 1 } else { 3 });
    let amount = Amount {
        families: 3,
        revocations: 15,
        expected: Duration::from_secs(25),
        old: if round.hasty { Vec::new() } else { stage.old_tokens()? },
    };
    let ledger = Ledger::default();
    let times = round.many(3, 10, 50);
    let (load, (gone, back, during, after)) = Load::put(stage, &ledger, &amount, |load| {
        let_pass(calm + Seed::new(round.seed).moment(Duration::from_secs(1)));
        let gone = load.watch.read();
        let during = thread::scope(|scope| {
            let (stage, ledger) = (&stage, &ledger);
            let during = scope.spawn(move || propagation(stage, ledger, (0, 1), times, DURING));
            breaks()?;
            during.join().unwrap_or_else(|_| bail!("whoever took tokens back died"))
        })?;
        let back = load.watch.read();
        let_pass(BACK);
        let after = propagation(stage, &ledger, (0, 1), times, DURING)?;
        let_pass(calm);
        Ok((gone, back, during, after))
    })?;
    let mut seen = Seen { checked: ledger.check(stage), ..Seen::default() };
    seen.broken = ledger.all_broken();
    seen.promised("revoked here, refused there: meanwhile", during, DURING);
    let p99 = after.percentile(99);
    seen.must(p99 <= WELL, || format!("revoked here, refused there: afterwards, p99 is {p99:?}"));
    seen.number("revoked here, refused there: afterwards", after);
    for calls in load.calls() {
        let all = calls.within(gone, Duration::MAX);
        seen.fact(calls.name, all.count(|outcome| outcome == Outcome::Good), all.len());
        let success = all.success();
        seen.must(success >= 0.9999, || format!("{}: {:.2} % served", calls.name, success * 100.0));
    }
    let mut late = Latencies::default();
    for changes in load.changes() {
        let all = changes.within(gone, Duration::MAX);
        let good = all.count(|outcome| outcome == Outcome::Good);
        seen.fact(changes.name, good, all.len());
        let wrong = all.count(|it| !matches!(it, Outcome::Good | Outcome::Later));
        seen.must(wrong == 0, || format!("{}: {wrong} answered neither 200 nor 503", changes.name));
        late = late.and(&all.latencies(|_| true));
    }
    seen.number("changes, from the fault on", late);
    let all: Vec<&Series> = load.calls().into_iter().chain(load.changes()).collect();
    seen.plot = Some(Plot::new(title, &all, &[(gone, back)]));
    Ok(seen)
}

fn cluster(stage: &Stage) -> Result<&RedisCluster> {
    match stage.cluster().redis() {
        Some(Redis::Cluster(cluster)) => Ok(cluster),
        _ => bail!("this needs a cluster of Redis"),
    }
}

fn alone(stage: &Stage) -> Result<&RedisServer> {
    match stage.cluster().redis() {
        Some(Redis::Alone(server)) => Ok(server),
        _ => bail!("this needs one Redis"),
    }
}

/// A session that is ended while something is broken.
struct Session {
    cookie: String,
    csrf: String,
}

impl Session {
    fn begin(stage: &Stage) -> Result<Self> {
        let answer = stage.public(0).ask(&stage.sign_in())?;
        let cookie = answer.all("set-cookie").find(|line| line.starts_with("session_id="));
        let cookie = cookie.and_then(|line| line.split(';').next()).map(str::to_owned);
        let csrf = answer.member("csrf_token");
        let said = || format!("signing in was answered {}: {}", answer.status, answer.text());
        Ok(Self { cookie: cookie.with_context(said)?, csrf: csrf.with_context(said)? })
    }

    /// Ends it, asking again until that is acknowledged.
    fn end(&self, stage: &Stage) -> Result<()> {
        let ask = Ask::form("/api/auth/logout", &[])
            .field("Cookie", &self.cookie)
            .field("X-CSRF-Token", &self.csrf)
            .field("Origin", stage.cluster().issuer())
            .field("User-Agent", "tegata-faults");
        let mut client = stage.public(0);
        let mut said = String::new();
        let ended = until(BACK, || match client.ask(&ask) {
            Ok(answer) => {
                said = format!("{}: {}", answer.status, answer.text());
                answer.status == 204
            }
            Err(error) => {
                said = error.to_string();
                false
            }
        });
        ended.map(drop).with_context(|| format!("nobody can sign out: {said}"))
    }

    fn must_be_over(&self, stage: &Stage, seen: &mut Seen) -> Result<()> {
        for node in 0..stage.nodes() {
            let asked = stage.public(node).ask(&stage::whose_session(&self.cookie))?;
            seen.must(asked.status == 401, || {
                format!("node {node} answers a session that was ended {}", asked.status)
            });
        }
        Ok(())
    }
}
