//! A node is killed while it refreshes tokens, again and again.

use std::{sync::Mutex, thread, time::Duration};

use anyhow::Result;

use crate::{
    ledger::{Family, Ledger, Refreshed, keep, lock, refresh_until_known},
    load::until_ready,
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::Latencies,
    stage::{self, Stage},
    time::{Stopwatch, let_pass},
};

/// When it is killed after the first requests were sent, at the latest.
const LATEST: Duration = Duration::from_millis(50);

/// How soon whoever got no answer must know, by asking the other node.
const KNOWN: Duration = Duration::from_secs(10);

/// One round: several kills, of one node or the other.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let mut seed = Seed::new(round.seed);
    let ledger = Ledger::default();
    let families = ledger.begin(stage.families(8)?);
    let kills = round.many(2, 10, 1000);
    let (retried, restarts) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let mut unanswered = 0;
    for _ in 0..kills {
        let victim = seed.below(stage.nodes());
        let moment = seed.moment(LATEST);
        let node = &stage.cluster().member(victim).node;
        thread::scope(|scope| {
            let threads: Vec<_> = families
                .iter()
                .map(|family| {
                    let (ledger, retried) = (&ledger, &retried);
                    scope.spawn(move || until_unanswered(stage, victim, family, ledger, retried))
                })
                .collect();
            let_pass(moment);
            node.kill();
            unanswered += threads.into_iter().filter_map(|it| it.join().ok()).count();
        });
        let watch = Stopwatch::start();
        node.launch();
        until_ready(stage, victim)?;
        lock(&restarts).push(watch.read());
    }
    let mut seen = Seen::default();
    let ended = families.iter().filter(|family| lock(family).ended).count();
    seen.must(ended == 0, || {
        format!("{ended} families ended though nobody presented an old token")
    });
    let given: usize = families.iter().map(|family| lock(family).tokens.len()).sum();
    let all = |it: &Mutex<Vec<Duration>>| lock(it).iter().copied().collect::<Latencies>();
    seen.promised("known again at the other node after", all(&retried), KNOWN);
    seen.number("started again after", all(&restarts));
    seen.fact("refreshes cut off by a kill", unanswered, given + unanswered);
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    seen.saw = format!("{kills} kills, {unanswered} refreshes cut off, {given} tokens given");
    Ok(seen)
}

/// Refreshes at the victim until there is no answer, then elsewhere, until it is known what counts.
fn until_unanswered(
    stage: &Stage,
    victim: usize,
    family: &Mutex<Family>,
    ledger: &Ledger,
    retried: &Mutex<Vec<Duration>>,
) {
    let mut client = stage.public(victim);
    loop {
        let known = lock(family).clone();
        let Some(token) = known.tokens.last().filter(|_| !known.ended) else { return };
        let refreshed = Refreshed::of(&stage::refresh(&mut client, token));
        keep(family, &refreshed);
        if refreshed == Refreshed::Again {
            break;
        }
    }
    let watch = Stopwatch::start();
    let other = (victim + 1) % stage.nodes().max(1);
    if refresh_until_known(stage, family, other, KNOWN) == Refreshed::Again {
        ledger.broken("a family is stuck: ten seconds after a kill nobody answers its holder");
    }
    lock(retried).push(watch.read());
}
