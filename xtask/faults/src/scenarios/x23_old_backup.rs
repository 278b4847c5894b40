//! The database is replaced by what it was before: by a backup, or by a standby that lacked the latest.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tegata_engines::{Mode, PostgresServer};

use super::{on_nats, two_nodes};
use crate::{
    http::Client,
    ledger::{Checked, Ledger},
    report::Seen,
    scenario::Round,
    seed::Seed,
    stage::{self, Access, ROUTES, Stage, issued, whose_session},
    time::{Stopwatch, let_pass, until},
};

/// How soon a node must end whose database was replaced under it.
const NOTICED: Duration = Duration::from_secs(10);

/// Within this, every node has seen what happened: of what it has not, it cannot notice that it is gone.
const SEEN: Duration = Duration::from_secs(2);

/// How soon everything must be back: declared, and all nodes started.
const BACK: Duration = Duration::from_secs(60);

/// What was given to somebody before the database was replaced.
#[derive(Default)]
struct Given {
    access: Vec<Access>,
    /// Refresh tokens, the latest and those that had been spent.
    refresh: Vec<String>,
    cookies: Vec<String>,
}

impl Given {
    /// As people and clients are given it.
    fn some(stage: &Stage, many: usize) -> Result<Self> {
        let mut client = stage.public(0);
        stage.forget();
        let access = (0..many).map(|_| issued(&mut client)).collect::<Result<Vec<_>>>()?;
        let refresh = stage.families(many)?;
        let cookies = vec![stage.session(&mut client)?];
        Ok(Self { access, refresh, cookies })
    }

    /// Uses all of it at another node: half of the tokens are taken back, refresh tokens are spent.
    fn used(&mut self, stage: &Stage, ledger: &Ledger) -> Result<()> {
        let mut client = stage.public(1);
        for access in self.access.iter().step_by(2) {
            let answer = stage::revoke(&mut client, &access.token)?;
            ensure!(answer.status == 200, "a revocation was answered {}", answer.status);
            ledger.revoked(access.clone());
        }
        for token in self.refresh.clone() {
            let answer = stage::refresh(&mut client, &token)?;
            self.access.push(stage::access_in(&answer)?);
            self.refresh.extend(answer.member("refresh_token"));
        }
        Ok(())
    }

    fn and(mut self, other: Self) -> Self {
        self.access.extend(other.access);
        self.refresh.extend(other.refresh);
        self.cookies.extend(other.cookies);
        self
    }

    /// Looks at all of it, at every node: nothing of it counts.
    fn check(&self, stage: &Stage, seen: &mut Seen) -> Result<()> {
        let mut looks = 0;
        for node in 0..stage.nodes() {
            let (mut public, mut gateway) = (stage.public(node), stage.gateway(node));
            for access in &self.access {
                let active = stage::introspect(&mut public, &access.token)?;
                seen.must(!active, || format!("node {node}: a token from before is active"));
                for route in ROUTES {
                    let status = stage::call(&mut gateway, route, &access.token)?.status;
                    seen.must(status == 401, || {
                        format!("node {node}: a token from before is answered {status} at {route}")
                    });
                }
                looks += 1 + ROUTES.len();
            }
            for token in &self.refresh {
                let status = stage::refresh(&mut public, token)?.status;
                seen.must(status == 400, || {
                    format!("node {node}: a refresh token from before is answered {status}")
                });
            }
            for cookie in &self.cookies {
                let status = public.ask(&whose_session(cookie))?.status;
                seen.must(status == 401, || {
                    format!("node {node}: a session from before is answered {status}")
                });
            }
            looks += self.refresh.len() + self.cookies.len();
        }
        let promises = self.access.len() + self.refresh.len() + self.cookies.len();
        seen.checked.promises += promises;
        seen.checked.looks += looks;
        Ok(())
    }
}

/// A backup is brought back: with all nodes stopped, or while one of them runs, as the seed says.
pub(super) fn backup(stage: &Stage, round: &Round) -> Result<Seen> {
    let stays = Seed::new(round.seed).below(2) == 1;
    let postgres = stage.cluster().postgres();
    let ledger = Ledger::default();
    let mut given = Given::some(stage, round.many(3, 10, 100))?;
    let watch = Stopwatch::start();
    let backup = postgres.back_up();
    let backed_up = watch.read();
    given.used(stage, &ledger)?;
    let mut later = Given::some(stage, round.many(3, 10, 100))?;
    later.used(stage, &ledger)?;

    let_pass(SEEN);
    let watch = Stopwatch::start();
    stop_all(stage, if stays { 1 } else { stage.nodes() });
    postgres.stop();
    postgres.bring_back(&backup);
    postgres.launch();
    let replaced = watch.read();
    let mut seen = replaced_under(stage, &ledger, &given.and(later), stays)?;
    seen.number("backed up", [backed_up].into_iter().collect());
    seen.number("backup put in place", [replaced].into_iter().collect());
    seen.saw = (if stays { "one node went on" } else { "all nodes were stopped" }).to_owned();
    Ok(seen)
}

