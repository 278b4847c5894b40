//! PostgreSQL goes away and comes back.

use std::time::Duration;

use anyhow::Result;
use tegata_engines::Mode;

use crate::{
    ledger::Ledger,
    load::{Amount, Load},
    plot::Plot,
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::{Outcome, Series},
    stage::Stage,
    time::let_pass,
};

/// How soon a change must be answered that cannot be made.
const AT_ONCE: Duration = Duration::from_millis(500);

/// How soon everything must work again.
const BACK: Duration = Duration::from_secs(10);

/// How PostgreSQL goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// With all its processes at once, in the middle of what it does.
    Killed,
    /// As an operator stops it.
    Stopped,
    /// It is there and nothing of it is heard.
    Silent,
    /// One node hears nothing of it, and the other takes things back.
    Apart,
}

/// It is killed, or stopped, as the seed says.
pub(super) fn killed(stage: &Stage, round: &Round) -> Result<Seen> {
    let way = if Seed::new(round.seed).below(2) == 0 { Way::Killed } else { Way::Stopped };
    away(stage, round, way)
}

/// Nothing of it is heard.
pub(super) fn silent(stage: &Stage, round: &Round) -> Result<Seen> {
    away(stage, round, Way::Silent)
}

/// One of two nodes hears nothing of it.
pub(super) fn apart(stage: &Stage, round: &Round) -> Result<Seen> {
    away(stage, round, Way::Apart)
}

fn away(stage: &Stage, round: &Round, way: Way) -> Result<Seen> {
    let outage = round.outage(8, 300);
    let calm = Duration::from_secs(if round.hasty { 1 } else { 3 });
    let amount = Amount {
        families: 4,
        revocations: 20,
        expected: outage.min(Duration::from_secs(20)) + calm * 4,
        old: if round.hasty { Vec::new() } else { stage.old_tokens()? },
    };
    let ledger = Ledger::default();
    let (load, (gone, back)) = Load::put(stage, &ledger, &amount, |load| {
        let_pass(calm + Seed::new(round.seed).moment(Duration::from_secs(1)));
        let gone = load.watch.read();
        go(stage, way);
        let_pass(outage);
        come_back(stage, way);
        let back = load.watch.read();
        // It may take ten seconds; how long it does take is what is asked.
        crate::time::until(BACK * 2, || {
            load.changes().iter().all(|it| it.back_after(back, 0..stage.nodes()).is_some())
        });
        let_pass(calm);
        Ok((gone, back))
    })?;
    let mut seen =
        Seen { saw: format!("{way:?} for {:.1} s", outage.as_secs_f64()), ..Seen::default() };
    seen.checked = ledger.check(stage);
    seen.broken = ledger.all_broken();
    judge(&mut seen, &load, stage, gone, back);
    let all: Vec<&Series> = load.calls().into_iter().chain(load.changes()).collect();
    let title = format!("PostgreSQL {}, and back", format!("{way:?}").to_lowercase());
    seen.plot = Some(Plot::new(&title, &all, &[(gone, back)]));
    Ok(seen)
}

fn go(stage: &Stage, way: Way) {
    match way {
        Way::Killed => stage.cluster().postgres().kill(),
        Way::Stopped => stage.cluster().postgres().stop(),
        Way::Silent | Way::Apart => set(stage, way, Mode::BlackHole),
    }
}

fn come_back(stage: &Stage, way: Way) {
    match way {
        Way::Killed | Way::Stopped => stage.cluster().postgres().launch(),
        Way::Silent | Way::Apart => set(stage, way, Mode::Sound),
    }
}

/// What becomes of the ways to it. Those to everything else stay as they are.
fn set(stage: &Stage, way: Way, mode: Mode) {
    let members = stage.cluster().members().iter();
    let through = members.skip(usize::from(way == Way::Apart));
    through.for_each(|member| member.postgres.set(mode));
}

fn judge(seen: &mut Seen, load: &Load, stage: &Stage, gone: Duration, back: Duration) {
    for calls in load.calls() {
        let during = calls.within(gone, back);
        let good = during.count(|outcome| outcome == Outcome::Good);
        seen.fact(calls.name, good, during.len());
        let success = during.success();
        seen.must(success >= 0.9999, || {
            let bad = during.0.iter().find(|sample| sample.outcome != Outcome::Good);
            let first = bad.map(|sample| (sample.outcome, sample.at.saturating_sub(gone)));
            format!("{}: {:.2} % were served; first not: {first:?}", calls.name, success * 100.0)
        });
        seen.downtime = seen.downtime.max(Some(calls.within(gone, back).downtime(gone, back)));
    }
    let mut refused = crate::series::Latencies::default();
    for changes in load.changes() {
        let during = changes.within(gone, back);
        let wrong = |outcome| !matches!(outcome, Outcome::Good | Outcome::Later);
        seen.must(during.count(wrong) == 0, || {
            let bad = during.0.iter().filter(|sample| wrong(sample.outcome));
            let few: Vec<_> =
                bad.map(|it| (it.outcome, it.at.saturating_sub(gone))).take(3).collect();
            format!("{}: answered neither 200 nor 503 with Retry-After: {few:?}", changes.name)
        });
        refused = refused.and(&during.latencies(|outcome| outcome == Outcome::Later));
        match changes.back_after(back, 0..stage.nodes()) {
            Some(took) => seen.promised("works again after", [took].into_iter().collect(), BACK),
            None => seen.broken.push(format!("{}: do not work again", changes.name)),
        }
    }
    seen.promised("changes answered 503", refused, AT_ONCE);
}
