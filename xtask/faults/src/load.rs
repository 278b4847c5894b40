//! What people and clients do all the time, while something is broken: they call services, get tokens,
//! refresh them and take them back.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::Result;

use crate::{
    http::Client,
    ledger::{Family, Ledger, Refreshed, keep, lock},
    series::{Latencies, Outcome, Series},
    stage::{self, Access, PATIENCE, Stage},
    time::{Ending, Stopwatch, let_pass},
};

/// How long each of them waits before the next request.
const PACE: Duration = Duration::from_millis(8);

/// How much of what there is.
#[derive(Debug, Clone)]
pub struct Amount {
    /// Families of refresh tokens, for each node.
    pub families: usize,
    /// Tokens to be taken back, for each node and second of the round.
    pub revocations: usize,
    /// The longest that the round is expected to take.
    pub expected: Duration,
    /// Tokens that are not young any more, to call services with.
    pub old: Vec<Access>,
}

/// The load, while it lasts.
#[derive(Debug)]
pub struct Load {
    /// Since when it lasts.
    pub watch: Stopwatch,
    /// Calls with tokens that are not young, on the route that is `bounded`, as routes are by default.
    pub bounded: Series,
    /// The same with tokens that are young.
    pub young: Series,
    /// Calls with tokens that are not young on the route that is `available`.
    pub available: Series,
    /// Tokens asked for.
    pub issue: Series,
    /// Tokens refreshed.
    pub refresh: Series,
    /// Tokens taken back.
    pub revoke: Series,
    ending: Ending,
}

impl Load {
    fn new() -> Self {
        let watch = Stopwatch::start();
        Self {
            watch,
            bounded: Series::new("calls, bounded route", watch),
            young: Series::new("calls of young tokens", watch),
            available: Series::new("calls, available route", watch),
            issue: Series::new("tokens issued", watch),
            refresh: Series::new("tokens refreshed", watch),
            revoke: Series::new("tokens taken back", watch),
            ending: Ending::default(),
        }
    }

    /// All that are calls.
    #[must_use]
    pub const fn calls(&self) -> [&Series; 3] {
        [&self.bounded, &self.young, &self.available]
    }

    /// All that change something.
    #[must_use]
    pub const fn changes(&self) -> [&Series; 3] {
        [&self.issue, &self.refresh, &self.revoke]
    }

    /// Puts every node of an installation under load while `during` happens.
    ///
    /// # Errors
    /// The load cannot begin, or `during` fails.
    pub fn put<R>(
        stage: &Stage,
        ledger: &Ledger,
        amount: &Amount,
        during: impl FnOnce(&Self) -> Result<R>,
    ) -> Result<(Self, R)> {
        let families = ledger.begin(stage.families(amount.families * stage.nodes())?);
        let seconds = usize::try_from(amount.expected.as_secs()).unwrap_or(60) + 1;
        let many = amount.revocations * seconds;
        let pools = pools(stage, many)?;
        let load = Self::new();
        let done = thread::scope(|scope| {
            let (load, old) = (&load, &amount.old);
            for (node, pool) in pools.into_iter().enumerate() {
                let own = families.iter().skip(node).step_by(stage.nodes());
                let own: Vec<_> = own.cloned().collect();
                let spread = Duration::from_secs(1)
                    .checked_div(u32::try_from(amount.revocations).unwrap_or(1).max(1));
                let pause = spread.unwrap_or(PACE);
                scope.spawn(move || load.call(stage, node, old));
                scope.spawn(move || load.issue(stage, node));
                scope.spawn(move || load.refresh(stage, node, &own));
                scope.spawn(move || load.revoke(stage, ledger, node, pool, pause));
            }
            let _over = load.ending.ends_with();
            let done = during(load);
            load.ending.end();
            done
        });
        Ok((load, done?))
    }

    fn call(&self, stage: &Stage, node: usize, old: &[Access]) {
        let mut client = stage.gateway(node);
        let (mut young, mut since) = (None, Stopwatch::start());
        for n in 0.. {
            if young.is_none() || since.read() > Duration::from_secs(20) {
                // Where none is issued, the one before is used on.
                if let Ok(token) = stage::issued(&mut stage.public(node)) {
                    (young, since) = (Some(token), Stopwatch::start());
                }
            }
            if let Some(token) = old.get(n % old.len().max(1)) {
                let _ = self
                    .bounded
                    .ask(node, 200, || stage::call(&mut client, "/bounded", &token.token));
                let _ = self
                    .available
                    .ask(node, 200, || stage::call(&mut client, "/available", &token.token));
            }
            let is_young = since.read() < Duration::from_secs(50);
            if let Some(token) = young.as_ref().filter(|_| is_young) {
                let _ = self
                    .young
                    .ask(node, 200, || stage::call(&mut client, "/bounded", &token.token));
            }
            if self.ending.pass(PACE) {
                return;
            }
        }
    }

