//! Who is measured, and what follows from it.

use std::{fs, path::PathBuf, process};

use tegata_faults::http::{Ask, Client};
use tegata_rounds::{Effort, Finding, Findings, Only, median};
use tegata_token::Algorithm;

use crate::{
    load::{Origin, pin},
    peers::{self, Material, Peer},
    put::{Became, Loads, Protocol},
    world::Alone,
};

/// Which tokens are presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tokens {
    /// A thousand, again and again.
    Hot,
    /// More than are remembered, so that each is judged anew.
    Many,
    /// The same, signed with ES256.
    Es256,
}

/// One that is measured.
struct Case {
    name: &'static str,
    process: u32,
    protocol: Protocol,
    port: u16,
    path: &'static str,
    tokens: Tokens,
    /// Whether it refuses a token that was forged.
    checks: bool,
    became: Vec<Became>,
}

impl Case {
    fn figures(&self, figure: fn(&Became) -> f64) -> Vec<f64> {
        self.became.iter().map(figure).collect()
    }

    /// How it answers a token.
    fn status(&self, token: &str) -> u16 {
        let ask = Ask::get(self.path).bearer(token);
        Client::new(self.port).ask(&ask).unwrap().status
    }
}

/// What everything else stands beside.
const ANCHOR: &str = "HAProxy, nothing checked";
const OPEN: &str = "Tegata, nothing checked";
const SEEN: &str = "Tegata, tokens seen before";
const ANEW: &str = "Tegata, each token for the first time";
const SEEN_TOLD: &str = "Tegata, tokens seen before, and a signed one for the service";
const ANEW_TOLD: &str = "Tegata, each token for the first time, and a signed one for the service";
const ES256: &str = "Tegata, each token of ES256 for the first time";
const HAPROXY_ES256: &str = "HAProxy, `jwt_verify` of ES256";
const JOSE: &str = "nginx, `auth_request` to Node with `jose`";
const HAPROXY: &str = "HAProxy, `jwt_verify`";
const LISTED: &str = "HAProxy, `jwt_verify` and a list of a million";
const NGINX: &str = "nginx, `auth_request` to a yes";

/// A row of the report that compares the rates of two, over HTTP/1.1 in the clear: which, and below what a release
/// fails, what is aimed for, and what the machine allows.
type Goal = (&'static str, [&'static str; 2], (f64, f64, f64));

const GOALS: [Goal; 7] = [
    ("G1", [SEEN, ANCHOR], (0.60, 0.85, 1.0)),
    ("G2", [SEEN, LISTED], (2.0, 3.0, 4.0)),
    ("G2", [SEEN, NGINX], (1.6, 2.4, 3.0)),
    ("G2", [SEEN, JOSE], (8.0, 12.0, 16.0)),
    ("G3", [ANEW, HAPROXY], (1.0, 1.25, 1.45)),
    ("G3", [ES256, HAPROXY_ES256], (1.0, 1.25, 1.45)),
    ("G4", [SEEN, OPEN], (0.90, 0.95, 0.98)),
];

/// The rows of other figures.
const HANDSHAKES: &str = "TLS handshakes";
const AT_EASE: &str = "G5";
const ALONE: &str = "one connection";

/// What is asked for where a service is told of the caller in fields alone.
const CHECKED: &str = "/checked/x";

/// Whether anything that is asked for needs the rate of one over a protocol.
fn wants(only: &Only, protocol: Protocol, name: &str) -> bool {
    let compared = |(id, names, _): &Goal| names.contains(&name) && only.wants(&[id]);
    only.wants(&[protocol.name()]) || (protocol == Protocol::Http1 && GOALS.iter().any(compared))
}

