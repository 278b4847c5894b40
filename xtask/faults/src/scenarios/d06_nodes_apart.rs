//! Two nodes hear nothing of each other, neither directly nor over NATS, while both reach PostgreSQL and people use
//! their sessions at either.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use tegata_engines::{Ether, Mode};

use crate::{
    http::{Answer, Ask, Client},
    ledger::Ledger,
    load::propagation,
    report::Seen,
    scenario::Round,
    seed::Seed,
    stage::{PATIENCE, Stage, whose_session},
    time::{Stopwatch, let_pass, until},
};

/// How long an end may take to be known where nodes do not hear each other.
const BOUND: Duration = Duration::from_secs(5);

/// How soon each node says that it is cut off: it waits for ten seconds at least, so as not to take one that has
/// died for one that is not heard. And how soon it says that it no longer is.
const SAYS: Duration = Duration::from_secs(30);

/// Who tells operators.
const RULES: &str = include_str!("../../../../deploy/prometheus/tegata.rules.yml");

/// One round: people load pages and sign out at both nodes, before, while and after these are apart.
pub(super) fn round(stage: &Stage, round: &Round) -> Result<Seen> {
    let ether = stage.cluster().ether().context("this needs nodes that hear each other")?;
    let alarm = alarm().context("no rule tells operators that nodes are apart")?;
    let whole = ["cluster_members{standing=\"alive\"} 2".to_owned(), format!("{alarm} 0")];
    let nodes = || 0..stage.nodes();
    let heard = until(PATIENCE, || nodes().all(|node| says(stage, node, &whole)));
    ensure!(heard.is_some(), "the nodes do not hear each other to begin with");

    let people = |many| (0..many).map(|n| Browser::sign_in(stage, n % stage.nodes()));
    let mut staying: Vec<_> = people(round.many(3, 8, 30)).collect::<Result<_>>()?;
    let leaving: Vec<_> = people(round.many(4, 12, 60)).collect::<Result<_>>()?;
    let mut pages = Pages::default();
    pages.load(stage, &mut staying)?;

    let mut seen = Seen::default();
    let ledger = Ledger::default();
    let mut seed = Seed::new(round.seed);
    let mode = seed.one_of(&[Mode::BlackHole, Mode::Refuse]).copied().unwrap_or(Mode::Refuse);
    let (node, watch) = (seed.below(stage.nodes()), Stopwatch::start());
    turn(stage, ether, node, mode);
    let known = [format!("{alarm} 1")];
    let mut apart = || -> Result<()> {
        let told = thread::scope(|scope| -> Result<Vec<_>> {
            let (known, watch) = (&known, &watch);
            let look = |node| scope.spawn(move || says_in_time(stage, node, known, watch));
            let looking: Vec<_> = nodes().map(look).collect();
            let times = round.many(2, 5, 40);
            for (from, to) in [(0, 1), (1, 0)] {
                let learnt = propagation(stage, &ledger, (from, to), times, BOUND)?;
                let what = "a token taken back on one node, refused on the other";
                seen.promised(what, learnt, BOUND);
            }
            let mut ended = Vec::new();
            for (n, browser) in leaving.iter().enumerate() {
                ended.push(browser.leave(stage, (n % 2, (n + 1) % 2))?);
                pages.load(stage, &mut staying)?;
            }
            let ended = ended.into_iter().collect();
            seen.promised("signed out on one node, refused on the other", ended, BOUND);
            let goes_on = || watch.read() < round.outage(0, 120);
            while goes_on() || !looking.iter().all(thread::ScopedJoinHandle::is_finished) {
                pages.load(stage, &mut staying)?;
            }
            let told = looking.into_iter().map(|it| it.join().ok().flatten());
            told.collect::<Option<_>>().context("a node does not say that it is cut off")
        })?;
        seen.promised("a node says that it is cut off after", told.into_iter().collect(), SAYS);
        for node in nodes() {
            let ready = stage.cluster().member(node).node.readiness().unwrap_or_default();
            let (is_ready, names) =
                (ready.starts_with("HTTP/1.1 200"), ready.contains("partitioned"));
            seen.must(is_ready && names, || format!("node {node} says of its health: {ready}"));
        }
        Ok(())
    };
    let held = apart();
    turn(stage, ether, node, Mode::Sound);
    held?;
    let mended = until(PATIENCE, || nodes().all(|node| says(stage, node, &whole)));
    let mended = mended.context("the nodes say for ever that they are cut off")?;
    seen.promised("they are one again after", [mended].into_iter().collect(), SAYS);

    let apart = pages.clone();
    seen.fact("pages loaded while they were apart", apart.served, apart.asked);
    // None was refused, or the round would have ended: the others were told to come later.
    seen.must(apart.served * 10 >= apart.asked * 9, || {
        format!("{} of {} pages were loaded", apart.served, apart.asked)
    });
    let all_served = || {
        let mut again = Pages::default();
        again.load(stage, &mut staying).is_ok() && again.served == again.asked
    };
    seen.must(until(BOUND * 2, all_served).is_some(), || "somebody is no longer signed in".into());
    for browser in &leaving {
        for node in nodes() {
            let status = browser.statuses(stage, node);
            seen.must(status == [Some(401); 2], || {
                format!("node {node} answers whoever has signed out {status:?}")
            });
        }
    }
    let tokens = ledger.check(stage);
    let (promises, looks) = (leaving.len() + staying.len(), 2 * stage.nodes());
    seen.checked.promises = tokens.promises + promises;
    seen.checked.looks = tokens.looks + promises * looks;
    seen.broken.extend(ledger.all_broken());
    seen.saw = format!("{mode:?}, {} signed in, {} signed out", staying.len(), leaving.len());
    Ok(seen)
}

