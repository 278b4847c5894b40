//! From `kill -9` to the first correct answers.

use std::time::Duration;

use fastbloom::BloomFilter;
use tegata_faults::{
    stage,
    time::{Stopwatch, let_pass},
};
use tegata_rounds::{Effort, Finding, Findings, median, timed};

use crate::world::Alone;

/// How long a start may take at all.
const PATIENCE: Duration = Duration::from_secs(120);

/// Of a filter, one part of so many is made, and the time for the rest is taken to be the same.
const PART: u64 = 5;

/// The rows that are measured here.
pub(crate) const ROWS: &[&str] = &["G17"];

pub(crate) fn measure(effort: Effort, many: &Alone, findings: &mut Findings) {
    let (mut ratios, mut times, mut anchors) = (Vec::new(), Vec::new(), Vec::new());
    let mut wrong = 0;
    for round in 0..u64::from(effort.rounds) {
        // The last thing that is acknowledged before it is killed.
        let (good, bad) = (many.token(round * 200 + 1), many.token(round * 200 + 3));
        let mut gateway = many.gateway();
        for token in [&good, &bad] {
            assert_eq!(many.status(&mut gateway, token), 200);
        }
        many.revoke(&mut many.public(), &bad);
        many.node.kill();
        let watch = Stopwatch::start();
        many.node.launch_unready();
        wrong += until_right(many, &good, &bad, &watch);
        let took = watch.read().as_secs_f64();
        assert!(many.node.until_ready(PATIENCE, true));
        let anchor = rebuilt(many.tokens);
        ratios.push(anchor / took);
        times.push(took);
        anchors.push(anchor);
    }
    let (refused, looked) = many.wrong(effort.size(500, 20));
    let what =
        "a filter of 50 million made anew, beside `kill -9` to the first 200 and the first 401";
    let seen = format!("{:.2} s, and {:.3} s", median(&anchors), median(&times));
    let finding = Finding::new("G17", what, "x").values(ratios).greater();
    let finding = finding.limits(5.0, 40.0, 100.0).seen(seen);
    findings.note(finding.checked(wrong + refused, looked + u64::from(effort.rounds)));
    let millis = times.iter().map(|took| took * 1000.0);
    findings.note(Finding::new("G17", "the same, by itself", "ms").values(millis));
}

/// Asks about two tokens until both are answered as they should be. Answers how often one was not
/// answered as it should be, but for "not yet".
fn until_right(many: &Alone, good: &str, bad: &str, watch: &Stopwatch) -> u64 {
    let mut client = many.gateway();
    let (mut served, mut refused, mut wrong) = (false, false, 0);
    while !(served && refused) {
        assert!(watch.read() < PATIENCE, "{}", many.node.process().said());
        for (token, right, seen) in [(good, 200, &mut served), (bad, 401, &mut refused)] {
            match stage::call(&mut client, "/bounded", token) {
                Ok(answer) if answer.status == right => *seen = true,
                Ok(answer) if answer.status < 500 => {
                    let (status, at) = (answer.status, watch.read());
                    eprintln!(
                        "wrong after {at:?}: {status} in place of {right}: {}",
                        answer.text()
                    );
                    wrong += 1;
                }
                _ => let_pass(Duration::from_millis(1)),
            }
        }
    }
    wrong
}

/// How long it takes to make a filter that is wrong once in a thousand times, in seconds.
fn rebuilt(tokens: u64) -> f64 {
    let all = usize::try_from(tokens).unwrap();
    let ((), took) = timed(|| {
        let mut filter = BloomFilter::with_false_pos(0.001).seed(&7).expected_items(all);
        // All over it, as the rest would be.
        (0..tokens / PART).for_each(|token| {
            filter.insert(&token);
        });
        std::hint::black_box(&filter);
    });
    took.as_secs_f64() * PART as f64
}
