//! PostgreSQL does what it is asked, and the answer is lost on the way.

use std::{sync::Mutex, thread, time::Duration};

use anyhow::Result;
use tegata_engines::{Direction, Mode};

use crate::{
    ledger::{Family, Ledger, Refreshed, keep, lock},
    plot::Plot,
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::{Outcome, Series},
    stage::{self, Stage},
    time::{Ending, Stopwatch, let_pass},
};

/// Of how many pieces of answers one is lost.
const ONE_IN: u64 = 40;

/// For how long at a time no answer at all comes.
const SILENCE: Duration = Duration::from_secs(1);

/// How soon whoever asks again must know.
const KNOWN: Duration = Duration::from_secs(10);

/// What is seen beside the promises.
#[derive(Debug, Default)]
struct Tally {
    refreshed: usize,
    retried: usize,
    ended: usize,
    revoked: usize,
    revoked_again: usize,
}

/// One round: some time in which answers are lost, and a look at what is left.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let outage = round.outage(if round.hasty { 3 } else { 8 }, 60);
    let mut seed = Seed::new(round.seed);
    let ledger = Ledger::default();
    let families = ledger.begin(stage.families(round.many(4, 8, 16))?);
    let mut client = stage.public(0);
    let tokens: Result<Vec<_>> =
        (0..round.many(60, 300, 3000)).map(|_| stage::issued(&mut client)).collect();
    let tokens = Mutex::new(tokens?);

    let watch = Stopwatch::start();
    let refresh = Series::new("tokens refreshed", watch);
    let revoke = Series::new("tokens taken back", watch);
    let (ending, tally) = (Ending::default(), Mutex::new(Tally::default()));
    let (lost, faults) = thread::scope(|scope| {
        let _over = ending.ends_with();
        for (number, family) in families.iter().enumerate() {
            let mut seed = Seed::new(seed.any());
            let (ending, ledger, tally, refresh) = (&ending, &ledger, &tally, &refresh);
            scope.spawn(move || {
                while !ending.pass(Duration::from_millis(10)) {
                    let ask = Asking { stage, ledger, tally, series: refresh };
                    ask.refresh(family, number, &mut seed);
                }
            });
        }
        for number in 0..2 {
            let (ending, ledger, tally, revoke) = (&ending, &ledger, &tally, &revoke);
            let tokens = &tokens;
            scope.spawn(move || {
                while !ending.pass(Duration::from_millis(15)) {
                    let Some(access) = lock(tokens).pop() else { return };
                    let ask = Asking { stage, ledger, tally, series: revoke };
                    ask.revoke(access, number);
                }
            });
        }
        let began = watch.read();
        let lost = lose(stage, &mut seed, outage);
        let faults = (began, watch.read());
        let_pass(Duration::from_secs(1));
        ending.end();
        (lost, faults)
    });
    let mut seen = Seen { checked: ledger.check(stage), ..Seen::default() };
    seen.broken = ledger.all_broken();
    let tally = lock(&tally);
    seen.saw = format!(
        "{lost} answers lost; {} refreshed, {} of them after asking again; {} revoked, {} again",
        tally.refreshed, tally.retried, tally.revoked, tally.revoked_again
    );
    seen.must(lost > 0, || "no answer was lost, so nothing was shown".to_owned());
    seen.fact("families that ended with invalid_grant", tally.ended, families.len());
    for series in [&refresh, &revoke] {
        let all = series.within(Duration::ZERO, Duration::MAX);
        seen.number(series.name, all.latencies(|outcome| outcome == Outcome::Good));
        let bad = all.count(|outcome| matches!(outcome, Outcome::Bad(status) if status >= 500));
        seen.must(bad == 0, || format!("{}: {bad} were answered 5xx other than 503", series.name));
        seen.fact("answered 503", all.count(|outcome| outcome == Outcome::Later), all.len());
    }
    seen.plot = Some(Plot::new("answers of PostgreSQL are lost", &[&refresh, &revoke], &[faults]));
    Ok(seen)
}

