//! A node stands still for a while and does not know it.

use std::{sync::Mutex, thread, time::Duration};

use anyhow::Result;

use crate::{
    http::Client,
    ledger::{Ledger, lock},
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::{Latencies, Outcome},
    stage::{self, Access, Stage, issued},
    time::{Stopwatch, let_pass},
};

/// For how long the node is watched after it goes on.
const WATCHED: Duration = Duration::from_secs(3);

/// What the node said about tokens that were taken back while it stood still.
#[derive(Debug, Default)]
struct Said {
    accepted: Vec<Duration>,
    refused: usize,
    later: usize,
}

/// One round: hold it, take tokens back elsewhere, let it go on, and ask it at once.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let pause = round.outage(8, 30);
    let paused = Seed::new(round.seed).below(stage.nodes());
    let other = (paused + 1) % stage.nodes();
    let ledger = Ledger::default();
    let many = round.many(4, 20, 60);
    let old = stage.take_old_tokens(many)?;
    let mut public = stage.public(other);
    let young = (0..many).map(|_| issued(&mut public)).collect::<Result<Vec<_>>>()?;

    // Connections that were there before, so that no time is lost afterwards.
    let cases = [("/strict", &old), ("/bounded", &old), ("/strict", &young), ("/bounded", &young)];
    let mut clients = Vec::new();
    for (route, tokens) in &cases {
        let mut client = stage.gateway(paused);
        let access = tokens.first().map(|it| it.token.clone()).unwrap_or_default();
        let before = stage::call(&mut client, route, &access)?.status;
        anyhow::ensure!(before == 200, "a good token is answered {before} at {route}");
        clients.push(client);
    }
    let process = stage.cluster().member(paused).node.process();
    process.hold();
    let held = Stopwatch::start();
    let revoked = revoke_all(&mut public, &ledger, old.iter().chain(&young));
    let_pass(pause.saturating_sub(held.read()));
    process.go_on();
    revoked?;
    let resumed = Stopwatch::start();
    let said: Vec<Mutex<Said>> = cases.iter().map(|_| Mutex::default()).collect();
    thread::scope(|scope| {
        for (((route, tokens), client), said) in cases.iter().zip(clients).zip(&said) {
            scope.spawn(move || ask(client, route, tokens, said, resumed));
        }
    });
    let mut seen = Seen {
        saw: format!("node {paused} for {:.1} s", held.read().as_secs_f64()),
        ..Seen::default()
    };
    let names = [
        "old tokens, strict",
        "old tokens, bounded",
        "young tokens, strict",
        "young tokens, bounded",
    ];
    for (name, said) in names.into_iter().zip(&said) {
        let said = lock(said);
        let all = said.accepted.len() + said.refused + said.later;
        seen.fact(name, said.refused + said.later, all);
        let last = said.accepted.iter().max().copied().unwrap_or_default();
        seen.must(said.accepted.is_empty(), || {
            format!(
                "{name}: {} of {all} decisions begun after the pause accept what was taken back in \
                 it, up to {last:?} after it",
                said.accepted.len()
            )
        });
        seen.number(
            "accepted for so long after the pause",
            [last].into_iter().filter(|it| !it.is_zero()).collect::<Latencies>(),
        );
    }
    crate::load::until_ready(stage, paused)?;
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    Ok(seen)
}

fn revoke_all<'a>(
    client: &mut Client,
    ledger: &Ledger,
    tokens: impl Iterator<Item = &'a Access>,
) -> Result<()> {
    for access in tokens {
        let asked = stage::revoke(client, &access.token);
        anyhow::ensure!(Outcome::of(&asked, 200) == Outcome::Good, "the other node: {asked:?}");
        ledger.revoked(access.clone());
    }
    Ok(())
}

fn ask(mut client: Client, route: &str, tokens: &[Access], said: &Mutex<Said>, resumed: Stopwatch) {
    for access in tokens.iter().cycle() {
        let began = resumed.read();
        if began > WATCHED {
            return;
        }
        let asked = stage::call(&mut client, route, &access.token);
        let mut said = lock(said);
        match Outcome::of(&asked, 200) {
            Outcome::Good => said.accepted.push(began),
            Outcome::Bad(401) => said.refused += 1,
            _ => said.later += 1,
        }
    }
}
