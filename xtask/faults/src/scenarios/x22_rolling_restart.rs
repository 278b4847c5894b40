//! One node after the other is stopped and started again, as the same or as another build, while
//! everybody goes on.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::x22_held::{self, Held};
use crate::{
    http::{Answer, Ask, Client, NoAnswer},
    ledger::{Family, Ledger, Refreshed, keep, lock},
    plot::Plot,
    report::Seen,
    scenario::Round,
    series::{Latencies, Outcome, Series},
    stage::{self, Access, Stage, claims_of_head, issued},
    time::{Ending, Stopwatch, let_pass},
};

/// How often a load balancer asks nodes whether they are ready.
const HEALTH: Duration = Duration::from_millis(200);

/// How often it is tried to have the next key sign.
const ROTATED: Duration = Duration::from_secs(2);

/// How long a node may take to let requests in flight end.
const DRAIN: Duration = Duration::from_secs(30);

/// A load balancer, as one stands before such an installation: it asks only nodes that say they are
/// ready, and asks another where nothing was sent.
struct Balancer<'s> {
    stage: &'s Stage,
    ready: Vec<Mutex<bool>>,
    next: AtomicUsize,
    passed_over: AtomicUsize,
}

/// Connections of one of its workers.
#[derive(Default)]
struct Connections(BTreeMap<u16, Client>);

impl<'s> Balancer<'s> {
    fn new(stage: &'s Stage) -> Self {
        let ready = (0..stage.nodes()).map(|_| Mutex::new(true)).collect();
        Self { stage, ready, next: AtomicUsize::new(0), passed_over: AtomicUsize::new(0) }
    }

    fn watch(&self, ending: &Ending) {
        while !ending.pass(HEALTH) {
            for (node, ready) in self.ready.iter().enumerate() {
                let ports = self.stage.cluster().member(node).node.ports();
                let mut client = Client::new(ports.operations).waiting(Duration::from_secs(1));
                let asked = client.ask(&Ask::get("/health/ready"));
                *lock(ready) = asked.is_ok_and(|answer| answer.status == 200);
            }
        }
    }

    /// Asks a node.
    fn ask(
        &self,
        connections: &mut Connections,
        port: impl Fn(usize) -> u16,
        ask: impl Fn(&mut Client) -> Result<Answer, NoAnswer>,
    ) -> (usize, Result<Answer, NoAnswer>) {
        let nodes = self.ready.len().max(1);
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let order: Vec<usize> = (0..nodes).map(|n| first.wrapping_add(n) % nodes).collect();
        let is_ready = |node: &usize| self.ready.get(*node).is_some_and(|ready| *lock(ready));
        let (ready, rest): (Vec<_>, Vec<_>) = order.into_iter().partition(is_ready);
        let mut last = None;
        for node in ready.into_iter().chain(rest) {
            let port = port(node);
            let client = connections.0.entry(port).or_insert_with(|| Client::new(port));
            let asked = ask(client);
            if !matches!(asked, Err(NoAnswer::NotSent(_))) {
                return (node, asked);
            }
            self.passed_over.fetch_add(1, Ordering::Relaxed);
            last = Some((node, asked));
        }
        let nobody = || NoAnswer::NotSent(std::io::ErrorKind::NotConnected.into());
        last.unwrap_or_else(|| (0, Err(nobody())))
    }

    /// The gateways, those first that say that they are ready.
    fn gateways(&self) -> Vec<(usize, u16)> {
        let nodes = self.ready.len().max(1);
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let order = (0..nodes).map(|n| first.wrapping_add(n) % nodes);
        let is_ready = |node: &usize| self.ready.get(*node).is_some_and(|ready| *lock(ready));
        let (ready, rest): (Vec<_>, Vec<_>) = order.partition(is_ready);
        ready.into_iter().chain(rest).map(|node| (node, self.gateway(node))).collect()
    }

    fn public(&self, node: usize) -> u16 {
        self.stage.cluster().member(node).node.ports().public
    }

    fn gateway(&self, node: usize) -> u16 {
        self.stage.cluster().member(node).node.ports().gateway
    }
}

/// What everybody does, and how it goes.
struct Traffic<'a> {
    balancer: Balancer<'a>,
    ledger: &'a Ledger,
    ending: Ending,
    pace: Duration,
    calls: Series,
    issue: Series,
    refresh: Series,
    revoke: Series,
    held: Held,
    /// The keys that signed.
    signed: Mutex<BTreeSet<String>>,
}

