//! No file of a node on SQLite can grow any more.

use std::{fs, time::Duration};

use anyhow::Result;
use serde_json::json;
use tegata_engines::{
    EchoServer, TegataNode,
    tegata::{Own, Shared, root_key},
};

use crate::{
    http::{Ask, Client},
    ledger::Checked,
    report::Seen,
    scenario::Round,
    seed::Seed,
    series::{Outcome, Series},
    stage::{self, Access, PERSON, ROUTES},
    time::{Stopwatch, until},
};

/// How soon it must work again when there is room.
const BACK: Duration = Duration::from_secs(10);

/// How many tokens there are to take back.
const KEPT: usize = 4;

/// How many tokens were issued, as the log of decisions says.
fn recorded(node: &TegataNode) -> Result<usize> {
    let mut many = 0;
    for file in fs::read_dir(node.directory().join("decisions"))? {
        let text = fs::read_to_string(file?.path())?;
        let is_issue = |line: &&str| {
            line.contains(r#""path":"/oauth2/token""#) && line.contains(r#""status":200"#)
        };
        many += text.lines().filter(is_issue).count();
    }
    Ok(many)
}

/// One round: fill it, ask for everything, make room, and ask again.
pub(super) fn round(round: &Round) -> Result<Seen> {
    let full = round.outage(if round.hasty { 1 } else { 5 }, 60);
    let shared = Shared {
        root_key: root_key(&round.program),
        program: round.program.clone(),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let own = Own { store: "sqlite://tegata.db".to_owned(), ..Own::default() };
    let node = TegataNode::start("sqlite", &shared, &own);
    let echo = EchoServer::start();
    stage::declare(&node, echo.port())?;
    let mut public = Client::new(node.ports().public);
    let mut gateway = Client::new(node.ports().gateway);
    let mut revoked = Vec::new();
    let living = stage::issued(&mut public)?;

    let watch = Stopwatch::start();
    // What is taken back meanwhile was issued before: nothing is, while nothing can be recorded.
    let pool: Result<Vec<_>> = (0..KEPT).map(|_| stage::issued(&mut public)).collect();
    let mut pool = pool?;
    let calls = Series::new("calls", watch);
    let issue = Series::new("tokens issued", watch);
    let revoke = Series::new("tokens taken back", watch);
    let sign_in = Series::new("people who sign in", watch);
    let credentials = json!({"username": PERSON.0, "password": PERSON.1});
    let login = Ask::json("/api/auth/login", &credentials).field("Origin", &shared.issuer);
    let mut turn = |revoked: &mut Vec<Access>| -> Result<()> {
        let _ = calls.ask(0, 200, || stage::call(&mut gateway, "/bounded", &living.token));
        let asked = issue.ask(0, 200, || stage::issue(&mut public));
        if let Ok(answer) = &asked
            && answer.status == 200
        {
            pool.push(stage::access_in(answer)?);
        }
        if let Some(access) = pool.pop() {
            let asked = revoke.ask(0, 200, || stage::revoke(&mut public, &access.token));
            match Outcome::of(&asked, 200) {
                Outcome::Good => revoked.push(access),
                // Whether it was done is not known of all of these: it is asked again.
                _ => pool.push(access),
            }
        }
        let _ = sign_in.ask(0, 200, || public.ask(&login));
        Ok(())
    };
    for _ in 0..3 {
        turn(&mut revoked)?;
    }
    // A little is left, or nothing.
    let room = [0, 4096, 100_000].get(Seed::new(round.seed).below(3)).copied().unwrap_or_default();
    node.limit_files(Some(room));
    let began = watch.read();
    while watch.read() - began < full {
        turn(&mut revoked)?;
    }
    node.limit_files(None);
    let ended = watch.read();
    let back = until(BACK * 2, || {
        let _ = turn(&mut revoked);
        [&issue, &revoke, &sign_in].iter().all(|it| it.back_after(ended, 0..1).is_some())
    });

    let mut seen = Seen { saw: format!("{room} B of room"), ..Seen::default() };
    match back {
        Some(took) => seen.promised("works again after", [took].into_iter().collect(), BACK),
        None => seen.broken.push("it does not work again though there is room".to_owned()),
    }
    let during = calls.within(began, ended);
    let good = during.count(|outcome| outcome == Outcome::Good);
    seen.must(good == during.len(), || format!("calls: {good} of {} were served", during.len()));
    seen.fact(calls.name, good, during.len());
    for series in [&issue, &revoke, &sign_in] {
        let during = series.within(began, ended);
        let wrong = during.count(|it| !matches!(it, Outcome::Good | Outcome::Later));
        seen.must(wrong == 0, || {
            format!("{}: {wrong} answered neither 200 nor 503 with Retry-After", series.name)
        });
        let later = during.count(|it| it == Outcome::Later);
        // The log of decisions is small, and may have room that the store has not.
        let has_room = room > 0 && series.name == issue.name;
        seen.must(later > 0 || has_room, || {
            format!("{}: none was refused, so nothing was shown", series.name)
        });
        seen.fact(series.name, during.len() - later, during.len());
        seen.number("answered 503", during.latencies(|it| it == Outcome::Later));
    }
    // What was acknowledged is on disk.
    node.kill();
    // Nothing was issued that is not on record.
    let good = issue.within(began, watch.read()).count(|it| it == Outcome::Good);
    let recorded = recorded(&node)?;
    seen.must(recorded >= good + KEPT, || {
        format!("{} tokens were issued, and {recorded} are on record", good + KEPT)
    });
    let sound = node.run(&["audit-log", "verify"]);
    seen.must(sound.status.success(), || {
        format!("the log of decisions: {}", String::from_utf8_lossy(&sound.stderr))
    });
    node.launch();
    let accepts = |access: &&Access| {
        let mut gateway = Client::new(node.ports().gateway);
        let on = |route| stage::call(&mut gateway, route, &access.token);
        ROUTES.map(on).into_iter().flatten().any(|answer| answer.status == 200)
    };
    let accepted = revoked.iter().filter(accepts).count();
    seen.must(accepted == 0, || format!("{accepted} revoked tokens are served after a restart"));
    seen.checked = Checked { promises: revoked.len(), looks: revoked.len() * ROUTES.len() };
    Ok(seen)
}
