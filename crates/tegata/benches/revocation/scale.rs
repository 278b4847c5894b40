//! Requests, memory and notices, by how many tokens could be taken back.

use std::process;

use tegata_faults::stage;
use tegata_rounds::{Effort, Finding, Findings, median};

use crate::{
    load::{Load, Loaded, Origin, pin},
    world::{Alone, ONE_IN, notice},
};

/// The rows that are measured here.
pub(crate) const ROWS: &[&str] = &["G14", "G18", "G21"];

/// A node with few tokens that are alive.
pub(crate) fn few(effort: Effort, origin: &Origin) -> Alone {
    Alone::start("few", origin.port, size(effort, 10_000, 1000), 0)
}

/// A node with many tokens that are alive, of many people.
pub(crate) fn many(effort: Effort, origin: &Origin) -> Alone {
    let people = size(effort, 10_000_000, 10_000);
    Alone::start("many", origin.port, size(effort, 50_000_000, 100_000), people)
}

fn size(effort: Effort, whole: usize, small: usize) -> u64 {
    u64::try_from(effort.size(whole, small)).unwrap()
}

/// What a node with few takes and carries, and one with many.
pub(crate) fn measure(effort: Effort, few: &Alone, many: &Alone, findings: &mut Findings) {
    let (idle, full) = (few.resident(), many.resident());
    let memory = |what, figure, (gate, goal, moonshot)| {
        Finding::new("G21", what, "MiB").values([figure]).limits(gate, goal, moonshot)
    };
    findings.note(memory("a node on SQLite that has just started", idle, (80.0, 40.0, 25.0)));
    let what = "the same with 50 million tokens and 10 million people, 1 % of both taken back";
    findings.note(memory(what, full, (250.0, 120.0, 75.0)));
    requests(effort, few, many, findings);
    let loaded = many.resident();
    let growth =
        Finding::new("G14", "memory, 50 million tokens above 10,000, both under load", "MiB");
    let seen = format!("{:.1} and {loaded:.1} MiB", few.resident());
    let growth = growth.values([loaded - few.resident()]).limits(120.0, 50.0, 46.0);
    findings.note(growth.seen(seen));
    on_the_wire(effort, many, findings);
}

/// How many requests each carries, in turn.
fn requests(effort: Effort, few: &Alone, many: &Alone, findings: &mut Findings) {
    let (hot, seconds) = (effort.size(1000, 50), effort.size(3, 1));
    let load = |alone: &Alone| {
        let tokens: Vec<_> = alone.any(hot, false).iter().map(|it| alone.token(*it)).collect();
        Load::of(alone.node.directory(), &tokens)
    };
    let pair = [(few, load(few)), (many, load(many))];
    pin(process::id(), Some(1));
    for (alone, load) in &pair {
        pin(alone.node.process().id().unwrap(), Some(0));
        // Each token is seen once before anything counts.
        load.put(alone.node.ports().gateway, 1);
    }
    let mut figures: [Vec<Loaded>; 2] = Default::default();
    for round in 0..effort.rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            let (alone, load) = &pair[which];
            figures[which].push(load.put(alone.node.ports().gateway, seconds));
        }
    }
    for (alone, _) in &pair {
        pin(alone.node.process().id().unwrap(), None);
    }
    pin(process::id(), None);
    let looks = [few, many].map(|alone| alone.wrong(effort.size(500, 20)));
    let bad: u64 = figures.iter().flatten().map(|it| it.bad).sum();
    let asked: u64 = figures.iter().flatten().map(|it| it.all).sum();
    let (wrong, looked) = (looks[0].0 + looks[1].0, looks[0].1 + looks[1].1);
    let of = |which: usize, figure: fn(&Loaded) -> f64| -> Vec<f64> {
        figures[which].iter().map(figure).collect()
    };
    let ratios = |figure: fn(&Loaded) -> f64| -> Vec<f64> {
        of(1, figure).iter().zip(of(0, figure)).map(|(many, few)| many / few).collect()
    };
    let middles = |figure: fn(&Loaded) -> f64| [0, 1].map(|which| median(&of(which, figure)));
    let [slow, fast] = middles(|it| it.rate);
    let what = "requests through the gateway, 50 million tokens beside 10,000";
    let rates = Finding::new("G14", what, "x").values(ratios(|it| it.rate)).greater();
    let rates = rates.limits(0.90, 0.97, 0.99).seen(format!("{slow:.0}/s and {fast:.0}/s"));
    findings.note(rates.checked(bad + wrong, asked + looked));
    let [small, great] = middles(|it| it.p99);
    let what = "p99 of the same, 64 connections busy";
    let slowest = Finding::new("G14", what, "x").values(ratios(|it| it.p99));
    let slowest = slowest.limits(1.2, 1.05, 1.02);
    findings.note(slowest.seen(format!("{:.2} and {:.2} ms", small / 1e3, great / 1e3)));
}

/// What a verifier is told: everything first, and then what is new.
fn on_the_wire(effort: Effort, many: &Alone, findings: &mut Findings) {
    let whole = asked(many, "");
    let share = 1.0 / ONE_IN as f64;
    let entropy = -(share * share.log2() + (1.0 - share) * (1.0 - share).log2());
    let bound = entropy * many.tokens as f64 / 8.0;
    let what = "the first answer of `/oauth2/revocations`, beside what it says of tokens at least";
    let seen = format!(
        "{} bytes with {} people by name; the bound is {bound:.0}",
        whole.len(),
        effort.size(100_000, 100)
    );
    findings.note(Finding::new("G18", what, "x").values([whole.len() as f64 / bound]).seen(seen));
    let told = told(&whole);
    let nothing = asked(many, &told);
    let (count, mut public) = (effort.size(500, 10), many.public());
    // None of those that are asked about elsewhere.
    for number in many.tokens..many.tokens + u64::try_from(count).unwrap() {
        many.revoke(&mut public, &many.token(number));
    }
    let news = asked(many, &told);
    let each = (news.len() as f64 - nothing.len() as f64) / count as f64;
    let seen = format!("an answer without any takes {} bytes", nothing.len());
    let finding = Finding::new("G18", "each token in the answer that tells of it", "bytes");
    findings.note(finding.values([each]).limits(64.0, 16.0, 8.0).seen(seen));
}

/// A notice.
fn asked(alone: &Alone, told: &str) -> String {
    let answer = alone.public().ask(&notice(told)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

/// What to say next time: who said this, and how much had been said by then.
fn told(notice: &str) -> String {
    let claims = stage::claims(notice).unwrap();
    format!("{}.{}", claims["instance"].as_str().unwrap(), claims["news"])
}
