//! Whether a token of another issuer was taken back, by who says so: memory, Redis, or the durable store. Whole
//! requests through a gateway are measured, so that a check takes less.

use std::{path::Path, time::Duration};

use tegata_engines::{Dependencies, EchoServer, EventsKind, Redis, RedisKind, TegataNode};
use tegata_faults::{
    foreign::{self, answered_by, counts_everywhere, take_back},
    http::Client,
    stage::{self, Access, PATIENCE, Stage},
    time::{let_pass, until},
};
use tegata_rounds::{Effort, Finding, Findings, percentile, timed};

/// The rows that are measured here.
pub(crate) const ROWS: &[&str] = &["C1"];

/// Of a whole check, in milliseconds: its share of all, and what it may take.
const BUDGETS: [(&str, f64, f64); 3] = [("p50", 0.5, 2.0), ("p95", 0.95, 8.0), ("p99", 0.99, 10.0)];

/// How long memory may take until it has told the durable store what it knows.
const TOLD: Duration = Duration::from_secs(2);

pub(crate) fn measure(effort: Effort, program: &Path, findings: &mut Findings) {
    let echo = EchoServer::start();
    let issuer = foreign::issuer(program, echo.port()).unwrap();
    let many = effort.size(1000, 8);
    let near = World::start(program, &issuer, RedisKind::Alone);
    let Some(Redis::Alone(redis)) = near.stage.cluster().redis() else { panic!("no Redis") };

    let known = vec![near.issued(1).remove(0); many];
    near.note(&known, 200, ("the same token again", "cache"), findings);
    near.note(&near.issued(many), 200, ("one that was not taken back", "filter"), findings);
    let told = || redis.node().ask(&["DBSIZE"]).text().parse::<usize>().unwrap_or_default();
    let taken_back = |world: &World<'_>| {
        let (all, before) = (world.issued(many), told());
        all.iter().for_each(|access| take_back(&world.stage, access).unwrap());
        (all, before + many)
    };
    let (all, expected) = taken_back(&near);
    assert!(until(PATIENCE, || told() >= expected).is_some(), "Redis is not told");
    near.note(&all, 401, ("one that was taken back, Redis answers", "redis"), findings);

    // Each of these is the first to be asked about after Redis fell silent, or one of the many after it.
    let (all, expected) = taken_back(&near);
    assert!(until(PATIENCE, || told() >= expected).is_some(), "Redis is not told");
    redis.node().process().hold();
    let what = "the same, Redis is silent (SIGSTOP), from the first request on";
    near.note(&all, 401, (what, "durable"), findings);
    redis.node().process().go_on();
    drop(near);

    let far = World::start(program, &issuer, RedisKind::None);
    let all = far.issued(many);
    all.iter().for_each(|access| take_back(&far.stage, access).unwrap());
    // What the durable store was not told yet, memory answers.
    let_pass(TOLD);
    far.note(&all, 401, ("the same without any Redis, PostgreSQL answers", "durable"), findings);
}

/// A node that takes the tokens of another issuer.
struct World<'i> {
    stage: Stage,
    issuer: &'i TegataNode,
}

impl<'i> World<'i> {
    fn start(program: &Path, issuer: &'i TegataNode, redis: RedisKind) -> Self {
        let dependencies = Dependencies { redis, events: EventsKind::Memory };
        let plan = foreign::plan(program, issuer, (1, dependencies), 100_000);
        let world = Self { stage: Stage::set(&plan).unwrap(), issuer };
        counts_everywhere(&world.stage, &world.issued(1)[0]).unwrap();
        world
    }

    fn issued(&self, many: usize) -> Vec<Access> {
        let mut robot = Client::new(self.issuer.ports().public);
        (0..many).map(|_| stage::issued(&mut robot).unwrap()).collect()
    }

    /// Shows each token once, one after the other.
    fn note(
        &self,
        tokens: &[Access],
        right: u16,
        (what, layer): (&str, &str),
        findings: &mut Findings,
    ) {
        let mut gateway = self.stage.gateway(0);
        // Whoever is new there opens a connection first.
        stage::call(&mut gateway, "/bounded", "none").unwrap();
        let before = answered_by(&self.stage, 0, layer);
        let (mut took, mut wrong, mut open) = (Vec::with_capacity(tokens.len()), 0, 0);
        for access in tokens {
            let (status, span) = timed(|| foreign::status(&mut gateway, access));
            took.push(span.as_secs_f64() * 1e3);
            match status {
                Some(status) if status == right => {}
                // Nobody said so in time: it is refused, and not for that it was taken back.
                Some(503) => open += 1,
                _ => wrong += 1,
            }
        }
        let by_it = answered_by(&self.stage, 0, layer) - before;
        let all = tokens.len();
        for (name, share, most) in BUDGETS {
            let seen = format!("{by_it} of {all} answered by `{layer}`, {open} by nobody in time");
            let finding = Finding::new("C1", format!("{what}: {name}"), "ms");
            let finding = finding.values([percentile(&took, share)]).limits(most, most, most / 2.0);
            findings.note(finding.seen(seen).checked(wrong, u64::try_from(all).unwrap()));
        }
    }
}
