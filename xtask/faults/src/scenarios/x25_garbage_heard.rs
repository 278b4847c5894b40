//! Somebody says what they should not where nodes listen to each other: garbage, and what was said
//! before.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tegata_engines::process::connect;

use crate::{
    http::Ask,
    ledger::{Ledger, lock},
    load::propagation,
    report::Seen,
    scenario::Round,
    seed::Seed,
    stage::{self, ROUTES, Stage},
    time::Ending,
};

/// Where nodes listen.
const SUBJECTS: [&str; 4] = ["auth-events", "auth-revocations", "cache-invalidation", "auth-keys"];

/// How long a revocation may take to be known while all is well.
const WELL: Duration = Duration::from_secs(1);

/// Somebody who says things to everybody.
struct Troublemaker(TcpStream);

impl Troublemaker {
    fn come(stage: &Stage) -> Result<Self> {
        let nats = stage.cluster().nats().context("an installation with NATS")?;
        let stream = connect(nats.port())?;
        // It greets first.
        BufReader::new(stream.try_clone()?).read_line(&mut String::new())?;
        (&stream).write_all(b"CONNECT {\"verbose\":false}\r\n")?;
        Ok(Self(stream))
    }

    fn say(&self, subject: &str, words: &[u8]) -> Result<()> {
        let head = format!("PUB {subject} {}\r\n", words.len());
        Ok((&self.0).write_all(&[head.as_bytes(), words, b"\r\n"].concat())?)
    }
}

/// One round: garbage all the time, while tokens are used and taken back.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let ledger = Ledger::default();
    let access = stage::issued(&mut stage.public(0))?;
    let (ending, said, unready) =
        (Ending::default(), std::sync::Mutex::new(0), std::sync::Mutex::new(0));
    let times = round.many(5, 30, 300);
    let took = std::thread::scope(|scope| {
        let _over = ending.ends_with();
        let shout = || -> Result<()> {
            let (mut seed, mut who) = (Seed::new(round.seed), Troublemaker::come(stage)?);
            while !ending.pass(Duration::from_millis(1)) {
                let words: Vec<u8> =
                    (0..seed.below(200)).map(|_| seed.any().to_be_bytes()[0]).collect();
                let subject = seed.one_of(&SUBJECTS).copied().unwrap_or_default();
                if who.say(subject, &words).is_err() {
                    who = Troublemaker::come(stage)?;
                }
                *lock(&said) += 1;
            }
            Ok(())
        };
        let look = || {
            while !ending.pass(Duration::from_millis(50)) {
                for member in stage.cluster().members() {
                    let mut client = crate::http::Client::new(member.node.ports().operations);
                    let ready = client.ask(&Ask::get("/health/ready"));
                    *lock(&unready) += usize::from(!ready.is_ok_and(|it| it.status == 200));
                }
            }
        };
        let shouting = scope.spawn(shout);
        scope.spawn(look);
        let there = propagation(stage, &ledger, (0, 1), times, WELL);
        let back = propagation(stage, &ledger, (1, 0), times, WELL);
        ending.end();
        let shouted = shouting.join();
        shouted.map_err(|_| anyhow::anyhow!("the troublemaker died"))??;
        anyhow::Ok(there?.and(&back?))
    })?;
    let mut seen = Seen::default();
    seen.promised("revoked on one node, refused on the other", took, WELL);
    let (said, unready) = (*lock(&said), *lock(&unready));
    seen.must(said > 0, || "nothing was said, so nothing was shown".to_owned());
    seen.must(unready == 0, || format!("{unready} times a node was not ready"));
    // Nobody can take back what is not theirs to take back.
    for node in 0..stage.nodes() {
        for route in ROUTES {
            let status = stage::call(&mut stage.gateway(node), route, &access.token)?.status;
            seen.must(status == 200, || format!("node {node} answers a good token {status}"));
        }
    }
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    seen.saw = format!("{said} messages of garbage");
    Ok(seen)
}