/// A standby takes over that had been cut off for a while.
pub(super) fn standby(round: &Round) -> Result<Seen> {
    let plan = if Seed::new(round.seed).below(2) == 1 { on_nats(round) } else { two_nodes(round) };
    let stage = Stage::set(&plan)?;
    let ledger = Ledger::default();
    let mut given = Given::some(&stage, round.many(3, 10, 100))?;
    let postgres = stage.cluster().postgres();
    let standby = PostgresServer::standby_of(postgres);
    standby.cut_off();
    given.used(&stage, &ledger)?;
    let mut later = Given::some(&stage, round.many(3, 10, 100))?;
    later.used(&stage, &ledger)?;
    // So far it is behind at least.
    let_pass(round.outage(2, 5).max(SEEN));
    postgres.kill();
    standby.promote();
    for member in stage.cluster().members() {
        member.postgres.lead_to(&[standby.port()]);
        member.postgres.set(Mode::Refuse);
        member.postgres.set(Mode::Sound);
    }
    let mut seen = replaced_under(&stage, &ledger, &given.and(later), true)?;
    refused_where_required(&stage, &standby, &mut seen)?;
    seen.saw = "a standby that lacked the latest took over".to_owned();
    Ok(seen)
}

/// A node that is told that there must be a standby does not start on a server that waits for none, and
/// does on one that does.
fn refused_where_required(stage: &Stage, server: &PostgresServer, seen: &mut Seen) -> Result<()> {
    let node = &stage.cluster().member(0).node;
    let file = node.directory().join("tegata.toml");
    let before = std::fs::read_to_string(&file)?;
    let required = "[store]\nsynchronous_standby = \"required\"\n";
    std::fs::write(&file, before.replacen("[store]\n", required, 1))?;
    node.stop();
    seen.must(!node.try_launch(), || "a server without a standby is not refused".to_owned());
    let said = node.process().said();
    seen.must(said.contains("synchronous_standby_names"), || {
        format!("it is not said how to mend it: {}", last(&said))
    });
    // As a server that has one says it. None is there, so nothing may be written on it.
    server.set("synchronous_standby_names", "ANY 1 (*)");
    let shown = node.run(&["doctor"]);
    let said = String::from_utf8_lossy(&shown.stdout).into_owned();
    seen.must(!said.contains("acknowledges what no"), || format!("it is refused: {said}"));
    server.set("synchronous_standby_names", "");
    std::fs::write(&file, before)?;
    Ok(())
}

/// What happens once the database is what it was before.
fn replaced_under(stage: &Stage, ledger: &Ledger, given: &Given, stays: bool) -> Result<Seen> {
    let mut seen = Seen::default();
    let members = stage.cluster().members();
    if stays {
        // Those that run notice by themselves, and end.
        let running = || members.iter().map(|it| &it.node).filter(|it| it.process().id().is_some());
        let ended = until(NOTICED * 2, || running().all(|node| node.ended().is_some()));
        let took = ended.with_context(|| {
            let said: Vec<_> = running().map(|node| node.process().said()).collect();
            let said: Vec<_> = said.iter().map(|said| last(said)).collect();
            format!("a node goes on with a database that was replaced under it: {said:?}")
        })?;
        seen.promised("a node that runs notices and ends", [took].into_iter().collect(), NOTICED);
        for node in running() {
            let said = node.process().said();
            seen.must(said.contains("tegata restore --declare"), || {
                format!("a node ended, and did not say what to do: {}", last(&said))
            });
        }
        running().for_each(|node| node.kill());
    }
    // And none starts.
    let first = &stage.cluster().member(0).node;
    seen.must(!first.try_launch(), || "a node starts on an older database".to_owned());
    let said = first.process().said();
    seen.must(said.contains("tegata restore --declare"), || {
        format!("a node does not start, and does not say what to do: {}", last(&said))
    });

    let watch = Stopwatch::start();
    first.command(&["restore", "--declare"]);
    seen.number("declared", [watch.read()].into_iter().collect());
    for member in members {
        let (node, said) = (&member.node, || member.node.process().said());
        ensure!(node.try_launch(), "a node does not start again: {}", last(&said()));
    }
    seen.promised("declared, and all nodes started", [watch.read()].into_iter().collect(), BACK);
    given.check(stage, &mut seen)?;
    works_anew(stage, &mut seen)?;
    let checked = ledger.check_revoked(stage);
    seen.checked = Checked {
        promises: seen.checked.promises + checked.promises,
        looks: seen.checked.looks + checked.looks,
    };
    seen.broken.extend(ledger.all_broken());
    Ok(seen)
}

/// People sign in, tokens count, and what is taken back from now on every node learns: its place in the
/// log is one that others had before.
fn works_anew(stage: &Stage, seen: &mut Seen) -> Result<()> {
    stage.forget();
    let mut client: Client = stage.public(0);
    let family = stage.family_of(&mut client)?;
    let refreshed = stage::refresh(&mut client, &family)?;
    seen.must(refreshed.status == 200, || format!("a refresh was answered {}", refreshed.status));
    let other = stage.nodes() - 1;
    let (mut gateway, access) = (stage.gateway(other), issued(&mut client)?);
    let mut status = || stage::call(&mut gateway, "/strict", &access.token).map(|it| it.status);
    let served = until(stage::PATIENCE, || status().is_ok_and(|status| status == 200));
    served.context("a new token is not served")?;
    let answer = stage::revoke(&mut client, &access.token)?;
    ensure!(answer.status == 200, "a revocation was answered {}", answer.status);
    let learnt = until(crate::ledger::LEARNT * 5, || status().is_ok_and(|status| status == 401));
    let learnt = learnt.context("a node does not learn what is taken back afterwards")?;
    seen.promised(
        "revoked afterwards, refused on the other node",
        [learnt].into_iter().collect(),
        crate::ledger::LEARNT,
    );
    Ok(())
}

fn stop_all(stage: &Stage, many: usize) {
    stage.cluster().members().iter().take(many).for_each(|member| member.node.stop());
}

/// The last line that somebody said.
fn last(said: &str) -> &str {
    said.trim_end().lines().next_back().unwrap_or_default()
}
