//! From one node to another: how long it takes, what is served while the store is away, and what
//! becomes of it when the node is killed or stopped that gives positions.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tegata_engines::{
    EchoServer, NatsServer, PostgresServer, TegataNode,
    tegata::{Own, Shared, root_key},
};
use tegata_faults::{
    http::Client,
    stage::{self, PATIENCE},
    time::{Ending, Stopwatch, let_pass, until},
};
use tegata_rounds::{Effort, Finding, Findings, median, percentile};

/// From when on a token is no longer young: a route that is `bounded` lets young ones pass in any case.
const YOUTH: Duration = Duration::from_secs(62);

/// The rows that are measured here.
pub(crate) const ROWS: &[&str] = &["G15", "G22", "lease"];

pub(crate) fn measure(effort: Effort, program: &Path, findings: &mut Findings) {
    let mut heard = Nodes::start(program, true, 2);
    let (good, bad) = heard.old(effort.size(100, 5));
    let since = Stopwatch::start();
    propagation(effort, &heard, findings);
    heard.join();
    let what = "a node is killed that gives positions; nodes hear each other: the longest until another refuses";
    hand_over(effort, &heard, (Ends::Killed, what), findings);
    let what = "it is told to stop (SIGTERM), and hands over; nodes hear each other: the longest until another refuses";
    hand_over(effort, &heard, (Ends::Stopped, what), findings);
    if !effort.trial {
        let_pass(YOUTH.saturating_sub(since.read()));
    }
    outage(effort, &heard, &good, &bad, findings);
    drop(heard);
    let alone = Nodes::start(program, false, 3);
    let what = "a node is killed that gives positions; nodes do not hear each other: the same";
    hand_over(effort, &alone, (Ends::Killed, what), findings);
    let what = "it is told to stop, and hands over; nodes do not hear each other: the same";
    hand_over(effort, &alone, (Ends::Stopped, what), findings);
}

/// How the node ends that gives positions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// With SIGKILL: others wait until its lease is over.
    Killed,
    /// With SIGTERM, as in every restart.
    Stopped,
}

impl Ends {
    /// Ends a node; answers when it has.
    fn end(self, node: &TegataNode) {
        match self {
            Self::Killed => node.kill(),
            Self::Stopped => node.stop(),
        }
    }

    /// For how long from then on it is looked at what others take back. Whoever is told to stop goes on for
    /// 3 s first, for load balancers to notice.
    const fn seen(self) -> Duration {
        match self {
            Self::Killed => Duration::from_millis(3500),
            Self::Stopped => Duration::from_millis(7000),
        }
    }
}

/// Nodes on one PostgreSQL.
struct Nodes {
    nodes: Vec<TegataNode>,
    shared: Shared,
    own: Own,
    database: String,
    postgres: PostgresServer,
    echo: EchoServer,
    _nats: Option<NatsServer>,
}

impl Nodes {
    fn start(program: &Path, heard: bool, many: usize) -> Self {
        let postgres = PostgresServer::listening("", |_| {});
        let database = postgres.database().name().to_owned();
        let nats = heard.then(NatsServer::start);
        let store = postgres.named(&database).url_at("127.0.0.1", postgres.port());
        let events = nats.as_ref().map(NatsServer::url);
        let shared = Shared {
            root_key: root_key(program),
            program: program.to_owned(),
            issuer: "http://localhost:8000".to_owned(),
            audience: "http://localhost:8080".to_owned(),
        };
        let own = Own { store, events, ..Own::default() };
        let (nodes, echo) = (Vec::new(), EchoServer::start());
        let mut this = Self { nodes, shared, own, database, postgres, echo, _nats: nats };
        for _ in 0..many {
            this.join();
        }
        this
    }

    /// One more.
    fn join(&mut self) {
        let name = format!("node-{}", self.nodes.len());
        self.nodes.push(TegataNode::start(&name, &self.shared, &self.own));
        let at = self.nodes.len() - 1;
        if at == 0 {
            stage::declare(&self.nodes[0], self.echo.port()).unwrap();
        }
        self.until_served(at);
    }

    /// Waits until a node serves what another issued.
    fn until_served(&self, at: usize) {
        let token = self.issued(if at == 0 { 0 } else { at - 1 }, 1).remove(0);
        let mut gateway = self.gateway(at);
        let served = || status(&mut gateway, &token) == Some(200);
        assert!(until(PATIENCE, served).is_some(), "node {at} does not serve");
    }

