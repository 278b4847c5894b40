//! Sessions, while what they come from is away: the issuer, for a service with a sidecar, and the stores.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{Mode, Redis};

use crate::{
    http::{Ask, Client},
    ledger::Ledger,
    report::Seen,
    scenario::Round,
    sidecar::{STALE, Sidecar},
    stage::{self, PATIENCE, Stage, whose_session},
    time::{Stopwatch, let_pass, until},
};

/// How soon what is taken back is refused beside a service while all is well: nine times of ten, and always.
const PUSH: Duration = Duration::from_millis(250);
const PULL: Duration = Duration::from_secs(5);

/// How soon everything must work again.
const BACK: Duration = Duration::from_secs(10);

/// Every node is killed: the sidecar goes on for as long as it may, says 503 then, and learns what was
/// taken back when they come back.
pub(super) fn issuer(stage: &Stage, round: &Round) -> Result<Seen> {
    let ledger = Ledger::default();
    let mut seen = Seen::default();
    let sidecar = Sidecar::start(stage, &round.program)?;
    let mut public = stage.public(0);
    let living = stage::issued(&mut public)?;
    ensure!(sidecar.check(&living) == 200, "a token does not count beside the service");
    let mut refused = Vec::new();
    for _ in 0..round.many(3, 10, 50) {
        let access = stage::issued(&mut public)?;
        ensure!(sidecar.check(&access) == 200, "a token does not count beside the service");
        let answer = stage::revoke(&mut public, &access.token)?;
        ensure!(answer.status == 200, "taking back was answered {}", answer.status);
        let took = until(PATIENCE, || sidecar.check(&access) == 401);
        refused.push(took.context("what was taken back counts beside the service")?);
        ledger.revoked(access);
    }
    // A busy machine is slow now and then.
    refused.sort_unstable();
    let slow = refused.split_off(refused.len() * 9 / 10);
    seen.promised(
        "taken back, refused beside the service: 9 of 10",
        refused.into_iter().collect(),
        PUSH,
    );
    seen.promised("the slowest of ten", slow.into_iter().collect(), PULL);

    let nodes = || stage.cluster().members().iter();
    nodes().for_each(|member| member.node.kill());
    let gone = Stopwatch::start();
    let (mut good, mut early, mut held, mut late) = (0, 0, 0, 0);
    let outage = round.outage(9, 60).max(STALE * 2);
    while gone.read() < outage {
        let status = sidecar.check(&living);
        let now = gone.read();
        seen.must(matches!(status, 200 | 503), || format!("the sidecar answered {status}"));
        if now < STALE.saturating_sub(Duration::from_secs(2)) {
            early += 1;
            good += usize::from(status == 200);
        } else if now > STALE + Duration::from_secs(2) {
            late += 1;
            held += usize::from(status == 503);
        }
        let_pass(Duration::from_millis(20));
    }
    seen.fact("while the issuer is gone: served from what is known", good, early);
    seen.fact("for longer than that: answered 503", held, late);
    seen.must(good == early && early > 0, || format!("{good} of {early} were served at first"));
    seen.must(held == late && late > 0, || format!("{held} of {late} were answered 503"));

    nodes().for_each(|member| member.node.launch());
    match until(BACK * 3, || sidecar.check(&living) == 200) {
        Some(took) => seen.promised("served again after", [took].into_iter().collect(), BACK),
        None => seen.broken.push("the sidecar does not find the issuer again".to_owned()),
    }
    let answer = stage::revoke(&mut stage.public(1 % stage.nodes()), &living.token)?;
    ensure!(answer.status == 200, "taking back was answered {}", answer.status);
    seen.must(until(BACK, || sidecar.check(&living) == 401).is_some(), || {
        "what was taken back afterwards counts beside the service".to_owned()
    });
    ledger.revoked(living);
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    Ok(seen)
}

/// PostgreSQL and Redis are away: who shows a token goes on, who shows a cookie that nobody has near is
/// answered 503 and keeps it, and the node says so in its metrics.
pub(super) fn store(stage: &Stage, round: &Round) -> Result<Seen> {
    let ledger = Ledger::default();
    let mut seen = Seen::default();
    let node = 1 % stage.nodes();
    let mut public = stage.public(0);
    let taken = stage::issued(&mut public)?;
    ensure!(stage::revoke(&mut public, &taken.token)?.status == 200, "nothing can be taken back");
    ledger.revoked(taken);
    let living = stage::issued(&mut public)?;
    let signed_in = public.ask(&stage.sign_in())?;
    let cookie = signed_in.all("set-cookie").find(|line| line.starts_with("session_id="));
    let cookie = cookie.and_then(|line| line.split(';').next()).context("nobody can sign in")?;
    let cookie = cookie.to_owned();
    ensure!(public.ask(&whose_session(&cookie))?.status == 200, "the session does not begin");

    let Some(Redis::Alone(redis)) = stage.cluster().redis() else {
        anyhow::bail!("this needs one Redis");
    };
    redis.node().process().hold();
    let ways = || stage.cluster().members().iter().map(|member| &member.postgres);
    ways().for_each(|way| way.set(Mode::BlackHole));
    let gone = Stopwatch::start();
    let mut gateway = stage.gateway(node).waiting(Duration::from_secs(5));
    let by_cookie = Ask::get("/bounded/x").field("Cookie", &cookie);
    let by_cookie = by_cookie.field("User-Agent", "tegata-faults");
    let (mut bearers, mut served, mut cookies, mut later) = (0, 0, 0, 0);
    let outage = round.outage(6, 60);
    while gone.read() < outage {
        bearers += 1;
        let answer = stage::call(&mut gateway, "/bounded", &living.token);
        served += usize::from(answer.is_ok_and(|answer| answer.status == 200));
        cookies += 1;
        let answer = gateway.ask(&by_cookie);
        later += usize::from(answer.is_ok_and(|answer| {
            answer.status == 503
                && answer.field("retry-after").is_some()
                // Whoever is told to come later keeps what they have.
                && answer.all("set-cookie").next().is_none()
        }));
        let_pass(Duration::from_millis(50));
    }
    seen.fact("while the stores are gone: calls with tokens served", served, bearers);
    seen.fact("while the stores are gone: calls with cookies answered 503", later, cookies);
    seen.must(served == bearers, || format!("{served} of {bearers} calls with tokens were served"));
    seen.must(later == cookies, || format!("{later} of {cookies} calls with cookies: 503"));
    let mut operations =
        Client::new(stage.cluster().member(node).node.ports().operations).waiting(BACK);
    let mut says = |line: &str| {
        let told = operations.ask(&Ask::get("/metrics"));
        told.is_ok_and(|told| told.text().lines().any(|own| own == line))
    };
    let alarm = "node_health{check=\"store\"} 3";
    seen.must(until(BACK * 2, || says(alarm)).is_some(), || "no metric tells of it".to_owned());

    redis.node().process().go_on();
    ways().for_each(|way| way.set(Mode::Sound));
    let back = until(BACK * 3, || gateway.ask(&by_cookie).is_ok_and(|answer| answer.status == 200));
    match back {
        Some(took) => {
            seen.promised("cookies count again after", [took].into_iter().collect(), BACK);
        }
        None => seen.broken.push("somebody who was signed in no longer is".to_owned()),
    }
    let over = || says("node_health{check=\"store\"} 0");
    seen.must(until(BACK * 2, over).is_some(), || "the metric tells of it for ever".to_owned());
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    Ok(seen)
}
