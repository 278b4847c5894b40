//! One node on SQLite with nobody beside it, to which something is done while everybody goes on: another
//! process takes its place, or its settings change.

use std::{
    fs,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Ports, Shared, root_key},
};

use super::x22_held::{self, Held};
use crate::{
    http::{Ask, Client, way},
    ledger::Checked,
    report::Seen,
    scenario::Round,
    series::{Latencies, Outcome, Series},
    stage::{self, Access},
    time::{Ending, Stopwatch, until},
};

/// How long a change may take until it is there, and a process until it has taken over.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is done to a node, to which traffic, and what is looked at beside it.
pub(super) struct Trial<'t> {
    /// What is the node's own.
    pub(super) own: Own,
    /// Whether its gateway speaks TLS.
    pub(super) secure: bool,
    /// Whether connections that are held have to end.
    pub(super) ends: bool,
    /// What else is asked all the while.
    pub(super) beside: &'t (dyn Fn(Ports, &Ending) + Sync),
}

/// What everybody does, and how it goes.
struct Traffic {
    secure: bool,
    calls: Series,
    keys: Series,
    issue: Series,
    revoke: Series,
    held: Held,
}

/// How often something is said on a connection that is held.
const PACE: Duration = Duration::from_millis(3);

impl Traffic {
    fn new(watch: Stopwatch, secure: bool) -> Self {
        Self {
            secure,
            calls: Series::new("calls, on a connection each", watch),
            keys: Series::new("fetches of the keys, on a connection each", watch),
            issue: Series::new("tokens issued, on a connection that is kept", watch),
            revoke: Series::new("tokens taken back, on a connection that is kept", watch),
            held: Held::new(watch, secure),
        }
    }

    /// Everybody goes on until it is over. Answers the tokens that were taken back. Nothing is asked twice:
    /// whatever breaks is counted.
    fn run(&self, ports: Ports, living: &Access, ending: &Ending) -> Vec<Access> {
        let (token, whom) = (&living.token, || vec![(0, ports.gateway)]);
        let gateway = way(ports.gateway, self.secure);
        thread::scope(|threads| {
            threads.spawn(|| self.held.call(&whom, living, ending, PACE));
            threads.spawn(|| self.held.talk(&whom, living, ending, PACE));
            threads.spawn(|| {
                while !ending.is_over() {
                    let mut gateway = Client::over(gateway).waiting(PATIENCE);
                    let _ = self.calls.ask(0, 200, || stage::call(&mut gateway, "/bounded", token));
                }
            });
            threads.spawn(|| {
                while !ending.is_over() {
                    let mut public = Client::new(ports.public).waiting(PATIENCE);
                    let ask = Ask::get("/.well-known/jwks.json");
                    let _ = self.keys.ask(0, 200, || public.ask(&ask));
                }
            });
            let writing = threads.spawn(|| {
                let mut public = Client::new(ports.public).waiting(PATIENCE);
                let mut revoked = Vec::new();
                while !ending.is_over() {
                    let issued = self.issue.ask(0, 200, || stage::issue(&mut public));
                    let Some(access) = issued.ok().and_then(|it| stage::access_in(&it).ok()) else {
                        continue;
                    };
                    let asked =
                        self.revoke.ask(0, 200, || stage::revoke(&mut public, &access.token));
                    if Outcome::of(&asked, 200) == Outcome::Good {
                        revoked.push(access);
                    }
                }
                revoked
            });
            writing.join().unwrap_or_default()
        })
    }

    fn all(&self) -> [&Series; 4] {
        [&self.calls, &self.keys, &self.issue, &self.revoke]
    }

    fn count(&self) -> usize {
        self.all().iter().map(|series| series.all().len()).sum()
    }
}