/// Parts the nodes, or joins them again.
fn turn(stage: &Stage, ether: &Ether, node: usize, mode: Mode) {
    ether.cut(node, mode != Mode::Sound);
    let ways = stage.cluster().members().iter().filter_map(|member| member.nats.as_ref());
    ways.for_each(|way| way.set(mode));
}

/// The metric that the alert is about.
fn alarm() -> Option<&'static str> {
    let rule = RULES.split("- alert: ").find(|rule| rule.starts_with("ClusterPartitioned\n"))?;
    let asks = rule.lines().find_map(|line| line.trim().strip_prefix("expr: "))?;
    let (metric, is_so) = asks.split_once('{')?;
    is_so.ends_with("} == 1").then_some(metric)
}

/// Whether a node says all of these lines of itself.
fn says(stage: &Stage, node: usize, lines: &[String]) -> bool {
    let port = stage.cluster().member(node).node.ports().operations;
    let told = Client::new(port).ask(&Ask::get("/metrics"));
    told.is_ok_and(|told| lines.iter().all(|line| told.text().lines().any(|own| own == line)))
}

/// When a node says all of these lines of itself. `None`: it does not, for three times as long as it may take.
fn says_in_time(
    stage: &Stage,
    node: usize,
    lines: &[String],
    watch: &Stopwatch,
) -> Option<Duration> {
    while watch.read() < SAYS * 3 {
        if says(stage, node, lines) {
            return Some(watch.read());
        }
        let_pass(Duration::from_millis(100));
    }
    None
}

/// What became of pages.
#[derive(Debug, Clone, Default)]
struct Pages {
    asked: usize,
    served: usize,
}

impl Pages {
    /// Everybody loads a page of each node and calls a service through each. Whoever is signed in is served, or told
    /// to come later.
    fn load(&mut self, stage: &Stage, browsers: &mut [Browser]) -> Result<()> {
        for browser in browsers {
            for node in 0..stage.nodes() {
                for gateway in [false, true] {
                    self.asked += 1;
                    match browser.load(stage, node, gateway) {
                        Some(200) => self.served += 1,
                        // Told to come later, or the connection broke.
                        Some(503) | None => {}
                        Some(other) => bail!("node {node} answers whoever is signed in {other}"),
                    }
                }
            }
        }
        Ok(())
    }
}

/// Somebody with a cookie jar.
#[derive(Debug)]
struct Browser {
    cookie: String,
    csrf: String,
}

impl Browser {
    fn sign_in(stage: &Stage, node: usize) -> Result<Self> {
        let answer = stage.public(node).ask(&stage.sign_in())?;
        let said = || format!("signing in was answered {}: {}", answer.status, answer.text());
        let csrf = answer.member("csrf_token").with_context(said)?;
        let mut browser = Self { cookie: String::new(), csrf };
        browser.keep(&answer);
        ensure!(!browser.cookie.is_empty(), said());
        Ok(browser)
    }

    fn ask(&self, gateway: bool) -> Ask {
        if gateway {
            let call = Ask::get("/bounded/x").field("Cookie", &self.cookie);
            call.field("User-Agent", "tegata-faults")
        } else {
            whose_session(&self.cookie)
        }
    }

    /// Loads something, and takes the cookie that the answer gives. `None`: there is no answer.
    fn load(&mut self, stage: &Stage, node: usize, gateway: bool) -> Option<u16> {
        let mut client = if gateway { stage.gateway(node) } else { stage.public(node) };
        let answer = client.ask(&self.ask(gateway)).ok()?;
        self.keep(&answer);
        Some(answer.status)
    }

    fn keep(&mut self, answer: &Answer) {
        let set = answer.all("set-cookie").find(|line| line.starts_with("session_id="));
        if let Some(pair) = set.and_then(|line| line.split(';').next()) {
            pair.clone_into(&mut self.cookie);
        }
    }

    /// How a node answers its cookie: its provider, and its gateway.
    fn statuses(&self, stage: &Stage, node: usize) -> [Option<u16>; 2] {
        let ways = [(stage.public(node), false), (stage.gateway(node), true)];
        ways.map(|(mut client, gateway)| Some(client.ask(&self.ask(gateway)).ok()?.status))
    }

    /// Signs out at one node, which refuses it at once. Answers how long it took until the other does.
    fn leave(&self, stage: &Stage, (here, there): (usize, usize)) -> Result<Duration> {
        let served = || self.statuses(stage, there) == [Some(200); 2];
        let served = until(BOUND, served);
        served.with_context(|| format!("node {there} does not serve whoever is signed in"))?;
        let leave = Ask::form("/api/auth/logout", &[])
            .field("Cookie", &self.cookie)
            .field("X-CSRF-Token", &self.csrf)
            .field("Origin", stage.cluster().issuer())
            .field("User-Agent", "tegata-faults");
        let left = stage.public(here).ask(&leave)?;
        ensure!(left.status == 204, "signing out was answered {}: {}", left.status, left.text());
        let watch = Stopwatch::start();
        let own = self.statuses(stage, here);
        ensure!(
            !own.contains(&Some(200)),
            "node {here} serves whoever has just left there: {own:?}"
        );
        let refused = until(BOUND * 2, || self.statuses(stage, there) == [Some(401); 2]);
        refused.with_context(|| format!("node {there} serves whoever has signed out elsewhere"))?;
        let took = watch.read();
        // So that it is not always at the same point of the other's rounds.
        let_pass(Duration::from_millis(37));
        Ok(took)
    }
}