/// All of them, in turn.
pub(crate) fn measure(effort: Effort, only: &Only, findings: &mut Findings) {
    let (origin, yes) = (Origin::serve(), Origin::serve());
    let size = |whole, small| u64::try_from(effort.size(whole, small)).unwrap();
    // One thread, as the others have.
    let one = || ("TEGATA_GATEWAY__WORKERS".to_owned(), "1".to_owned());
    // Peers check tokens and pass requests on: services behind them are told of nobody in a signed way.
    let more = format!(
        "[[route]]\npath = \"/open\"\nservice = \"echo\"\nauth = \"none\"\n\
         [[service]]\nname = \"checked\"\nupstreams = [\"http://127.0.0.1:{}\"]\nidentity = \"headers\"\n",
        origin.port
    );
    let start = |algorithm, name: &str, tokens, mut environment: Vec<_>| {
        environment.push(one());
        let alone = Alone::signing(algorithm, name, origin.port, (tokens, 0), environment);
        fs::write(alone.node.directory().join("more.toml"), &more).unwrap();
        alone.node.command(&["apply", "more.toml"]);
        alone
    };
    let (rs256, es256) = (Algorithm::Rs256, Algorithm::Es256);
    let clear = start(rs256, "clear", size(50_000_000, 100_000), Vec::new());
    let es256 = start(es256, "es256", size(1_000_000, 1000), Vec::new());
    let material = Material::of(&clear.key, &es256.key);
    let secure = start(rs256, "secure", size(10_000, 1000), material.for_tegata());
    let denied = effort.size(1_000_000, 1000);
    let haproxy = peers::haproxy(&material, origin.port, denied);
    let (node, _yard, jose) = peers::jose(&material);
    let nginx = peers::nginx(&material, origin.port, yes.port, jose);
    let envoy = peers::envoy(&material, origin.port);

    let loads = Loads::new();
    let hot = |alone: &Alone, name: &str| {
        let numbers = alone.any(effort.size(1000, 20), false);
        let tokens: Vec<_> = numbers.iter().map(|it| alone.token(*it)).collect();
        loads.keep(name, &tokens)
    };
    let many = |alone: &Alone, name: &str| {
        let numbers = alone.any(effort.size(20_000, 200), false);
        let tokens: Vec<_> = numbers.iter().map(|it| alone.token(*it)).collect();
        loads.keep(name, &tokens)
    };
    let files = Files {
        clear: hot(&clear, "clear"),
        secure: hot(&secure, "secure"),
        many: many(&clear, "many"),
        es256: many(&es256, "es256"),
    };

    pin(process::id(), Some(1));
    let nodes = [&clear, &secure, &es256].map(|alone| alone.node.process().id().unwrap());
    let others = [haproxy.id(), nginx.id(), envoy.id(), node.id().unwrap()];
    let all: Vec<u32> = nodes.into_iter().chain(others).collect();
    for id in all {
        pin(id, Some(0));
    }
    let peers = Peers { clear: &clear, secure: &secure, es256: &es256, haproxy, nginx, envoy };
    for protocol in Protocol::ALL {
        let mut cases = peers.cases(protocol);
        cases.retain(|it| wants(only, protocol, it.name));
        for case in &cases {
            files.look_at(case);
            // Everybody has its connections and its tokens before anything counts.
            files.load(case, &loads, 1);
        }
        for round in 0..effort.rounds {
            let count = cases.len();
            for at in 0..count {
                let at = if round % 2 == 0 { at } else { count - 1 - at };
                let became = files.load(&cases[at], &loads, effort.size(3, 1));
                cases[at].became.push(became);
            }
        }
        tell(protocol, &cases, findings);
    }
    if only.wants(&[HANDSHAKES]) {
        shaking(effort, &peers, &files, &loads, findings);
    }
    if only.wants(&[AT_EASE, ALONE]) {
        at_ease(effort, &peers, &files, &loads, findings);
    }
}

/// Tokens to be presented, by whose they are.
struct Files {
    clear: PathBuf,
    secure: PathBuf,
    many: PathBuf,
    es256: PathBuf,
}

impl Files {
    fn of(&self, case: &Case) -> &PathBuf {
        match (case.tokens, case.protocol.is_secure() && case.name.starts_with("Tegata")) {
            (Tokens::Many, _) => &self.many,
            (Tokens::Es256, _) => &self.es256,
            (Tokens::Hot, true) => &self.secure,
            (Tokens::Hot, false) => &self.clear,
        }
    }

    fn load(&self, case: &Case, loads: &Loads, seconds: usize) -> Became {
        let to = (case.protocol, case.port, case.path);
        let became = loads.all_out(to, self.of(case), case.process, seconds);
        let fine = became.bad == 0 && became.all > 0;
        assert!(fine, "{} over {}: {became:?}", case.name, case.protocol.name());
        became
    }

    /// That it lets a good token pass, and no forged one where it looks.
    fn look_at(&self, case: &Case) {
        if case.protocol != Protocol::Http1 {
            return;
        }
        let tokens = fs::read_to_string(self.of(case)).unwrap();
        let good = tokens.lines().next().unwrap();
        let (signed, _) = good.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{}", "A".repeat(good.len() - signed.len() - 1));
        assert_eq!(case.status(good), 200, "{}: a good token", case.name);
        let refused = case.status(&forged) == 401;
        assert_eq!(refused, case.checks, "{}: a forged token", case.name);
    }
}

struct Peers<'a> {
    clear: &'a Alone,
    secure: &'a Alone,
    es256: &'a Alone,
    haproxy: Peer,
    nginx: Peer,
    envoy: Peer,
}