    fn issue(&self, stage: &Stage, node: usize) {
        let mut client = stage.public(node);
        while !self.ending.pass(PACE * 2) {
            let _ = self.issue.ask(node, 200, || stage::issue(&mut client));
        }
    }

    /// Refreshes one family after the other; where nothing is known, the same again.
    fn refresh(&self, stage: &Stage, node: usize, families: &[Arc<Mutex<Family>>]) {
        let mut client = stage.public(node);
        let mut number = 0;
        while !self.ending.pass(PACE) {
            let Some(family) = families.get(number % families.len().max(1)) else { return };
            let known = lock(family).clone();
            let Some(token) = known.tokens.last().filter(|_| !known.ended) else {
                number += 1;
                continue;
            };
            let asked = self.refresh.ask(node, 200, || stage::refresh(&mut client, token));
            let refreshed = Refreshed::of(&asked);
            keep(family, &refreshed);
            if refreshed != Refreshed::Again {
                number += 1;
            }
        }
    }

    /// Takes one token after the other back. Whoever was told that it is, is refused at this node at
    /// once.
    fn revoke(
        &self,
        stage: &Stage,
        ledger: &Ledger,
        node: usize,
        mut pool: Vec<Access>,
        pause: Duration,
    ) {
        let (mut public, mut gateway) = (stage.public(node), stage.gateway(node));
        while !self.ending.pass(pause) {
            let Some(access) = pool.pop() else { return };
            let asked = self.revoke.ask(node, 200, || stage::revoke(&mut public, &access.token));
            if Outcome::of(&asked, 200) != Outcome::Good {
                pool.push(access);
                continue;
            }
            if stage::call(&mut gateway, "/bounded", &access.token)
                .is_ok_and(|answer| answer.status == 200)
            {
                ledger.broken(format!("node {node} accepts what it has just taken back"));
            }
            ledger.revoked(access);
        }
    }
}

/// Tokens to be taken back, for each node.
fn pools(stage: &Stage, many: usize) -> Result<Vec<Vec<Access>>> {
    thread::scope(|scope| {
        let pool = |node| {
            let mut client = stage.public(node);
            (0..many).map(|_| stage::issued(&mut client)).collect::<Result<Vec<_>>>()
        };
        let threads: Vec<_> =
            (0..stage.nodes()).map(|node| scope.spawn(move || pool(node))).collect();
        let lost = || anyhow::anyhow!("whoever got tokens died");
        threads.into_iter().map(|thread| thread.join().map_err(|_| lost())?).collect()
    })
}

/// How long it takes until what one node has taken back is refused by the gateway of another, so many
/// times. What is not refused within `patience` is broken.
pub fn propagation(
    stage: &Stage,
    ledger: &Ledger,
    (from, to): (usize, usize),
    times: usize,
    patience: Duration,
) -> Result<Latencies> {
    let (mut public, mut gateway) = (stage.public(from), stage.gateway(to));
    let mut all = Vec::new();
    for _ in 0..times {
        let access = stage::issued(&mut public)?;
        let before = stage::call(&mut gateway, "/bounded", &access.token)?.status;
        anyhow::ensure!(before == 200, "a good token was answered {before} by node {to}");
        let answer = stage::revoke(&mut public, &access.token)?;
        anyhow::ensure!(answer.status == 200, "a revocation was answered {}", answer.status);
        let refused = || call_is_refused(&mut gateway, &access);
        match crate::time::until(patience, refused) {
            Some(took) => all.push(took),
            None => ledger.broken(format!(
                "node {to} still accepts after {patience:?} what node {from} has taken back"
            )),
        }
        ledger.revoked(access);
        // So that it is not always at the same point of the other's rounds.
        let_pass(Duration::from_millis(37));
    }
    Ok(all.into_iter().collect())
}

fn call_is_refused(gateway: &mut Client, access: &Access) -> bool {
    stage::call(gateway, "/bounded", &access.token).is_ok_and(|answer| answer.status == 401)
}

/// Waits until a node says that it is ready; answers how long that took.
///
/// # Errors
/// It does not come to be.
pub fn until_ready(stage: &Stage, node: usize) -> Result<Duration> {
    let ready = crate::time::until(PATIENCE, || stage.cluster().member(node).node.is_ready());
    ready.ok_or_else(|| anyhow::anyhow!("node {node} does not become ready"))
}