/// Which node is stopped, and what it is started again as.
type Step = (usize, PathBuf);

/// One round: every node, one after the other.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let again: Vec<Step> = (0..stage.nodes()).map(|node| (node, round.program.clone())).collect();
    roll(stage, round, &again, ("is restarted", true))
}

/// One round: every node becomes the later build, one after the other, and then, the last one first,
/// the earlier again.
pub(super) fn upgrade(stage: &Stage, round: &Round) -> Result<Seen> {
    let older = round.older.as_ref().context("an older build is missing: `--from REVISION`")?;
    let on = (0..stage.nodes()).map(|node| (node, round.program.clone()));
    let back = (0..stage.nodes()).rev().map(|node| (node, older.clone()));
    roll(stage, round, &on.chain(back).collect::<Vec<Step>>(), ("is upgraded, and back", false))
}

/// Steps, one after the other, with traffic all the time. `changes`: whether keys are to change meanwhile.
fn roll(
    stage: &Stage,
    round: &Round,
    steps: &[Step],
    (what, changes): (&str, bool),
) -> Result<Seen> {
    let watch = Stopwatch::start();
    let ledger = Ledger::default();
    let families = ledger.begin(stage.families(round.many(2, 6, 12))?);
    let mut client = stage.public(0);
    let living = (0..10).map(|_| issued(&mut client)).collect::<Result<Vec<_>>>()?;
    let traffic = Traffic {
        balancer: Balancer::new(stage),
        ledger: &ledger,
        ending: Ending::default(),
        pace: Duration::from_millis(if round.full { 0 } else { 3 }),
        calls: Series::new("calls", watch),
        issue: Series::new("tokens issued", watch),
        refresh: Series::new("tokens refreshed", watch),
        revoke: Series::new("tokens taken back", watch),
        held: Held::new(watch, false),
        signed: Mutex::default(),
    };
    if let Some(access) = living.first() {
        let gateways: Vec<_> = (0..stage.nodes()).map(|n| traffic.balancer.gateway(n)).collect();
        x22_held::declare(
            &stage.cluster().member(0).node,
            x22_held::live()?,
            access,
            (&gateways, false),
        )?;
    }
    let rotated = AtomicUsize::new(0);
    let calm = Duration::from_secs(if round.hasty { 1 } else { 2 });
    // With `--full`, again and again until there were as many requests as the row asks for.
    let enough = if round.full { 500_000 } else { 0 };
    let (mut drains, mut starts, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    thread::scope(|scope| -> Result<()> {
        let _over = traffic.ending.ends_with();
        let traffic = &traffic;
        scope.spawn(move || traffic.balancer.watch(&traffic.ending));
        for _ in 0..if round.hasty { 1 } else { 4 } {
            let living = &living;
            scope.spawn(move || traffic.call(living));
        }
        scope.spawn(move || traffic.issue_and_revoke());
        let rotated = &rotated;
        scope.spawn(move || traffic.rotate(rotated));
        for access in living.iter().take(if round.hasty { 2 } else { 4 }) {
            let whom = || traffic.balancer.gateways();
            scope.spawn(move || {
                traffic.held.call(&whom, access, &traffic.ending, traffic.pace);
            });
            scope.spawn(move || {
                let whom = || traffic.balancer.gateways();
                traffic.held.talk(&whom, access, &traffic.ending, traffic.pace);
            });
        }
        for family in &families {
            scope.spawn(move || traffic.refresh(family));
        }
        let mut step = |(node, program): &Step| {
            let_pass(calm);
            let began = watch.read();
            let process = &stage.cluster().member(*node).node;
            process.stop();
            process.process().become_program(program);
            let stopped = watch.read();
            ensure!(
                process.try_launch(),
                "node {node} does not start: {}",
                process.process().said()
            );
            drains.push(stopped - began);
            starts.push(watch.read() - stopped);
            faults.push((began, watch.read()));
            Ok(())
        };
        let mut done = steps.iter().try_for_each(&mut step);
        while done.is_ok() && traffic.count() < enough {
            done = steps.iter().try_for_each(&mut step);
        }
        let_pass(calm);
        traffic.ending.end();
        done
    })?;
    let saw = format!("each of {} nodes {what}, {} requests", stage.nodes(), traffic.count());
    let mut seen = Seen { saw, ..Seen::default() };
    traffic.judge(&mut seen);
    traffic.held.judge(&mut seen, true);
    let (rotated, signed) = (rotated.load(Ordering::Relaxed), lock(&traffic.signed).len());
    seen.saw.push_str(&format!(", {rotated} changes of keys, {signed} signed"));
    seen.must(signed > 1 || !changes, || {
        "no other key signed, so that nothing was tried".to_owned()
    });
    seen.promised("stopped after (drain)", drains.into_iter().collect(), DRAIN);
    seen.number("started again after", starts.into_iter().collect::<Latencies>());
    let passed = traffic.balancer.passed_over.load(Ordering::Relaxed) + traffic.held.elsewhere();
    seen.fact("connections refused, asked another node", passed, traffic.count());
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    let all = [&traffic.calls, &traffic.issue, &traffic.refresh, &traffic.revoke];
    seen.plot = Some(Plot::new(&format!("every node {what}, in turn"), &all, &faults));
    Ok(seen)
}

impl Traffic<'_> {
    fn all(&self) -> [&Series; 4] {
        [&self.calls, &self.issue, &self.refresh, &self.revoke]
    }

    fn count(&self) -> usize {
        self.all().iter().chain(&self.held.all()).map(|series| series.all().len()).sum()
    }

    /// Has the next key sign, as soon as it may.
    fn rotate(&self, rotated: &AtomicUsize) {
        let mut turn = 0;
        while !self.ending.pass(ROTATED) {
            // One that is stopped says so, and the next is asked.
            let node = &self.balancer.stage.cluster().member(turn % self.balancer.ready.len()).node;
            turn += 1;
            let done = node.run(&["key", "rotate", "--algorithm", "ES256"]);
            rotated.fetch_add(usize::from(done.status.success()), Ordering::Relaxed);
        }
    }

    fn note(
        &self,
        series: &Series,
        at: Duration,
        (node, asked): &(usize, Result<Answer, NoAnswer>),
    ) {
        series.note(*node, at, Outcome::of(asked, 200));
    }

    fn call(&self, living: &[Access]) {
        let mut connections = Connections::default();
        for access in living.iter().cycle() {
            let at = self.calls.now();
            let port = |node| self.balancer.gateway(node);
            let ask = |client: &mut Client| stage::call(client, "/bounded", &access.token);
            self.note(&self.calls, at, &self.balancer.ask(&mut connections, port, ask));
            if self.ending.pass(self.pace) {
                return;
            }
        }
    }

    fn issue_and_revoke(&self) {
        let mut connections = Connections::default();
        let port = |node| self.balancer.public(node);
        while !self.ending.pass(self.pace * 3) {
            let at = self.issue.now();
            let issued = self.balancer.ask(&mut connections, port, stage::issue);
            self.note(&self.issue, at, &issued);
            let Some(access) = issued.1.ok().and_then(|it| stage::access_in(&it).ok()) else {
                continue;
            };
            let kid = claims_of_head(&access.token).and_then(|it| Some(it.get("kid")?.to_string()));
            lock(&self.signed).extend(kid);
            let at = self.revoke.now();
            let ask = |client: &mut Client| stage::revoke(client, &access.token);
            let revoked = self.balancer.ask(&mut connections, port, ask);
            self.note(&self.revoke, at, &revoked);
            if Outcome::of(&revoked.1, 200) == Outcome::Good {
                self.ledger.revoked(access);
            }
        }
    }

    fn refresh(&self, family: &Mutex<Family>) {
        let mut connections = Connections::default();
        while !self.ending.pass(self.pace * 5) {
            let known = lock(family).clone();
            let Some(token) = known.tokens.last().filter(|_| !known.ended) else { return };
            let at = self.refresh.now();
            let port = |node| self.balancer.public(node);
            let ask = |client: &mut Client| stage::refresh(client, token);
            let asked = self.balancer.ask(&mut connections, port, ask);
            self.note(&self.refresh, at, &asked);
            keep(family, &Refreshed::of(&asked.1));
        }
    }

    fn judge(&self, seen: &mut Seen) {
        for series in self.all() {
            let all = series.within(Duration::ZERO, Duration::MAX);
            let bad: Vec<_> =
                all.0.iter().filter(|sample| sample.outcome != Outcome::Good).collect();
            seen.fact(series.name, all.len() - bad.len(), all.len());
            seen.must(bad.is_empty(), || {
                let few: Vec<_> = bad.iter().map(|it| (it.node, it.outcome)).take(4).collect();
                format!("{}: {} of {} failed: {few:?}", series.name, bad.len(), all.len())
            });
            seen.number(series.name, all.latencies(|outcome| outcome == Outcome::Good));
        }
    }
}