impl Peers<'_> {
    /// Who is measured over a protocol. What everything else stands beside comes first.
    fn cases(&self, protocol: Protocol) -> Vec<Case> {
        let peer = |name, peer: &Peer, way, checks| Case {
            name,
            process: peer.id(),
            protocol,
            port: peer.port(way, protocol).unwrap(),
            path: "/bounded/x",
            tokens: Tokens::Hot,
            checks,
            became: Vec::new(),
        };
        let alone = if protocol.is_secure() { self.secure } else { self.clear };
        let ours = |name, path, tokens, checks| Case {
            name,
            process: alone.node.process().id().unwrap(),
            protocol,
            port: alone.node.ports().gateway,
            path,
            tokens,
            checks,
            became: Vec::new(),
        };
        let mut cases = vec![
            peer(ANCHOR, &self.haproxy, "plain", false),
            ours(OPEN, "/open/x", Tokens::Hot, false),
            ours(SEEN, CHECKED, Tokens::Hot, true),
            ours(SEEN_TOLD, "/bounded/x", Tokens::Hot, true),
            peer(HAPROXY, &self.haproxy, "checked", true),
            peer("nginx, nothing checked", &self.nginx, "plain", false),
            peer(NGINX, &self.nginx, "checked", false),
            peer("Envoy, nothing checked", &self.envoy, "plain", false),
            peer("Envoy, `jwt_authn`", &self.envoy, "checked", true),
        ];
        if protocol == Protocol::Http1 {
            cases.push(ours(ANEW, CHECKED, Tokens::Many, true));
            cases.push(ours(ANEW_TOLD, "/bounded/x", Tokens::Many, true));
            cases.push(peer(LISTED, &self.haproxy, "listed", true));
            // What nginx asks takes of the same core, and is not counted with it.
            cases.push(peer(JOSE, &self.nginx, "jose", true));
            let es256 = |case: Case| Case { tokens: Tokens::Es256, ..case };
            cases.push(es256(peer(HAPROXY_ES256, &self.haproxy, "es256", true)));
            let (process, port) = (self.es256.node.process(), self.es256.node.ports().gateway);
            let process = process.id().unwrap();
            let case = ours(ES256, CHECKED, Tokens::Es256, true);
            cases.push(Case { process, port, ..case });
        }
        cases
    }
}

/// What was found over a protocol.
fn tell(protocol: Protocol, cases: &[Case], findings: &mut Findings) {
    let case = |name: &str| cases.iter().find(|it| it.name == name);
    let rates = |name: &str| case(name).map(|it| it.figures(|it| it.rate)).unwrap_or_default();
    let beside = |name: &str, anchor: &str| -> Vec<f64> {
        rates(name).iter().zip(rates(anchor)).map(|(rate, anchor)| rate / anchor).collect()
    };
    for it in cases {
        let [rate, p50, p99, core] =
            [(|it| it.rate) as fn(&Became) -> f64, |it| it.p50, |it| it.p99, |it| it.core]
                .map(|figure| median(&it.figures(figure)));
        let seen = format!(
            "{rate:.0}/s; {:.4} s of a core for 1,000; p50 {:.2} ms, p99 {:.2} ms; {:.0} MiB",
            core / 1e3,
            p50 / 1e3,
            p99 / 1e3,
            resident(it.process)
        );
        let all = it.became.iter().map(|it| it.all).sum();
        let finding = Finding::new(protocol.name(), it.name, "x").values(beside(it.name, ANCHOR));
        findings.note(finding.greater().seen(seen).checked(0, all));
    }
    if protocol != Protocol::Http1 {
        return;
    }
    for (id, [name, anchor], (gate, goal, moonshot)) in GOALS {
        let what = format!("requests: {name}, beside {anchor}");
        let finding = Finding::new(id, what, "x").values(beside(name, anchor)).greater();
        findings.note(finding.limits(gate, goal, moonshot));
    }
}

