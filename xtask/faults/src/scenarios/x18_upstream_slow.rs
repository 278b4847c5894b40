//! A service answers half a minute late, and everybody asks for it.

use std::{fs, thread, time::Duration};

use anyhow::{Result, ensure};
use tegata_engines::{EchoServer, Mode, Proxy};

use crate::{
    http::{Ask, Client},
    ledger::Ledger,
    report::Seen,
    scenario::Round,
    series::{Outcome, Samples, Series},
    stage::{self, PATIENCE, Stage, issued},
    time::{Ending, Stopwatch, let_pass, until},
};

/// How much later the service answers.
const LATE: Duration = Duration::from_secs(30);

/// How many requests it may have at a time: `max_requests`.
const MOST: usize = 8;

/// How long one may take: `timeout` of its route.
const DEADLINE: Duration = Duration::from_secs(1);

/// How many ask for the slow service, and how many for the other one.
const CALLERS: (usize, usize) = (24, 4);

/// Between two requests of one of them: those that are refused at once are to be no load by themselves.
const PACE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(10));

/// One round: a load on two services, of which one becomes slow and quick again.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let node = &stage.cluster().member(0).node;
    let behind = EchoServer::start();
    let way = Proxy::before(behind.port());
    let declared = format!(
        "[[service]]\nname = \"slow\"\nupstreams = [\"http://127.0.0.1:{}\"]\n\
         max_requests = {MOST}\nbreaker = false\n[[route]]\npath = \"/slow\"\nservice = \"slow\"\ntimeout = \"{}s\"\n",
        way.port(),
        DEADLINE.as_secs()
    );
    fs::write(node.directory().join("slow.toml"), declared)?;
    node.command(&["apply", "slow.toml"]);
    let mut public = stage.public(0);
    let token = issued(&mut public)?.token;
    let served = || stage::call(&mut stage.gateway(0), "/slow", &token);
    ensure!(until(PATIENCE, || served().is_ok_and(|it| it.status == 200)).is_some());

    let watch = Stopwatch::start();
    let (slow, other) = (Series::new("slow service", watch), Series::new("other service", watch));
    let ending = Ending::default();
    let calm = round.outage(3, 20);
    let caller = |series: &Series, route: &str, pace: Duration| {
        let mut client = stage.gateway(0);
        while !ending.pass(pace) {
            let _ = series.ask(0, 200, || stage::call(&mut client, route, &token));
        }
    };
    let (from, to) = thread::scope(|scope| {
        let _over = ending.ends_with();
        for _ in 0..CALLERS.0 {
            scope.spawn(|| caller(&slow, "/slow", PACE.0));
        }
        for _ in 0..CALLERS.1 {
            scope.spawn(|| caller(&other, "/bounded", PACE.1));
        }
        let_pass(calm);
        way.set(Mode::Delay(LATE));
        let from = watch.read();
        let_pass(calm);
        let to = watch.read();
        // Who waits there is not waited for.
        way.cut();
        way.set(Mode::Sound);
        (from, to)
    });
    let back = until(PATIENCE, || served().is_ok_and(|it| it.status == 200));

    let mut seen = Seen::default();
    let good = |samples: &Samples| samples.latencies(|outcome| outcome == Outcome::Good);
    let (before, during) = (other.within(Duration::ZERO, from), other.within(from, to));
    seen.fact("the other service", during.count(|it| it == Outcome::Good), during.len());
    seen.must(during.success() >= 1.0, || "calls to the other service failed".to_owned());
    let (before, during) = (good(&before), good(&during));
    // A tenth, and what a machine does to the slowest of a few; on one that compiles meanwhile, a look
    // says no more than that nobody waits for the slow one.
    let slack = Duration::from_millis(if round.hasty { 250 } else { 5 });
    let most = before.percentile(99).mul_f64(1.1) + slack;
    let p99 = during.percentile(99);
    seen.must(p99 <= most, || format!("the other service: p99 is {p99:?}, at most {most:?}"));
    seen.number("the other service, while both are quick", before);
    seen.number("the other service, while one is slow", during);

    // After the first moment all of its places are taken, so that the others are refused.
    let all = slow.within(from + DEADLINE, to.saturating_sub(DEADLINE));
    let late = all.count(|it| it == Outcome::Bad(504));
    let refused = all.count(|it| it == Outcome::Later);
    seen.fact("answers of the slow service that are 504 or 503", late + refused, all.len());
    seen.must(late + refused == all.len(), || "there are other answers of the slow service".into());
    seen.must(late > 0 && refused > 0, || format!("{late} were late, {refused} refused"));
    let places = all.len().min(MOST) * usize::try_from(calm.as_secs()).unwrap_or(1).max(1);
    seen.must(late <= places, || format!("{late} had a place, at most {places} can"));
    let waited = all.latencies(|it| it == Outcome::Bad(504));
    seen.promised("until 504", waited, 2 * DEADLINE);
    let at_once = all.latencies(|it| it == Outcome::Later);
    let p99 = at_once.percentile(99);
    let most = Duration::from_millis(if round.hasty { 350 } else { 100 });
    seen.must(p99 <= most, || format!("until 503: p99 is {p99:?}, at most {most:?}"));
    seen.number("until 503", at_once);
    seen.must(back.is_some(), || "the service does not come back".to_owned());
    // What did not come in time is not sent again: no more arrives there than was asked.
    let asked = slow.all().len() + 64;
    let arrived = usize::try_from(behind.served()).unwrap_or(usize::MAX);
    seen.must(arrived <= asked + asked / 10, || format!("{arrived} arrived of {asked}"));

    let metrics = Client::new(node.ports().operations).ask(&Ask::get("/metrics"))?.text();
    let left = metrics.lines().find(|line| {
        line.starts_with("gateway_upstream_running{service=\"slow\"") && !line.ends_with(" 0")
    });
    seen.must(left.is_none(), || format!("places are never free again: {left:?}"));
    let ledger = Ledger::default();
    for _ in 0..round.many(2, 10, 30) {
        let access = issued(&mut public)?;
        ensure!(stage::revoke(&mut public, &access.token)?.status == 200, "it is not taken back");
        ledger.revoked(access);
    }
    seen.checked = ledger.check(stage);
    seen.broken.extend(ledger.all_broken());
    Ok(seen)
}
