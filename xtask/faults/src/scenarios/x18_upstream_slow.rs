//! A service answers half a minute late, and everybody asks for it.

use std::{fs, thread, time::Duration};

use anyhow::{Result, ensure};
use tegata_engines::{EchoServer, Mode, Proxy};

use crate::{
    ledger::Ledger,
    look,
    report::Seen,
    scenario::Round,
    series::{Outcome, Samples, Series},
    stage::{self, PATIENCE, Stage, issued},
    time::{Ending, Stopwatch, let_pass, until},
};

/// How much later the service answers.
const LATE: Duration = Duration::from_secs(30);

/// How the slow service is declared, and how it is asked.
struct Declared {
    /// What its declaration says beside its address, and what that of its route says.
    service: &'static str,
    route: &'static str,
    /// How many requests it has at a time then.
    most: usize,
    /// How long one may take.
    deadline: Duration,
    /// How many ask for it.
    callers: usize,
    /// Between two requests of one of them: those that are refused at once are to be no load by themselves.
    pace: Duration,
    /// For how long both are quick, and then one is slow, in seconds: short, and at full length.
    seconds: [(u64, u64); 2],
}

/// With limits of its own, which are reached at once.
const LIMITED: Declared = Declared {
    service: "max_requests = 8\nbreaker = false\n",
    route: "timeout = \"1s\"\n",
    most: 8,
    deadline: Duration::from_secs(1),
    callers: 24,
    pace: Duration::from_millis(50),
    seconds: [(3, 20), (3, 20)],
};

/// How many ask for the other one, and between two requests of one of them.
const OTHERS: (usize, Duration) = (4, Duration::from_millis(10));

/// One round: a load on two services, of which one has few places and becomes slow and quick again.
pub(super) fn limited(stage: &Stage, round: &Round) -> Result<Seen> {
    one_of_two(stage, round, &LIMITED)
}

fn one_of_two(stage: &Stage, round: &Round, slow_one: &Declared) -> Result<Seen> {
    let (most, deadline) = (slow_one.most, slow_one.deadline);
    let node = &stage.cluster().member(0).node;
    let behind = EchoServer::start();
    let way = Proxy::before(behind.port());
    let declared = format!(
        "[[service]]\nname = \"slow\"\nupstreams = [\"http://127.0.0.1:{}\"]\n{}\
         [[route]]\npath = \"/slow\"\nservice = \"slow\"\n{}",
        way.port(),
        slow_one.service,
        slow_one.route
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
    let spans = slow_one.seconds.map(|(short, full)| round.outage(short, full));
    let [calm, slowly] = spans;
    let caller = |series: &Series, route: &str, pace: Duration| {
        let mut client = stage.gateway(0).waiting(deadline + PATIENCE);
        while !ending.pass(pace) {
            let _ = series.ask(0, 200, || stage::call(&mut client, route, &token));
        }
    };
    let retries = "gateway_upstream_retries_total{service=\"slow\"}".to_owned();
    let before_again = look::sum(&look::metrics(node)?, &retries);
    let mut again = Ok(0.0);
    let (from, to) = thread::scope(|scope| {
        let _over = ending.ends_with();
        for _ in 0..slow_one.callers {
            scope.spawn(|| caller(&slow, "/slow", slow_one.pace));
        }
        for _ in 0..OTHERS.0 {
            scope.spawn(|| caller(&other, "/bounded", OTHERS.1));
        }
        let_pass(calm);
        way.set(Mode::Delay(LATE));
        let from = watch.read();
        let_pass(slowly.max(deadline + deadline / 3));
        let to = watch.read();
        again = look::metrics(node).map(|told| look::sum(&told, &retries) - before_again);
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
    // On a machine that compiles meanwhile, a look says no more than that nobody waits for the slow one.
    let slack = Duration::from_millis(if round.hasty { 250 } else { 0 });
    let usual = steady(&other, Duration::ZERO, from);
    let (p99, longest) = (steady(&other, from, to), usual.mul_f64(1.1) + slack);
    seen.must(p99 <= longest, || format!("the other service: p99 is {p99:?}, at most {longest:?}"));
    seen.number("the other service, while both are quick", before);
    seen.number("the other service, while one is slow", during);

    // After the first moment all of its places are taken, so that the others are refused.
    let (begins, ends) = (from + deadline.min(Duration::from_secs(1)), to.saturating_sub(deadline));
    let all = slow.within(begins, ends);
    let late = all.count(|it| it == Outcome::Bad(504));
    let refused = all.count(|it| it == Outcome::Later);
    seen.fact("answers of the slow service that are 504 or 503", late + refused, all.len());
    seen.must(late + refused == all.len(), || "there are other answers of the slow service".into());
    seen.must(late > 0 && refused > 0, || format!("{late} were late, {refused} refused"));
    let turns = ends.saturating_sub(begins).as_secs() / deadline.as_secs().max(1) + 1;
    let places = most * usize::try_from(turns)?;
    seen.must(late <= places, || format!("{late} had a place, at most {places} can"));
    let waited = all.latencies(|it| it == Outcome::Bad(504));
    seen.promised("until 504", waited, deadline + deadline.min(Duration::from_secs(2)));
    let at_once = all.latencies(|it| it == Outcome::Later);
    let p99 = at_once.percentile(99);
    let longest = Duration::from_millis(if round.hasty { 350 } else { 100 });
    seen.must(p99 <= longest, || format!("until 503: p99 is {p99:?}, at most {longest:?}"));
    seen.number("until 503", at_once);
    seen.must(back.is_some(), || "the service does not come back".to_owned());
    // What did not come in time is not sent again.
    let again = again?;
    let metrics = look::metrics(node)?;
    seen.must(again < 1.0, || format!("{again} requests were sent again"));
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

/// The 99th percentile of a usual second: what a machine does to one of them says nothing about a service.
fn steady(series: &Series, from: Duration, to: Duration) -> Duration {
    let second = Duration::from_secs(1);
    let mut all = Vec::new();
    let mut begins = from;
    while begins + second <= to {
        let good = |outcome| outcome == Outcome::Good;
        let samples = series.within(begins, begins + second).latencies(good);
        if !samples.is_empty() {
            all.push(samples.percentile(99));
        }
        begins += second;
    }
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}