/// Lets answers be lost for a while, on one way or the other; answers how many were.
fn lose(stage: &Stage, seed: &mut Seed, outage: Duration) -> u64 {
    let ways = || stage.cluster().members().iter().map(|member| &member.postgres);
    let before: u64 = ways().map(tegata_engines::Proxy::lost).sum();
    let watch = Stopwatch::start();
    let mut silences = 0;
    while watch.read() < outage {
        ways().for_each(|way| way.set(Mode::LoseAnswers { one_in: ONE_IN, seed: seed.any() }));
        let_pass(seed.moment(Duration::from_millis(1500)));
        let node = seed.below(stage.nodes());
        stage.cluster().member(node).postgres.set(Mode::OneWay(Direction::ToServer));
        let_pass(SILENCE);
        // What was on its way is lost, too.
        stage.cluster().member(node).postgres.cut();
        silences += 1;
    }
    ways().for_each(|way| way.set(Mode::Sound));
    ways().map(tegata_engines::Proxy::lost).sum::<u64>() - before + silences
}

/// Somebody who asks until they know.
struct Asking<'a> {
    stage: &'a Stage,
    ledger: &'a Ledger,
    tally: &'a Mutex<Tally>,
    series: &'a Series,
}

impl Asking<'_> {
    /// Refreshes; and now and then presents the token that was spent once more, as whoever missed the
    /// answer would.
    fn refresh(&self, family: &Mutex<Family>, first: usize, seed: &mut Seed) {
        let known = lock(family).clone();
        let Some(token) = known.tokens.last().filter(|_| !known.ended) else { return };
        let (watch, mut node, mut tries) = (Stopwatch::start(), first, 0);
        let refreshed = loop {
            let at = node % self.stage.nodes().max(1);
            let mut client = self.stage.public(at);
            let asked = self.series.ask(at, 200, || stage::refresh(&mut client, token));
            let refreshed = Refreshed::of(&asked);
            if refreshed != Refreshed::Again {
                break refreshed;
            }
            if watch.read() > KNOWN {
                self.ledger.broken("a refresh was not answered within ten seconds of asking again");
                break refreshed;
            }
            (node, tries) = (node + 1, tries + 1);
            let_pass(Duration::from_millis(20));
        };
        keep(family, &refreshed);
        let mut tally = lock(self.tally);
        match &refreshed {
            Refreshed::Next(_) => tally.refreshed += 1,
            Refreshed::Ended => tally.ended += 1,
            Refreshed::Again => {}
        }
        tally.retried += usize::from(tries > 0);
        drop(tally);
        if let Refreshed::Next(successor) = &refreshed
            && seed.below(3) == 0
            && watch.read() < Duration::from_secs(5)
        {
            self.again(family, token, successor, node + 1);
        }
    }

    fn again(&self, family: &Mutex<Family>, token: &str, successor: &str, node: usize) {
        let mut client = self.stage.public(node % self.stage.nodes().max(1));
        match Refreshed::of(&stage::refresh(&mut client, token)) {
            Refreshed::Next(other) if other != successor => {
                self.ledger.broken("one refresh token has two successors");
            }
            Refreshed::Ended => {
                lock(self.tally).ended += 1;
                keep(family, &Refreshed::Ended);
            }
            Refreshed::Next(_) | Refreshed::Again => {}
        }
    }

    /// Takes a token back, asking again until that is acknowledged.
    fn revoke(&self, access: stage::Access, first: usize) {
        let (watch, mut node) = (Stopwatch::start(), first);
        loop {
            let at = node % self.stage.nodes().max(1);
            let mut client = self.stage.public(at);
            let asked = self.series.ask(at, 200, || stage::revoke(&mut client, &access.token));
            if Outcome::of(&asked, 200) == Outcome::Good {
                break;
            }
            if watch.read() > KNOWN {
                self.ledger.broken("a revocation was not acknowledged within ten seconds");
                return;
            }
            node += 1;
            let_pass(Duration::from_millis(20));
        }
        let mut tally = lock(self.tally);
        tally.revoked += 1;
        tally.revoked_again += usize::from(node > first);
        drop(tally);
        self.ledger.revoked(access);
    }
}