    fn public(&self, at: usize) -> Client {
        Client::new(self.nodes[at].ports().public)
    }

    fn gateway(&self, at: usize) -> Client {
        Client::new(self.nodes[at].ports().gateway)
    }

    fn issued(&self, at: usize, many: usize) -> Vec<String> {
        let mut client = self.public(at);
        (0..many).map(|_| stage::issued(&mut client).unwrap().token.to_string()).collect()
    }

    /// Tokens to be used later, and as many that are taken back at once.
    fn old(&self, many: usize) -> (Vec<String>, Vec<String>) {
        let (good, bad) = (self.issued(0, many), self.issued(0, many));
        let mut client = self.public(0);
        for token in &bad {
            revoke(&mut client, token);
        }
        (good, bad)
    }

    /// Which node gives positions to revocations.
    fn giving(&self) -> Option<usize> {
        let database = self.postgres.named(&self.database);
        let held = database.sql(
            "SELECT node FROM tegata.sequencer WHERE log = 'revocations' AND leased_until > clock_timestamp()",
        );
        let held = held.parse::<i64>().ok()?.cast_unsigned();
        self.nodes.iter().position(|node| {
            let said = node.process().said();
            let started = said.lines().rev().find(|line| line.contains("started"));
            node.process().id().is_some()
                && started.is_some_and(|line| line.contains(&format!("{held:016x}")))
        })
    }
}

/// Takes a token back, as often as it is told that it has to be asked again. Answers how often it was.
fn revoke(client: &mut Client, token: &str) -> usize {
    let watch = Stopwatch::start();
    let mut again = 0;
    loop {
        let answer = stage::revoke(client, token).unwrap();
        if answer.status == 200 {
            return again;
        }
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert!(watch.read() < PATIENCE, "{}", answer.text());
        let_pass(Duration::from_millis(5));
        again += 1;
    }
}

fn status(client: &mut Client, token: &str) -> Option<u16> {
    stage::call(client, "/bounded", token).ok().map(|answer| answer.status)
}

/// When something was asked, when it was answered, and how.
type Look = (Duration, Duration, u16);

/// Asks about one token again and again, until told to stop.
fn watch_over(
    client: &mut Client,
    token: &str,
    watch: Stopwatch,
    (looks, refusals, over): (&AtomicUsize, &AtomicUsize, &AtomicBool),
) -> Vec<Look> {
    let mut all = Vec::new();
    while !over.load(Ordering::SeqCst) {
        let asked = watch.read();
        let Some(status) = status(client, token) else { continue };
        all.push((asked, watch.read(), status));
        looks.fetch_add(1, Ordering::SeqCst);
        if status == 401 {
            refusals.fetch_add(1, Ordering::SeqCst);
        }
    }
    all
}

