//! Somebody says what they should not where nodes listen to each other: garbage, and what was said before,
//! late, repeated and out of order; and what was told to followers before is told to one again.

use std::{collections::BTreeMap, sync::Mutex, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use tegata_engines::Mode;

use super::x25_notice_replayed;
use crate::{
    bus::{Bystander, SUBJECTS},
    http::{Ask, Client},
    ledger::{Ledger, lock},
    load::{propagation, until_ready},
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::Latencies,
    stage::{self, Access, ROUTES, Stage},
    time::{Ending, Stopwatch, until},
};

/// How long a revocation may take to be known while all is well.
const WELL: Duration = Duration::from_secs(1);

/// For how long a node goes by what it knew.
const BOUND: Duration = Duration::from_secs(5);

/// By how much what is seen of a node may lag behind what it knows, on a busy machine.
const LAG: Duration = Duration::from_secs(1);

/// How long a node may take until it is stale whom nobody tells anything.
const STALE: Duration = Duration::from_secs(30);

/// What was said.
#[derive(Debug, Default)]
struct Said {
    garbage: usize,
    /// What was said again, by where.
    again: BTreeMap<String, usize>,
}

/// One round: garbage and old words all the time, while tokens are used and taken back; while nobody says
/// anything new; and to a sidecar.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let ledger = Ledger::default();
    let access = stage::issued(&mut stage.public(0))?;
    let nats = stage.cluster().nats().context("an installation with NATS")?;
    let (mut bystander, said) = (Bystander::come(nats)?, Mutex::new(Said::default()));
    let mut seed = Seed::new(round.seed);
    let mut seen = Seen::default();
    let took = shouting(&mut bystander, &mut seed, &said, || {
        all_is_well(stage, round, &ledger, &mut seen)
    })?;
    seen.promised("revoked on one node, refused on the other", took, WELL);
    let closed = shouting(&mut bystander, &mut seed, &said, || {
        nobody_vouches(stage, round, &access, &mut seen)
    })?;
    seen.number("nobody says anything new: a strict route is closed after", closed);
    x25_notice_replayed::round(stage, round, &ledger, &mut seen)?;

    let said = lock(&said);
    seen.must(said.garbage > 0, || "nothing was said, so nothing was shown".to_owned());
    for subject in ["auth-revocations", "auth-heartbeats"] {
        seen.must(said.again.contains_key(subject), || format!("`{subject}`: nothing again"));
    }
    // Nobody can take back what is not theirs to take back.
    for node in 0..stage.nodes() {
        for route in ROUTES {
            let status = stage::call(&mut stage.gateway(node), route, &access.token)?.status;
            seen.must(status == 200, || format!("node {node} answers a good token {status}"));
        }
    }
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    let again: usize = said.again.values().sum();
    seen.saw = format!("{} messages of garbage, and {again} said again", said.garbage);
    Ok(seen)
}

/// Does something while somebody goes on saying garbage, and what was said before.
fn shouting<T>(
    bystander: &mut Bystander,
    seed: &mut Seed,
    said: &Mutex<Said>,
    meanwhile: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let ending = Ending::default();
    thread::scope(|scope| {
        let _over = ending.ends_with();
        let ending = &ending;
        let shouts = scope.spawn(move || -> Result<()> {
            while !ending.pass(Duration::from_millis(1)) {
                if shout(bystander, seed, said).is_err() {
                    bystander.come_back()?;
                }
            }
            Ok(())
        });
        let done = meanwhile();
        ending.end();
        shouts.join().map_err(|_| anyhow::anyhow!("the troublemaker died"))??;
        done
    })
}

fn shout(bystander: &Bystander, seed: &mut Seed, said: &Mutex<Said>) -> Result<()> {
    if seed.below(2) == 0 {
        let words: Vec<u8> = (0..seed.below(200)).map(|_| seed.any().to_be_bytes()[0]).collect();
        bystander.say(seed.one_of(&SUBJECTS).copied().unwrap_or_default(), &words)?;
        lock(said).garbage += 1;
    } else if let Some(subject) = bystander.say_again(seed)? {
        *lock(said).again.entry(subject).or_default() += 1;
    }
    Ok(())
}

