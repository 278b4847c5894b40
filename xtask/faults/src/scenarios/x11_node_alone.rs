//! One node reaches nothing of what it depends on.

use std::{sync::Mutex, thread, time::Duration};

use anyhow::Result;
use tegata_engines::Mode;

use crate::{
    http::{Ask, Client},
    ledger::{Family, Ledger, Refreshed, keep, lock},
    plot::Plot,
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::{Outcome, Series},
    stage::{self, Access, Stage},
    time::{Ending, Stopwatch, let_pass, until},
};

/// How soon a node must say that it is not ready, and from when on its knowledge is too old.
const STALE: Duration = Duration::from_secs(5);

/// How soon it must work again.
const BACK: Duration = Duration::from_secs(10);

/// How long a load balancer waits for an answer about readiness.
const HEALTH: Duration = Duration::from_secs(1);

/// What is seen of the node that is cut off.
struct Alone<'s> {
    stage: &'s Stage,
    ledger: &'s Ledger,
    node: usize,
    watch: Stopwatch,
    strict: Series,
    bounded: Series,
    issue: Series,
    refresh: Series,
    ending: Ending,
    /// Tokens that others took back since it was cut off, and when.
    revoked: Mutex<Vec<(Duration, Access)>>,
}

/// One round: the node is cut off, others take tokens back, and it comes back.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let outage = round.outage(12, 60).max(STALE + Duration::from_secs(3));
    let mut seed = Seed::new(round.seed);
    let node = seed.below(stage.nodes());
    let other = (node + 1) % stage.nodes();
    let ledger = Ledger::default();
    let families = ledger.begin(stage.families(2)?);
    let tokens = stage.take_old_tokens(round.many(5, 20, 60))?;
    let living = stage.old_tokens()?;
    let watch = Stopwatch::start();
    let alone = Alone {
        stage,
        ledger: &ledger,
        node,
        watch,
        strict: Series::new("calls, strict route", watch),
        bounded: Series::new("calls, bounded route", watch),
        issue: Series::new("tokens asked for", watch),
        refresh: Series::new("tokens refreshed", watch),
        ending: Ending::default(),
        revoked: Mutex::default(),
    };
    let mut seen = Seen { saw: format!("node {node}"), ..Seen::default() };
    let (cut, healed) = thread::scope(|scope| -> Result<(Duration, Duration)> {
        let _over = alone.ending.ends_with();
        let (alone, living) = (&alone, &living);
        scope.spawn(move || alone.call("/strict", &alone.strict, living));
        scope.spawn(move || alone.call("/bounded", &alone.bounded, living));
        scope.spawn(move || alone.issue());
        let family = families.first();
        scope.spawn(move || family.map(|family| alone.refresh(family)));
        let done = alone.happen(&mut seen, other, &tokens, outage);
        alone.ending.end();
        done
    })?;
    alone.judge(&mut seen, cut, healed);
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    let all = [&alone.strict, &alone.bounded, &alone.issue, &alone.refresh];
    seen.plot = Some(Plot::new("one node reaches nothing", &all, &[(cut, healed)]));
    Ok(seen)
}

