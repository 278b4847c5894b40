//! How soon changes of permissions are enforced, while one node is held back: the metric says it, and the alert
//! fires that is made of it.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use tegata_engines::{Dependencies, EventsKind, Plan, promtool};
use tegata_faults::{
    http::{Ask, Client},
    stage::Stage,
    time::until,
};

use super::PROGRAM;

/// The metric, in all its lines.
const NAME: &str = "permission_propagation_seconds";

/// The line that counts how many were enforced within a second, of the objective.
const IN_TIME: &str = "permission_propagation_seconds_bucket{le=\"1.0\"}";

/// What a node says of the metric: each line, and its number.
fn told(stage: &Stage, node: usize) -> Vec<(String, f64)> {
    let mut client = Client::new(stage.cluster().member(node).node.ports().operations);
    let page = client.ask(&Ask::get("/metrics")).unwrap().text();
    let lines = page.lines().filter(|line| line.starts_with(NAME));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

fn number(told: &[(String, f64)], name: &str) -> f64 {
    told.iter().find(|line| line.0 == name).unwrap_or_else(|| panic!("{name}: {told:?}")).1
}

fn count(told: &[(String, f64)]) -> f64 {
    number(told, &format!("{NAME}_count"))
}

/// Waits for so many more.
fn more(stage: &Stage, many: f64) -> Vec<(String, f64)> {
    let before = count(&told(stage, 0));
    let enough = || count(&told(stage, 0)) >= before + many;
    let enough = until(Duration::from_secs(120), enough);
    assert!(enough.is_some(), "{}", stage.cluster().member(0).node.process().said());
    told(stage, 0)
}

/// A test of the rules in which a node says for half an hour what it says now, and goes on as it did
/// between two moments. These alerts must fire then, and no other of them.
fn fires(place: &Path, from: &[(String, f64)], to: &[(String, f64)]) {
    let rules =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus/tegata.rules.yml");
    let mut text = format!(
        "rule_files: ['{}']\nevaluation_interval: 1m\ntests:\n  - interval: 1m\n    input_series:\n",
        rules.canonicalize().unwrap().display()
    );
    for (name, began) in from {
        // As Prometheus keeps it: with the job that it was asked as.
        let series = match name.split_once('{') {
            Some((metric, labels)) => format!("{metric}{{job=\"tegata\",{labels}"),
            None => format!("{name}{{job=\"tegata\"}}"),
        };
        let each = number(to, name) - began;
        write!(text, "      - series: '{series}'\n        values: '{began}+{each}x30'\n").unwrap();
    }
    text += "    promql_expr_test:\n      \
             - expr: count by (alertname) (ALERTS{alertstate=\"firing\",\
             alertname=~\"PermissionsSpreadSlowly|PermissionsBudgetBurnsFast\"})\n        \
             eval_time: 20m\n        exp_samples:\n";
    for alert in ["PermissionsSpreadSlowly", "PermissionsBudgetBurnsFast"] {
        write!(text, "          - labels: '{{alertname=\"{alert}\"}}'\n            value: 1\n")
            .unwrap();
    }
    fs::write(place.join("held.tests.yml"), text).unwrap();
    let judged = promtool(place, &["test", "rules", "held.tests.yml"], "");
    let said = [judged.stdout, judged.stderr].concat();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn a_node_that_is_held_back_is_seen_in_the_objective_of_permissions_and_the_alert_fires() {
    let dependencies = Dependencies { events: EventsKind::Nats, ..Dependencies::default() };
    let more_of_it = "[revocation]\ncanary = \"500ms\"\n".to_owned();
    let plan = Plan { dependencies, more: more_of_it, ..Plan::new(Path::new(PROGRAM), 2) };
    let stage = Stage::set(&plan).unwrap();
    // While both enforce it at once, most are in time. (The first may be slow where the machine is.)
    let well = until(Duration::from_secs(120), || number(&told(&stage, 0), IN_TIME) >= 3.0);
    assert!(well.is_some(), "{:?}", told(&stage, 0));

    let held = stage.cluster().member(1).node.process();
    held.hold();
    // The one that was under way may have been enforced before.
    let from = more(&stage, 1.0);
    let to = more(&stage, 2.0);
    assert_eq!(number(&to, IN_TIME), number(&from, IN_TIME), "{from:?} {to:?}");
    let seconds = |told| number(told, &format!("{NAME}_sum"));
    let each = (seconds(&to) - seconds(&from)) / (count(&to) - count(&from));
    // Until it serves nothing any more for which it would have to know it.
    assert!(each >= 4.9, "a canary is said to be enforced after {each} s, and was not");
    let place = tempfile::tempdir().unwrap();
    fires(place.path(), &from, &to);

    held.go_on();
    let before = number(&told(&stage, 0), IN_TIME);
    let again = until(Duration::from_secs(120), || number(&told(&stage, 0), IN_TIME) > before);
    assert!(again.is_some(), "{:?}", told(&stage, 0));
}