/// One round: a new process takes the place of the one before, again and again.
pub(super) fn hand_over(round: &Round) -> Result<Seen> {
    let own = Own { store: "sqlite://tegata.db".to_owned(), ..Own::default() };
    let trial = Trial { own, secure: false, ends: true, beside: &|_, _| () };
    with_traffic(round, &trial, |node, _, took| {
        let log = fs::File::create(node.directory().join("next.log"))?;
        let watch = Stopwatch::start();
        let new = Command::new(&round.program)
            .args(["serve", "--take-over"])
            .current_dir(node.directory())
            .env_clear()
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()?;
        let log = node.directory().join("next.log");
        let started = || fs::read_to_string(&log).is_ok_and(|text| text.contains(" started"));
        ensure!(until(PATIENCE, started).is_some(), "it does not take over");
        took.push(watch.read());
        Ok(Some(new))
    })
}

/// Has `step` done again and again while everybody goes on.
pub(super) fn with_traffic(
    round: &Round,
    trial: &Trial<'_>,
    mut step: impl FnMut(&TegataNode, usize, &mut Vec<Duration>) -> Result<Option<Child>> + Send,
) -> Result<Seen> {
    let shared = Shared {
        root_key: root_key(&round.program),
        program: round.program.clone(),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let node = TegataNode::start("alone", &shared, &trial.own);
    let echo = EchoServer::start();
    stage::declare(&node, echo.port())?;
    let living = stage::issued(&mut Client::new(node.ports().public))?;
    x22_held::declare(&node, x22_held::live()?, &living, (&[node.ports().gateway], trial.secure))?;
    let traffic = Traffic::new(Stopwatch::start(), trial.secure);
    let ending = Ending::default();
    let steps = round.many(2, 5, 5);
    // With `--full`, again and again until there were as many requests as the row asks for.
    let enough = if round.full { 500_000 } else { 0 };
    let (mut took, mut serving) = (Vec::new(), None::<Child>);
    let (revoked, stepped) = thread::scope(|threads| {
        // Also where what is done panics.
        let _over = ending.ends_with();
        threads.spawn(|| (trial.beside)(node.ports(), &ending));
        let running = threads.spawn(|| traffic.run(node.ports(), &living, &ending));
        let stepped = (|| {
            let mut done = 0;
            while done < steps || traffic.count() < enough {
                let before = traffic.count();
                if let Some(new) = step(&node, done, &mut took)? {
                    let ended = serving.replace(new).is_none_or(|mut old| old.wait().is_ok());
                    ensure!(ended, "the one before does not end");
                }
                until(PATIENCE, || traffic.count() > before + 100);
                done += 1;
            }
            Ok(done)
        })();
        ending.end();
        (running.join().unwrap_or_default(), stepped)
    });
    let mut seen = Seen::default();
    seen.must(traffic.count() >= enough, || {
        format!("{} requests are fewer than {enough}", traffic.count())
    });
    match stepped {
        Ok(steps) => seen.saw = format!("{steps} times, {} requests", traffic.count()),
        Err(error) => seen.broken.push(format!("{error:#}")),
    }
    for series in traffic.all() {
        let all = series.all();
        let good = all.iter().filter(|it| it.outcome == Outcome::Good).count();
        seen.must(good == all.len() && good > 0, || {
            let wrong = all.iter().find(|it| it.outcome != Outcome::Good);
            format!("{}: {} of {} failed: {wrong:?}", series.name, all.len() - good, all.len())
        });
        seen.fact(series.name, good, all.len());
    }
    traffic.held.judge(&mut seen, trial.ends);
    let longest: Latencies = traffic.calls.all().iter().map(|it| it.took).collect();
    seen.number("a call took", longest);
    seen.number("it took", took.into_iter().collect());
    // What was acknowledged by one is known to the next.
    let mut gateway = Client::over(way(node.ports().gateway, trial.secure));
    let accepted = revoked
        .iter()
        .filter(|it| {
            stage::call(&mut gateway, "/bounded", &it.token).is_ok_and(|a| a.status == 200)
        })
        .count();
    seen.must(accepted == 0, || format!("{accepted} tokens count that were taken back"));
    seen.checked = Checked { promises: revoked.len(), looks: revoked.len() };
    if let Some(mut last) = serving {
        last.kill()?;
        last.wait()?;
    }
    Ok(seen)
}