/// From the acknowledgement to the refusal, on the same node and on another.
fn propagation(effort: Effort, nodes: &Nodes, findings: &mut Findings) {
    let many = effort.size(1000, 10);
    let tokens: Vec<String> = thread::scope(|scope| {
        let half = |at| nodes.issued(at, many / 2);
        let both = [0, 1].map(|at| scope.spawn(move || half(at)));
        both.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    let (ending, calls, misses) = (Ending::default(), AtomicUsize::new(0), AtomicUsize::new(0));
    let begun = Stopwatch::start();
    let mut seen = Propagated::default();
    thread::scope(|scope| {
        let _over = ending.ends_with();
        for at in [0, 0, 1, 1] {
            let (ending, calls, misses) = (&ending, &calls, &misses);
            let own = nodes.issued(at, 50);
            let mut client = nodes.gateway(at);
            scope.spawn(move || {
                for token in own.iter().cycle() {
                    calls.fetch_add(1, Ordering::SeqCst);
                    if status(&mut client, token) != Some(200) {
                        misses.fetch_add(1, Ordering::SeqCst);
                    }
                    if ending.pass(Duration::from_millis(2)) {
                        return;
                    }
                }
            });
        }
        let mut gateways = [nodes.gateway(0), nodes.gateway(1)];
        let mut public = nodes.public(0);
        for token in &tokens {
            seen.note(token, &mut public, &mut gateways);
        }
    });
    let load = calls.load(Ordering::SeqCst);
    let rate = load as f64 / begun.read().as_secs_f64();
    let checked =
        |wrong: usize, of: usize| (u64::try_from(wrong).unwrap(), u64::try_from(of).unwrap());
    let (wrong, of) = checked(seen.late + misses.load(Ordering::SeqCst), seen.looks + load);
    let what = format!("passes on the node that has acknowledged, of {many} revocations");
    let said = format!("{} requests came after an acknowledgement; {rate:.0} others/s", seen.looks);
    let finding = Finding::new("G15", what, "").values([seen.late as f64]);
    findings.note(finding.limits(0.0, 0.0, 0.0).checked(wrong, of).seen(said));
    let (wrong, of) = checked(seen.back, seen.looks_elsewhere);
    let millis: Vec<f64> = seen.elsewhere.iter().map(|it| it.as_secs_f64() * 1e3).collect();
    let acknowledged: Vec<f64> = seen.took.iter().map(|it| it.as_secs_f64() * 1e3).collect();
    let finding = |share: f64, name: &str| {
        let what = format!("from the acknowledgement to the refusal on another node: {name}");
        Finding::new("G15", what, "ms").values([percentile(&millis, share)])
    };
    let longest = percentile(&millis, 1.0);
    findings.note(finding(0.50, "p50").checked(wrong, of));
    let said =
        format!("the longest {longest:.1} ms; acknowledged after {:.1} ms", median(&acknowledged));
    findings.note(finding(0.99, "p99").limits(1000.0, 50.0, 5.0).seen(said));
}

/// What was seen of revocations.
#[derive(Default)]
struct Propagated {
    /// Requests that began after the acknowledgement on the same node, and passed.
    late: usize,
    /// All that began after it.
    looks: usize,
    /// How long it took until the other node refused.
    elsewhere: Vec<Duration>,
    /// Requests that passed on the other node after it had refused one.
    back: usize,
    /// All that began after its first refusal.
    looks_elsewhere: usize,
    /// How long the acknowledgements took.
    took: Vec<Duration>,
    /// How often somebody was told to ask again.
    again: usize,
}

impl Propagated {
    /// Takes a token back while it is used on both nodes without a pause.
    fn note(&mut self, token: &str, public: &mut Client, gateways: &mut [Client; 2]) {
        let (watch, over) = (Stopwatch::start(), AtomicBool::new(false));
        let counters = [(); 2].map(|()| (AtomicUsize::new(0), AtomicUsize::new(0)));
        let (acknowledged, looks) = thread::scope(|scope| {
            let _over = Over(&over);
            let threads: Vec<_> = gateways
                .iter_mut()
                .zip(&counters)
                .map(|(client, (looks, refusals))| {
                    let over = &over;
                    scope.spawn(move || watch_over(client, token, watch, (looks, refusals, over)))
                })
                .collect();
            // Both use it, and then both have been refused it several times.
            wait_for(|| counters.iter().all(|(looks, _)| looks.load(Ordering::SeqCst) >= 1));
            let asked = watch.read();
            self.again += revoke(public, token);
            let acknowledged = watch.read();
            self.took.push(acknowledged - asked);
            wait_for(|| counters.iter().all(|(_, refusals)| refusals.load(Ordering::SeqCst) >= 3));
            over.store(true, Ordering::SeqCst);
            let looks: Vec<Vec<Look>> = threads.into_iter().map(|it| it.join().unwrap()).collect();
            (acknowledged, looks)
        });
        let after = |from: Duration, looks: &[Look]| -> (usize, usize) {
            let late = looks.iter().filter(|(asked, ..)| *asked >= from);
            (late.clone().filter(|look| look.2 != 401).count(), late.count())
        };
        let (late, all) = after(acknowledged, &looks[0]);
        self.late += late;
        self.looks += all;
        let refused = looks[1].iter().find(|look| look.2 == 401).map(|look| look.1).unwrap();
        self.elsewhere.push(refused.saturating_sub(acknowledged));
        let (back, all) = after(refused, &looks[1]);
        self.back += back;
        self.looks_elsewhere += all;
    }
}

/// Says that it is over when it is dropped: also where whoever holds it panics.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn wait_for(is_so: impl Fn() -> bool) {
    let watch = Stopwatch::start();
    while !is_so() {
        assert!(watch.read() < PATIENCE, "a node neither serves nor refuses");
        let_pass(Duration::from_micros(200));
    }
}

/// For how long a node that ends delays what others take back.
fn hand_over(effort: Effort, nodes: &Nodes, (ends, what): (Ends, &str), findings: &mut Findings) {
    let (mut longest, mut usual, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.size(5, 1) {
        let mut giving = None;
        assert!(
            until(PATIENCE, || {
                giving = nodes.giving();
                giving.is_some()
            })
            .is_some(),
            "nobody gives positions"
        );
        let killed = giving.unwrap();
        let others: Vec<usize> = (0..nodes.nodes.len()).filter(|at| *at != killed).collect();
        let tokens = nodes.issued(others[0], 800);
        let kill = Mutex::new(None);
        let (watch, before) = (Stopwatch::start(), Duration::from_millis(1000));
        let looks = thread::scope(|scope| {
            let kill = &kill;
            scope.spawn(move || {
                let_pass(before);
                let at = watch.read();
                *kill.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
                ends.end(&nodes.nodes[killed]);
            });
            let (mut public, mut gateway) = (nodes.public(others[0]), nodes.gateway(others[1]));
            let mut looks = Vec::new();
            for token in &tokens {
                let asked = watch.read();
                if asked > before + ends.seen() {
                    break;
                }
                revoke(&mut public, token);
                let acknowledged = watch.read();
                let refused = || status(&mut gateway, token) == Some(401);
                assert!(until(PATIENCE, refused).is_some(), "what was taken back is served");
                looks.push((asked, acknowledged - asked, watch.read() - asked));
                let_pass(Duration::from_millis(10));
            }
            looks
        });
        let at = kill.lock().unwrap_or_else(PoisonError::into_inner).unwrap();
        let millis = |span: Duration| span.as_secs_f64() * 1e3;
        let (early, late): (Vec<_>, Vec<_>) =
            looks.iter().partition(|(asked, _, took)| *asked + *took < at);
        let slowest = |figure: fn(&(Duration, Duration, Duration)) -> Duration| {
            late.iter().map(|look| millis(figure(look))).fold(0.0, f64::max)
        };
        longest.push(slowest(|look| look.2));
        answered.push(slowest(|look| look.1));
        usual.push(median(&early.iter().map(|look| millis(look.2)).collect::<Vec<_>>()));
        nodes.nodes[killed].launch();
        nodes.until_served(killed);
    }
    let (usual, answered) = (median(&usual), median(&answered));
    let seen = format!("{usual:.1} ms before; the slowest acknowledgement {answered:.1} ms");
    findings.note(Finding::new("lease", what, "ms").values(longest).seen(seen));
}

/// What is answered rightly while the store stands still.
fn outage(effort: Effort, nodes: &Nodes, good: &[String], bad: &[String], findings: &mut Findings) {
    let away = Duration::from_secs(if effort.trial { 2 } else { 10 });
    let mut shares = Vec::new();
    let (mut served, mut passed) = (0, 0);
    for _ in 0..effort.size(3, 1) {
        let ending = Ending::default();
        let [right, wrong, open] = [(); 3].map(|()| AtomicUsize::new(0));
        nodes.postgres.hold();
        thread::scope(|scope| {
            let _over = ending.ends_with();
            for at in (0..nodes.nodes.len()).chain(0..nodes.nodes.len()) {
                let (ending, right, wrong, open) = (&ending, &right, &wrong, &open);
                let mut client = nodes.gateway(at);
                scope.spawn(move || {
                    for (good, bad) in good.iter().zip(bad).cycle() {
                        for (token, expected) in [(good, 200), (bad, 401)] {
                            let got = status(&mut client, token);
                            let count = if got == Some(expected) { right } else { wrong };
                            count.fetch_add(1, Ordering::SeqCst);
                            if expected == 401 && got == Some(200) {
                                open.fetch_add(1, Ordering::SeqCst);
                            }
                        }
                        if ending.pass(Duration::from_millis(2)) {
                            return;
                        }
                    }
                });
            }
            let_pass(away);
        });
        nodes.postgres.go_on();
        let [right, wrong, open] = [right, wrong, open].map(|count| count.load(Ordering::SeqCst));
        shares.push(right as f64 / (right + wrong) as f64);
        served += right + wrong;
        passed += open;
        let ready = || nodes.nodes.iter().all(TegataNode::is_ready);
        assert!(until(PATIENCE, ready).is_some(), "not all nodes become ready again");
    }
    let what = format!("answered rightly while PostgreSQL stood still for {} s", away.as_secs());
    let finding = Finding::new("G22", what, "of all").values(shares).greater();
    let finding = finding.limits(0.999, 0.9999, 1.0);
    let checked = (u64::try_from(passed).unwrap(), u64::try_from(served).unwrap());
    let seen = "wrong: what was taken back and passed; on routes that are `bounded`, tokens of more than a minute";
    findings.note(finding.checked(checked.0, checked.1).seen(seen));
}
