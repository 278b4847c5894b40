//! The wall clock of one node jumps by five minutes, ahead or back, or drifts.

use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::{
    ledger::{LEARNT, Ledger, Refreshed, keep, lock},
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::{Latencies, Outcome},
    stage::{self, Access, ROUTES, Stage, issued},
    time::{Stopwatch, let_pass, until},
};

/// The node whose clock is told another time.
const WRONG: usize = 1;

/// A node whose clock is right.
const RIGHT: usize = 0;

/// By how much, in seconds.
const JUMP: i64 = 300;

/// How soon the node must say that it is not ready.
const NOTICED: Duration = Duration::from_secs(5);

/// How much longer than others its tokens may live.
const EXTENDED: u64 = 30;

/// How far a clock may drift, in seconds, from one comparison with the database's to the next, in whole
/// seconds of both.
const SAMPLED: u64 = 3;

/// How soon it must be ready when its clock is right again.
const BACK: Duration = Duration::from_secs(40);

/// One round: jump, look, jump back, look.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let wrong = round.outage(8, 60);
    let mut seed = Seed::new(round.seed);
    let jump = if seed.below(2) == 0 { JUMP } else { -JUMP };
    let ledger = Ledger::default();
    let families = ledger.begin(stage.families(4)?);
    let cookie = stage.session(&mut stage.public(RIGHT))?;
    let before = revoke_some(stage, &ledger, RIGHT, 5)?;
    let mut seen = Seen { saw: format!("{jump:+} s"), ..Seen::default() };

    let node = &stage.cluster().member(WRONG).node;
    node.set_clock(jump);
    let jumped = Stopwatch::start();
    let noticed = until(wrong, || !node.is_ready());
    match noticed {
        Some(took) => seen.promised("not ready after", [took].into_iter().collect(), NOTICED),
        None => seen.broken.push(format!(
            "the node with the wrong clock says for {:.0} s that it is ready",
            wrong.as_secs_f64()
        )),
    }
    let mut given = 0;
    let (mut refused, mut extended) = (0, 0);
    for _ in 0..round.many(3, 10, 50) {
        let (own, other) =
            (stage::issue(&mut stage.public(WRONG)), issued(&mut stage.public(RIGHT))?);
        let Ok(access) = own.map_err(anyhow::Error::from).and_then(|it| stage::access_in(&it))
        else {
            continue;
        };
        given += 1;
        refused += usize::from(!is_served(stage, RIGHT, &access)?);
        extended += usize::from(access.ends > other.ends + EXTENDED);
    }
    seen.must(refused == 0, || {
        format!(
            "{refused} of {given} tokens of the node with the wrong clock are refused by the other"
        )
    });
    seen.must(extended == 0, || {
        format!("{extended} of {given} tokens of that node live more than {EXTENDED} s too long")
    });
    seen.fact("tokens issued while the clock is wrong", given, round.many(3, 10, 50));
    let_pass(LEARNT);
    still_refused(stage, &mut seen, &before, "while the clock is wrong");
    let during = revoke_some(stage, &ledger, RIGHT, 5)?;
    for family in &families {
        let token = lock(family).tokens.last().cloned().unwrap_or_default();
        let asked = stage::refresh(&mut stage.public(WRONG), &token);
        keep(family, &Refreshed::of(&asked));
    }
    session_counts(stage, &mut seen, &cookie, "while the clock is wrong");
    let_pass(wrong.saturating_sub(jumped.read()).max(LEARNT));
    still_refused(stage, &mut seen, &during, "while the clock is wrong");

    node.set_clock(0);
    match until(BACK * 2, || node.is_ready()) {
        Some(took) => {
            seen.promised("ready again after", [took].into_iter().collect::<Latencies>(), BACK);
        }
        None => seen.broken.push("the node is not ready again".to_owned()),
    }
    session_counts(stage, &mut seen, &cookie, "when the clock is right again");
    let ended = families.iter().filter(|family| lock(family).ended).count();
    seen.must(ended == 0, || format!("{ended} families of refresh tokens ended"));
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    Ok(seen)
}

