//! A node is away, and everybody who would have signed in meanwhile does so when it is back.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
};

use crate::{
    http::{Ask, Client},
    report::Seen,
    scenario::Round,
    series::{Outcome, Series},
    stage::{self, PERSON},
    time::{Ending, Stopwatch, let_pass},
};

/// How many sign in at a time while it is measured how many can: some more than there are threads that hash.
const USUAL: usize = 8;
/// How many do when it is back.
const STAMPEDE: usize = 100;
/// How long each of them waits before it asks again, whatever it was told.
const PACE: Duration = Duration::from_millis(50);
/// How long a password may wait for its turn, with what it takes then.
const LONGEST: Duration = Duration::from_secs(5);

/// One round: measure, kill, let everybody come.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let shared = Shared {
        root_key: root_key(&round.program),
        program: round.program.clone(),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let own = Own { store: "sqlite://tegata.db".to_owned(), ..Own::default() };
    let (node, echo) = (TegataNode::start("stampede", &shared, &own), EchoServer::start());
    stage::declare(&node, echo.port())?;
    let token = stage::issued(&mut Client::new(node.ports().public))?.token;
    let (public, gateway) = (node.ports().public, node.ports().gateway);
    let credentials = json!({"username": PERSON.0, "password": PERSON.1});
    let ask = Ask::json("/api/auth/login", &credentials);
    let ask = ask.field("Origin", &shared.issuer).field("User-Agent", "tegata-faults");
    let span = round.outage(4, 20);

    let watch = Stopwatch::start();
    let (usual, storm) = (Series::new("signing in", watch), Series::new("all at once", watch));
    let calls = Series::new("calls with tokens", watch);
    let crowd =
        |series: &Series, many: usize, pace: Duration, during: &mut dyn FnMut() -> Result<()>| {
            let ending = Ending::default();
            thread::scope(|scope| {
                for _ in 0..many {
                    scope.spawn(|| {
                        let mut client = Client::new(public);
                        while !ending.pass(pace) {
                            let _ = series.ask(0, 200, || client.ask(&ask));
                        }
                    });
                }
                let _over = ending.ends_with();
                during()
            })
        };
    crowd(&usual, USUAL, Duration::ZERO, &mut || {
        let_pass(span);
        Ok(())
    })?;
    let measured = usual.within(Duration::ZERO, span);
    let capacity = measured.count(|it| it == Outcome::Good);
    ensure!(capacity > 0, "nobody can sign in");

    node.kill();
    let (mut from, mut to, mut hashing) = (Duration::ZERO, Duration::ZERO, 0);
    crowd(&storm, STAMPEDE, PACE, &mut || {
        let_pass(Duration::from_secs(1));
        node.launch();
        from = watch.read();
        let mut client = Client::new(gateway);
        while watch.read() < from + span {
            let _ = calls.ask(0, 200, || stage::call(&mut client, "/bounded", &token));
            let_pass(Duration::from_millis(10));
        }
        to = watch.read();
        hashing = threads(&node)?;
        Ok(())
    })?;

    let mut seen = Seen::default();
    let cores = thread::available_parallelism().map_or(1, usize::from);
    seen.fact("threads that hash, of as many as there are cores", hashing, cores);
    seen.must(hashing > 0 && hashing <= cores, || {
        format!("{hashing} threads hash, on {cores} cores")
    });
    // The first second finds caches cold.
    let from = from + Duration::from_secs(1).min(span / 4);
    let during = storm.within(from, to);
    let good = during.count(|it| it == Outcome::Good);
    let share = ratio(good, to.saturating_sub(from)) / ratio(capacity, span);
    seen.saw = format!(
        "{:.0} a second can sign in, and {:.0} did while {STAMPEDE} tried ({:.0} %)",
        ratio(capacity, span),
        ratio(good, to.saturating_sub(from)),
        share * 100.0
    );
    let least = if round.hasty { 0.2 } else { 0.8 };
    seen.must(share >= least, || format!("{:.0} % of what is possible", share * 100.0));
    let told = during.count(|it| it == Outcome::Later);
    seen.fact("who signed in or was told to come later", good + told, during.len());
    seen.must(good + told == during.len(), || {
        format!("{} were answered otherwise", during.len() - good - told)
    });
    seen.must(told > 0, || "nobody was told to come later: the queue is not bounded".to_owned());
    let waited = during.latencies(|it| it == Outcome::Good);
    let most = if round.hasty { LONGEST * 3 } else { LONGEST };
    seen.promised("until somebody is signed in", waited, most);
    seen.number(
        "until somebody is told to come later",
        during.latencies(|it| it == Outcome::Later),
    );
    seen.number("signing in, as usual", measured.latencies(|it| it == Outcome::Good));
    let called = calls.within(from, to);
    seen.fact("calls with tokens meanwhile", called.count(|it| it == Outcome::Good), called.len());
    seen.must(called.success() >= 1.0, || "calls with tokens failed".to_owned());
    seen.number("calls with tokens meanwhile", called.latencies(|it| it == Outcome::Good));
    seen.checked.promises = during.len();
    Ok(seen)
}

fn ratio(many: usize, span: Duration) -> f64 {
    f64::from(u32::try_from(many).unwrap_or(u32::MAX)) / span.as_secs_f64().max(0.001)
}

/// How many threads of a node hash passwords.
fn threads(node: &TegataNode) -> Result<usize> {
    let id = node.process().id().context("the node does not run")?;
    let all = fs::read_dir(format!("/proc/{id}/task"))?.flatten();
    let names = all.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    Ok(names.filter(|name| name.starts_with("hash-")).count())
}