/// Tokens are taken back on each node, and nodes are looked at: they are ready, and know what there is.
fn all_is_well(
    stage: &Stage,
    round: &Round,
    ledger: &Ledger,
    seen: &mut Seen,
) -> Result<Latencies> {
    let (ending, worst, unready) = (Ending::default(), Mutex::new(0.0_f64), Mutex::new(0));
    let times = round.many(5, 30, 300);
    let took = thread::scope(|scope| {
        let _over = ending.ends_with();
        scope.spawn(|| {
            while !ending.pass(Duration::from_millis(50)) {
                for node in 0..stage.nodes() {
                    let mut client = operations(stage, node);
                    let ready = client.ask(&Ask::get("/health/ready"));
                    *lock(&unready) += usize::from(!ready.is_ok_and(|it| it.status == 200));
                    // Who has no number knows nothing.
                    let stale = staleness(stage, node).unwrap_or(f64::MAX);
                    let mut worst = lock(&worst);
                    *worst = worst.max(stale);
                }
            }
        });
        let there = propagation(stage, ledger, (0, 1), times, WELL);
        let back = propagation(stage, ledger, (1, 0), times, WELL);
        ending.end();
        anyhow::Ok(there?.and(&back?))
    })?;
    let (worst, unready) = (*lock(&worst), *lock(&unready));
    seen.must(unready == 0, || format!("{unready} times a node was not ready"));
    seen.must(worst <= BOUND.as_secs_f64(), || {
        format!("a node said that it had known nothing new for {worst:.1} s")
    });
    Ok(took)
}

/// One node reads no log, and the other stands still, so that nobody tells it that there is nothing new. What
/// both had said before is no word of theirs, however often it comes.
fn nobody_vouches(
    stage: &Stage,
    round: &Round,
    access: &Access,
    seen: &mut Seen,
) -> Result<Latencies> {
    let (cut_off, silent) = (stage.cluster().member(0), stage.cluster().member(1));
    let mut gateway = stage.gateway(0);
    let mut status = || stage::call(&mut gateway, "/strict", &access.token).map(|it| it.status);
    ensure!(status()? == 200, "a good token does not count on a strict route");
    silent.node.process().hold();
    cut_off.postgres.set(Mode::BlackHole);
    let (watch, ending) = (Stopwatch::start(), Ending::default());
    let closed = until(STALE, || status().is_ok_and(|it| it == 503));
    // And stays so.
    let end = watch.read().max(BOUND) + round.outage(3, 60);
    let (mut open, mut looks) = (0, 0);
    while watch.read() < end {
        let at = watch.read();
        let answer = status();
        if at > BOUND + LAG {
            looks += 1;
            open += usize::from(answer.is_ok_and(|it| it == 200));
        }
        ending.pass(Duration::from_millis(20));
    }
    let stale = staleness(stage, 0);
    silent.node.process().go_on();
    cut_off.postgres.set(Mode::Sound);
    seen.must(open == 0 && looks > 0, || {
        format!("by old words, {open} of {looks} were served on a strict route")
    });
    // INVARIANT: measured before anything came back.
    seen.must(stale.is_none_or(|it| it > BOUND.as_secs_f64()), || {
        format!("old words make a node say that it is only {stale:?} s behind")
    });
    for node in 0..stage.nodes() {
        until_ready(stage, node)?;
    }
    let well = || status().is_ok_and(|it| it == 200);
    ensure!(until(stage::PATIENCE, well).is_some(), "node 0 does not come to know enough");
    Ok(closed.into_iter().collect())
}

fn operations(stage: &Stage, node: usize) -> Client {
    Client::new(stage.cluster().member(node).node.ports().operations)
}

/// For how long, in seconds, something could have been taken back without being known to a node, as it says.
fn staleness(stage: &Stage, node: usize) -> Option<f64> {
    let told = operations(stage, node).ask(&Ask::get("/metrics")).ok()?.text();
    let line = told.lines().find_map(|it| it.strip_prefix("revocation_staleness_seconds "));
    line.and_then(|it| it.trim().parse().ok())
}