/// The clock drifts: it runs twice as fast as it should, or stands still, until it is well beyond what is
/// put up with; then it drifts back.
pub(super) fn drifts(stage: &Stage, round: &Round) -> Result<Seen> {
    let wrong = i64::try_from(round.outage(42, 300).as_secs())?.max(EXTENDED.cast_signed() + 10);
    let mut seed = Seed::new(round.seed);
    let sign = if seed.below(2) == 0 { 1 } else { -1 };
    let ledger = Ledger::default();
    let families = ledger.begin(stage.families(4)?);
    let cookie = stage.session(&mut stage.public(RIGHT))?;
    let before = revoke_some(stage, &ledger, RIGHT, 5)?;
    let mut seen = Seen { saw: format!("up to {:+} s", sign * wrong), ..Seen::default() };
    let node = &stage.cluster().member(WRONG).node;
    let mut drifted = Drifted::default();
    // A second in each second: what is issued meanwhile is looked at as often.
    for seconds in (1..=wrong).chain((0..wrong).rev()) {
        let began = Stopwatch::start();
        node.set_clock(sign * seconds);
        let rises = drifted.most < seconds;
        drifted.most = drifted.most.max(seconds);
        if seconds > EXTENDED.cast_signed() && rises && drifted.beyond.is_none() {
            drifted.beyond = Some(Stopwatch::start());
        }
        if drifted.noticed.is_none() && !node.is_ready() {
            drifted.noticed = Some(drifted.beyond.map_or(Duration::ZERO, |it| it.read()));
        }
        drifted.look(stage)?;
        let_pass(Duration::from_secs(1).saturating_sub(began.read()));
    }
    match drifted.noticed {
        Some(took) => {
            seen.promised(
                "not ready, from half a minute on",
                [took].into_iter().collect(),
                NOTICED,
            );
        }
        None => seen.broken.push(format!("it says that it is ready while it is {wrong} s wrong")),
    }
    let Drifted { given, refused, extended, furthest, .. } = drifted;
    seen.must(given > 0, || "it issued nothing, so that nothing was tried".to_owned());
    seen.must(refused == 0, || {
        format!("{refused} of {given} tokens of that node are refused by the other")
    });
    seen.must(extended == 0, || {
        format!("{extended} of {given} tokens live too long, by up to {furthest} s")
    });
    seen.fact("tokens issued while the clock drifts", given, drifted.asked);
    match until(BACK * 2, || node.is_ready()) {
        Some(took) => seen.promised("ready again after", [took].into_iter().collect(), BACK),
        None => seen.broken.push("the node is not ready again".to_owned()),
    }
    still_refused(stage, &mut seen, &before, "after its clock has drifted");
    session_counts(stage, &mut seen, &cookie, "after its clock has drifted");
    for family in &families {
        let token = lock(family).tokens.last().cloned().unwrap_or_default();
        keep(family, &Refreshed::of(&stage::refresh(&mut stage.public(WRONG), &token)));
    }
    let ended = families.iter().filter(|family| lock(family).ended).count();
    seen.must(ended == 0, || format!("{ended} families of refresh tokens ended"));
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    Ok(seen)
}

/// What was seen while a clock drifted.
#[derive(Default)]
struct Drifted {
    most: i64,
    /// Since when it is further off than anybody puts up with.
    beyond: Option<Stopwatch>,
    /// How long after that it said so; before it, at once.
    noticed: Option<Duration>,
    asked: usize,
    given: usize,
    refused: usize,
    extended: usize,
    furthest: u64,
}

impl Drifted {
    /// Asks the node with the wrong clock for a token, and the other what it makes of it.
    fn look(&mut self, stage: &Stage) -> Result<()> {
        self.asked += 1;
        let own = stage::issue(&mut stage.public(WRONG)).map_err(anyhow::Error::from);
        let Ok(access) = own.and_then(|it| stage::access_in(&it)) else { return Ok(()) };
        let other = issued(&mut stage.public(RIGHT))?;
        self.given += 1;
        self.refused += usize::from(!is_served(stage, RIGHT, &access)?);
        let longer = access.ends.saturating_sub(other.ends);
        self.furthest = self.furthest.max(longer);
        self.extended += usize::from(longer > EXTENDED + SAMPLED);
        Ok(())
    }
}

fn revoke_some(stage: &Stage, ledger: &Ledger, node: usize, many: usize) -> Result<Vec<Access>> {
    let mut client = stage.public(node);
    let mut all = Vec::new();
    for _ in 0..many {
        let access = issued(&mut client)?;
        let asked = stage::revoke(&mut client, &access.token);
        anyhow::ensure!(Outcome::of(&asked, 200) == Outcome::Good, "a revocation: {asked:?}");
        ledger.revoked(access.clone());
        all.push(access);
    }
    Ok(all)
}

fn is_served(stage: &Stage, node: usize, access: &Access) -> Result<bool> {
    let answer = stage::call(&mut stage.gateway(node), "/bounded", &access.token);
    Ok(answer.context("a gateway")?.status == 200)
}

fn still_refused(stage: &Stage, seen: &mut Seen, revoked: &[Access], when: &str) {
    for node in [RIGHT, WRONG] {
        let mut gateway = stage.gateway(node);
        let served = |access: &&Access| {
            let on = |route| stage::call(&mut gateway, route, &access.token);
            ROUTES.map(on).into_iter().flatten().any(|answer| answer.status == 200)
        };
        let count = revoked.iter().filter(served).count();
        seen.must(count == 0, || format!("node {node} serves {count} revoked tokens {when}"));
    }
}

fn session_counts(stage: &Stage, seen: &mut Seen, cookie: &str, when: &str) {
    for node in [RIGHT, WRONG] {
        let asked = stage.public(node).ask(&stage::whose_session(cookie));
        let status = asked.map_or(0, |answer| answer.status);
        // Who is not sure may say so.
        seen.must(matches!(status, 200 | 503), || {
            format!("node {node} answers a session {status} {when}")
        });
    }
}