impl Alone<'_> {
    fn happen(
        &self,
        seen: &mut Seen,
        other: usize,
        tokens: &[Access],
        outage: Duration,
    ) -> Result<(Duration, Duration)> {
        let_pass(Duration::from_secs(2));
        let member = self.stage.cluster().member(self.node);
        let mut health = Client::new(member.node.ports().operations).waiting(HEALTH);
        let mut is_ready =
            || health.ask(&Ask::get("/health/ready")).is_ok_and(|answer| answer.status == 200);
        member.set_all(Mode::BlackHole);
        let cut = self.watch.read();
        let mut public = self.stage.public(other);
        for access in tokens {
            let answer = stage::revoke(&mut public, &access.token)?;
            anyhow::ensure!(answer.status == 200, "node {other} answered {}", answer.status);
            self.ledger.revoked(access.clone());
            lock(&self.revoked).push((self.watch.read(), access.clone()));
        }
        match until(STALE * 3, || !is_ready()) {
            Some(_) => {
                let took = self.watch.read().saturating_sub(cut);
                seen.promised("not ready after", [took].into_iter().collect(), STALE);
            }
            None => seen.broken.push("the node says that it is ready all the time".to_owned()),
        }
        let_pass(outage.saturating_sub(self.watch.read().saturating_sub(cut)));
        member.set_all(Mode::Sound);
        let healed = self.watch.read();
        match until(BACK * 3, is_ready) {
            Some(took) => seen.promised("ready again after", [took].into_iter().collect(), BACK),
            None => seen.broken.push("the node does not become ready again".to_owned()),
        }
        until(BACK, || self.issue.back_after(healed, self.node..self.node + 1).is_some());
        let_pass(Duration::from_secs(2));
        Ok((cut, healed))
    }

    /// Calls with tokens that count, and with those that were taken back more than five seconds ago,
    /// which must never be served.
    fn call(&self, route: &str, series: &Series, living: &[Access]) {
        let mut gateway = self.stage.gateway(self.node);
        for n in 0.. {
            if let Some(access) = living.get(n % living.len().max(1)) {
                let _ =
                    series.ask(self.node, 200, || stage::call(&mut gateway, route, &access.token));
            }
            let revoked = {
                let all = lock(&self.revoked);
                all.get(n % all.len().max(1)).cloned()
            };
            if let Some((since, access)) = revoked
                && self.watch.read() > since + STALE
                && stage::call(&mut gateway, route, &access.token)
                    .is_ok_and(|answer| answer.status == 200)
            {
                let age = self.watch.read().saturating_sub(since);
                self.ledger.broken(format!(
                    "{route} serves a token {:.0} s after it was taken back elsewhere",
                    age.as_secs_f64()
                ));
            }
            if self.ending.pass(Duration::from_millis(10)) {
                return;
            }
        }
    }

    fn issue(&self) {
        let mut client = self.stage.public(self.node).waiting(Duration::from_secs(3));
        while !self.ending.pass(Duration::from_millis(20)) {
            let _ = self.issue.ask(self.node, 200, || stage::issue(&mut client));
        }
    }

    fn refresh(&self, family: &Mutex<Family>) {
        let mut client = self.stage.public(self.node).waiting(Duration::from_secs(3));
        while !self.ending.pass(Duration::from_millis(30)) {
            let token = lock(family).tokens.last().cloned().unwrap_or_default();
            let asked = self.refresh.ask(self.node, 200, || stage::refresh(&mut client, &token));
            keep(family, &Refreshed::of(&asked));
        }
    }

    fn judge(&self, seen: &mut Seen, cut: Duration, healed: Duration) {
        for (series, from) in
            [(&self.issue, cut), (&self.refresh, cut), (&self.strict, cut + STALE)]
        {
            let during = series.within(from, healed);
            let good = during.0.iter().filter(|sample| sample.outcome == Outcome::Good);
            // What was asked while it was cut off may be answered when it no longer is.
            let good = good.filter(|sample| sample.at + sample.took < healed).count();
            seen.must(good == 0, || {
                format!("{}: {good} were answered well by a node that reaches nothing", series.name)
            });
            seen.fact(series.name, during.len() - good, during.len());
        }
        let refused = |outcome| outcome == Outcome::Later;
        let during = self.issue.within(cut, healed);
        seen.number("tokens answered 503", during.latencies(refused));
        let silent = during.count(|outcome| matches!(outcome, Outcome::Lost | Outcome::NotSent));
        seen.fact("tokens asked for in vain for 3 s", silent, during.len());
        for series in [&self.strict, &self.bounded] {
            seen.number(series.name, series.within(cut, healed).latencies(|_| true));
        }
    }
}