/// Connections with TLS that are used once, by those that check nothing: handshakes, most of all.
fn shaking(
    effort: Effort,
    peers: &Peers<'_>,
    files: &Files,
    loads: &Loads,
    findings: &mut Findings,
) {
    let protocol = Protocol::Http1Tls;
    let mut cases = peers.cases(protocol);
    cases.retain(|it| it.name == OPEN || it.name.ends_with("nothing checked"));
    for _ in 0..effort.rounds {
        for case in &mut cases {
            let to = (protocol, case.port, case.path);
            let became = loads.anew(to, files.of(case), case.process, effort.size(3, 1));
            assert!(became.bad == 0 && became.all > 0, "{} anew: {became:?}", case.name);
            case.became.push(became);
        }
    }
    let anchor = cases.iter().find(|it| it.name == ANCHOR);
    let anchor = anchor.map(|it| it.figures(|it| it.rate)).unwrap_or_default();
    for case in &cases {
        let rates = case.figures(|it| it.rate);
        let beside = rates.iter().zip(&anchor).map(|(rate, anchor)| rate / anchor);
        let [rate, core] = [&rates, &case.figures(|it| it.core)].map(|it| median(it));
        let seen = format!("{rate:.0}/s; {:.3} s of a core for 1,000", core / 1e3);
        let name = case.name.split(',').next().unwrap_or_default();
        let finding = Finding::new(HANDSHAKES, format!("{name}, a connection for each"), "x");
        findings.note(finding.values(beside).greater().seen(seen));
    }
}

/// What a check adds where there is little to do.
fn at_ease(
    effort: Effort,
    peers: &Peers<'_>,
    files: &Files,
    loads: &Loads,
    findings: &mut Findings,
) {
    let mut cases = peers.cases(Protocol::Http1);
    cases.retain(|it| [ANCHOR, OPEN, SEEN].contains(&it.name));
    for _ in 0..effort.rounds {
        for case in &mut cases {
            let tokens = files.of(case);
            case.became.push(loads.at_ease(case.port, case.path, tokens, effort.size(3, 1)));
        }
    }
    let figures = |name: &str, figure: fn(&Became) -> f64| {
        let case = cases.iter().find(|it| it.name == name);
        case.map(|it| it.figures(figure)).unwrap_or_default()
    };
    let pairs = |figure: fn(&Became) -> f64, name: &str, anchor: &str| -> Vec<(f64, f64)> {
        figures(name, figure).into_iter().zip(figures(anchor, figure)).collect()
    };
    let added = pairs(|it| it.p50, SEEN, OPEN).into_iter().map(|(seen, open)| seen - open);
    let what = "what a token seen before adds at 1,000 requests a second: p50";
    let finding = Finding::new(AT_EASE, what, "µs").values(added).limits(10.0, 5.0, 1.0);
    let middle = |name: &str| median(&figures(name, |it| it.p50));
    let seen = format!(
        "{:.0} µs, without {:.0} µs, HAProxy without {:.0} µs",
        middle(SEEN),
        middle(OPEN),
        middle(ANCHOR)
    );
    findings.note(finding.seen(seen));
    first_sight(effort, peers, files, loads, findings);
    let slowest = pairs(|it| it.p99, SEEN, ANCHOR).into_iter().map(|(ours, anchor)| ours / anchor);
    let what = "p99 of the same, beside HAProxy that checks nothing";
    findings.note(Finding::new(AT_EASE, what, "x").values(slowest).limits(1.1, 1.0, 0.9));
}

/// What a token that was never seen adds, and how long its request takes, with nothing else to do.
fn first_sight(
    effort: Effort,
    peers: &Peers<'_>,
    files: &Files,
    loads: &Loads,
    findings: &mut Findings,
) {
    let mut cases = peers.cases(Protocol::Http1);
    cases.retain(|it| [OPEN, ANEW, ANEW_TOLD, ES256, HAPROXY, HAPROXY_ES256].contains(&it.name));
    for _ in 0..effort.rounds {
        for case in &mut cases {
            let became = loads.in_turn(case.port, case.path, files.of(case), effort.size(3, 1));
            assert!(became.bad == 0 && became.all > 0, "{} in turn: {became:?}", case.name);
            case.became.push(became);
        }
    }
    let figures = |name: &str, figure: fn(&Became) -> f64| {
        let case = cases.iter().find(|it| it.name == name);
        case.map(|it| it.figures(figure)).unwrap_or_default()
    };
    let without = figures(OPEN, |it| it.p50);
    let added = figures(ANEW, |it| it.p50).into_iter().zip(without).map(|(anew, open)| anew - open);
    let what = "what a token for the first time adds on one connection: p50";
    findings.note(Finding::new(AT_EASE, what, "µs").values(added).limits(40.0, 30.0, 22.0));
    for name in [OPEN, ANEW, ANEW_TOLD, ES256, HAPROXY, HAPROXY_ES256] {
        let seen = format!("p99 {:.0} µs", median(&figures(name, |it| it.p99)));
        let what = format!("{name}, one request after the other: p50");
        let finding = Finding::new(ALONE, what, "µs").values(figures(name, |it| it.p50));
        findings.note(finding.seen(seen));
    }
}

/// What a process has in memory, in MiB.
fn resident(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}
