//! Two nodes hear nothing of each other, and both reach PostgreSQL.

use std::{
    collections::BTreeSet,
    sync::{Barrier, Mutex},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tegata_engines::{Direction, Mode};

use crate::{
    ledger::{Checked, Ledger, lock},
    load::propagation,
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::{Latencies, Outcome, Series},
    stage::{self, Stage},
    time::{Stopwatch, until},
};

/// How many present one refresh token at once, over both nodes.
const MANY: usize = 32;

/// How long a revocation may take to be known where nodes do not hear each other.
const BOUND: Duration = Duration::from_secs(5);

/// How soon a revocation is known where nodes hear each other, and not where they read the log once a second.
const SOON: Duration = Duration::from_millis(100);

/// How soon they must hear each other again.
const AGAIN: Duration = Duration::from_secs(10);

/// What became of one token that many presented.
#[derive(Debug, Default)]
struct Spent {
    successors: BTreeSet<String>,
    errors: usize,
    failures: usize,
}

/// One round: races over refresh tokens, then revocations from one node to the other.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let ledger = Ledger::default();
    let tokens = stage.families(round.many(5, 40, 1000))?;
    let races = Series::new("presentations of one refresh token", Stopwatch::start());
    let spent = race(stage, &tokens, &races);
    let mut seen = Seen::default();
    let count = |is_so: fn(&Spent) -> bool| spent.iter().filter(|it| is_so(it)).count();
    let twice = count(|it| it.successors.len() > 1);
    seen.must(twice == 0, || format!("{twice} refresh tokens were spent twice"));
    let never = count(|it| it.successors.is_empty());
    seen.must(never == 0, || format!("{never} refresh tokens have no successor"));
    let failures: usize = spent.iter().map(|it| it.failures).sum();
    seen.must(failures == 0, || {
        format!("{failures} presentations were answered 5xx, or not at all")
    });
    let errors: usize = spent.iter().map(|it| it.errors).sum();
    seen.fact(
        "presentations answered with the successor",
        races.all().len() - errors,
        races.all().len(),
    );
    let all = races.within(Duration::ZERO, Duration::MAX);
    seen.number("presentations, 32 at once", all.latencies(|outcome| outcome == Outcome::Good));
    // Every successor counts.
    ledger.begin(spent.into_iter().flat_map(|it| it.successors).collect());

    let times = round.many(3, 15, 100);
    let there = propagation(stage, &ledger, (0, 1), times, BOUND)?;
    let back = propagation(stage, &ledger, (1, 0), times, BOUND)?;
    let both: Latencies = there.and(&back);
    seen.promised("revoked on one node, refused on the other", both, BOUND);
    seen.checked = ledger.check(stage);
    seen.checked = Checked { promises: seen.checked.promises, looks: seen.checked.looks };
    seen.broken.extend(ledger.all_broken());
    seen.saw = format!("{} tokens, each presented {MANY} times at once", tokens.len());
    Ok(seen)
}

/// The same where nodes hear each other over NATS, and one of them hears nothing of it, is not heard, or both.
pub(super) fn in_nats(stage: &Stage, round: &Round) -> Result<Seen> {
    let apart =
        [Mode::BlackHole, Mode::OneWay(Direction::ToServer), Mode::OneWay(Direction::ToClient)];
    let mut seed = Seed::new(round.seed);
    let (mode, node) = (seed.one_of(&apart).copied(), seed.below(stage.nodes()));
    let mode = mode.unwrap_or(Mode::BlackHole);
    let way = stage.cluster().member(node).nats.as_ref().context("an installation with NATS")?;
    way.set(mode);
    let seen = self::round(stage, round);
    way.set(Mode::Sound);
    let mut seen = seen?;
    seen.saw = format!("{}; {mode:?} of node {node}", seen.saw);
    // They find each other again: each is told of a revocation by the other, and does not come upon it.
    let well = || {
        let ledger = Ledger::default();
        let told = propagation(stage, &ledger, (node, (node + 1) % stage.nodes()), 1, BOUND);
        told.is_ok_and(|took| !took.is_empty() && took.max() < SOON)
    };
    match until(AGAIN * 2, well) {
        Some(took) => {
            seen.promised("hear each other again after", [took].into_iter().collect(), AGAIN);
        }
        None => seen.broken.push("they do not hear each other again".to_owned()),
    }
    Ok(seen)
}

/// Presents each token from many connections at once, half of them to each node.
fn race(stage: &Stage, tokens: &[String], races: &Series) -> Vec<Spent> {
    let barrier = Barrier::new(MANY);
    let spent: Vec<Mutex<Spent>> = tokens.iter().map(|_| Mutex::default()).collect();
    thread::scope(|scope| {
        for number in 0..MANY {
            let (barrier, spent) = (&barrier, &spent);
            scope.spawn(move || {
                let node = number % stage.nodes().max(1);
                let mut client = stage.public(node);
                for (token, spent) in tokens.iter().zip(spent) {
                    barrier.wait();
                    let answer = races.ask(node, 200, || stage::refresh(&mut client, token));
                    let mut spent = lock(spent);
                    match answer {
                        Ok(answer) if answer.status == 200 => {
                            spent.successors.extend(answer.member("refresh_token"));
                        }
                        Ok(answer) if answer.status < 500 => spent.errors += 1,
                        _ => spent.failures += 1,
                    }
                }
            });
        }
    });
    spent.into_iter().map(|it| std::mem::take(&mut *lock(&it))).collect()
}
